//! RTP payloads into the access units that the hub takes: H.264 (RFC 6184, packetization-mode 1).

use bytes::{BufMut, Bytes, BytesMut};
use rtc::rtp;

use crate::media::VideoCodec;
use crate::media::h26x::{AccessUnit, AccessUnits, NalKind};

/// One picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    /// In ticks of 90 kHz, as the packets have it.
    pub timestamp: u32,
    pub unit: AccessUnit,
}

/// One packet, whoever has read its header.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    pub timestamp: u32,
    pub marker: bool,
    pub payload: &'a [u8],
}

impl<'a> From<&'a rtp::Packet> for Piece<'a> {
    fn from(packet: &'a rtp::Packet) -> Self {
        let rtp::Header { timestamp, marker, .. } = packet.header;
        Self { timestamp, marker, payload: &packet.payload }
    }
}

/// Puts the pictures of one stream together. A picture of which something is missing is dropped, and all that build
/// on it: everything up to the next whole keyframe.
#[derive(Debug)]
pub struct Depacketizer {
    units: AccessUnits,
    current: Option<Building>,
    /// Since the last loss there has been a keyframe.
    decodable: bool,
}

/// A picture of which the end has not come yet.
#[derive(Debug)]
struct Building {
    timestamp: u32,
    /// Annex B.
    data: BytesMut,
    /// Nothing of it is missing so far.
    whole: bool,
    /// A NAL unit has been begun and not ended by its fragments.
    fragmented: bool,
}

impl Default for Depacketizer {
    fn default() -> Self {
        Self { units: AccessUnits::new(VideoCodec::H264), current: None, decodable: false }
    }
}

impl Depacketizer {
    /// Reliability reference S19: no picture of a camera is larger.
    const LARGEST: usize = 2 << 20;

    /// For a camera that says its parameter sets in its description, and perhaps nowhere else. Annex B.
    pub fn remember(&mut self, parameter_sets: Bytes) {
        let _no_picture = self.units.push(parameter_sets);
    }

    /// Nothing can be shown before the camera sends a keyframe.
    pub fn needs_keyframe(&self) -> bool {
        !self.decodable
    }

    /// Takes the next packet in order; `gap` says that packets before it were lost. At most two pictures come out:
    /// the one before, whose last packet did not say so, and this packet's own.
    pub fn push<'a>(&mut self, packet: impl Into<Piece<'a>>, gap: bool) -> [Option<Picture>; 2] {
        if gap {
            self.lost();
        }
        let Piece { timestamp, marker, payload } = packet.into();
        let ended_by_the_next = self.current.take_if(|current| current.timestamp != timestamp);
        let before = ended_by_the_next.and_then(|building| self.finish(building));
        // Probes for bandwidth are empty.
        if !payload.is_empty() {
            let current = self.current.get_or_insert_with(|| Building::begin(timestamp, payload, gap));
            current.push(payload);
        }
        let ended = if marker { self.current.take() } else { None };
        [before, ended.and_then(|building| self.finish(building))]
    }

    /// Perhaps a whole picture, on which the next one builds.
    fn lost(&mut self) {
        self.decodable = false;
        if let Some(current) = &mut self.current {
            current.whole = false;
        }
    }

    fn finish(&mut self, building: Building) -> Option<Picture> {
        let Building { timestamp, data, whole, fragmented } = building;
        if !whole || fragmented {
            self.decodable = false;
            return None;
        }
        let unit = self.units.push(data.freeze())?;
        self.decodable |= unit.keyframe;
        self.decodable.then_some(Picture { timestamp, unit })
    }
}

impl Building {
    /// After a gap only a packet that begins a picture is known to be its first.
    fn begin(timestamp: u32, payload: &[u8], gap: bool) -> Self {
        Self { timestamp, data: BytesMut::new(), whole: !gap || begins_a_picture(payload), fragmented: false }
    }

    fn push(&mut self, payload: &[u8]) {
        match payload {
            [header, ..] if (1..=23).contains(&(header & 0x1f)) => self.unit(payload),
            [header, units @ ..] if header & 0x1f == STAP_A => self.aggregated(units),
            [indicator, header, fragment @ ..] if indicator & 0x1f == FU_A => {
                self.fragment(indicator & 0xe0 | header & 0x1f, *header, fragment);
            }
            // Interleaved packets (RFC 6184 §5.5) were not offered; the rest means nothing.
            _ => self.whole = false,
        }
    }

