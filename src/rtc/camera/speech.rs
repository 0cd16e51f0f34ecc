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
use super::outgoing::Outgoing;
use crate::clock::{self, Instant};
use crate::media::AudioFormat;
use crate::media::codec::sounds_for;
use crate::rtc::rtp_stream::{random_ssrc, track};

/// The sending half of the sound section. What it sends is decided by the answer.
pub(super) struct Microphone {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    ssrc: u32,
}

impl Microphone {
    /// Adds a section that sends and receives.
    pub(super) async fn add_to(connection: &dyn PeerConnection) -> Result<Self, Error> {
        let ssrc = random_ssrc()?;
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
        Ok(Speech { format, outgoing, stamps: Stamps::new(format.rate_hz) })
    }
}

fn stream(ssrc: u32, format: Option<AudioFormat>) -> MediaStreamTrack {
    track("microphone", RtpCodecKind::Audio, ssrc, format.map(codecs::sound_codec).unwrap_or_default())
}

/// An open way to the camera's speaker.
pub(super) struct Speech {
    pub(super) format: AudioFormat,
    outgoing: Outgoing,
    stamps: Stamps,
}

impl Speech {
    /// Of a payload that does not say how long it is.
    const PIECE: Duration = Duration::from_millis(20);

    /// Sends one piece. An error means that the connection is over, which is told elsewhere.
    pub(super) async fn send(&mut self, payload: Bytes) {
        let length = sounds_for(self.format, &payload).unwrap_or(Self::PIECE);
        let (timestamp, marker) = self.stamps.next(clock::now(), length);
        self.outgoing.send(timestamp, marker, payload).await;
    }

    /// For sound that has a clock of its own.
    pub(super) fn into_outgoing(self) -> (AudioFormat, Outgoing) {
        (self.format, self.outgoing)
    }
}

/// RTP timestamps of pieces that come as they are to be heard.
struct Stamps {
    rate_hz: u32,
    begun: Instant,
    /// The timestamp of the next piece, if it follows at once.
    next: u64,
}

impl Stamps {
    /// What is missing for longer than this was silence, and was not sent.
    const PAUSE: Duration = Duration::from_millis(60);

    fn new(rate_hz: u32) -> Self {
        Self { rate_hz, begun: clock::now(), next: 0 }
    }

    /// Of a piece that comes now, and whether it is marked. Pieces follow one another by their length, since the
    /// moments of sending jitter; after a pause time has gone on, and the first piece is marked (RFC 3551 §4.1,
    /// RFC 7587 §4.1).
    fn next(&mut self, now: Instant, length: Duration) -> (u32, bool) {
        let ticks = |length: Duration| length.as_micros() as u64 * u64::from(self.rate_hz) / 1_000_000;
        let by_clock = ticks(now.duration_since(self.begun));
        let paused = self.next == 0 || by_clock > self.next + ticks(Self::PAUSE);
        let timestamp = if paused { by_clock } else { self.next };
        self.next = timestamp + ticks(length);
        (timestamp as u32, paused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Duration = Duration::from_millis(20);

    #[test]
    fn over_a_silence_that_was_not_sent_time_goes_on_and_the_next_word_is_marked() {
        for rate_hz in [8_000, 48_000] {
            let (mut stamps, step) = (Stamps::new(rate_hz), rate_hz / 50);
            let begun = stamps.begun;
            let mut at = |ms: u64| stamps.next(begun + Duration::from_millis(ms), PIECE);
            assert_eq!(
                [at(0), at(20), at(55), at(60)],
                [(0, true), (step, false), (2 * step, false), (3 * step, false)]
            );
            // 400 ms of silence, and then two that are shorter than what jitters.
            assert_eq!([at(480), at(500)], [(24 * step, true), (25 * step, false)]);
            assert_eq!([at(560), at(600)], [(26 * step, false), (27 * step, false)]);
            assert_eq!(at(640), (32 * step, true), "what was missing adds up");
        }
    }
}
