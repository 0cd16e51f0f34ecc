//! KCP, two conversations a call, behind a trait of our own (gwell reference §7).
//!
//! An engine of our own, in the datagrams byte for byte the one of the reference (`tests/it/gwell_kcp.rs` runs it against
//! the C original). It reads no clock, allocates no more than its windows allow, and believes no number it was not sent.

mod receiver;
mod segment;
mod sender;

use std::collections::VecDeque;
use std::time::Duration;

use self::receiver::Receiver;
use self::segment::{Command, HEADER, Segment, segments};
use self::sender::Sender;
use crate::proto::wire::DecodeError;

pub(super) use self::segment::are_segments;
pub use self::segment::{by_conversation, conversation_of};

/// Of a payload with segments.
const MTU: usize = 1_400;
/// Of a segment's data. A message to the public Go client must fit in one (gwell reference §7).
pub const MSS: usize = MTU - HEADER;
/// How often segments go out at most.
const INTERVAL_MS: u32 = 10;
/// How long an engine with nothing to do may be left alone.
const IDLE: Duration = Duration::from_secs(1);

/// Why a message or a segment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KcpError {
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    #[error("no KCP command is {0}")]
    Command(u8),
    #[error("a segment of the conversation {conversation:#x}")]
    Conversation { conversation: u32 },
    #[error("segment {sn} is outside of the window")]
    Window { sn: u32 },
    #[error("segment {sn} is no part of its message")]
    Fragment { sn: u32 },
    #[error("segment {sn} is acknowledged and was never sent")]
    Unsent { sn: u32 },
    #[error("a message of {len} bytes is too long")]
    TooLong { len: usize },
    #[error("too much waits to be sent")]
    Full,
}

/// Messages over datagrams that get lost: what a session needs of KCP.
///
/// `now_ms` is Unix time in milliseconds, modulo 2³²: it wraps.
pub trait Arq: Send {
    /// Queues a message; it goes out with the next [`Self::update`].
    fn send(&mut self, message: &[u8]) -> Result<(), KcpError>;

    /// Takes segments of this conversation as they stand in a datagram.
    ///
    /// # Errors
    /// What the first segment was refused for. A datagram that cannot be read to its end, or holds segments of another
    /// conversation, is refused whole; of one with numbers that cannot be only those segments are. Count it and go on.
    fn input(&mut self, segments: &[u8]) -> Result<(), KcpError>;

    /// The next whole message. Call until `None` after each [`Self::input`]: messages that stay shut the window.
    fn recv(&mut self) -> Option<Vec<u8>>;

    /// Tells the time. Due when [`Self::due_in`] says so; more often does no harm.
    fn update(&mut self, now_ms: u32);

    /// A payload to send, of at most 1400 bytes. Call until `None` after each [`Self::update`]: while one stays there are
    /// no further ones.
    fn poll(&mut self) -> Option<Vec<u8>>;

    /// When [`Self::update`] is due, if nothing is sent and nothing arrives before. Never zero right after it.
    fn due_in(&self, now_ms: u32) -> Duration;

    /// How many segments wait or are on their way.
    fn backlog(&self) -> usize;
}

/// How many segments may be on their way, and how many are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub send: u16,
    pub receive: u16,
}

impl Windows {
    /// A receive window of 64 stalled on one lost segment.
    pub const DATA: Self = Self { send: 64, receive: 512 };
    pub const CTRL: Self = Self { send: 64, receive: 128 };
}

/// The two conversations of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversations {
    pub data: u32,
    pub ctrl: u32,
}

pub fn conversations(link_id: u32) -> Conversations {
    Conversations { data: link_id & 0x7FFF_FFFF, ctrl: link_id | 0x8000_0000 }
}

/// One conversation, in message mode, without congestion control, as the vendor's SDK sets it up.
#[derive(Debug)]
pub struct Kcp {
    conversation: u32,
    sender: Sender,
    receiver: Receiver,
    now: u32,
    /// When segments may go out next; `None` before the first update.
    flush_at: Option<u32>,
    /// The peer asked for our window, or it was shut and is open.
    tells: bool,
    /// Bounded by what one flush makes: there is none while it is not empty.
    output: VecDeque<Vec<u8>>,
}

impl Kcp {
    pub fn new(conversation: u32, windows: Windows) -> Self {
        Self {
            conversation,
            sender: Sender::new(windows.send),
            receiver: Receiver::new(windows.receive),
            now: 0,
            flush_at: None,
            tells: false,
            output: VecDeque::new(),
        }
    }

