//! Doorstep: doorbells of several clouds over MQTT and WebRTC, with a way back to the speaker.
//!
//! The modules stand in floor order, lowest first; a module imports only lower floors
//! (ARCHITECTURE.md §1, kept by `tests/it/floors.rs`).

// floor 0
pub mod clock;
pub mod model;
pub mod proto;
pub mod secret;
// floor 1
pub mod config;
pub mod media;
pub mod net;
pub mod store;
// floor 2
pub mod rtc;
// floor 3
pub mod aws;
pub mod doorbell;
pub mod supervisor;
// floor 4
pub mod go2rtc;
pub mod http;
pub mod mqtt;
pub mod sim;
pub mod speech;
pub mod vendor;
// floor 5
pub mod app;
pub mod privileges;
// floor 6
pub mod cli;
