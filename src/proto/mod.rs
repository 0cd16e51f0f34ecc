//! Protocols without input or output: codecs and state machines that are told the time and handed
//! bytes. Nothing here reads a clock, a socket or a source of randomness.

pub mod gwell;
pub mod kvs;
pub mod totp;
pub mod tutk;
pub mod vivint;
pub mod wire;
pub mod wyze;

use std::net::SocketAddr;
use std::time::Instant;

pub use wire::DecodeError;

/// Which of a session's sockets a datagram belongs to. A lane may be of streams, one a peer, that carry whole messages:
/// then the first message to a peer opens its stream, and an empty one that arrives says that it is closed, or never
/// was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lane(pub u8);

impl Lane {
    /// The only lane of a protocol that needs one socket.
    pub const MAIN: Self = Self(0);
}

/// What a session wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<E> {
    Send { lane: Lane, to: SocketAddr, payload: Vec<u8> },
    Event(E),
}

/// A protocol as a state machine. `net::drive` joins it to sockets; tests step two against each other.
pub trait Session {
    type Command;
    type Event;
    type Error: std::error::Error + Send + Sync + 'static;

    /// A datagram arrived. An `Err` ends the session; a datagram that is merely wrong is dropped.
    fn on_datagram(&mut self, now: Instant, lane: Lane, from: SocketAddr, payload: &[u8]) -> Result<(), Self::Error>;

    /// The time that `deadline` named has come, or is past.
    fn on_timeout(&mut self, now: Instant) -> Result<(), Self::Error>;

    fn on_command(&mut self, now: Instant, command: Self::Command) -> Result<(), Self::Error>;

    /// Says farewell, after a failure too: queues what the peer must hear. The session is polled until `None` once
    /// more and then dropped.
    fn on_close(&mut self, now: Instant);

    /// Called until `None` after each of the above.
    fn poll(&mut self) -> Option<Output<Self::Event>>;

    /// When `on_timeout` is due. Moves forward each time it fires.
    fn deadline(&self) -> Option<Instant>;
}
