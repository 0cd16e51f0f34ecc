//! One viewer, from its offer to its end: a connection of its own, and the channels that it opens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::door::echo;
use super::fault::Fault;
use super::master::Doorbell;
use super::profile::{Habits, Text};
use super::{Event, ear, frames};
use crate::media::MediaHub;
use crate::rtc::camera::{CameraPeer, Ending, PeerError, Sound, TextChannel, TextChannels, Video, Wanted};

/// What comes from the service for one viewer.
pub(super) struct Visit {
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) viewer: String,
    pub(super) offer: String,
    /// Its candidates.
    pub(super) remote: mpsc::Receiver<String>,
    /// Frames for it.
    pub(super) outbound: mpsc::Sender<String>,
}

impl Visit {
    /// Until it is over.
    pub(super) async fn run(self) {
        let (doorbell, viewer) = (self.doorbell.clone(), self.viewer.clone());
        match Call::answer(self).await {
            Ok(call) => {
                let why = call.keep().await.to_owned();
                doorbell.tell.tell(Event::Left { viewer, why });
            }
            Err(why) => doorbell.tell.tell(Event::NotAnswered { viewer, why }),
        }
    }
}

struct Call {
    doorbell: Arc<Doorbell>,
    viewer: String,
    remote: mpsc::Receiver<String>,
    outbound: mpsc::Sender<String>,
    peer: CameraPeer,
    channels: Option<TextChannels>,
    /// Each is listened to until it closes.
    open: JoinSet<()>,
    _ear: AbortOnDropHandle<()>,
    _own_channel: Option<OwnChannel>,
}

impl Call {
    /// Until every address is known, at most; over a relay it takes some round trips.
    const GATHER_WITHIN: Duration = Duration::from_secs(3);
    /// C masters bear with a viewer that does not come for 24 s (kvs reference §5).
    const CONNECT_WITHIN: Duration = Duration::from_secs(24);
    /// More that a viewer opens are left alone.
    const MOST_CHANNELS: usize = 4;

    /// # Errors
    /// Why the offer stays unanswered.
    async fn answer(visit: Visit) -> Result<Self, &'static str> {
        let Visit { doorbell, viewer, offer, remote, outbound } = visit;
        match doorbell.fault() {
            Some(Fault::NoAnswer | Fault::Vanish) => return Err("the doorbell is told to leave it"),
            Some(Fault::LateAnswer) => tokio::time::sleep(Fault::LATE).await,
            _ => {}
        }
        let (ice_servers, hub) = (doorbell.ice_servers().await, MediaHub::new());
        let wanted = Wanted {
            hub: hub.clone(),
            video: Video::Send(doorbell.film.clone()),
            sound: Sound::Both(doorbell.habits.sound),
            channel: None,
            ice_servers: &ice_servers,
            relay_only: false,
            loopback: doorbell.loopback,
        };
        let mut peer = CameraPeer::answer_to(wanted, &offer).await.map_err(|error| match error {
            PeerError::NoVideo => "it takes no H.264",
            PeerError::BadOffer | PeerError::BadAnswer => "it is no offer",
            PeerError::Setup(_) => "the doorbell has no WebRTC",
        })?;
        let _own_channel = OwnChannel::open(&doorbell, &viewer, &peer).await;
        let listening = ear::listen(viewer.clone(), hub.listen(), doorbell.speaker.clone(), doorbell.tell.clone());
        let channels = peer.take_channels();
        let mut call = Self {
            doorbell,
            viewer,
            remote,
            outbound,
            peer,
            channels,
            open: JoinSet::new(),
            // It ends with the hub, which the connection holds.
            _ear: AbortOnDropHandle::new(tokio::spawn(listening)),
            _own_channel,
        };
        call.send_answer().await;
        Ok(call)
    }

    async fn send_answer(&mut self) {
        let (Habits { complete_answer, spelling, .. }, fault) = (self.doorbell.habits, self.doorbell.fault());
        let mut sdp = self.peer.sdp();
        if complete_answer || fault == Some(Fault::EarlyCandidates) {
            self.peer.gathered(Self::GATHER_WITHIN).await;
        }
        if fault == Some(Fault::EarlyCandidates) {
            for candidate in candidates(&self.peer.sdp()) {
                self.tell_candidate(&candidate);
            }
        } else if complete_answer {
            sdp = self.peer.sdp();
        }
        let answer = frames::answer(spelling, &sdp, &self.viewer, &self.doorbell.number().to_string());
        for _ in 0..if fault == Some(Fault::AnswersTwice) { 2 } else { 1 } {
            self.send(answer.clone());
        }
        self.tell(|viewer| Event::Answered { viewer });
    }

    /// Why it has ended.
    async fn keep(mut self) -> &'static str {
        let mut connected = std::pin::pin!(tokio::time::timeout(Self::CONNECT_WITHIN, self.peer.connected()));
        let mut flowing = None;
        let mut trickles = !self.doorbell.habits.complete_answer;
        loop {
            tokio::select! {
                outcome = &mut connected, if flowing.is_none() => match outcome {
                    Ok(Ok(())) => {
                        flowing = Some(self.peer.flow());
                        self.tell(|viewer| Event::Connected { viewer });
                    }
                    Ok(Err(ending)) => return gone(ending),
                    Err(_) => return gone(Ending::NoPath),
                },
                ending = over(&mut flowing) => return gone(ending),
                candidate = self.peer.candidate(), if trickles => match candidate {
                    Some(candidate) => self.tell_candidate(&candidate),
                    None => trickles = false,
                },
                Some(candidate) = self.remote.recv() => self.peer.add_candidate(&candidate).await,
                Some(channel) = next(&mut self.channels) => self.attend(channel),
                Some(_closed) = self.open.join_next() => {}
            }
        }
    }

    fn attend(&mut self, channel: TextChannel) {
        if self.open.len() < Self::MOST_CHANNELS {
            let ear = Ear::new(self.doorbell.clone(), self.viewer.clone(), channel);
            self.open.spawn(ear.listen());
        }
    }

    fn tell_candidate(&self, candidate: &str) {
        let number = self.doorbell.number().to_string();
        if let Some(frame) = frames::candidate(self.doorbell.habits.spelling, candidate, &self.viewer, &number) {
            self.send(frame);
        }
    }

    /// A service that is away for longer than frames wait is told nothing.
    fn send(&self, frame: String) {
        let _full = self.outbound.try_send(frame);
    }

    fn tell(&self, event: impl FnOnce(String) -> Event) {
        self.doorbell.tell.tell(event(self.viewer.clone()));
    }
}

