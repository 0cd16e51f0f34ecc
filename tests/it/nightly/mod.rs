//! What takes minutes; run by `./gate --profile nightly`.

mod soak;
mod tiny_fragments;
