//! What cameras send over WebRTC: it must not panic, and what comes out must be what the next in line relies on.

use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::AudioFormat;
use doorstep::rtc::camera::depacketize::{Depacketizer, Piece};
use doorstep::rtc::camera::description::Description;
use doorstep::rtc::camera::reorder::Reorder;
use rtc::rtp::{Header, Packet};

use super::pieces::pieces;

/// The packets of a stream as they arrive, each behind its length: sequence number (two bytes), timestamp (its lowest
/// one, with the marker in its highest bit), milliseconds since the one before, payload.
pub fn pictures(data: &[u8]) {
    let mut now = clock::now();
    let mut reorder = Reorder::new(Duration::from_millis(300));
    let mut pictures = Depacketizer::default();
    let mut left = data.len();
    let mut last = None;
    for piece in pieces(data) {
        let Some(([high, low, timestamp, later], payload)) = piece.split_first_chunk() else { continue };
        now += Duration::from_millis(u64::from(*later));
        let header = Header {
            sequence_number: u16::from_be_bytes([*high, *low]),
            timestamp: u32::from(timestamp & 0x7f),
            marker: timestamp & 0x80 != 0,
            ..Header::default()
        };
        reorder.push(Packet { header, payload: Bytes::copy_from_slice(payload) }, now);
        while let Some(ordered) = reorder.pop(now) {
            let number = ordered.packet.header.sequence_number;
            assert!(ordered.gap || last.is_none_or(|last: u16| last.wrapping_add(1) == number), "a gap is not told");
            last = Some(number);
            for picture in pictures.push(Piece::from(&ordered.packet), ordered.gap).into_iter().flatten() {
                assert!(!picture.unit.data.is_empty(), "a picture without anything in it");
            }
            left = left.checked_sub(ordered.packet.payload.len()).expect("packets out of nothing");
        }
    }
}

/// The SDP of a camera, as offer and as answer.
pub fn description(data: &[u8]) {
    let mut described = Description::parse(&String::from_utf8_lossy(data));
    let again = Description::parse(&described.sdp);
    assert_eq!(again.sdp, described.sdp, "it was not yet as it should be");
    let _ = (described.sends_video(), described.takes_sound(), described.takes_messages());
    let sound = described.choice(&[AudioFormat::OPUS, AudioFormat::PCMU]);
    let picture = described.picture().ok().flatten();
    assert!(picture.is_none() || described.offers_video(), "a picture that was not offered");
    for (medium, payload_type) in [("audio", sound.map(|it| it.0)), ("video", picture.map(|it| it.0))] {
        let Some(payload_type) = payload_type else { continue };
        described.keep_only(medium, vec![payload_type]);
    }
    assert_eq!(described.choice(&[AudioFormat::OPUS, AudioFormat::PCMU]).map(|it| it.0), sound.map(|it| it.0));
}
