//! Virtual devices, written from the protocol references and not from our clients.

#[cfg(feature = "demo-broker")]
pub mod broker;
mod checks;
pub mod clip;
pub mod console;
mod ear;
pub mod kvs_camera;
pub mod lossy_link;
pub mod options;
pub mod rtsp;
pub mod sound;
pub mod tone;
pub mod tutk_camera;
pub mod wyze_cloud;
