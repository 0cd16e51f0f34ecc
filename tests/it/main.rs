//! What this project promises, one file a promise, in one binary so that it links once.

mod config;
