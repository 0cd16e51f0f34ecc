//! One access unit into RTP payloads: H.264 (RFC 6184, packetization-mode 1) and H.265 (RFC 7798).

use bytes::{BufMut, Bytes, BytesMut};

use crate::media::VideoCodec;
use crate::media::h26x::nals;

/// Largest payload of one packet, in bytes. With 12 bytes of RTP header and 16 of SRTP tag a datagram stays
/// below 1 208 bytes, which passes every tunnel in use.
pub(crate) const MAX_PAYLOAD: usize = 1180;

/// The payloads of one access unit in Annex B, in order; the last one carries the marker.
///
/// NAL units that fit go alone or, several small ones in a row, as one aggregation packet; larger ones are cut
/// into equal fragments, so that a run of them can be handed to the kernel as one buffer.
pub(crate) fn packetize(codec: VideoCodec, access_unit: &Bytes) -> Vec<Bytes> {
    let form = Form::of(codec);
    let mut packetizer = Packetizer { form, small: Vec::new(), small_bytes: 0, payloads: Vec::new() };
    for unit in nals(access_unit) {
        if unit.len() >= form.header && form.is_wanted(unit[0]) {
            packetizer.push(access_unit.slice_ref(unit));
        }
    }
    packetizer.flush();
    packetizer.payloads
}

/// What differs between the two codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    codec: VideoCodec,
    /// Length of a NAL unit's header in bytes.
    header: usize,
}

impl Form {
    const fn of(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::H264 => Self { codec, header: 1 },
            VideoCodec::H265 => Self { codec, header: 2 },
        }
    }

    /// Delimiters and filler say nothing that RTP does not say.
    fn is_wanted(self, first: u8) -> bool {
        match self.codec {
            VideoCodec::H264 => matches!(first & 0x1f, 1..=8 | 13..=23),
            VideoCodec::H265 => matches!((first >> 1) & 0x3f, 0..=34 | 39..=47),
        }
    }

    /// The header of an aggregation packet: STAP-A (RFC 6184 §5.7.1) or AP (RFC 7798 §4.4.2).
    fn aggregation(self, units: &[Bytes]) -> Vec<u8> {
        match self.codec {
            // The highest importance of what is inside.
            VideoCodec::H264 => vec![units.iter().map(|unit| unit[0] & 0x60).max().unwrap_or(0) | 24],
            // Layer and temporal id are the lowest inside: 0 and 1 (RFC 7798 §4.4.2), as every camera sends.
            VideoCodec::H265 => vec![48 << 1, 1],
        }
    }

    /// The header of a fragment: FU-A (RFC 6184 §5.8) or FU (RFC 7798 §4.4.3).
    fn fragment(self, unit: &[u8], first: bool, last: bool) -> Vec<u8> {
        let ends = u8::from(first) << 7 | u8::from(last) << 6;
        match self.codec {
            VideoCodec::H264 => vec![unit[0] & 0xe0 | 28, ends | unit[0] & 0x1f],
            VideoCodec::H265 => vec![unit[0] & 0x81 | 49 << 1, unit[1], ends | (unit[0] >> 1) & 0x3f],
        }
    }
}

struct Packetizer {
    form: Form,
    /// Units waiting to be aggregated, and what they take with their 2-byte lengths.
    small: Vec<Bytes>,
    small_bytes: usize,
    payloads: Vec<Bytes>,
}

impl Packetizer {
    fn push(&mut self, unit: Bytes) {
        if unit.len() > MAX_PAYLOAD {
            self.flush();
            return self.fragment(&unit);
        }
        if self.form.header + self.small_bytes + 2 + unit.len() > MAX_PAYLOAD {
            self.flush();
        }
        self.small_bytes += 2 + unit.len();
        self.small.push(unit);
    }

    /// Sends what waits: one unit as it stands, several as an aggregation.
    fn flush(&mut self) {
        let units = std::mem::take(&mut self.small);
        let size = self.form.header + std::mem::take(&mut self.small_bytes);
        if units.len() < 2 {
            return self.payloads.extend(units);
        }
        let mut payload = BytesMut::with_capacity(size);
        payload.put_slice(&self.form.aggregation(&units));
        for unit in units {
            payload.put_u16(u16::try_from(unit.len()).expect("at most MAX_PAYLOAD"));
            payload.put(unit);
        }
        self.payloads.push(payload.freeze());
    }

