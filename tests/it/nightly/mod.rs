//! What takes minutes; run by `./gate --profile nightly`.

mod faults;
mod grid;
mod mqtt_faults;
mod network;
mod soak;
mod tiny_fragments;
mod viewers;
