//! What the camera shows and what its microphone hears, on time and in packets (reference §8).

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::fault::Fault;
use super::frame_info;
use super::settings::Settings;
use crate::media::AudioFormat;
use crate::proto::tutk::frame::{MediaChannel, Packetiser};
use crate::sim::clip::Clip;
use crate::sim::sound::{NoSuchSound, Sound};
use crate::sim::track::Track;

/// Which packets `swap` and `loss` strike.
const SWAPPED_EVERY: u64 = 10;
const LOST_EVERY: u64 = 20;

/// What a camera plays, made once and shared by its sessions.
pub(super) struct Reel {
    clip: Clip,
    sound: Option<Sound>,
    mac: String,
}

impl Reel {
    pub(super) fn new(settings: &Settings) -> Result<Self, NoSuchSound> {
        let sound = settings.audio.map(Sound::new).transpose()?;
        let clip = Clip::of(settings.codec);
        let clip = match settings.kbit_per_second {
            Some(rate) => clip.filled_up_to(rate),
            None => clip,
        };
        Ok(Self { clip, sound, mac: settings.mac.clone() })
    }

    /// The format of the camera's sound, if it has any.
    pub(super) fn microphone(&self) -> Option<AudioFormat> {
        self.sound.as_ref().map(Sound::format)
    }
}

/// Both media of one client.
pub(super) struct Stream {
    reel: Arc<Reel>,
    video: Option<Track>,
    audio: Option<Track>,
    packetiser: Packetiser,
    packets: u64,
    /// A packet that `swap` holds back until the next one was sent.
    held_back: Option<Vec<u8>>,
}

impl Stream {
    pub(super) fn begin(now: Instant, reel: Arc<Reel>, video: bool, audio: bool) -> Self {
        Self {
            video: video.then(|| Track::begin(now)),
            audio: audio.then(|| Track::begin(now)),
            packetiser: Packetiser::default(),
            reel,
            packets: 0,
            held_back: None,
        }
    }

    /// Sends nothing until then, and goes on with the clip where it is at that time.
    pub(super) fn pause_until(&mut self, then: Instant) {
        for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
            track.due = track.due.max(then);
        }
    }

    /// The next picture is a keyframe: the clip leaps to its next one.
    pub(super) fn want_keyframe(&mut self) {
        if let Some(track) = &mut self.video {
            track.next = self.reel.clip.next_keyframe(track.next);
        }
    }

    pub(super) fn enable_video(&mut self, now: Instant, on: bool) {
        enable(&mut self.video, now, on);
        self.want_keyframe();
    }

    pub(super) fn enable_audio(&mut self, now: Instant, on: bool) {
        enable(&mut self.audio, now, on);
    }

    /// The packets that are due. `unix_now` is the wall time at `now`.
    pub(super) fn due(&mut self, now: Instant, unix_now: SystemTime, fault: Option<Fault>) -> Vec<Vec<u8>> {
        let unix_now = unix_now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = |due: Instant| unix_now.saturating_sub(now.saturating_duration_since(due));
        let mut packets = Vec::new();
        while let Some((n, due)) = self.video.as_mut().and_then(|track| track.take(now, Clip::INTERVAL)) {
            let picture = self.reel.clip.access_unit(n);
            let channel = if picture.keyframe { MediaChannel::IVideo } else { MediaChannel::PVideo };
            let info = frame_info::of_picture(self.reel.clip.codec(), picture.keyframe, wall(due), &self.reel.mac);
            packets.extend(self.packetiser.packetise(channel, info, &picture.data));
        }
        if let Some(sound) = &self.reel.sound {
            while let Some((n, due)) = self.audio.as_mut().and_then(|track| track.take(now, sound.interval())) {
                let info = frame_info::of_sound(sound.format(), wall(due), &self.reel.mac);
                packets.extend(self.packetiser.packetise(MediaChannel::Audio, info, &sound.packet(n).data));
            }
        }
        self.spoil(packets, fault)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let audio = self.audio.filter(|_| self.reel.sound.is_some());
        [self.video, audio].into_iter().flatten().map(|track| track.due).min()
    }

    /// Does to the packets what the fault says.
    fn spoil(&mut self, packets: Vec<Vec<u8>>, fault: Option<Fault>) -> Vec<Vec<u8>> {
        let mut spoiled = Vec::with_capacity(packets.len());
        for packet in packets {
            self.packets += 1;
            match fault {
                Some(Fault::Duplicate) => spoiled.extend([packet.clone(), packet]),
                Some(Fault::Loss) if self.packets.is_multiple_of(LOST_EVERY) => {}
                Some(Fault::Swap) if self.packets.is_multiple_of(SWAPPED_EVERY) => self.held_back = Some(packet),
                _ => spoiled.push(packet),
            }
            if !self.packets.is_multiple_of(SWAPPED_EVERY) {
                spoiled.extend(self.held_back.take());
            }
        }
        spoiled
    }
}

fn enable(track: &mut Option<Track>, now: Instant, on: bool) {
    match (on, &track) {
        (true, None) => *track = Some(Track::begin(now)),
        (false, _) => *track = None,
        (true, Some(_)) => {}
    }
}
