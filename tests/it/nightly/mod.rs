//! What takes minutes; run by `./gate --profile nightly`.

mod network;
mod soak;
