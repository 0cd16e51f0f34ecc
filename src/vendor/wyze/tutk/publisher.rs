//! From a session's events to the doorbell's hub and state.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::media::h26x::AccessUnits;
use crate::media::{AudioCodec, AudioFormat, FrameKind, MediaHub, VideoCodec};
use crate::model::{Link, State};
use crate::proto::tutk::frame::CodecId;
use crate::proto::tutk::session::{AvFrame, Event, Media, SoundFormat, Transport};

/// Called by the session's driver, so it never waits.
pub(super) struct Publisher<'a> {
    hub: MediaHub,
    state: watch::Sender<State>,
    /// Everything but frames. Full: the event is lost, which the driver's order makes impossible.
    events: mpsc::Sender<Event>,
    pictures: Option<AccessUnits>,
    /// A codec that is not understood is told of once a life, however often somebody looks.
    told_of_codec: &'a mut bool,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(
        hub: MediaHub,
        state: watch::Sender<State>,
        events: mpsc::Sender<Event>,
        told_of_codec: &'a mut bool,
    ) -> Self {
        Self { hub, state, events, pictures: None, told_of_codec }
    }

    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Frame(frame) => return self.frame(frame),
            Event::Found { transport } => {
                tracing::debug!(?transport, "the camera answered");
                self.state.send_modify(|state| state.transport = Some(word(transport)));
            }
            Event::LoggedIn { ref firmware, two_way } => tracing::debug!(?firmware, two_way, "logged in to the camera"),
            Event::WrongHmac => tracing::warn!("the camera signs its packets wrongly; they are taken all the same"),
            Event::Answered | Event::TalkOpen { .. } | Event::TalkClosed { .. } => {}
        }
        let _conductor_gone = self.events.try_send(event);
    }

    fn frame(&mut self, frame: AvFrame) {
        match frame.media {
            Media::Video { codec, .. } => match picture_codec(codec) {
                Some(codec) => self.picture(codec, frame),
                None => self.not_understood(codec),
            },
            Media::Audio(format) => match sound(format) {
                Some(format) => self.hub.publish(FrameKind::Audio(format), frame.pts, frame.data),
                None => self.not_understood(format.codec),
            },
        }
    }

    fn picture(&mut self, codec: VideoCodec, frame: AvFrame) {
        if frame.gap {
            // Until the next keyframe every picture is damaged.
            self.hub.request_keyframe();
        }
        if self.pictures.as_ref().is_none_or(|pictures| pictures.codec() != codec) {
            self.pictures = Some(AccessUnits::new(codec));
        }
        let Some(unit) = self.pictures.as_mut().and_then(|pictures| pictures.push(frame.data)) else { return };
        self.show(codec, unit.keyframe, frame.pts, unit.data);
    }

    fn show(&mut self, codec: VideoCodec, keyframe: bool, pts: Duration, data: Bytes) {
        self.hub.publish(FrameKind::Video { codec, keyframe }, pts, data);
        let watched = *self.hub.demand().borrow() > 0;
        let live = self.state.send_if_modified(|state| {
            if !watched && !state.talking {
                // The session is only there to see whether the camera is, or for one who has just left.
                return false;
            }
            let news = state.link != Link::Streaming;
            state.link = Link::Streaming;
            state.last_error = None;
            news
        });
        if live {
            tracing::info!("picture is live");
        }
    }

    fn not_understood(&mut self, codec: CodecId) {
        if !std::mem::replace(self.told_of_codec, true) {
            tracing::warn!(?codec, "the camera sends a format that Doorstep does not know; it is left out");
        }
    }
}

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Old => "lan_old",
        Transport::New => "lan_new",
    }
}

fn picture_codec(codec: CodecId) -> Option<VideoCodec> {
    match codec {
        CodecId::H264 => Some(VideoCodec::H264),
        CodecId::H265 => Some(VideoCodec::H265),
        _ => None,
    }
}

/// The format in the words of the hub, if it is one that can be played.
pub(super) fn sound(format: SoundFormat) -> Option<AudioFormat> {
    let codec = match format.codec {
        CodecId::Pcmu => AudioCodec::Pcmu,
        CodecId::Pcma => AudioCodec::Pcma,
        CodecId::Pcm => AudioCodec::Pcm,
        CodecId::AacRaw | CodecId::AacAdts | CodecId::AacWyze => AudioCodec::Aac,
        CodecId::Opus => AudioCodec::Opus,
        _ => return None,
    };
    Some(AudioFormat { codec, rate_hz: format.rate_hz, channels: format.channels })
}
