//! What several tests need.

pub(crate) mod browser;
pub(crate) mod chromium;
pub(crate) mod crooked_line;
pub(crate) mod demo;
pub(crate) mod fake_account;
pub(crate) mod fake_aws;
pub(crate) mod fake_lock;
pub(crate) mod fake_vendor;
pub(crate) mod firebase;
pub(crate) mod home_assistant;
pub(crate) mod house;
pub(crate) mod http;
pub(crate) mod lossy_way;
pub(crate) mod mosquitto;
pub(crate) mod mqtt_house;
pub(crate) mod program;
pub(crate) mod raw_broker;
pub(crate) mod service;
pub(crate) mod tcp_proxy;
pub(crate) mod tutk_hand;
pub(crate) mod viewer;
pub(crate) mod vivint_camera;
pub(crate) mod vivint_camera_hand;
pub(crate) mod vivint_hand;
pub(crate) mod vivint_wire;
