//! What Vivint's cloud, its signalling database and its cameras say (docs/protocol/vivint.md).

pub mod channel;
pub mod database;
pub mod login;
pub mod realtime;
pub mod signaling;
