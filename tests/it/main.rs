//! What this project promises, one file a promise, in one binary so that it links once.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod config;
mod floors;
mod licences;
mod store;
