//! A Vivint camera by hand, on the virtual signalling database: it picks up when a test says so, and says what the
//! test says.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use doorstep::media::{AudioFormat, FrameKind, FrameStream, MediaHub};
use doorstep::proto::vivint::channel::{self, Body, Received};
use doorstep::proto::vivint::signaling::{IceMessage, Message, SdpMessage, SdpType, path};
use doorstep::rtc::camera::{CameraPeer, Channel, Ending, Sound, Video, Wanted};
use doorstep::sim::vivint::tree::Tree;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::impair;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
pub(crate) const BOTH: &[AudioFormat] = &[AudioFormat::OPUS, AudioFormat::PCMU];
pub(crate) const EMPTY: Bytes = Bytes::new();

pub(crate) struct Hand {
    pub(crate) tree: Tree,
    panel: i64,
    pub(crate) uuid: String,
    calls: mpsc::Receiver<Value>,
}

impl Hand {
    pub(crate) fn new(tree: Tree, panel: i64, uuid: &str) -> Self {
        let calls = tree.watch(&path(Some(panel), uuid));
        Self { tree, panel, uuid: uuid.to_owned(), calls }
    }

    pub(crate) fn path(&self, device: &str) -> String {
        path(Some(self.panel), device)
    }

    /// The next call of whoever `uid` is; what else comes to its node is passed over.
    pub(crate) async fn called_by(&mut self, uid: &str) -> SdpMessage {
        let search = async {
            loop {
                let value = self.calls.recv().await.expect("the database is there");
                if let Some(Message::Sdp(offer)) = Message::read(&value)
                    && offer.sdp_type == SdpType::Offer
                    && offer.from.as_deref() == Some(uid)
                {
                    return offer;
                }
            }
        };
        timeout(PATIENCE, search).await.expect("nobody calls")
    }

    /// The next answer to a call of its own.
    pub(crate) async fn answered(&mut self) -> SdpMessage {
        let search = async {
            loop {
                let value = self.calls.recv().await.expect("the database is there");
                if let Some(Message::Sdp(answer)) = Message::read(&value)
                    && answer.sdp_type == SdpType::Answer
                {
                    return answer;
                }
            }
        };
        timeout(PATIENCE, search).await.expect("nobody answers")
    }

    /// Tells the app something.
    pub(crate) fn tells(&self, uid: &str, message: Message) {
        self.tree.put(&self.path(uid), message.to_value());
    }

    pub(crate) fn sdp(&self, sdp_type: SdpType, sdp: String, transaction_uuid: Option<String>) -> Message {
        let from = Some(self.uuid.clone());
        let timestamp_ms = Some(now_ms());
        Message::Sdp(SdpMessage { sdp_type, sdp, transaction_uuid, from, video_source: None, timestamp_ms })
    }

    pub(crate) fn ice(&self, candidate: &str) -> Message {
        let (from, timestamp_ms) = (Some(self.uuid.clone()), Some(now_ms()));
        Message::Ice(IceMessage { candidate: candidate.to_owned(), sdp_m_line_index: Some(0), from, timestamp_ms })
    }

    /// Picks up, and resolves when its channel is open.
    pub(crate) async fn picks_up(&mut self, uid: &str, speaks: &'static [AudioFormat]) -> Line {
        let offer = self.called_by(uid).await;
        self.answers(&offer, speaks).await
    }

    pub(crate) async fn answers(&self, offer: &SdpMessage, speaks: &'static [AudioFormat]) -> Line {
        let (peer, frames) = answering(&offer.sdp, speaks).await;
        let answer = self.sdp(SdpType::Answer, peer.sdp(), offer.transaction_uuid.clone());
        self.tells(offer.from.as_deref().unwrap(), answer);
        Line::open(peer, frames).await
    }

    /// Picks up, and can be reached over a way only that loses `loss` of all datagrams.
    pub(crate) async fn picks_up_far_away(&mut self, uid: &str, loss: f64, seed: u64) -> (Line, impair::Udp) {
        let offer = self.called_by(uid).await;
        // It is told no address of the app, so it sends nothing but over the way.
        let (peer, frames) = answering(&without_candidates(&offer.sdp), BOTH).await;
        let here = peer.sdp().lines().find_map(loopback_candidate).expect("an address on this machine");
        let way = impair::Udp::to(here, impair::Line::lossy(loss), seed);
        let far = format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {} typ host\r\n", way.address.port());
        // Into the first section, which carries them all.
        let answer = without_candidates(&peer.sdp()).replacen("a=ice-ufrag", &format!("{far}a=ice-ufrag"), 1);
        self.tells(uid, self.sdp(SdpType::Answer, answer, offer.transaction_uuid));
        (Line::open(peer, frames).await, way)
    }

