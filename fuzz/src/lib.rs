//! What the fuzz targets do with their bytes. `tests/it/corpus.rs` includes the same modules.

pub mod gwell;
pub mod gwell_media;
pub mod inputs;
pub mod kvs;
pub mod media;
mod pieces;
pub mod rtc;
pub mod sound;
pub mod tutk;
pub mod vivint;
