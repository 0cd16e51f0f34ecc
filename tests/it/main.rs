//! Integration tests, one file per promise.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod browser_whep;
mod doorbell;
mod media;
mod support;
mod viewers;
mod whep;
