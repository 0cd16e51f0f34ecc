//! The stream itself: INITREQ until ACCEPT, START, media, and the watch over them, on two KCP conversations
//! (gwell reference §7, §8, §11 steps 8 to 10).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::unix_time::UnixTime;
use super::{AvFrame, Dropped, Event, Media, SessionError};
use crate::proto::gwell::av::{self, Demuxer};
use crate::proto::gwell::kcp::{self, Arq, Kcp, KcpError, Windows};
use crate::proto::gwell::message::{Message, viewer_av_init};
use crate::proto::gwell::rc5::Rc5;
use crate::proto::gwell::stream_control::{Action, Definition, StreamControl};

const REQUEST_INTERVAL: Duration = Duration::from_millis(500);
/// Of an INITREQ to its ACCEPT.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// INITREQs that KCP may still be repeating by itself when the next is due.
const MAX_REQUESTS_UNDER_WAY: usize = 8;
const FIRST_PICTURE_LIMIT: Duration = Duration::from_secs(60);
/// Without pictures and sound. Doorbells on batteries end by falling silent.
const MEDIA_LIMIT: Duration = Duration::from_secs(15);
/// KCP flushes at most this often by itself (reference §7).
const KCP_INTERVAL_MS: u32 = 10;

/// Where a stream stands.
enum Phase {
    /// No way to the camera yet.
    Waiting,
    /// INITREQ is repeated, ACCEPT awaited.
    Requesting { next: Instant, until: Instant },
    /// START and AV_INIT are sent.
    Started { watchdog: Watchdog, echoed: bool },
}

pub(super) struct Stream {
    id: u32,
    key: Rc5,
    time: UnixTime,
    phase: Phase,
    data: Conversation,
    ctrl: Conversation,
    demuxer: Demuxer,
    events: VecDeque<Event>,
    /// Whether the camera's side of the conversations stands.
    heard: bool,
}

/// A KCP engine, and when it wants to be woken.
struct Conversation {
    id: u32,
    engine: Kcp,
    due: Option<Instant>,
}

impl Conversation {
    fn new(id: u32, windows: Windows) -> Self {
        Self { id, engine: Kcp::new(id, windows), due: None }
    }

    fn send(&mut self, now: Instant, time: UnixTime, message: &[u8]) -> Result<(), SessionError> {
        // The engine refuses only what no window could hold.
        self.engine.send(message).map_err(|_| SessionError::Unreadable("a message too long for KCP"))?;
        self.wake(now, time);
        Ok(())
    }

    fn wake(&mut self, now: Instant, time: UnixTime) {
        self.due = Some(now + self.engine.due_in(time.kcp_ms(now)));
    }

    fn on_timeout(&mut self, now: Instant, time: UnixTime) {
        if self.due.is_some_and(|due| now >= due) {
            self.update(now, time.kcp_ms(now));
        }
    }

    fn update(&mut self, now: Instant, kcp_ms: u32) {
        self.engine.update(kcp_ms);
        self.due = Some(now + self.engine.due_in(kcp_ms));
    }
}

impl Stream {
    /// `mtp_key` is the CALLING's.
    pub(super) fn new(link_id: u32, id: u32, mtp_key: &[u8; 8], time: UnixTime) -> Self {
        let conversations = kcp::conversations(link_id);
        Self {
            id,
            key: Rc5::new(mtp_key),
            time,
            phase: Phase::Waiting,
            data: Conversation::new(conversations.data, Windows::DATA),
            ctrl: Conversation::new(conversations.ctrl, Windows::CTRL),
            demuxer: Demuxer::default(),
            events: VecDeque::new(),
            heard: false,
        }
    }

    /// There is a way to the camera, or another one: asks for the stream. One that stands is asked for once more, which
    /// cameras pass over (reference §7); they go on to where KCP comes from, and otherwise we may have nothing to say.
    pub(super) fn on_way(&mut self, now: Instant) -> Result<(), SessionError> {
        match self.phase {
            Phase::Waiting => self.phase = Phase::Requesting { next: now, until: now + REQUEST_LIMIT },
            Phase::Requesting { .. } => {}
            Phase::Started { .. } => self.request(now)?,
        }
        self.on_timeout(now)
    }

