//! One RTP stream of ours, to a camera or as one.

use std::sync::Arc;

use bytes::Bytes;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodecParameters, RtpCodecKind};
use webrtc::error::Error;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::PeerConnection;

use crate::rtc::rtp_stream::{RtpStream, random_ssrc, track};

pub(super) struct Outgoing {
    track: Arc<TrackLocalStaticRTP>,
    stream: RtpStream,
}

impl Outgoing {
    pub(super) fn new(track: Arc<TrackLocalStaticRTP>, ssrc: u32, payload_type: u8) -> Result<Self, Error> {
        Ok(Self { track, stream: RtpStream::new(ssrc, payload_type)? })
    }

    /// Adds a picture of this codec to an answer.
    pub(super) async fn picture(connection: &dyn PeerConnection, codec: RTCRtpCodecParameters) -> Result<Self, Error> {
        let ssrc = random_ssrc()?;
        let track = Arc::new(TrackLocalStaticRTP::new(track("video", RtpCodecKind::Video, ssrc, codec.rtp_codec)));
        connection.add_track(track.clone()).await?;
        Self::new(track, ssrc, codec.payload_type)
    }

    /// An error means that the connection is over, which is told elsewhere.
    pub(super) async fn send(&mut self, timestamp: u32, marker: bool, payload: Bytes) {
        let _connection_over = self.track.write_rtp(self.stream.packet(timestamp, marker, payload)).await;
    }
}