    fn fragment(&mut self, unit: &[u8]) {
        let body = &unit[self.form.header..];
        let room = MAX_PAYLOAD - self.form.header - 1;
        let count = body.len().div_ceil(room);
        let size = body.len().div_ceil(count);
        for (index, piece) in body.chunks(size).enumerate() {
            let header = self.form.fragment(unit, index == 0, (index + 1) * size >= body.len());
            let mut payload = BytesMut::with_capacity(header.len() + piece.len());
            payload.put_slice(&header);
            payload.put_slice(piece);
            self.payloads.push(payload.freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that a failing case can be named by its seed.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }
    }

    /// Units of the sizes that matter, none of whose bytes looks like a start code.
    fn units(codec: VideoCodec, random: &mut Seeded) -> Vec<Vec<u8>> {
        let sizes = [1, 2, 3, 20, 400, 1178, 1179, 1180, 1181, 1182, 2360, 9_000, 70_001];
        let count = 1 + random.below(7);
        let unit = |random: &mut Seeded| {
            let mut unit = match codec {
                VideoCodec::H264 => vec![[0x67, 0x68, 0x65, 0x41, 0x06][random.below(5)]],
                VideoCodec::H265 => vec![[0x40, 0x42, 0x44, 0x26, 0x02][random.below(5)], 0x01],
            };
            let size = sizes[random.below(sizes.len())];
            unit.extend((0..size).map(|_| 1 + random.below(255) as u8));
            unit
        };
        (0..count).map(|_| unit(random)).collect()
    }

    fn annex_b(units: &[Vec<u8>], random: &mut Seeded) -> Bytes {
        let mut stream = Vec::new();
        for unit in units {
            stream.extend(std::iter::repeat_n(0, 2 + random.below(3)));
            stream.push(1);
            stream.extend(unit);
        }
        stream.into()
    }

    /// Written from the RFCs' receiver side, for the tests alone.
    fn depacketize(codec: VideoCodec, payloads: &[Bytes]) -> Vec<Vec<u8>> {
        let mut units: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            let (kind, header) = match codec {
                VideoCodec::H264 => (payload[0] & 0x1f, 1),
                VideoCodec::H265 => (payload[0] >> 1 & 0x3f, 2),
            };
            match (codec, kind) {
                (VideoCodec::H264, 24) | (VideoCodec::H265, 48) => {
                    let mut rest = &payload[header..];
                    while let [high, low, tail @ ..] = rest {
                        let (unit, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                        units.push(unit.to_vec());
                        rest = tail;
                    }
                }
                (VideoCodec::H264, 28) | (VideoCodec::H265, 49) => {
                    let fu = payload[header];
                    if fu & 0x80 != 0 {
                        units.push(match codec {
                            VideoCodec::H264 => vec![payload[0] & 0xe0 | fu & 0x1f],
                            VideoCodec::H265 => vec![payload[0] & 0x81 | (fu & 0x3f) << 1, payload[1]],
                        });
                    }
                    units.last_mut().unwrap().extend_from_slice(&payload[header + 1..]);
                }
                _ => units.push(payload.to_vec()),
            }
        }
        units
    }

    #[test]
    fn what_is_packetized_can_be_put_together_again() {
        for codec in [VideoCodec::H264, VideoCodec::H265] {
            for seed in 0..300 {
                let mut random = Seeded(seed);
                let units = units(codec, &mut random);
                let payloads = packetize(codec, &annex_b(&units, &mut random));
                assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD), "{codec:?}, seed {seed}: too large a packet");
                assert_eq!(depacketize(codec, &payloads), units, "{codec:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn fragments_are_of_one_size_but_for_the_last() {
        let mut unit = vec![0, 0, 1, 0x65];
        unit.resize(100_003, 7);
        let payloads = packetize(VideoCodec::H264, &unit.into());
        let (last, rest) = payloads.split_last().unwrap();
        assert!(rest.iter().all(|payload| payload.len() == rest[0].len()) && last.len() <= rest[0].len());
    }

    #[test]
    fn parameter_sets_share_one_packet_and_delimiters_are_left_out() {
        let stream = Bytes::from_static(b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67abc\0\0\0\x01\x68de\0\0\x01\x65picture");
        let payloads = packetize(VideoCodec::H264, &stream);
        assert_eq!(payloads, [&b"\x78\0\x04\x67abc\0\x03\x68de\0\x08\x65picture"[..]]);
    }

    #[test]
    fn noise_yields_no_packet_and_no_panic() {
        for noise in [&b""[..], b"\0", b"\0\0\x01", b"\0\0\x01\0\0\x01", b"no start code", b"\0\0\x01\x65"] {
            for codec in [VideoCodec::H264, VideoCodec::H265] {
                let _ = packetize(codec, &Bytes::copy_from_slice(noise));
            }
        }
        for seed in 0..2_000 {
            let mut random = Seeded(seed);
            let length = random.below(4_000);
            let noise: Bytes = (0..length).map(|_| [0, 0, 0, 1, 1, 0x65, 0x40, 0xff][random.below(8)]).collect();
            let _ = packetize(VideoCodec::H264, &noise);
            let _ = packetize(VideoCodec::H265, &noise);
        }
    }
}
