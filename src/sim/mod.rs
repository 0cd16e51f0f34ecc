//! Virtual devices, written from the protocol references and not from our clients.

pub mod aws;
#[cfg(feature = "demo-broker")]
pub mod broker;
mod checks;
pub mod clip;
pub mod console;
pub mod dice;
mod ear;
pub mod fault;
pub mod gwell_camera;
pub mod gwell_server;
mod http_date;
pub mod iot;
pub mod kvs_camera;
pub mod kvs_doorbell;
mod listener;
mod made_up;
pub mod options;
pub mod rtsp;
mod run;
mod signaling;
pub mod sound;
pub mod tone;
mod track;
pub mod tutk_camera;
pub mod vivint;
pub mod wyze_cloud;
