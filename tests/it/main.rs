//! Integration tests, one file per promise.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[cfg(feature = "demo-broker")]
mod broker;
mod doorbell;
mod mqtt;
mod mqtt_tls;
mod outbox;
mod support;