/// Those in an answer, each once.
fn candidates(sdp: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for candidate in sdp.lines().filter_map(|line| line.strip_prefix("a=")).filter(|a| a.starts_with("candidate:")) {
        if !all.iter().any(|known| known == candidate) {
            all.push(candidate.to_owned());
        }
    }
    all
}

fn gone(ending: Ending) -> &'static str {
    match ending {
        Ending::NoPath => "no way to the viewer through the network was found",
        Ending::Lost => "nothing was heard of the viewer for 30 s",
        Ending::HungUp | Ending::Silent => "the viewer hung up",
    }
}

/// Never, before media flow.
async fn over(flowing: &mut Option<AbortOnDropHandle<Ending>>) -> Ending {
    match flowing {
        Some(flowing) => flowing.await.unwrap_or(Ending::HungUp),
        None => std::future::pending().await,
    }
}

async fn next(channels: &mut Option<TextChannels>) -> Option<TextChannel> {
    match channels {
        Some(channels) => channels.next().await,
        None => None,
    }
}

/// The channel that the Python sample opens to each viewer, over which it passes on what it hears.
struct OwnChannel {
    doorbell: Arc<Doorbell>,
    viewer: String,
}

impl OwnChannel {
    async fn open(doorbell: &Arc<Doorbell>, viewer: &str, peer: &CameraPeer) -> Option<Self> {
        let Text::Broadcast { label } = doorbell.habits.text else { return None };
        let channel = peer.open_channel(label).await.ok()?;
        doorbell.own_channels().insert(viewer.to_owned(), channel);
        Some(Self { doorbell: doorbell.clone(), viewer: viewer.to_owned() })
    }
}

impl Drop for OwnChannel {
    fn drop(&mut self) {
        self.doorbell.own_channels().remove(&self.viewer);
    }
}

/// Listens to one channel that a viewer has opened.
struct Ear {
    doorbell: Arc<Doorbell>,
    viewer: String,
    channel: TextChannel,
    source: u64,
}

impl Ear {
    fn new(doorbell: Arc<Doorbell>, viewer: String, channel: TextChannel) -> Self {
        let source = doorbell.number();
        let label = channel.label().to_owned();
        doorbell.tell.tell(Event::ChannelOpened { viewer: viewer.clone(), label });
        Self { doorbell, viewer, channel, source }
    }

    /// One message after the other: while a door opens, nothing else is heard.
    async fn listen(self) {
        while let Some(text) = self.channel.next().await {
            if let Some(reply) = self.reply(&text).await {
                let _closed = self.channel.send(&reply).await;
            }
        }
    }

    async fn reply(&self, text: &str) -> Option<String> {
        let doorbell = &self.doorbell;
        if doorbell.habits.text == Text::Door {
            return doorbell.door.hear(&self.viewer, self.source, text).await;
        }
        doorbell.tell.tell(Event::Message { viewer: self.viewer.clone(), bytes: text.len() });
        if doorbell.fault() == Some(Fault::Vanish) {
            return None;
        }
        if doorbell.habits.text == Text::Echo {
            return Some(echo(text));
        }
        doorbell.pass_on(text).await;
        None
    }
}

/// Also when the viewer is gone in the middle of it.
impl Drop for Ear {
    fn drop(&mut self) {
        self.doorbell.door.led.lost(self.source);
        let (viewer, label) = (self.viewer.clone(), self.channel.label().to_owned());
        self.doorbell.tell.tell(Event::ChannelClosed { viewer, label });
    }
}
