//! What people say, on its way to a camera.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use webrtc::error::Error;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::RtpSender;

use super::codecs::{self, SoundCodecs};
use super::outgoing::{self, Outgoing};
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
        let ssrc = outgoing::random_u32()? | 1;
        // Without a codec, so that all are offered.
        let track = Arc::new(TrackLocalStaticRTP::new(stream(ssrc, None)));
        let sender = connection.add_track(track.clone()).await?;
        Ok(Self { track, sender, ssrc })
    }

    /// To be called before the engine is given the camera's description, which is when it looks at the codec.
    pub(super) async fn negotiated(self, format: AudioFormat, codecs: &SoundCodecs) -> Result<Speech, Error> {
        let payload_type = codecs.payload_type(format).ok_or(Error::ErrCodecNotFound)?;
        self.sender.replace_track(Arc::new(TrackLocalStaticRTP::new(stream(self.ssrc, Some(format))))).await?;
        let outgoing = Outgoing::new(self.track, self.ssrc, payload_type)?;
        Ok(Speech { format, outgoing, begun: clock::now(), next: 0 })
    }
}

fn stream(ssrc: u32, format: Option<AudioFormat>) -> MediaStreamTrack {
    outgoing::track("microphone", RtpCodecKind::Audio, ssrc, format.map(codecs::sound_codec).unwrap_or_default())
}

/// An open way to the camera's speaker.
pub(super) struct Speech {
    pub(super) format: AudioFormat,
    outgoing: Outgoing,
    begun: Instant,
    /// The timestamp of the next piece, if it follows at once.
    next: u64,
}

impl Speech {
    const PIECE: Duration = Duration::from_millis(20);

    /// Sends 20 ms. An error means that the connection is over, which is told elsewhere.
    pub(super) async fn send(&mut self, payload: Bytes) {
        let (timestamp, marker) = self.stamp(clock::now());
        self.outgoing.send(timestamp, marker, payload).await;
    }

    /// For sound that has a clock of its own.
    pub(super) fn into_outgoing(self) -> (AudioFormat, Outgoing) {
        (self.format, self.outgoing)
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
