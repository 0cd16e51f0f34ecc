//! AV blocks: picture and sound out of one stream of bytes (gwell reference §9).
//!
//! The payloads of AV messages, joined, are blocks: a head, its audio packets, its video bytes. How many video bytes there
//! are is told in the head, but the reference does not vouch for it. So a picture ends where the next head of a video block
//! stands, which is always right and a picture late, or earlier where a habit of this very camera says so: habits are
//! learnt from pictures that ended the sure way, and forgotten as soon as one proves wrong.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::proto::wire::{Reader, Writer};

const STRUCTURE: &str = "AV block";
const MAGIC: [u8; 4] = [0xFF, 0xFF, 0xFF, 0x88];
const HEAD: usize = 28;
const MAX_AUDIO_PACKETS: u8 = 16;
const MAX_AUDIO_PACKET: usize = 2_048;
/// Reliability S19.
const MAX_PICTURE: usize = 2 * 1024 * 1024;
/// G.711 at 16 kHz: a byte is a sample.
const AUDIO_BYTES_PER_SECOND: u64 = 16_000;
/// What cameras put in one message.
pub const MAX_PAYLOAD: usize = 1_004;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Video,
    /// G.711 µ-law, 16 kHz, one channel.
    Audio,
}

/// One picture, or one packet of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub media: Media,
    /// As the camera tells it, in microseconds.
    pub pts_us: u64,
    /// Video: one access unit in Annex B, to the byte as it was sent.
    pub data: Bytes,
    /// Not whole. Pictures only.
    pub damaged: bool,
    /// Whether something of this medium was lost before it.
    pub gap: bool,
}

/// Takes the stream apart.
#[derive(Debug, Default)]
pub struct Demuxer {
    /// A head, or audio packets, that the end of a message cut. Less than 33 KiB.
    cut: Vec<u8>,
    picture: Option<Picture>,
    /// By what the last picture was ended, until the next one begins: bytes between them prove it wrong.
    ended_by: Ending,
    /// The head tells the number of video bytes.
    counts: Habit,
    /// A message shorter than the longest ends a picture.
    shorts: Habit,
    longest_message: usize,
    video_gap: bool,
    audio_gap: bool,
    overlong: u64,
    /// Emptied by the caller after each message, which makes no more units than it has bytes.
    ready: VecDeque<Unit>,
}

#[derive(Debug)]
struct Picture {
    pts_us: u64,
    /// As the head tells it.
    bytes: usize,
    data: Vec<u8>,
    /// The message that arrives has bytes of it.
    grows: bool,
    /// The last message with bytes of it was shorter than the longest.
    ends_short: bool,
    /// One before the last was.
    short_inside: bool,
    messages: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Ending {
    #[default]
    Surely,
    Count,
    Short,
}

/// Something that a camera seems to do each time.
#[derive(Debug, Default)]
struct Habit {
    score: i8,
}

impl Habit {
    /// So many pictures in a row; one that contradicts costs as many again, four times over.
    const TRUSTED: i8 = 4;
    const PENALTY: i8 = 16;
    const WORST: i8 = -64;

    fn confirm(&mut self) {
        self.score = (self.score + 1).min(Self::TRUSTED);
    }

    fn refute(&mut self) {
        self.score = (self.score - Self::PENALTY).max(Self::WORST);
    }

