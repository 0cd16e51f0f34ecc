//! From a camera's RTP streams to the hub.

use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::codecs::SoundCodecs;
use super::depacketize::{Depacketizer, Picture};
use super::reorder::{Ordered, Reorder};
use super::rtp_clock::RtpClock;
use crate::clock::{self, Instant};
use crate::media::{AudioFormat, FrameKind, MediaHub, VideoCodec};

/// Publishes what arrives, until the camera has sent no picture for [`Receiver::SILENCE`] where one is expected.
pub(super) struct Receiver {
    hub: MediaHub,
    picture_expected: bool,
    codecs: SoundCodecs,
    /// As many as there are sections, at most.
    tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    begun: Instant,
    heard: Instant,
    video: Option<Video>,
    sound: Option<Sound>,
}

impl Receiver {
    const SILENCE: Duration = Duration::from_secs(10);

    pub(super) fn new(
        hub: MediaHub,
        picture_expected: bool,
        codecs: SoundCodecs,
        tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    ) -> Self {
        let now = clock::now();
        Self { hub, picture_expected, codecs, tracks, begun: now, heard: now, video: None, sound: None }
    }

    /// To be called when the connection is up. Returns when the camera has been silent for too long.
    pub(super) async fn run(mut self) {
        self.begun = clock::now();
        self.heard = self.begun;
        loop {
            tokio::select! {
                Some(track) = self.tracks.recv() => self.open(track).await,
                event = next(self.video.as_ref().map(|video| &video.track)) => self.video_event(event),
                event = next(self.sound.as_ref().map(|sound| &sound.track)) => self.sound_event(event),
                () = self.hub.keyframe_wanted(), if self.video.is_some() => self.ask_for_keyframe().await,
                () = sleep_until(self.heard + Self::SILENCE), if self.picture_expected => return,
            }
        }
    }

    /// A stream has sent its first packet.
    async fn open(&mut self, track: Arc<dyn TrackRemote>) {
        match track.kind().await {
            // A viewer's own picture is nothing to a camera.
            RtpCodecKind::Video if self.picture_expected => {
                let ssrc = track.ssrcs().await.first().copied().unwrap_or_default();
                self.video = Some(Video::new(track, ssrc));
                self.hub.request_keyframe();
            }
            RtpCodecKind::Audio => self.sound = Some(Sound::new(track, self.codecs.clone())),
            _ => {}
        }
    }

    fn video_event(&mut self, event: Option<TrackRemoteEvent>) {
        let Some(video) = &mut self.video else { return };
        match event {
            Some(TrackRemoteEvent::OnRtpPacket(packet)) => {
                self.heard = clock::now();
                video.take(packet, &self.hub, self.begun);
            }
            Some(TrackRemoteEvent::OnEnded) | None => self.video = None,
            Some(_) => {}
        }
    }

    fn sound_event(&mut self, event: Option<TrackRemoteEvent>) {
        let Some(sound) = &mut self.sound else { return };
        match event {
            Some(TrackRemoteEvent::OnRtpPacket(packet)) => sound.take(packet, &self.hub, self.begun),
            Some(TrackRemoteEvent::OnEnded) | None => self.sound = None,
            Some(_) => {}
        }
    }

    /// An error means that the connection is over, which is told elsewhere.
    async fn ask_for_keyframe(&self) {
        let Some(video) = &self.video else { return };
        let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: video.ssrc };
        let _connection_over = video.track.write_rtcp(vec![Box::new(request)]).await;
    }
}

/// The next event of a stream; never without one.
async fn next(track: Option<&Arc<dyn TrackRemote>>) -> Option<TrackRemoteEvent> {
    match track {
        Some(track) => track.poll().await,
        None => std::future::pending().await,
    }
}

struct Video {
    track: Arc<dyn TrackRemote>,
    ssrc: u32,
    order: Reorder,
    pictures: Depacketizer,
    clock: RtpClock,
}

impl Video {
    /// Time for a packet that was asked for again, over a relay too.
    const PATIENCE: Duration = Duration::from_millis(300);

    fn new(track: Arc<dyn TrackRemote>, ssrc: u32) -> Self {
        let order = Reorder::new(Self::PATIENCE);
        Self { track, ssrc, order, pictures: Depacketizer::default(), clock: RtpClock::new(90_000) }
    }

    fn take(&mut self, packet: rtp::Packet, hub: &MediaHub, begun: Instant) {
        let now = clock::now();
        self.order.push(packet, now);
        while let Some(Ordered { packet, gap }) = self.order.pop(now) {
            for Picture { timestamp, unit } in self.pictures.push(&packet, gap).into_iter().flatten() {
                let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: unit.keyframe };
                hub.publish(kind, self.clock.place(timestamp, now - begun), unit.data);
            }
            if packet.header.marker && self.pictures.needs_keyframe() {
                hub.request_keyframe();
            }
        }
    }
}

struct Sound {
    track: Arc<dyn TrackRemote>,
    codecs: SoundCodecs,
    order: Reorder,
    /// Of the format that came last; a camera may change it.
    clock: Option<(AudioFormat, RtpClock)>,
}

impl Sound {
    /// Longer would be heard.
    const PATIENCE: Duration = Duration::from_millis(60);
    /// A second of G.711.
    const LARGEST: usize = 8_000;

    fn new(track: Arc<dyn TrackRemote>, codecs: SoundCodecs) -> Self {
        Self { track, codecs, order: Reorder::new(Self::PATIENCE), clock: None }
    }

    fn take(&mut self, packet: rtp::Packet, hub: &MediaHub, begun: Instant) {
        let now = clock::now();
        self.order.push(packet, now);
        while let Some(Ordered { packet, .. }) = self.order.pop(now) {
            let Some(format) = self.codecs.format(packet.header.payload_type) else { continue };
            if packet.payload.is_empty() || packet.payload.len() > Self::LARGEST {
                continue;
            }
            let pts = self.clock_of(format).place(packet.header.timestamp, now - begun);
            hub.publish(FrameKind::Audio(format), pts, packet.payload);
        }
    }

    fn clock_of(&mut self, format: AudioFormat) -> &mut RtpClock {
        let kept = self.clock.take().filter(|(of, _)| *of == format);
        &mut self.clock.insert(kept.unwrap_or_else(|| (format, RtpClock::new(format.rate_hz)))).1
    }
}