    fn unit(&mut self, unit: &[u8]) {
        self.whole &= !self.fragmented;
        self.put(&[0, 0, 0, 1]);
        self.put(unit);
    }

    /// RFC 6184 §5.7.1: units behind their lengths.
    fn aggregated(&mut self, mut units: &[u8]) {
        while let [high, low, rest @ ..] = units {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some((unit, rest)) = rest.split_at_checked(length) else { break };
            if !unit.is_empty() {
                self.unit(unit);
            }
            units = rest;
        }
        self.whole &= units.is_empty();
    }

    /// RFC 6184 §5.8. `first` is the first byte of the unit, which fragments do not carry.
    fn fragment(&mut self, first: u8, header: u8, fragment: &[u8]) {
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        // One that begins while another is not ended, or goes on where none was begun: something is missing.
        self.whole &= start != self.fragmented;
        if start {
            self.put(&[0, 0, 0, 1, first]);
        }
        self.put(fragment);
        self.fragmented = !end;
    }

    fn put(&mut self, bytes: &[u8]) {
        if !self.whole {
            return;
        }
        if self.data.len() + bytes.len() > Depacketizer::LARGEST {
            self.whole = false;
            self.data = BytesMut::new();
            return;
        }
        self.data.put_slice(bytes);
    }
}

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether this payload can only be the first of a picture: a delimiter, a parameter set, or the slice of the
/// macroblock at the top left (its header begins with that number in Exp-Golomb code, and 0 is a single 1).
fn begins_a_picture(payload: &[u8]) -> bool {
    let (first, slice) = match payload {
        [header, _, _, unit @ ..] if header & 0x1f == STAP_A => (unit.first().copied(), unit.get(1)),
        [indicator, header, slice @ ..] if indicator & 0x1f == FU_A && header & 0x80 != 0 => {
            (Some(*header & 0x1f), slice.first())
        }
        [header, ..] if header & 0x1f == FU_A => (None, None),
        unit => (unit.first().copied(), unit.get(1)),
    };
    let Some(first) = first else { return false };
    match NalKind::of(VideoCodec::H264, &[first]) {
        NalKind::SequenceParameterSet | NalKind::Delimiter => true,
        NalKind::KeySlice | NalKind::Slice => slice.is_some_and(|byte| byte & 0x80 != 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::h26x::nals;
    use crate::rtc::packetize::packetize;

    const SPS: &[u8] = b"\x67\x42\xe0\x1f";
    const PPS: &[u8] = b"\x68\xce\x3c\x80";

    /// Picture `n` of a stream with a keyframe in every twenty pictures.
    fn picture(n: u32) -> (bool, Bytes) {
        let keyframe = n.is_multiple_of(20);
        let slice = |header: &[u8], length: usize| [header, &vec![0x11 + (n % 100) as u8; length]].concat();
        let units = match keyframe {
            true => vec![SPS.to_vec(), PPS.to_vec(), slice(b"\x65\x88", 9_000)],
            false => vec![slice(b"\x41\x9a", 700 * (n % 5) as usize + 20)],
        };
        (keyframe, units.into_iter().flat_map(|unit| [vec![0, 0, 0, 1], unit].concat()).collect())
    }

    /// The packets of one picture.
    fn packets(data: &Bytes, timestamp: u32) -> Vec<rtp::Packet> {
        let payloads = packetize(VideoCodec::H264, data);
        let last = payloads.len() - 1;
        let packet = |(n, payload)| {
            let header = rtp::Header { timestamp, marker: n == last, ..Default::default() };
            rtp::Packet { header, payload }
        };
        payloads.into_iter().enumerate().map(packet).collect()
    }

    fn push_all(depacketizer: &mut Depacketizer, packets: &[rtp::Packet]) -> Vec<Picture> {
        packets.iter().flat_map(|packet| depacketizer.push(packet, false)).flatten().collect()
    }

    fn one(payload: &[u8], timestamp: u32, marker: bool) -> rtp::Packet {
        let header = rtp::Header { timestamp, marker, ..Default::default() };
        rtp::Packet { header, payload: Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn a_whole_clip_comes_out_as_it_went_in() {
        let mut depacketizer = Depacketizer::default();
        for n in 0..60 {
            let (keyframe, data) = picture(n);
            let shown = push_all(&mut depacketizer, &packets(&data, n * 4_500));
            let [shown] = shown.as_slice() else { panic!("picture {n} became {}", shown.len()) };
            assert_eq!((shown.timestamp, shown.unit.keyframe), (n * 4_500, keyframe));
            let units: Vec<&[u8]> = nals(&shown.unit.data).collect();
            assert_eq!(units, nals(&data).collect::<Vec<_>>(), "picture {n}");
        }
    }

    #[test]
    fn after_a_loss_nothing_is_shown_until_the_next_keyframe() {
        let mut depacketizer = Depacketizer::default();
        let mut shown = Vec::new();
        let mut gap = false;
        for n in 0..60 {
            for (p, packet) in packets(&picture(n).1, n).iter().enumerate() {
                if n == 5 && p == 0 {
                    gap = true;
                    continue;
                }
                let pictures = depacketizer.push(packet, std::mem::take(&mut gap));
                shown.extend(pictures.into_iter().flatten().map(|picture| picture.timestamp));
            }
            assert_eq!(depacketizer.needs_keyframe(), (6..20).contains(&n), "at picture {n}");
        }
        assert_eq!(shown, (0..5).chain(20..60).collect::<Vec<_>>());
    }

    #[test]
    fn a_keyframe_right_behind_a_loss_counts() {
        let mut depacketizer = Depacketizer::default();
        push_all(&mut depacketizer, &packets(&picture(0).1, 0));
        let keyframe = packets(&picture(20).1, 20);
        let first = depacketizer.push(&keyframe[0], true).into_iter().flatten();
        let shown: Vec<_> = first.chain(push_all(&mut depacketizer, &keyframe[1..])).collect();
        assert_eq!(shown.len(), 1, "a keyframe from its first packet on");
        depacketizer.push(&keyframe[2], true);
        let shown = push_all(&mut depacketizer, &keyframe[3..]);
        assert!(shown.is_empty() && depacketizer.needs_keyframe(), "a keyframe without its beginning");
    }

    #[test]
    fn a_picture_without_marker_ends_where_the_next_begins() {
        let mut depacketizer = Depacketizer::default();
        let (idr, slice) = (&b"\x65\x88\x84"[..], &b"\x41\x9a\x02"[..]);
        for unit in [SPS, PPS, idr] {
            assert_eq!(depacketizer.push(&one(unit, 1, false), false), [None, None]);
        }
        let [keyframe, own] = depacketizer.push(&one(slice, 2, true), false);
        assert!(keyframe.is_some_and(|picture| picture.timestamp == 1 && picture.unit.keyframe));
        assert!(own.is_some_and(|picture| picture.timestamp == 2 && !picture.unit.keyframe));
    }

    #[test]
    fn a_picture_that_never_ends_is_let_go() {
        let mut depacketizer = Depacketizer::default();
        let fragment = [0x7c, 0x85].into_iter().chain([0xff; 1_400]).collect::<Vec<u8>>();
        for n in 0..4_000 {
            let header = if n == 0 { 0x85 } else { 0x05 };
            let mut fragment = fragment.clone();
            fragment[1] = header;
            assert_eq!(depacketizer.push(&one(&fragment, 1, false), false), [None, None]);
            let held = depacketizer.current.as_ref().map_or(0, |current| current.data.capacity());
            assert!(held <= 2 * Depacketizer::LARGEST, "{held} bytes are held");
        }
        assert_eq!(depacketizer.push(&one(&fragment, 1, true), false), [None, None]);
    }

    #[test]
    fn random_packets_never_panic_and_never_show_what_is_too_large() {
        for seed in 0..2_000_u64 {
            let mut state = seed;
            let mut below = |limit: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % limit
            };
            let mut depacketizer = Depacketizer::default();
            for _ in 0..60 {
                let mut payload: Vec<u8> = (0..below(40)).map(|_| below(256) as u8).collect();
                if let Some(first) = payload.first_mut() {
                    *first = [0x67, 0x68, 0x65, 0x41, 0x78, 0x7c, 0x7c, *first][below(8) as usize];
                }
                let packet = one(&payload, below(4) as u32, below(3) == 0);
                for picture in depacketizer.push(&packet, below(8) == 0).into_iter().flatten() {
                    assert!(picture.unit.data.len() <= Depacketizer::LARGEST + 1_024, "seed {seed}");
                }
            }
        }
    }
}
