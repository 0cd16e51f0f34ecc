//! What arrives: segments in any order become messages in theirs.

use std::collections::VecDeque;

use super::KcpError;

/// The receiving half of a conversation. It keeps no more segments than twice its window: those that came too early, and
/// those of messages that nobody has fetched.
#[derive(Debug)]
pub(super) struct Receiver {
    window: u16,
    /// Everything before this has arrived.
    next: u32,
    /// What came too early: the first place is of `next`, which is missing.
    early: VecDeque<Option<Piece>>,
    /// The message whose last fragment is still to come.
    begun: Message,
    ready: VecDeque<Message>,
    /// Of how many segments `begun` and `ready` are made.
    kept: u16,
    /// To be acknowledged: sn and ts.
    acks: Vec<(u32, u32)>,
    /// The first segment that broke off a message, until the next call of [`Self::push`] tells.
    broken_at: Option<u32>,
}

#[derive(Debug)]
struct Piece {
    fragment: u8,
    data: Vec<u8>,
}

#[derive(Debug, Default)]
struct Message {
    data: Vec<u8>,
    segments: u16,
    /// How many fragments are still to come.
    missing: u8,
}

impl Receiver {
    pub(super) fn new(window: u16) -> Self {
        Self {
            window,
            next: 0,
            early: VecDeque::new(),
            begun: Message::default(),
            ready: VecDeque::new(),
            kept: 0,
            acks: Vec::new(),
            broken_at: None,
        }
    }

    /// Takes a segment with data.
    ///
    /// # Errors
    /// `Window` for a number that nobody who keeps to our window can send, `Fragment` for a message that could never become
    /// whole, or that breaks off.
    pub(super) fn push(&mut self, sn: u32, ts: u32, fragment: u8, data: &[u8]) -> Result<(), KcpError> {
        let ahead = sn.wrapping_sub(self.next).cast_signed();
        let window = i32::from(self.window);
        if !(-window..window).contains(&ahead) {
            return Err(KcpError::Window { sn });
        }
        if u16::from(fragment) >= self.window {
            return Err(KcpError::Fragment { sn });
        }
        // Repetitions are acknowledged too: the first acknowledgement may be what was lost. The sender repeats what
        // finds no room here.
        if self.acks.len() < 2 * usize::from(self.window) {
            self.acks.push((sn, ts));
        }
        if let Ok(ahead) = usize::try_from(ahead) {
            self.insert(ahead, Piece { fragment, data: data.to_vec() });
        }
        self.broken_at.take().map_or(Ok(()), |sn| Err(KcpError::Fragment { sn }))
    }

    fn insert(&mut self, ahead: usize, piece: Piece) {
        if self.early.len() <= ahead {
            self.early.resize_with(ahead + 1, || None);
        }
        self.early[ahead].get_or_insert(piece);
        self.advance();
    }

    /// Moves what is no longer early into messages, as far as there is room.
    fn advance(&mut self) {
        while self.kept < self.window {
            let Some(piece) = self.early.front_mut().and_then(Option::take) else { break };
            self.early.pop_front();
            let sn = self.next;
            self.next = sn.wrapping_add(1);
            if !self.append(piece) {
                self.broken_at.get_or_insert(sn);
            }
        }
    }

    /// Fragments count down to zero. One that does not continue its message begins another, and the old one is dropped:
    /// no message has more than 256 fragments, and none waits for a fragment that never comes.
    fn append(&mut self, piece: Piece) -> bool {
        let continues = self.begun.segments == 0 || self.begun.missing.checked_sub(1) == Some(piece.fragment);
        if !continues {
            self.kept -= self.begun.segments;
            self.begun = Message::default();
        }
        self.begun.data.extend_from_slice(&piece.data);
        self.begun.segments += 1;
        self.begun.missing = piece.fragment;
        self.kept += 1;
        if piece.fragment == 0 {
            self.ready.push_back(std::mem::take(&mut self.begun));
        }
        continues
    }

    /// The next whole message, and whether fetching it opened a window that was shut.
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, bool)> {
        let message = self.ready.pop_front()?;
        let was_shut = self.free() == 0;
        self.kept -= message.segments;
        self.advance();
        Some((message.data, was_shut && self.free() > 0))
    }

    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// How many segments there is room for.
    pub(super) fn free(&self) -> u16 {
        self.window - self.kept
    }

    pub(super) fn has_acks(&self) -> bool {
        !self.acks.is_empty()
    }

    pub(super) fn take_acks(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.acks)
    }
}

#[cfg(test)]
impl Receiver {
    pub(super) fn starting_at(window: u16, next: u32) -> Self {
        Self { next, ..Self::new(window) }
    }

    pub(super) fn kept_bytes(&self) -> usize {
        let early = self.early.iter().flatten().map(|piece| piece.data.len());
        let ready = self.ready.iter().map(|message| message.data.len());
        early.chain(ready).sum::<usize>() + self.begun.data.len()
    }
}
