//! Firebase's Realtime Database over a WebSocket, protocol version 5 (vivint reference §7): Vivint's cameras are
//! signalled to through it.

mod events;
pub mod frames;
pub mod message;
pub mod path;
pub mod session;
mod value;

pub use path::Path;
pub use session::Session;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    #[expect(clippy::disallowed_methods, reason = "tests need one Instant, and there is no other way to make one")]
    pub(super) fn start_of_time() -> Instant {
        Instant::now()
    }
}
