//! What takes minutes; run by `./gate --profile nightly`.

mod faults;
mod grid;
mod soak;
mod tiny_fragments;
