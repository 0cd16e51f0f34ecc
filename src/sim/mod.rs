//! Virtual devices, written from the protocol references and not from our clients.

#[cfg(feature = "demo-broker")]
pub mod broker;