    fn is_trusted(&self) -> bool {
        self.score >= Self::TRUSTED
    }
}

/// `[0..4] magic · [4] version 0 · [5] packet type 0 · [6..8] audio packets · [8..12] video bytes · [12..20] video PTS ·
/// [20..28] audio PTS`.
struct Head {
    video_bytes: usize,
    video_pts_us: u64,
    audio_pts_us: u64,
}

/// What may stand where the magic number does.
enum Found<'a> {
    /// And what follows its head.
    Video { head: Head, rest: &'a [u8] },
    /// Sound, one packet after the other, and what follows.
    Audio { head: Head, packets: Vec<&'a [u8]>, rest: &'a [u8] },
    /// The empty block that cameras send at first; nobody knows why.
    Empty { rest: &'a [u8] },
    /// Too little of it to tell, or to read.
    Cut,
    /// Video that happens to look like it: Annex B does not exclude the magic number.
    Nothing,
}

impl Demuxer {
    /// A picture of fewer messages has none in its middle, and so does not tell how long those are that others follow.
    const TELLING: u32 = 3;

    /// Takes the payload of the next AV message.
    pub fn push(&mut self, payload: &[u8]) {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(payload);
        let mut rest = bytes.as_slice();
        // Here a head is expected: at the message's start, or behind another block.
        let mut expected = true;
        while !rest.is_empty() {
            let (video, behind) = rest.split_at(self.next_magic(rest, expected));
            self.append(video);
            rest = match find(behind) {
                Found::Video { head, rest } => {
                    self.begin(head);
                    expected = true;
                    rest
                }
                Found::Audio { head, packets, rest } => {
                    self.emit_audio(head.audio_pts_us, &packets);
                    expected = true;
                    rest
                }
                Found::Empty { rest } => {
                    expected = true;
                    rest
                }
                Found::Cut => {
                    self.cut = behind.to_vec();
                    break;
                }
                Found::Nothing => {
                    expected = false;
                    let (lookalike, rest) = behind.split_at(behind.len().min(1));
                    self.append(lookalike);
                    rest
                }
            };
        }
        self.end_message(payload.len());
    }

    /// Says that messages were lost here. The picture that they were part of is given out as it is; up to the next head
    /// nothing can be told to belong to one.
    pub fn lost(&mut self) {
        self.cut.clear();
        let damaged = self.picture.as_ref().is_some_and(|picture| picture.bytes != picture.data.len());
        self.end(Ending::Surely, damaged);
        self.ended_by = Ending::Surely;
        self.video_gap = true;
        self.audio_gap = true;
    }

    /// Gives out the picture that waits for the next one to begin.
    pub fn flush(&mut self) {
        // Cameras do not cut heads, so what begins like one and does not go on is the end of the picture.
        let cut = std::mem::take(&mut self.cut);
        if self.picture.is_some() && cut.len() < HEAD {
            self.append(&cut);
        }
        self.end(Ending::Surely, false);
    }

    /// How many pictures were dropped for being larger than 4 MiB.
    pub fn overlong(&self) -> u64 {
        self.overlong
    }

    /// Where in `rest` a block may begin. What the picture still lacks for sure is not searched.
    fn next_magic(&self, rest: &[u8], expected: bool) -> usize {
        if expected && begins_like_magic(rest) {
            return 0;
        }
        let lacking = self.picture.as_ref().filter(|_| self.counts.is_trusted()).map_or(0, Picture::lacking);
        let from = lacking.min(rest.len());
        (from..rest.len()).find(|&at| begins_like_magic(&rest[at..])).unwrap_or(rest.len())
    }

    /// The head of a video block: the picture before it is whole.
    fn begin(&mut self, head: Head) {
        let damaged = self.learn();
        self.end(Ending::Surely, damaged);
        self.ended_by = Ending::Surely;
        self.picture = Some(Picture {
            pts_us: head.video_pts_us,
            bytes: head.video_bytes,
            data: Vec::with_capacity(head.video_bytes.min(64 * 1024)),
            grows: true,
            ends_short: false,
            short_inside: false,
            messages: 0,
        });
    }

    /// What the picture that ends at the head of another tells of the camera's habits, and whether it lacks bytes.
    fn learn(&mut self) -> bool {
        match self.ended_by {
            Ending::Count => self.counts.confirm(),
            Ending::Short => self.shorts.confirm(),
            Ending::Surely => {}
        }
        let Some(picture) = &self.picture else { return false };
        if picture.short_inside {
            self.shorts.refute();
        } else if picture.ends_short && picture.messages >= Self::TELLING {
            self.shorts.confirm();
        }
        let was_trusted = self.counts.is_trusted();
        let is_whole = picture.bytes == picture.data.len();
        if is_whole {
            self.counts.confirm()
        } else {
            self.counts.refute()
        }
        was_trusted && !is_whole
    }

    fn append(&mut self, video: &[u8]) {
        if video.is_empty() {
            return;
        }
        let Some(picture) = &mut self.picture else { return self.stray() };
        picture.data.extend_from_slice(video);
        picture.grows = true;
        if picture.data.len() > MAX_PICTURE {
            self.picture = None;
            self.video_gap = true;
            self.overlong += 1;
        } else if self.counts.is_trusted() && picture.lacking() == 0 && picture.bytes == picture.data.len() {
            self.end(Ending::Count, false);
        }
    }

    /// Video without a picture: at the beginning, after a loss, or because the last picture had not ended.
    fn stray(&mut self) {
        match std::mem::take(&mut self.ended_by) {
            Ending::Count => self.counts.refute(),
            Ending::Short => self.shorts.refute(),
            Ending::Surely => {}
        }
        self.video_gap = true;
    }

    fn end_message(&mut self, len: usize) {
        self.longest_message = self.longest_message.max(len);
        let is_short = len < self.longest_message;
        let Some(picture) = self.picture.as_mut().filter(|picture| picture.grows) else { return };
        picture.grows = false;
        picture.messages += 1;
        picture.short_inside |= picture.ends_short;
        picture.ends_short = is_short;
        if is_short && self.shorts.is_trusted() && !self.counts.is_trusted() && self.cut.is_empty() {
            self.end(Ending::Short, false);
        }
    }

    fn end(&mut self, by: Ending, damaged: bool) {
        let Some(Picture { pts_us, data, .. }) = self.picture.take() else { return };
        self.ended_by = by;
        if !data.is_empty() {
            let gap = std::mem::take(&mut self.video_gap);
            self.ready.push_back(Unit { media: Media::Video, pts_us, data: data.into(), damaged, gap });
        }
    }

    fn emit_audio(&mut self, pts_us: u64, packets: &[&[u8]]) {
        let mut before = 0;
        for packet in packets {
            let pts_us = pts_us.saturating_add(before * 1_000_000 / AUDIO_BYTES_PER_SECOND);
            before += packet.len() as u64;
            let gap = std::mem::take(&mut self.audio_gap);
            let data = Bytes::copy_from_slice(packet);
            self.ready.push_back(Unit { media: Media::Audio, pts_us, data, damaged: false, gap });
        }
    }
}

/// What has come out so far. It ends, and goes on after the next message.
impl Iterator for Demuxer {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        self.ready.pop_front()
    }
}

impl Picture {
    fn lacking(&self) -> usize {
        self.bytes.saturating_sub(self.data.len())
    }
}

impl Head {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader::new(STRUCTURE, bytes);
        reader.skip(8).ok()?;
        let video_bytes = reader.u32_le().ok()? as usize;
        let video_pts_us = u64::from_le_bytes(reader.array().ok()?);
        let audio_pts_us = u64::from_le_bytes(reader.array().ok()?);
        Some((Self { video_bytes, video_pts_us, audio_pts_us }, reader.rest()))
    }
}