    fn take(&mut self, segment: Segment<'_>) -> Result<(), KcpError> {
        self.sender.on_peer(segment.window, segment.una);
        match segment.command {
            Command::Push => self.receiver.push(segment.sn, segment.ts, segment.fragment, segment.data),
            Command::Ack => self.sender.on_ack(segment.sn, segment.ts, self.now),
            Command::WindowAsk => {
                self.tells = true;
                Ok(())
            }
            Command::WindowTell => Ok(()),
        }
    }

    fn flush(&mut self) {
        let (now, una) = (self.now, self.receiver.next());
        let (conversation, window) = (self.conversation, self.receiver.free());
        let mut packer = Packer { datagrams: &mut self.output, datagram: Vec::new() };
        let mut put = |segment: Segment<'_>| packer.put(Segment { conversation, window, una, ..segment });
        for (sn, ts) in self.receiver.take_acks() {
            put(Segment { sn, ts, ..bare(Command::Ack) });
        }
        if self.sender.asks(now) {
            put(Segment { ts: now, ..bare(Command::WindowAsk) });
        }
        if std::mem::take(&mut self.tells) {
            put(Segment { ts: now, ..bare(Command::WindowTell) });
        }
        self.sender.flush(now, put);
        packer.finish();
    }
}

impl Arq for Kcp {
    fn send(&mut self, message: &[u8]) -> Result<(), KcpError> {
        self.sender.push(message)
    }

    fn input(&mut self, payload: &[u8]) -> Result<(), KcpError> {
        for segment in segments(payload) {
            let conversation = segment?.conversation;
            if conversation != self.conversation {
                return Err(KcpError::Conversation { conversation });
            }
        }
        let mut result = Ok(());
        let mut latest_ack = None;
        for segment in segments(payload).flatten() {
            let taken = self.take(segment);
            if segment.command == Command::Ack && taken.is_ok() {
                let latest = latest_ack.unwrap_or(segment.sn);
                let is_later = segment.sn.wrapping_sub(latest).cast_signed() > 0;
                latest_ack = Some(if is_later { segment.sn } else { latest });
            }
            result = result.and(taken);
        }
        if let Some(sn) = latest_ack {
            self.sender.on_latest_ack(sn);
        }
        result
    }

    fn recv(&mut self) -> Option<Vec<u8>> {
        let (message, opened) = self.receiver.pop()?;
        self.tells |= opened;
        Some(message)
    }

    fn update(&mut self, now_ms: u32) {
        self.now = now_ms;
        let flush_at = self.flush_at.unwrap_or(now_ms);
        let late = now_ms.wrapping_sub(flush_at).cast_signed();
        let is_early = (-INTERVAL_MS.cast_signed()..0).contains(&late);
        if is_early || !self.output.is_empty() {
            return;
        }
        // Ticks keep their rhythm, but for one that was missed.
        let keeps_time = (0..INTERVAL_MS.cast_signed()).contains(&late);
        let from = if keeps_time { flush_at } else { now_ms };
        self.flush_at = Some(from.wrapping_add(INTERVAL_MS));
        self.flush();
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    fn due_in(&self, now_ms: u32) -> Duration {
        let Some(flush_at) = self.flush_at else { return Duration::ZERO };
        let until = flush_at.wrapping_sub(now_ms).cast_signed().clamp(0, INTERVAL_MS.cast_signed()).cast_unsigned();
        if self.receiver.has_acks() || self.tells {
            return Duration::from_millis(until.into());
        }
        match self.sender.due_in_ms(now_ms) {
            Some(due) => Duration::from_millis(due.max(until).into()).min(IDLE),
            None => IDLE,
        }
    }

    fn backlog(&self) -> usize {
        self.sender.backlog()
    }
}

fn bare(command: Command) -> Segment<'static> {
    Segment { conversation: 0, command, fragment: 0, window: 0, ts: 0, sn: 0, una: 0, data: &[] }
}

/// Packs whole segments into datagrams.
struct Packer<'a> {
    datagrams: &'a mut VecDeque<Vec<u8>>,
    datagram: Vec<u8>,
}

impl Packer<'_> {
    fn put(&mut self, segment: Segment<'_>) {
        if self.datagram.len() + HEADER + segment.data.len() > MTU {
            self.datagrams.push_back(std::mem::take(&mut self.datagram));
        }
        segment.encode(&mut self.datagram);
    }

    fn finish(self) {
        if !self.datagram.is_empty() {
            self.datagrams.push_back(self.datagram);
        }
    }
}

#[cfg(test)]
mod tests;
