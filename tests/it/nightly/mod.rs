//! What takes minutes; run by `./gate --profile nightly`.

mod soak;