/// Whether the magic number stands here, or the end of the bytes cuts it.
fn begins_like_magic(bytes: &[u8]) -> bool {
    let len = bytes.len().min(MAGIC.len());
    bytes[..len] == MAGIC[..len]
}

/// The block with which `bytes` begin, told from video by `[4..8]`.
fn find(bytes: &[u8]) -> Found<'_> {
    match bytes.get(4..8) {
        Some([0, 0, 0, 0]) => video(bytes),
        Some(&[0, 0, count @ 1..=MAX_AUDIO_PACKETS, 0]) => audio(bytes, count),
        Some([0, 0, 1, 0x70]) => bytes.get(HEAD..).map_or(Found::Cut, |rest| Found::Empty { rest }),
        Some(_) => Found::Nothing,
        None => Found::Cut,
    }
}

fn video(bytes: &[u8]) -> Found<'_> {
    Head::read(bytes).map_or(Found::Cut, |(head, rest)| Found::Video { head, rest })
}

fn audio(bytes: &[u8], count: u8) -> Found<'_> {
    let Some((head, behind)) = Head::read(bytes) else { return Found::Cut };
    let (lengths, mut rest) = behind.split_at(behind.len().min(2 * usize::from(count)));
    let lengths = lengths.chunks_exact(2).map(|length| usize::from(u16::from_le_bytes([length[0], length[1]])));
    let mut packets = Vec::with_capacity(count.into());
    for length in lengths {
        if !(1..=MAX_AUDIO_PACKET).contains(&length) {
            return Found::Nothing;
        }
        let (packet, behind) = rest.split_at(length.min(rest.len()));
        if packet.len() == length {
            packets.push(packet);
        }
        rest = behind;
    }
    match packets.len() == usize::from(count) {
        true => Found::Audio { head, packets, rest },
        false => Found::Cut,
    }
}

/// Puts the stream together, as a camera does: each method makes the payloads of AV messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Muxer;

impl Muxer {
    /// The empty block with which cameras begin.
    pub fn opening(self) -> Vec<Vec<u8>> {
        let mut block = head(0, 0, 0, 0);
        block[4..8].copy_from_slice(&[0, 0, 1, 0x70]);
        messages(&block)
    }

    /// `access_unit` is Annex B.
    pub fn video(self, pts_us: u64, access_unit: &[u8]) -> Vec<Vec<u8>> {
        let mut block = head(0, access_unit.len() as u32, pts_us, 0);
        block.bytes(access_unit);
        messages(&block)
    }

    /// `packet` has 1 to 2048 bytes; cameras send 320.
    pub fn audio(self, pts_us: u64, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut block = head(1, 0, 0, pts_us);
        block.u16_le(packet.len() as u16);
        block.bytes(packet);
        messages(&block)
    }
}

fn messages(block: &[u8]) -> Vec<Vec<u8>> {
    block.chunks(MAX_PAYLOAD).map(<[u8]>::to_vec).collect()
}

/// Of a block, as [`Head`] has it.
fn head(audio_packets: u16, video_bytes: u32, video_pts_us: u64, audio_pts_us: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD + video_bytes as usize);
    head.bytes(&MAGIC);
    head.zeros(2);
    head.u16_le(audio_packets);
    head.u32_le(video_bytes);
    head.bytes(&video_pts_us.to_le_bytes());
    head.bytes(&audio_pts_us.to_le_bytes());
    head
}

#[cfg(test)]
#[path = "av_tests.rs"]
mod tests;
