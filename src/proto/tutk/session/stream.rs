//! From media packets to frames with a time, and the watch over a stream that falls silent
//! (docs/protocol/tutk.md §9, §10).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{AvFrame, Media};
use crate::proto::tutk::frame::{MediaChannel, MediaPacket, split_sound};
use crate::proto::tutk::reassembly::{Assembled, Reassembly};
use crate::proto::tutk::talk::SoundFormat;
use crate::proto::tutk::timeline::Timeline;

const MEDIA_LIMIT: Duration = Duration::from_secs(5);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Stream {
    reassembly: Reassembly,
    timeline: Timeline,
    sound: Option<SoundFormat>,
}

impl Stream {
    pub(super) fn on_packet(&mut self, now: Instant, packet: MediaPacket) {
        self.reassembly.push(now, packet);
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.reassembly.on_timeout(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.reassembly.deadline()
    }

    /// What the camera's microphone sends, once it has.
    pub(super) fn sound(&self) -> Option<SoundFormat> {
        self.sound
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<AvFrame> {
        let frame = self.reassembly.poll()?;
        let pts = self.timeline.pts(now, frame.channel.is_audio(), &frame.info);
        let Assembled { channel, info, data, gap, .. } = frame;
        if channel.is_audio() {
            let (flags, _) = split_sound(&info, &data);
            let format = SoundFormat { codec: info.codec, rate_hz: flags.rate_hz, channels: flags.channels };
            self.sound = Some(format);
            let header_len = data.len() - split_sound(&info, &data).1.len();
            let data = Bytes::from(data).slice(header_len..);
            return Some(AvFrame { media: Media::Audio(format), pts, data, gap });
        }
        let keyframe = channel == MediaChannel::IVideo || info.flags & 1 == 1;
        Some(AvFrame { media: Media::Video { codec: info.codec, keyframe }, pts, data: data.into(), gap })
    }
}

/// Which sign of life stayed away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    Media,
    Keepalive,
}

impl Silence {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Media => "pictures and sound",
            Self::Keepalive => "keepalives",
        }
    }
}

/// The reference client never notices that a camera has fallen silent; this does.
///
/// How often cameras send keepalives is not known, so they are missed only once two have come, and not
/// before three times their interval.
pub(super) struct Watchdog {
    media: Instant,
    keepalive: Option<Keepalive>,
}

#[derive(Clone, Copy)]
struct Keepalive {
    last: Instant,
    interval: Option<Duration>,
}

impl Watchdog {
    pub(super) fn new(now: Instant) -> Self {
        Self { media: now, keepalive: None }
    }

    pub(super) fn on_media(&mut self, now: Instant) {
        self.media = now;
    }

    pub(super) fn on_keepalive(&mut self, now: Instant) {
        let interval = self.keepalive.map(|keepalive| {
            let passed = now.duration_since(keepalive.last);
            keepalive.interval.map_or(passed, |interval| interval.max(passed))
        });
        self.keepalive = Some(Keepalive { last: now, interval });
    }

    pub(super) fn deadline(&self) -> Instant {
        let media = self.media + MEDIA_LIMIT;
        self.keepalive_limit().map_or(media, |keepalive| keepalive.min(media))
    }

    pub(super) fn silence(&self, now: Instant) -> Option<Silence> {
        if now >= self.media + MEDIA_LIMIT {
            return Some(Silence::Media);
        }
        self.keepalive_limit().filter(|limit| now >= *limit).map(|_| Silence::Keepalive)
    }

    fn keepalive_limit(&self) -> Option<Instant> {
        let Keepalive { last, interval } = self.keepalive?;
        Some(last + KEEPALIVE_LIMIT.max(3 * interval?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests::start_of_time;

    const SECOND: Duration = Duration::from_secs(1);

    /// When the silence of a camera is noticed that sends media throughout, and keepalives at these seconds.
    fn noticed(keepalives: &[u32]) -> Option<u32> {
        let start = start_of_time();
        let mut watchdog = Watchdog::new(start);
        (0..120).find(|&second| {
            let now = start + second * SECOND;
            watchdog.on_media(now);
            if keepalives.contains(&second) {
                watchdog.on_keepalive(now);
            }
            watchdog.silence(now) == Some(Silence::Keepalive)
        })
    }

    #[test]
    fn keepalives_that_stop_are_missed_after_ten_seconds_or_three_intervals() {
        assert_eq!(noticed(&[1, 2, 3]), Some(13));
        assert_eq!(noticed(&[10, 30]), Some(90));
    }

    #[test]
    fn a_camera_that_was_not_heard_to_send_keepalives_is_not_blamed_for_it() {
        assert_eq!(noticed(&[]), None);
        assert_eq!(noticed(&[5]), None);
    }

    #[test]
    fn media_are_missed_after_five_seconds() {
        let start = start_of_time();
        let mut watchdog = Watchdog::new(start);
        watchdog.on_media(start + SECOND);
        assert_eq!(watchdog.silence(start + 6 * SECOND - Duration::from_millis(1)), None);
        assert_eq!(watchdog.silence(watchdog.deadline()), Some(Silence::Media));
        assert_eq!(watchdog.deadline(), start + 6 * SECOND);
    }
}
