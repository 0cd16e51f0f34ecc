//! From a session's events to the doorbell's hub and state.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::media::h26x::AccessUnits;
use crate::media::{AudioCodec, AudioFormat, FrameKind, MediaHub, VideoCodec};
use crate::model::{Link, State};
use crate::proto::gwell::session::{AvFrame, Event, Media, Path};

/// What the cameras hear (gwell reference §9).
const SOUND: AudioFormat = AudioFormat { codec: AudioCodec::Pcmu, rate_hz: 16_000, channels: 1 };

/// Called by the session's driver, so it never waits.
pub(super) struct Publisher {
    hub: MediaHub,
    state: watch::Sender<State>,
    /// Everything but frames. Full: the event is lost, which the driver's order makes impossible.
    events: mpsc::Sender<Event>,
    /// H.264; another codec was never seen.
    pictures: AccessUnits,
    /// Whether there was a keyframe in this session: what comes before it builds on nothing.
    begun: bool,
}

impl Publisher {
    pub(super) fn new(hub: MediaHub, state: watch::Sender<State>, events: mpsc::Sender<Event>) -> Self {
        Self { hub, state, events, pictures: AccessUnits::new(VideoCodec::H264), begun: false }
    }

    pub(super) fn take(&mut self, event: Event) {
        match &event {
            Event::Frame(frame) => return self.frame(frame),
            Event::Certified { .. } => tracing::debug!("the P2P server takes the token"),
            Event::Listed(devices) => tracing::debug!(devices = devices.len(), "the P2P server lists the devices"),
            Event::Found { path } => {
                let transport = word(*path);
                tracing::debug!(transport, "the camera is reached");
                self.state.send_modify(|state| state.transport = Some(transport));
            }
            Event::Accepted => tracing::debug!("the camera accepts the stream"),
            Event::NotRenewed { code } => tracing::debug!(code, "the P2P server does not take the newer token"),
        }
        let _life_over = self.events.try_send(event);
    }

    /// Over GWell nobody can ask for a keyframe: what was lost stays to be seen until the camera sends the next one.
    fn frame(&mut self, frame: &AvFrame) {
        match frame.media {
            Media::Audio => self.hub.publish(FrameKind::Audio(SOUND), frame.pts, frame.data.clone()),
            Media::Video => {
                let Some(unit) = self.pictures.push(frame.data.clone()) else { return };
                self.begun |= unit.keyframe;
                if self.begun {
                    self.show(unit.keyframe, frame.pts, unit.data);
                }
            }
        }
    }

    fn show(&mut self, keyframe: bool, pts: Duration, data: Bytes) {
        self.hub.publish(FrameKind::Video { codec: VideoCodec::H264, keyframe }, pts, data);
        let live = self.state.send_if_modified(|state| {
            let news = state.link != Link::Streaming;
            state.link = Link::Streaming;
            state.last_error = None;
            news
        });
        if live {
            tracing::info!("picture is live");
        }
    }
}

/// How the state names a path.
fn word(path: Path) -> &'static str {
    match path {
        Path::LanTcp => "gwell_lan_tcp",
        Path::LanUdp => "gwell_lan_udp",
        Path::RelayTcp => "gwell_relay_tcp",
        Path::RelayUdp => "gwell_relay_udp",
        Path::Passthrough => "gwell_passthrough",
    }
}
