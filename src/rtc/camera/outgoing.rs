//! One RTP stream of ours.

use std::sync::Arc;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use webrtc::error::Error;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::PeerConnection;

/// What is sent under one SSRC, in one format.
pub(super) struct Outgoing {
    track: Arc<TrackLocalStaticRTP>,
    payload_type: u8,
    ssrc: u32,
    sequence_number: u16,
}

impl Outgoing {
    pub(super) fn new(track: Arc<TrackLocalStaticRTP>, ssrc: u32, payload_type: u8) -> Result<Self, Error> {
        let sequence_number = (random_u32()? & 0x7fff) as u16;
        Ok(Self { track, payload_type, ssrc, sequence_number })
    }

    /// Adds a picture of this codec to an answer.
    pub(super) async fn picture(connection: &dyn PeerConnection, codec: RTCRtpCodecParameters) -> Result<Self, Error> {
        let ssrc = random_u32()? | 1;
        let track = Arc::new(TrackLocalStaticRTP::new(track("video", RtpCodecKind::Video, ssrc, codec.rtp_codec)));
        connection.add_track(track.clone()).await?;
        Self::new(track, ssrc, codec.payload_type)
    }

    /// An error means that the connection is over, which is told elsewhere.
    pub(super) async fn send(&mut self, timestamp: u32, marker: bool, payload: Bytes) {
        let mut packet = rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.marker = marker;
        packet.header.payload_type = self.payload_type;
        packet.header.sequence_number = self.sequence_number;
        packet.header.timestamp = timestamp;
        packet.header.ssrc = self.ssrc;
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let _connection_over = self.track.write_rtp(packet).await;
    }
}

/// All tracks are of one stream, so that who takes them keeps them in step.
pub(super) fn track(label: &str, kind: RtpCodecKind, ssrc: u32, codec: RTCRtpCodec) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec,
        ..Default::default()
    };
    MediaStreamTrack::new("doorstep".into(), label.into(), label.into(), kind, vec![encoding])
}

pub(super) fn random_u32() -> Result<u32, Error> {
    getrandom::u32().map_err(|error| Error::Other(error.to_string()))
}
