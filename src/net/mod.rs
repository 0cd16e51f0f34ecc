//! Joining protocols to sockets, and lives of devices to each other.

pub mod drive;
pub mod fetch;
pub mod http;
pub mod lanes;
pub mod link;
pub mod supervise;
pub mod tls;
