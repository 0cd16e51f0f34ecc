//! What is sent under one SSRC, in one format: towards viewers and towards cameras.

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::shared::error::Error;

#[derive(Debug, Clone, Copy)]
pub(super) struct RtpStream {
    ssrc: u32,
    payload_type: u8,
    sequence_number: u16,
}

impl RtpStream {
    /// # Errors
    /// When the operating system has no randomness.
    pub(super) fn new(ssrc: u32, payload_type: u8) -> Result<Self, Error> {
        // In the lower half, so that a loss at the beginning is not taken for a wrap (RFC 3711, section 3.3.1).
        let sequence_number = (random_u32()? & 0x7fff) as u16;
        Ok(Self { ssrc, payload_type, sequence_number })
    }

    /// The next packet.
    pub(super) fn packet(&mut self, timestamp: u32, marker: bool, payload: Bytes) -> rtp::Packet {
        let mut packet = rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.marker = marker;
        packet.header.payload_type = self.payload_type;
        packet.header.sequence_number = self.sequence_number;
        packet.header.timestamp = timestamp;
        packet.header.ssrc = self.ssrc;
        self.sequence_number = self.sequence_number.wrapping_add(1);
        packet
    }
}

/// The engine's description of a stream. All are of one media stream, so that who takes them keeps them in step.
pub(super) fn track(label: &str, kind: RtpCodecKind, ssrc: u32, codec: RTCRtpCodec) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec,
        ..Default::default()
    };
    MediaStreamTrack::new("doorstep".into(), label.into(), label.into(), kind, vec![encoding])
}

/// # Errors
/// When the operating system has no randomness.
pub(super) fn random_ssrc() -> Result<u32, Error> {
    Ok(random_u32()? | 1)
}

/// # Errors
/// When the operating system has no randomness.
pub(super) fn random_u32() -> Result<u32, Error> {
    getrandom::u32().map_err(|error| Error::Other(error.to_string()))
}
