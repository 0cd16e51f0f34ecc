//! What one client is sent, and when.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::ParameterSets;
use super::fault::Fault;
use super::track::{Track, frame_header};
use crate::clock::{self, Instant};
use crate::media::VideoCodec;
use crate::media::h26x::{NalKind, nals};
use crate::rtc::packetize::packetize;
use crate::sim::clip::Clip;
use crate::sim::sound::Sound;

/// RFC 3550 §6.2.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Often enough to be noticed within seconds, and not so often that no keyframe is whole.
const SKIPPED: u64 = 60;

pub(super) struct Film {
    pub(super) clip: Clip,
    pub(super) sound: Option<Sound>,
    pub(super) parameter_sets: ParameterSets,
    pub(super) video: Option<Track>,
    pub(super) audio: Option<Track>,
    begun: Instant,
    shown: u64,
    sounded: u64,
    reported: u32,
    packets: u64,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Report,
    Picture,
    Sound,
}

impl Film {
    /// Begins now.
    pub(super) fn new(clip: Clip, sound: Option<Sound>, parameter_sets: ParameterSets) -> Self {
        let begun = clock::now();
        Self {
            clip,
            sound,
            parameter_sets,
            video: None,
            audio: None,
            begun,
            shown: 0,
            sounded: 0,
            reported: 0,
            packets: 0,
        }
    }

    /// From now on, and from the first picture on.
    pub(super) fn begin(&mut self) {
        self.begun = clock::now();
    }

    /// When there is something to send again.
    pub(super) fn due(&self) -> Instant {
        self.begun + self.next().0
    }

    fn next(&self) -> (Duration, Next) {
        let picture = self.video.as_ref().map(|_| (self.clip.access_unit(self.shown).pts, Next::Picture));
        let sound = self.sound.as_ref().filter(|_| self.audio.is_some());
        let sound = sound.map(|sound| (sound.packet(self.sounded).pts, Next::Sound));
        let report = (REPORT_EVERY * self.reported, Next::Report);
        [picture, sound].into_iter().flatten().fold(report, |a, b| if b.0 < a.0 { b } else { a })
    }

    /// What is due next, behind what is in `out` already.
    pub(super) fn put(&mut self, fault: Option<Fault>, out: &mut BytesMut) {
        let (at, next) = self.next();
        let from = out.len();
        match next {
            Next::Report => self.reports(at, out),
            Next::Picture => self.picture(fault, out),
            Next::Sound => self.sound_packet(out),
        }
        damage(fault, from, out);
    }

    fn reports(&mut self, at: Duration, out: &mut BytesMut) {
        self.reported += 1;
        let now = clock::unix_now();
        for track in [&self.video, &self.audio].into_iter().flatten() {
            track.report(at, now, out);
        }
    }

    fn picture(&mut self, fault: Option<Fault>, out: &mut BytesMut) {
        let unit = self.clip.access_unit(self.shown);
        self.shown += 1;
        let data = match self.parameter_sets {
            ParameterSets::InBand => unit.data,
            ParameterSets::Described => without_parameter_sets(&unit.data),
        };
        let Some(track) = &mut self.video else { return };
        let payloads = packetize(VideoCodec::H264, &data);
        let last = payloads.len().saturating_sub(1);
        for (n, payload) in payloads.iter().enumerate() {
            self.packets += 1;
            let skipped = fault == Some(Fault::Skips) && self.packets.is_multiple_of(SKIPPED);
            track.packet(unit.pts, n == last, payload, Some(&mut *out).filter(|_| !skipped));
        }
    }

    fn sound_packet(&mut self, out: &mut BytesMut) {
        let (Some(sound), Some(track)) = (&self.sound, &mut self.audio) else { return };
        let packet = sound.packet(self.sounded);
        track.packet(packet.pts, self.sounded == 0, &packet.data, Some(out));
        self.sounded += 1;
    }
}

fn without_parameter_sets(data: &Bytes) -> Bytes {
    let mut rest = BytesMut::with_capacity(data.len());
    for nal in nals(data) {
        let kind = NalKind::of(VideoCodec::H264, nal);
        if !NalKind::parameter_sets(VideoCodec::H264).contains(&kind) {
            rest.put_slice(&[0, 0, 0, 1]);
            rest.put_slice(nal);
        }
    }
    rest.freeze()
}

/// Makes of the frames behind `from` what a server sends that has this fault.
fn damage(fault: Option<Fault>, from: usize, out: &mut BytesMut) {
    let frames = out.split_off(from);
    match fault {
        Some(Fault::Silent) => {}
        Some(Fault::HugeFrame) => {
            frame_header(out, frames.get(1).copied().unwrap_or_default(), usize::from(u16::MAX));
            out.unsplit(frames);
        }
        Some(Fault::Garbage) => {
            out.put_slice(b"\0\xff\x80neither a frame nor an answer\r\n\r\n");
            out.unsplit(frames);
        }
        Some(Fault::WrongChannel) => each_frame(frames, out, |frame| frame[1] |= 0x40),
        // Version 0, and a header that points behind the end of the packet.
        Some(Fault::BrokenRtp) => each_frame(frames, out, |frame| frame[4] = 0x3f),
        _ => out.unsplit(frames),
    }
}

/// `change` sees each frame with its header of four bytes and at least one byte more.
fn each_frame(mut frames: BytesMut, out: &mut BytesMut, change: impl Fn(&mut [u8])) {
    while let [_, _, high, low, _, ..] = frames[..] {
        let length = 4 + usize::from(u16::from_be_bytes([high, low]));
        let mut frame = frames.split_to(length.min(frames.len()));
        change(&mut frame);
        out.unsplit(frame);
    }
}
