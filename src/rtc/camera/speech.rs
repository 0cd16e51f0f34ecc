//! What people say, on its way to a camera.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use webrtc::error::Error;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::RtpSender;

use super::codecs::{self, SoundCodecs};
use crate::clock::{self, Instant};
use crate::media::AudioFormat;

/// The sending half of the sound section. What it sends is decided by the answer.
pub(super) struct Microphone {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    ssrc: u32,
}

impl Microphone {
    /// Adds a section that sends and receives.
    pub(super) async fn add_to(connection: &dyn PeerConnection) -> Result<Self, Error> {
        let ssrc = random_u32()? | 1;
        // Without a codec, so that all are offered.
        let track = Arc::new(TrackLocalStaticRTP::new(stream(ssrc, None)));
        let sender = connection.add_track(track.clone()).await?;
        Ok(Self { track, sender, ssrc })
    }

    /// To be called before the engine is given the camera's description, which is when it looks at the codec.
    pub(super) async fn negotiated(self, format: AudioFormat, codecs: &SoundCodecs) -> Result<Speech, Error> {
        let payload_type = codecs.payload_type(format).ok_or(Error::ErrCodecNotFound)?;
        self.sender.replace_track(Arc::new(TrackLocalStaticRTP::new(stream(self.ssrc, Some(format))))).await?;
        let sequence_number = (random_u32()? & 0x7fff) as u16;
        Ok(Speech {
            format,
            payload_type,
            ssrc: self.ssrc,
            track: self.track,
            begun: clock::now(),
            next: 0,
            sequence_number,
        })
    }
}

fn stream(ssrc: u32, format: Option<AudioFormat>) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: format.map(codecs::sound_codec).unwrap_or_default(),
        ..Default::default()
    };
    MediaStreamTrack::new(
        "doorstep".into(),
        "microphone".into(),
        "microphone".into(),
        RtpCodecKind::Audio,
        vec![encoding],
    )
}

fn random_u32() -> Result<u32, Error> {
    getrandom::u32().map_err(|error| Error::Other(error.to_string()))
}

/// An open way to the camera's speaker.
pub(super) struct Speech {
    pub(super) format: AudioFormat,
    payload_type: u8,
    ssrc: u32,
    track: Arc<TrackLocalStaticRTP>,
    begun: Instant,
    /// The timestamp of the next piece, if it follows at once.
    next: u64,
    sequence_number: u16,
}

impl Speech {
    const PIECE: Duration = Duration::from_millis(20);

    /// Sends 20 ms. An error means that the connection is over, which is told elsewhere.
    pub(super) async fn send(&mut self, payload: Bytes) {
        let (timestamp, marker) = self.stamp(clock::now());
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

    /// Pieces follow one another by their length, since the moments of sending jitter; after a pause time has gone
    /// on, and the first piece is marked (RFC 3551 §4.1).
    fn stamp(&mut self, now: Instant) -> (u32, bool) {
        let ticks = |length: Duration| length.as_micros() as u64 * u64::from(self.format.rate_hz) / 1_000_000;
        let by_clock = ticks(now.duration_since(self.begun));
        let paused = self.next == 0 || by_clock > self.next + ticks(10 * Self::PIECE);
        let timestamp = if paused { by_clock } else { self.next };
        self.next = timestamp + ticks(Self::PIECE);
        (timestamp as u32, paused)
    }
}
