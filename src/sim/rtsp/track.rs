//! One stream of RTP and its RTCP, as interleaved frames (RFC 3550, RFC 2326 §10.12).

use std::time::{Duration, SystemTime};

use bytes::{BufMut, BytesMut};

use crate::media::{AudioCodec, AudioFormat};

/// Of the 32 bits of NTP seconds: from 1900 to 1970.
const NTP_EPOCH_S: u64 = 2_208_988_800;
const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;
const CNAME: &[u8; 8] = b"doorstep";

/// Which of a presentation's tracks a client has asked for, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) rtp: u8,
    pub(super) rtcp: u8,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) channels: Channels,
    payload_type: u8,
    rate_hz: u32,
    ssrc: u32,
    /// Of the next packet.
    pub(super) sequence: u16,
    /// That the beginning has.
    pub(super) start: u32,
    packets: u32,
    bytes: u32,
}

pub(super) const VIDEO_PAYLOAD_TYPE: u8 = 96;
pub(super) const VIDEO_RATE_HZ: u32 = 90_000;

/// The payload type and the rate of the RTP clock; `None` for what is not sent by RTP here.
pub(super) fn audio_payload(format: AudioFormat) -> Option<(u8, u32)> {
    match format {
        AudioFormat::PCMU => Some((0, 8_000)),
        AudioFormat::PCMA => Some((8, 8_000)),
        // RFC 7587 §4.2: always 48 kHz and two channels.
        AudioFormat { codec: AudioCodec::Opus, .. } => Some((97, 48_000)),
        _ => None,
    }
}

impl Track {
    /// `random` is where its numbers begin.
    pub(super) fn new(channels: Channels, payload_type: u8, rate_hz: u32, random: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = random.to_le_bytes();
        Self {
            channels,
            payload_type,
            rate_hz,
            ssrc: u32::from_le_bytes([a, b, c, d]),
            // Not so near its end that it begins anew at once, and not 0 or 1, which clients take for a mistake.
            sequence: u16::from_le_bytes([e, f]) / 2 + 2,
            start: u32::from(u16::from_le_bytes([g, h])) << 12,
            packets: 0,
            bytes: 0,
        }
    }

    fn timestamp(&self, pts: Duration) -> u32 {
        let ticks = pts.as_micros() * u128::from(self.rate_hz) / 1_000_000;
        // Wraps, as RTP's do.
        self.start.wrapping_add(ticks as u32)
    }

    /// One packet, or none: it counts all the same.
    pub(super) fn packet(&mut self, pts: Duration, marker: bool, payload: &[u8], out: Option<&mut BytesMut>) {
        let timestamp = self.timestamp(pts);
        if let Some(out) = out {
            frame_header(out, self.channels.rtp, 12 + payload.len());
            out.put_slice(&[0x80, u8::from(marker) << 7 | self.payload_type]);
            out.put_u16(self.sequence);
            out.put_u32(timestamp);
            out.put_u32(self.ssrc);
            out.put_slice(payload);
            self.packets = self.packets.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(payload.len() as u32);
        }
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// A sender report and who sends it (RFC 3550 §6.4.1, §6.5): `pts` is what is sent at the time `now`.
    pub(super) fn report(&self, pts: Duration, now: SystemTime, out: &mut BytesMut) {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        frame_header(out, self.channels.rtcp, 28 + 20);
        out.put_slice(&[0x80, SENDER_REPORT]);
        out.put_u16(6);
        out.put_u32(self.ssrc);
        out.put_u32((since_1970.as_secs() + NTP_EPOCH_S) as u32);
        out.put_u32(((u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000) as u32);
        out.put_u32(self.timestamp(pts));
        out.put_u32(self.packets);
        out.put_u32(self.bytes);
        out.put_slice(&[0x81, SOURCE_DESCRIPTION]);
        out.put_u16(4);
        out.put_u32(self.ssrc);
        out.put_slice(&[1, CNAME.len() as u8]);
        out.put_slice(CNAME);
        // The end of the items, filled up to a multiple of four.
        out.put_slice(&[0, 0]);
    }
}

pub(super) fn frame_header(out: &mut BytesMut, channel: u8, length: usize) {
    out.put_slice(&[b'$', channel]);
    out.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
}
