//! What this project promises, one file a promise, in one binary so that it links once.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, reason = "tests print their seeds and what they skip")]

mod accounts;
mod broker;
mod browser_whep;
mod camera_peer;
mod config;
mod corpus;
mod demo;
mod demo_browser;
mod door;
mod doorbell;
mod floors;
mod http;
mod http_kvs;
mod http_unlock;
mod kvs_call;
mod kvs_master;
mod licences;
mod media;
mod mqtt;
mod mqtt_bridge;
mod mqtt_devices;
mod mqtt_lock;
mod mqtt_tls;
mod outbox;
mod page;
mod page_account;
mod page_door;
mod readme;
mod rtsp_server;
mod secrets;
mod service;
mod service_command;
mod service_talk;
mod service_trouble;
mod store;
mod support;
mod tutk_camera;
mod tutk_session;
mod tutk_vectors;
mod viewers;
mod vivint_doorbell;
mod vivint_sim;
mod vivint_sim_call;
mod vivint_sim_database;
mod whep;
mod wyze;
mod wyze_account;
mod wyze_cloud;
mod wyze_cloud_sim;
mod wyze_lock;
mod wyze_tls;
