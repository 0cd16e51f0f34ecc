//! Firebase's Realtime Database over a WebSocket, protocol version 5 (vivint reference §7): Vivint's cameras are
//! signalled to through it.

pub mod frames;
pub mod message;
pub mod path;
pub mod session;
mod value;

pub use path::Path;
pub use session::Session;