    pub(super) fn is_heard(&self) -> bool {
        self.heard
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.phase, Phase::Started { .. })
    }

    /// Whether the camera may believe that we watch.
    fn is_begun(&self) -> bool {
        !matches!(self.phase, Phase::Waiting)
    }

    // Receiving.

    /// The segments of one MTP payload, of either conversation. Whether any was taken.
    pub(super) fn on_segments(
        &mut self,
        now: Instant,
        segments: &[u8],
        dropped: &mut Dropped,
    ) -> Result<bool, SessionError> {
        let mut is_heard = false;
        let data = self.data.id;
        for (id, run) in kcp::by_conversation(segments) {
            let own = [&mut self.data, &mut self.ctrl].into_iter().find(|own| own.id == id);
            let Some(own) = own else {
                dropped.kcp += 1;
                continue;
            };
            let input = own.engine.input(run);
            if id == data && matches!(input, Err(KcpError::Fragment { .. })) {
                // A message was given up: bytes are missing from the stream.
                self.demuxer.lost();
            }
            let taken = input.is_ok();
            // Beside segments that are refused, others may have been taken.
            own.wake(now, self.time);
            is_heard |= taken;
            dropped.kcp += u64::from(!taken);
        }
        self.heard |= is_heard;
        self.on_messages(now, dropped)?;
        self.on_conversations(now);
        Ok(is_heard)
    }

    fn on_messages(&mut self, now: Instant, dropped: &mut Dropped) -> Result<(), SessionError> {
        while let Some(message) = self.ctrl.engine.recv().or_else(|| self.data.engine.recv()) {
            match Message::decode(&message, &self.key) {
                Ok(Message::Control(control)) => self.on_control(now, control, dropped)?,
                Ok(Message::Av(plain)) => self.on_av(now, &plain, dropped),
                // Of the camera's commands nothing is known.
                Ok(Message::Command(_)) => {}
                Err(_) => {
                    dropped.media += 1;
                    self.demuxer.lost();
                }
            }
        }
        Ok(())
    }

    fn on_control(&mut self, now: Instant, control: StreamControl, dropped: &mut Dropped) -> Result<(), SessionError> {
        if control.stream_id != self.id {
            dropped.foreign += 1;
            return Ok(());
        }
        match control.action {
            Action::Accept => self.on_accept(now),
            Action::Reject => Err(SessionError::NotAccepted { reason: Some(control.reason) }),
            Action::Stop | Action::Close => Err(SessionError::Closed),
            Action::Start => self.on_started(now, control),
            // A camera does not ask for our picture.
            Action::InitReq => Ok(()),
        }
    }

    fn on_accept(&mut self, now: Instant) -> Result<(), SessionError> {
        if !matches!(self.phase, Phase::Requesting { .. }) {
            return Ok(());
        }
        self.phase = Phase::Started { watchdog: Watchdog::new(now), echoed: false };
        self.events.push_back(Event::Accepted);
        let start = Message::Control(StreamControl::of(Action::Start, self.id)).encode(&self.key);
        self.data.send(now, self.time, &start)?;
        self.data.send(now, self.time, &viewer_av_init(&self.key))
    }

    /// The camera's STARTED goes back to it once: some want it, none minds (reference §8).
    fn on_started(&mut self, now: Instant, started: StreamControl) -> Result<(), SessionError> {
        let Phase::Started { echoed: echoed @ false, .. } = &mut self.phase else { return Ok(()) };
        *echoed = true;
        let echo = Message::Control(started).encode(&self.key);
        self.data.send(now, self.time, &echo)
    }

    fn on_av(&mut self, now: Instant, plain: &[u8], dropped: &mut Dropped) {
        let Phase::Started { watchdog, .. } = &mut self.phase else {
            dropped.media += 1;
            return;
        };
        let overlong = self.demuxer.overlong();
        self.demuxer.push(plain);
        dropped.media += self.demuxer.overlong() - overlong;
        for unit in self.demuxer.by_ref() {
            let media = match unit.media {
                av::Media::Video => Media::Video,
                av::Media::Audio => Media::Audio,
            };
            watchdog.on_media(now, media, &unit.data);
            let pts = Duration::from_micros(unit.pts_us);
            let gap = unit.gap || unit.damaged;
            self.events.push_back(Event::Frame(AvFrame { media, pts, data: unit.data, gap }));
        }
    }

    // Sending.

    pub(super) fn on_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        match &mut self.phase {
            Phase::Waiting => {}
            Phase::Requesting { until, .. } if now >= *until => return Err(SessionError::NotAccepted { reason: None }),
            Phase::Requesting { next, .. } if now >= *next => {
                *next = now + REQUEST_INTERVAL;
                self.request(now)?;
            }
            Phase::Requesting { .. } => {}
            Phase::Started { watchdog, .. } => watchdog.check(now)?,
        }
        self.on_conversations(now);
        Ok(())
    }

    fn on_conversations(&mut self, now: Instant) {
        self.ctrl.on_timeout(now, self.time);
        self.data.on_timeout(now, self.time);
    }

    fn request(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.ctrl.engine.backlog() >= MAX_REQUESTS_UNDER_WAY {
            return Ok(());
        }
        let request = Message::Control(StreamControl::init_req(self.id, Definition::Hd)).encode(&self.key);
        self.ctrl.send(now, self.time, &request)
    }

    /// CLOSE, at once and whatever KCP's own pace: its interval is over in what it is told of the time.
    pub(super) fn close(&mut self, now: Instant) {
        let close = Message::Control(StreamControl::of(Action::Close, self.id)).encode(&self.key);
        if self.is_begun() && self.ctrl.engine.send(&close).is_ok() {
            // What waits for the data conversation has lost its meaning.
            while self.data.engine.poll().is_some() {}
            self.ctrl.update(now, self.time.kcp_ms(now).wrapping_add(KCP_INTERVAL_MS));
        }
    }

    /// The next MTP payload for the camera.
    pub(super) fn poll_payload(&mut self) -> Option<Vec<u8>> {
        self.ctrl.engine.poll().or_else(|| self.data.engine.poll())
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Waiting => None,
            Phase::Requesting { next, until } => Some(*next.min(until)),
            Phase::Started { watchdog, .. } => Some(watchdog.deadline()),
        };
        phase.into_iter().chain(self.ctrl.due).chain(self.data.due).min()
    }
}

