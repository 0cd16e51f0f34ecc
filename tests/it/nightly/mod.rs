//! What takes minutes; run by `./gate --profile nightly`.

mod tiny_fragments;