    /// Calls by itself.
    pub(crate) async fn calls(&mut self, uid: &str) -> Line {
        let hub = MediaHub::new();
        let frames = hub.listen();
        let mut peer = CameraPeer::offer(wanted(hub, BOTH)).await.unwrap();
        peer.gathered(PATIENCE).await;
        self.tells(uid, self.sdp(SdpType::Offer, peer.sdp(), Some("by-the-camera".to_owned())));
        let answer = self.answered().await;
        assert_eq!(answer.transaction_uuid.as_deref(), Some("by-the-camera"));
        peer.answer(&answer.sdp).await.expect("an answer that can be read");
        Line::open(peer, frames).await
    }
}

async fn answering(offer: &str, speaks: &'static [AudioFormat]) -> (CameraPeer, FrameStream) {
    let hub = MediaHub::new();
    let frames = hub.listen();
    let mut peer = CameraPeer::answer_to(wanted(hub, speaks), offer).await.expect("an offer that can be read");
    peer.gathered(PATIENCE).await;
    (peer, frames)
}

fn without_candidates(sdp: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with("a=candidate:")).collect()
}

fn loopback_candidate(line: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
    (words[4] == "127.0.0.1").then(|| format!("{}:{}", words[4], words[5]).parse().unwrap())
}

fn wanted(hub: MediaHub, speaks: &'static [AudioFormat]) -> Wanted<'static> {
    Wanted {
        hub,
        video: Video::None,
        sound: Sound::Both(speaks),
        channel: Some(channel::LABEL),
        ice_servers: &[],
        relay_only: false,
        loopback: true,
    }
}

/// The camera's end of a call. Dropping it hangs up.
pub(crate) struct Line {
    _peer: CameraPeer,
    channel: Channel,
    frames: FrameStream,
    flow: AbortOnDropHandle<Ending>,
}

impl Line {
    async fn open(mut peer: CameraPeer, frames: FrameStream) -> Self {
        let mut channel = peer.take_channel().unwrap();
        let opened = async {
            peer.connected().await?;
            channel.opened().await
        };
        timeout(PATIENCE, opened).await.expect("no channel").unwrap();
        let flow = peer.flow();
        Self { _peer: peer, channel, frames, flow }
    }

    /// What it is told next, but Pings, which it answers. `None` when the app has hung up.
    pub(crate) async fn is_told(&mut self) -> Option<Body> {
        let next = async {
            loop {
                match Received::decode(self.channel.next().await?).expect("the app knows how to write") {
                    Received::Known(Body::Ping(_)) => self.says(Body::Pong(EMPTY)).await,
                    Received::Known(body) => return Some(body),
                    other => panic!("the app says {other}"),
                }
            }
        };
        timeout(PATIENCE, next).await.expect("it is told nothing")
    }

    pub(crate) async fn says(&self, body: Body) {
        self.sends(body.to_bytes()).await;
    }

    /// Whatever it is.
    pub(crate) async fn sends(&self, message: Bytes) {
        self.channel.send(message).await.expect("the app is there");
    }

    /// Lets the app talk, as soon as it asks to.
    pub(crate) async fn consents(&mut self) {
        assert_eq!(self.is_told().await, Some(Body::TwoWayTalkStart(EMPTY)));
        assert!(self.is_silent(), "sound has come before the consent");
        self.says(Body::TwoWayTalkStartResponse(EMPTY)).await;
    }

    /// Is told that the talk is over and then hung up on.
    pub(crate) async fn hears_farewell(mut self) {
        assert_eq!(self.is_told().await, Some(Body::TwoWayTalkEnd(EMPTY)));
        self.says(Body::TwoWayTalkEndResponse(EMPTY)).await;
        assert_eq!(self.is_told().await, None, "it says more after the end");
        let ending = timeout(PATIENCE, &mut self.flow).await.expect("the call goes on").unwrap();
        assert_eq!(ending, Ending::HungUp);
    }

    /// Ten pieces of sound in this format.
    pub(crate) async fn hears(&mut self, format: AudioFormat) {
        for _ in 0..10 {
            let frame = timeout(PATIENCE, self.frames.next()).await.expect("nothing is heard").unwrap();
            assert_eq!(frame.kind, FrameKind::Audio(format));
        }
    }

    /// Whether nothing was heard that has not been listened to.
    pub(crate) fn is_silent(&mut self) -> bool {
        use futures_util::FutureExt;
        self.frames.next().now_or_never().is_none()
    }
}

pub(crate) fn now_ms() -> i64 {
    let now = doorstep::clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}
