//! Virtual devices, written from the protocol references and not from our clients.

pub mod clip;
pub mod lossy_link;
pub mod tone;
