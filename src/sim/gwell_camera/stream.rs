//! What the camera shows and what its microphone hears, on time and in messages (gwell reference §9).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::settings::Settings;
use crate::media::{AudioCodec, AudioFormat};
use crate::proto::gwell::av::{MAX_PAYLOAD, Muxer};
use crate::sim::clip::Clip;
use crate::sim::sound::{NoSuchSound, Sound};
use crate::sim::track::Track;

/// What Wyze's doorbells send (gwell reference §9): 320 bytes each 20 ms.
const MICROPHONE: AudioFormat = AudioFormat { codec: AudioCodec::Pcmu, rate_hz: 16_000, channels: 1 };

/// Packets of sound that are seen in front of a picture in one message; none is ever cut in two.
const TOGETHER: usize = 2;

/// What a camera plays, made once and shared by its viewers.
pub(super) struct Reel {
    clip: Clip,
    sound: Option<Sound>,
}

impl Reel {
    pub(super) fn new(settings: &Settings) -> Result<Self, NoSuchSound> {
        let sound = settings.sound.then(|| Sound::new(MICROPHONE)).transpose()?;
        let clip = match settings.kbit_per_second {
            Some(rate) => Clip::h264().filled_up_to(rate),
            None => Clip::h264(),
        };
        Ok(Self { clip, sound })
    }
}

/// Both media of one viewer.
pub(super) struct Stream {
    reel: Arc<Reel>,
    video: Track,
    audio: Option<Track>,
    begun: Instant,
    /// Whether a picture was left out, so that none but a keyframe can follow.
    torn: bool,
    /// Packets of sound that wait for a picture, where they are sent with one.
    waiting: Vec<Vec<u8>>,
}

impl Stream {
    pub(super) fn begin(now: Instant, reel: Arc<Reel>) -> Self {
        Self {
            video: Track::begin(now),
            audio: reel.sound.as_ref().map(|_| Track::begin(now)),
            reel,
            begun: now,
            torn: false,
            waiting: Vec::new(),
        }
    }

    /// The AV messages that are due, in the clear. Without `room` for them pictures are left out up to a keyframe that
    /// finds some, and sound is.
    pub(super) fn due(&mut self, now: Instant, room: bool, fault: Option<Fault>) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        self.hear(now, room, fault, &mut messages);
        while let Some((n, due)) = self.video.take(now, Clip::INTERVAL) {
            let picture = self.reel.clip.access_unit(n);
            self.torn = !room || self.torn && !picture.keyframe;
            if !self.torn {
                let cut = Muxer.video(self.pts_us(due), &picture.data);
                messages.extend(self.behind_sound(cut));
            }
        }
        messages
    }

    pub(super) fn deadline(&self) -> Instant {
        self.audio.map_or(self.video.due, |audio| audio.due.min(self.video.due))
    }

    fn hear(&mut self, now: Instant, room: bool, fault: Option<Fault>, messages: &mut Vec<Vec<u8>>) {
        let Some(sound) = &self.reel.sound else { return };
        while let Some((n, due)) = self.audio.as_mut().and_then(|track| track.take(now, sound.interval())) {
            if !room || fault == Some(Fault::VideoOnly) {
                continue;
            }
            let packets = Muxer.audio(pts_us(self.begun, due), &sound.packet(n).data);
            self.waiting.extend(packets);
            let kept = if fault == Some(Fault::AudioInterleaved) { TOGETHER } else { 0 };
            messages.extend(self.waiting.drain(..self.waiting.len().saturating_sub(kept)));
        }
    }

    /// Puts the sound that waits in front of a picture, its first message as full as may be.
    fn behind_sound(&mut self, picture: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        if self.waiting.is_empty() {
            return picture;
        }
        let bytes: Vec<u8> = self.waiting.drain(..).chain(picture).flatten().collect();
        bytes.chunks(MAX_PAYLOAD).map(<[u8]>::to_vec).collect()
    }

    fn pts_us(&self, due: Instant) -> u64 {
        pts_us(self.begun, due)
    }
}

/// The camera's own time: since the viewer began to watch.
fn pts_us(begun: Instant, due: Instant) -> u64 {
    let since: Duration = due.saturating_duration_since(begun);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