/// The reference client waits for ever; this does not.
struct Watchdog {
    started: Instant,
    /// Since the first picture that shows something by itself, when pictures or sound came last.
    media: Option<Instant>,
}

impl Watchdog {
    fn new(now: Instant) -> Self {
        Self { started: now, media: None }
    }

    fn on_media(&mut self, now: Instant, media: Media, data: &[u8]) {
        if self.media.is_some() || (media == Media::Video && is_keyframe(data)) {
            self.media = Some(now);
        }
    }

    fn deadline(&self) -> Instant {
        self.media.map_or(self.started + FIRST_PICTURE_LIMIT, |media| media + MEDIA_LIMIT)
    }

    fn check(&self, now: Instant) -> Result<(), SessionError> {
        match self.media {
            _ if now < self.deadline() => Ok(()),
            None => Err(SessionError::NoPicture),
            Some(_) => Err(SessionError::Silent),
        }
    }
}

/// Whether an access unit of H.264 in Annex B has an IDR slice, or the parameters that stand before one.
fn is_keyframe(picture: &[u8]) -> bool {
    picture.windows(4).any(|four| matches!(four, [0, 0, 1, nal] if matches!(nal & 0x1F, 5 | 7)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::gwell::session::tests::start_of_time;

    const SECOND: Duration = Duration::from_secs(1);
    const KEYFRAME: &[u8] = &[0, 0, 0, 1, 0x65, 0x88];

    #[test]
    fn pictures_that_nobody_can_begin_with_do_not_keep_a_stream_alive() {
        let start = start_of_time();
        for nothing in [&[0xAB; 3_000][..], &[0, 0, 0, 1, 0x41, 5], &[0, 0, 0, 1], &[]] {
            let mut watchdog = Watchdog::new(start);
            watchdog.on_media(start + SECOND * 59, Media::Video, nothing);
            assert_eq!(watchdog.check(start + SECOND * 60), Err(SessionError::NoPicture));
        }
        for keyframe in [KEYFRAME, &[9, 0, 0, 1, 0x67, 0x42]] {
            let mut watchdog = Watchdog::new(start);
            watchdog.on_media(start + SECOND * 59, Media::Video, keyframe);
            assert_eq!(watchdog.check(start + SECOND * 60), Ok(()));
        }
    }

    #[test]
    fn sound_does_not_stand_in_for_a_first_picture() {
        let start = start_of_time();
        let mut watchdog = Watchdog::new(start);
        watchdog.on_media(start + SECOND * 59, Media::Audio, KEYFRAME);
        assert_eq!(watchdog.check(start + SECOND * 59), Ok(()));
        assert_eq!(watchdog.check(start + SECOND * 60), Err(SessionError::NoPicture));
    }

    #[test]
    fn after_the_first_picture_either_medium_keeps_a_stream_alive() {
        let start = start_of_time();
        let mut watchdog = Watchdog::new(start);
        watchdog.on_media(start + SECOND, Media::Video, KEYFRAME);
        watchdog.on_media(start + SECOND * 14, Media::Audio, &[]);
        assert_eq!(watchdog.check(start + SECOND * 28), Ok(()));
        assert_eq!(watchdog.check(watchdog.deadline()), Err(SessionError::Silent));
        assert_eq!(watchdog.deadline(), start + SECOND * 29);
    }
}
