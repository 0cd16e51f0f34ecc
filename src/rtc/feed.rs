//! One task for each stream that is watched: frames in, RTP payloads out, made once for all viewers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::packetize::packetize;
use super::playout::Picture;
use super::timeline::Timeline;
use crate::clock;
use crate::media::convert::Converter;
use crate::media::{AudioCodec, AudioFormat, FrameKind, FrameStream, MediaHub, VideoCodec};

/// What a feed hands to the loop.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) stream: u64,
    pub(super) media: Media,
}

#[derive(Debug)]
pub(super) enum Media {
    Picture(Arc<Picture>),
    Sound(Sound),
}

/// One RTP payload of sound.
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) format: AudioFormat,
    /// In the clock of the format.
    pub(super) ticks: u64,
    pub(super) payload: Bytes,
}

/// A running feed; it ends when this is dropped.
pub(super) struct Feed {
    formats: watch::Sender<Vec<AudioFormat>>,
    _stop: DropGuard,
}

impl Feed {
    /// `items` is bounded; when the loop does not keep up, pictures up to the next keyframe are dropped.
    pub(super) fn start(stream: u64, hub: &MediaHub, items: mpsc::Sender<Item>) -> Self {
        let stop = CancellationToken::new();
        let (formats, wanted) = watch::channel(Vec::new());
        let worker =
            Worker { stream, items, wanted, timeline: Timeline::default(), sounds: Vec::new(), skipping: false };
        tokio::spawn(stop.clone().run_until_cancelled_owned(worker.run(hub.listen(), hub.clone())));
        Self { formats, _stop: stop.drop_guard() }
    }

    /// The sound formats that some viewer takes.
    pub(super) fn want(&self, formats: Vec<AudioFormat>) {
        self.formats.send_if_modified(|current| {
            let changed = *current != formats;
            *current = formats;
            changed
        });
    }
}

struct Worker {
    stream: u64,
    items: mpsc::Sender<Item>,
    wanted: watch::Receiver<Vec<AudioFormat>>,
    timeline: Timeline,
    sounds: Vec<SoundTrack>,
    skipping: bool,
}

impl Worker {
    async fn run(mut self, mut frames: FrameStream, hub: MediaHub) {
        let began = clock::now();
        while let Some(frame) = frames.next().await {
            let at = self.timeline.place(frame.kind.is_video(), frame.pts, began.elapsed());
            let delivered = match frame.kind {
                FrameKind::Video { codec, keyframe } => self.picture(&frame.data, codec, keyframe, at),
                FrameKind::Audio(format) => self.sound(&frame.data, format, at),
            };
            if delivered.is_err() {
                return;
            }
            if self.skipping {
                hub.request_keyframe();
            }
        }
    }

    fn picture(&mut self, data: &Bytes, codec: VideoCodec, keyframe: bool, at: u64) -> Result<(), Gone> {
        if self.skipping && !keyframe {
            return Ok(());
        }
        let payloads = packetize(codec, data);
        if payloads.is_empty() {
            return Ok(());
        }
        let picture = Picture { codec, keyframe, ticks: at * 9 / 100, payloads };
        self.skipping = !self.deliver(Media::Picture(Arc::new(picture)))?;
        Ok(())
    }

    fn sound(&mut self, data: &[u8], from: AudioFormat, at: u64) -> Result<(), Gone> {
        let wanted = self.wanted.borrow_and_update().clone();
        self.sounds.retain(|track| wanted.contains(&track.to) && track.from == from);
        for to in wanted {
            let known = self.sounds.iter().position(|track| track.to == to);
            let index = known.unwrap_or_else(|| {
                self.sounds.push(SoundTrack::new(from, to));
                self.sounds.len() - 1
            });
            for sound in self.sounds[index].convert(data, at) {
                self.deliver(Media::Sound(sound))?;
            }
        }
        Ok(())
    }

    /// `Ok(false)` when the loop has no room.
    fn deliver(&self, media: Media) -> Result<bool, Gone> {
        match self.items.try_send(Item { stream: self.stream, media }) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
        }
    }
}

/// The loop has ended.
struct Gone;

/// The camera's sound in one format that viewers take.
struct SoundTrack {
    from: AudioFormat,
    to: AudioFormat,
    /// `None` where there is no way from one to the other: then there is no sound.
    converter: Option<Converter>,
    next: Option<u64>,
}

impl SoundTrack {
    fn new(from: AudioFormat, to: AudioFormat) -> Self {
        Self { from, to, converter: Converter::new(from, to).ok(), next: None }
    }

    fn convert(&mut self, data: &[u8], at: u64) -> Vec<Sound> {
        let pieces = self.converter.as_mut().map(|converter| converter.push(data)).unwrap_or_default();
        pieces.into_iter().map(|payload| self.stamp(payload, at)).collect()
    }

    /// Sound is stamped by counting samples, since arrival times jitter; where the camera's clock has gone
    /// elsewhere by more than a fifth of a second, that is followed.
    fn stamp(&mut self, payload: Bytes, at: u64) -> Sound {
        let by_clock = at * u64::from(self.to.rate_hz) / 1_000_000;
        let limit = u64::from(self.to.rate_hz) / 5;
        let ticks = self.next.filter(|next| next.abs_diff(by_clock) <= limit).unwrap_or(by_clock);
        self.next = Some(ticks + samples(self.to, &payload));
        Sound { format: self.to, ticks, payload }
    }
}

/// How long a payload lasts, in samples of its clock.
fn samples(format: AudioFormat, payload: &[u8]) -> u64 {
    match format.codec {
        AudioCodec::Opus => opus_duration(payload).as_micros() as u64 * 48 / 1_000,
        _ => payload.len() as u64,
    }
}

/// From the first bytes of an Opus packet (RFC 6716 §3.1 and §3.2).
fn opus_duration(packet: &[u8]) -> Duration {
    let Some(&toc) = packet.first() else { return Duration::ZERO };
    let frame_us = match toc >> 3 {
        config @ 0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(config & 3)],
        config @ 12..=15 => [10_000, 20_000][usize::from(config & 1)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).unwrap_or(&1) & 0x3f),
    };
    Duration::from_micros(frame_us * frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_packets_tell_how_long_they_last() {
        for (packet, ms) in [(&[0xfc, 0][..], 20), (&[0xfd, 0], 40), (&[0xff, 3], 60), (&[0x18, 0], 60), (&[], 0)] {
            assert_eq!(opus_duration(packet), Duration::from_millis(ms), "{packet:02x?}");
        }
        assert_eq!(opus_duration(&[0xe0]), Duration::from_micros(2_500));
    }

    #[test]
    fn g711_leaves_in_packets_of_20_ms_stamped_by_their_samples() {
        let mut track = SoundTrack::new(AudioFormat::PCMU, AudioFormat::PCMU);
        let data = Bytes::from(vec![0xff; 400]);
        let first = track.convert(&data, 1_000_000);
        assert_eq!(first.iter().map(|sound| sound.payload.len()).collect::<Vec<_>>(), [160, 160]);
        assert_eq!(first.iter().map(|sound| sound.ticks).collect::<Vec<_>>(), [8_000, 8_160]);
        assert_eq!(track.convert(&data, 1_070_000)[0].ticks, 8_320, "jitter of the camera's clock is not passed on");
        assert_eq!(track.convert(&data, 3_000_000)[0].ticks, 24_000, "a gap is");
    }
}
