//! Segments as they stand in MTP payloads, back to back.

use super::KcpError;
use crate::proto::wire::{Reader, Writer};

pub(super) const HEADER: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Push = 81,
    Ack = 82,
    WindowAsk = 83,
    WindowTell = 84,
}

impl Command {
    fn of(byte: u8) -> Option<Self> {
        [Self::Push, Self::Ack, Self::WindowAsk, Self::WindowTell].into_iter().find(|&command| command as u8 == byte)
    }
}

/// `[0..4] conversation · [4] command · [5] fragment · [6..8] window · [8..12] ts · [12..16] sn · [16..20] una ·
/// [20..24] length · data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) conversation: u32,
    pub(super) command: Command,
    /// How many fragments of the message follow.
    pub(super) fragment: u8,
    /// How many segments the sender can still take.
    pub(super) window: u16,
    /// When it was sent, in milliseconds; an acknowledgement repeats it.
    pub(super) ts: u32,
    pub(super) sn: u32,
    /// Everything before this has arrived at the sender.
    pub(super) una: u32,
    pub(super) data: &'a [u8],
}

impl<'a> Segment<'a> {
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        to.u32_le(self.conversation);
        to.u8(self.command as u8);
        to.u8(self.fragment);
        to.u16_le(self.window);
        to.u32_le(self.ts);
        to.u32_le(self.sn);
        to.u32_le(self.una);
        to.u32_le(self.data.len() as u32);
        to.bytes(self.data);
    }

    /// The segment with which `bytes` begin, and what follows it.
    fn first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), KcpError> {
        let mut reader = Reader::new("KCP segment", bytes);
        let conversation = reader.u32_le()?;
        let command = reader.u8()?;
        let command = Command::of(command).ok_or(KcpError::Command(command))?;
        let (fragment, window) = (reader.u8()?, reader.u16_le()?);
        let (ts, sn, una) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
        let len = reader.u32_le()?;
        let data = reader.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        Ok((Self { conversation, command, fragment, window, ts, sn, una, data }, reader.rest()))
    }
}

/// The segments of a payload, up to the first that is none. Less than a header at the end is ignored, as every KCP does.
pub(super) struct Segments<'a> {
    rest: &'a [u8],
}

pub(super) fn segments(bytes: &[u8]) -> Segments<'_> {
    Segments { rest: bytes }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Segment<'a>, KcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < HEADER {
            return None;
        }
        match Segment::first(self.rest) {
            Ok((segment, rest)) => {
                self.rest = rest;
                Some(Ok(segment))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Whether segments fill `payload` to its last byte.
pub(in crate::proto::gwell) fn are_segments(mut payload: &[u8]) -> bool {
    while let Ok((_, rest)) = Segment::first(payload) {
        if rest.is_empty() {
            return true;
        }
        payload = rest;
    }
    false
}

/// Which conversation the first segment is of.
pub fn conversation_of(segments: &[u8]) -> Option<u32> {
    segments.first_chunk().copied().map(u32::from_le_bytes)
}

/// A payload as runs of segments of one conversation each, in their order. What cannot be read stays with the run in
/// which it stands.
pub fn by_conversation(payload: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let conversation = conversation_of(rest)?;
        let mut end = rest;
        while conversation_of(end) == Some(conversation) {
            end = Segment::first(end).map_or(&[], |(_, behind)| behind);
        }
        if end.len() < HEADER {
            end = &[];
        }
        let (run, behind) = rest.split_at(rest.len() - end.len());
        rest = behind;
        Some((conversation, run))
    })
}
