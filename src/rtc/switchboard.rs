//! The loop behind the one port: whose datagram it is, when whose deadline is, what goes to whom.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::rtp;
use rtc::shared::{TaggedBytesMut, TransportProtocol};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::allowance::Allowance;
use super::demux::{self, Kind, Stun};
use super::feed::{Feed, Item, Media};
use super::peer::{Heard, Inbound, Peer};
use super::playout::{Gop, Packet, Playout};
use super::tcp::Line;
use super::udp::{Received, Udp};
use super::viewers::{Advertised, Counters};
use crate::clock;
use crate::media::talkback::MicPacket;
use crate::media::{AudioFormat, Demand, MediaHub, VideoCodec};

/// From the answer to the first media; a viewer that takes longer never comes.
const JOIN_TIMEOUT: Duration = Duration::from_secs(12);
/// Addresses that one viewer may be known by; a laptop with a few networks has eight.
const MAX_SOURCES: usize = 16;
/// Payloads of all streams that wait for the loop; when it is full a feed skips to its next keyframe.
const ITEMS: usize = 512;
/// Datagrams taken in a row before deadlines are looked at again.
const ROUNDS: usize = 8;
/// Payloads played in a row before the port is looked at again.
const TURNS: usize = 64;
/// What one viewer may send a second, its checks apart: sound in packets of 20 ms, or of 2.5 ms, and what it reports.
const MEDIA_A_SECOND: u32 = 1_000;
/// By which one viewer may call itself: the engine keeps something for each that it ever sees, genuine or not.
const MAX_SSRCS: usize = 32;
/// Signed checks that one viewer may send a second, over all its addresses.
const CHECKS_A_SECOND: u32 = 200;
/// How long the loop sleeps when there is no viewer; anything that happens ends it.
const IDLE: Duration = Duration::from_secs(3_600);

/// What faces ask for.
pub(super) enum Command {
    Add(Box<Newcomer>),
    Candidates { viewer: u64, fragment: String, reply: oneshot::Sender<bool> },
    Close { viewer: u64, reply: oneshot::Sender<bool> },
    AbandonAll,
}

/// An answered viewer on its way into the loop.
pub(super) struct Newcomer {
    pub(super) viewer: u64,
    pub(super) peer: Peer,
    pub(super) advertised: Advertised,
    /// Keeps the camera streaming.
    pub(super) demand: Demand,
    /// What it is sent, if it takes pictures, and if it takes sound.
    pub(super) video: Option<VideoCodec>,
    pub(super) sound: Option<AudioFormat>,
    pub(super) mic: Option<(AudioFormat, mpsc::Sender<MicPacket>)>,
    /// Of its RTP timestamps.
    pub(super) offset: u32,
    pub(super) place: OwnedSemaphorePermit,
}

struct Viewer {
    peer: Peer,
    /// What it was told of us.
    advertised: Advertised,
    playout: Playout,
    stream: u64,
    video: Option<VideoCodec>,
    sound: Option<AudioFormat>,
    mic: Option<(AudioFormat, mpsc::Sender<MicPacket>)>,
    sources: Vec<Source>,
    ssrcs: Vec<u32>,
    media: Allowance,
    checks: Allowance,
    born: Instant,
    playing: bool,
    /// What keeps the camera streaming, and the place among the viewers.
    _demand: Demand,
    _place: OwnedSemaphorePermit,
}

/// A viewer's address, over one of the two transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    tcp: bool,
    address: SocketAddr,
}

/// A hub that somebody watches.
struct Stream {
    hub: MediaHub,
    feed: Feed,
    gop: Gop,
}

pub(super) struct Switchboard {
    outlet: Outlet,
    bind: IpAddr,
    viewers: HashMap<u64, Viewer>,
    by_ufrag: HashMap<String, u64>,
    /// Learned from checks that were signed with the viewer's password, from nothing else.
    by_source: HashMap<Source, u64>,
    streams: HashMap<u64, Stream>,
    next_stream: u64,
    items: mpsc::Sender<Item>,
    inbox: Option<mpsc::Receiver<Item>>,
    counters: Counters,
    shown: watch::Sender<Counters>,
}

/// Both ways out, and the address of ours by which each viewer knows us.
struct Outlet {
    udp: Udp,
    tcp: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    /// Only where the socket is bound to all addresses; see `Switchboard::learn`.
    reply_from: HashMap<SocketAddr, IpAddr>,
    refused: u64,
}

impl Outlet {
    fn send(&mut self, datagram: &TaggedBytesMut) {
        let to = datagram.transport.peer_addr;
        if datagram.transport.transport_protocol == TransportProtocol::UDP {
            let source = self.reply_from.get(&to).copied();
            return self.udp.send(to, source, &datagram.message);
        }
        let Some(queue) = self.tcp.get(&to) else { return };
        if queue.try_send(Bytes::copy_from_slice(&datagram.message)).is_err() {
            self.refused += 1;
        }
    }
}

impl Switchboard {
    pub(super) fn new(udp: Udp, bind: IpAddr) -> (Self, watch::Receiver<Counters>) {
        let (items, inbox) = mpsc::channel(ITEMS);
        let (shown, counters) = watch::channel(Counters::default());
        let outlet = Outlet { udp, tcp: HashMap::new(), reply_from: HashMap::new(), refused: 0 };
        let board = Self {
            outlet,
            bind,
            viewers: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_source: HashMap::new(),
            streams: HashMap::new(),
            next_stream: 0,
            items,
            inbox: Some(inbox),
            counters: Counters::default(),
            shown,
        };
        (board, counters)
    }

    /// Runs until `stop`; then every viewer is told good-bye.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut lines: mpsc::Receiver<Line>,
        stop: CancellationToken,
    ) {
        let Some(mut items) = self.inbox.take() else { return };
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(deadline.into()) => self.wake(),
                Some(command) = commands.recv() => self.obey(command),
                () = self.outlet.udp.readable() => self.receive(),
                Some(line) = lines.recv() => self.take_line(line),
                Some(item) = items.recv() => self.play(item),
            }
            // A port that is flooded is always readable; what cameras and connections bring has its turn all the same.
            std::iter::from_fn(|| items.try_recv().ok()).take(TURNS).for_each(|item| self.play(item));
            if let Ok(line) = lines.try_recv() {
                self.take_line(line);
            }
            self.outlet.udp.flush();
            self.show_counters();
        }
        self.all().into_iter().for_each(|viewer| self.remove(viewer, "stopping"));
        self.outlet.udp.flush();
        self.show_counters();
    }

    fn all(&self) -> Vec<u64> {
        self.viewers.keys().copied().collect()
    }

    fn deadline(&self) -> Instant {
        let nearest = self.viewers.values().map(Viewer::deadline).min();
        nearest.unwrap_or_else(|| clock::now().into_std() + IDLE)
    }

    fn wake(&mut self) {
        let now = clock::now().into_std();
        let due: Vec<u64> =
            self.viewers.iter().filter(|(_, viewer)| viewer.deadline() <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some(viewer) = self.viewers.get_mut(&id) else { continue };
            if viewer.peer.deadline() <= now {
                viewer.peer.wake(now);
            }
            if !viewer.playing && now >= viewer.born + JOIN_TIMEOUT {
                self.remove(id, "never connected");
            } else {
                self.attend(id, now);
            }
        }
    }

    fn show_counters(&mut self) {
        let sent = self.outlet.udp.sent;
        self.counters.viewers = self.viewers.len() as u64;
        self.counters.streams = self.streams.len() as u64;
        self.counters.tcp_connections = self.outlet.tcp.len() as u64;
        self.counters.sources = self.by_source.len() as u64;
        self.counters.datagrams_sent = sent.datagrams;
        self.counters.bytes_sent = sent.bytes;
        self.counters.send_calls = sent.calls;
        self.counters.send_errors = sent.errors;
        self.shown.send_replace(self.counters);
    }

    fn obey(&mut self, command: Command) {
        let now = clock::now().into_std();
        match command {
            Command::Add(newcomer) => self.add(*newcomer, now),
            Command::Candidates { viewer, fragment, reply } => {
                let known = self.viewers.get_mut(&viewer).map(|viewer| {
                    viewer.peer.add_candidates(&fragment);
                    viewer.peer.wake(now);
                });
                self.attend(viewer, now);
                let _ = reply.send(known.is_some());
            }
            Command::Close { viewer, reply } => {
                let known = self.viewers.contains_key(&viewer);
                self.remove(viewer, "left");
                let _ = reply.send(known);
            }
            Command::AbandonAll => self.all().into_iter().for_each(|viewer| self.abandon(viewer, "abandoned")),
        }
    }

    fn add(&mut self, newcomer: Newcomer, now: Instant) {
        let Newcomer { viewer: id, mut peer, advertised, demand, video, sound, mic, offset, place } = newcomer;
        let stream = self.stream_of(demand.hub());
        // The engine wants to send its first checks now; waiting for its deadline would lose a race (see `Peer`).
        peer.wake(now);
        self.by_ufrag.insert(peer.ufrag.clone(), id);
        let playout = Playout::new(offset);
        let viewer = Viewer {
            peer,
            advertised,
            playout,
            stream,
            video,
            sound,
            mic,
            sources: Vec::new(),
            ssrcs: Vec::new(),
            media: Allowance::a_second(MEDIA_A_SECOND, now),
            checks: Allowance::a_second(CHECKS_A_SECOND, now),
            born: now,
            playing: false,
            _demand: demand,
            _place: place,
        };
        self.viewers.insert(id, viewer);
        self.counters.joined += 1;
        self.want_sounds(stream);
        self.attend(id, now);
        debug!(viewer = short(id), "a viewer is joining");
    }

    fn stream_of(&mut self, hub: &MediaHub) -> u64 {
        let known = self.streams.iter().find(|(_, stream)| stream.hub.same(hub)).map(|(id, _)| *id);
        known.unwrap_or_else(|| {
            let id = self.next_stream;
            self.next_stream += 1;
            let feed = Feed::start(id, hub, self.items.clone());
            self.streams.insert(id, Stream { hub: hub.clone(), feed, gop: Gop::default() });
            id
        })
    }

    /// Tells a stream's feed which sounds are wanted; ends the stream with its last viewer.
    fn want_sounds(&mut self, stream: u64) {
        let mut viewers = self.viewers.values().filter(|viewer| viewer.stream == stream).peekable();
        if viewers.peek().is_none() {
            self.streams.remove(&stream);
            return;
        }
        let mut formats: Vec<AudioFormat> = Vec::new();
        for format in viewers.filter_map(|viewer| viewer.sound) {
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        if let Some(stream) = self.streams.get(&stream) {
            stream.feed.want(formats);
        }
    }

    /// Tells a viewer that it is over, and drops it.
    fn remove(&mut self, id: u64, why: &'static str) {
        if let Some(viewer) = self.viewers.get_mut(&id) {
            viewer.peer.close(|datagram| self.outlet.send(&datagram));
        }
        self.abandon(id, why);
    }

    fn abandon(&mut self, id: u64, why: &'static str) {
        let Some(mut viewer) = self.viewers.remove(&id) else { return };
        self.by_ufrag.remove(&viewer.peer.ufrag);
        for source in viewer.sources.drain(..) {
            if self.by_source.get(&source) == Some(&id) {
                self.forget(source);
            }
        }
        self.counters.packets_dropped += viewer.playout.dropped();
        self.counters.never_connected += u64::from(!viewer.playing);
        self.want_sounds(viewer.stream);
        debug!(
            viewer = short(id),
            why,
            watched_s = (clock::now().into_std() - viewer.born).as_secs(),
            "a viewer is gone"
        );
    }

    fn forget(&mut self, source: Source) {
        self.by_source.remove(&source);
        if source.tcp {
            // The connection's writer ends with its queue.
            self.outlet.tcp.remove(&source.address);
        } else {
            self.outlet.reply_from.remove(&source.address);
        }
    }

    fn receive(&mut self) {
        for _ in 0..ROUNDS {
            let mut received = Vec::new();
            self.outlet.udp.receive(|datagram| received.push(datagram));
            if received.is_empty() {
                return;
            }
            let now = clock::now().into_std();
            for Received { from, to, data } in received {
                self.route(now, Source { tcp: false, address: from }, to, data);
            }
        }
    }

    fn take_line(&mut self, line: Line) {
        match line {
            Line::Opened { from, queue } => drop(self.outlet.tcp.insert(from, queue)),
            Line::Frame { from, to, data } => {
                let now = clock::now().into_std();
                let source = Source { tcp: true, address: from };
                self.route(now, source, Some(to.ip()), data);
                if !self.by_source.contains_key(&source) {
                    // Whoever does not begin with a signed check has no business here.
                    self.outlet.tcp.remove(&from);
                }
            }
            Line::Closed { from } => {
                let source = Source { tcp: true, address: from };
                let owner = self.by_source.get(&source).and_then(|id| self.viewers.get_mut(id));
                if let Some(viewer) = owner {
                    viewer.sources.retain(|known| *known != source);
                }
                self.forget(source);
            }
        }
    }

    fn route(&mut self, now: Instant, source: Source, to: Option<IpAddr>, data: BytesMut) {
        self.counters.datagrams_received += 1;
        let Some(id) = self.owner(now, source, to, &data) else {
            self.counters.datagrams_refused += 1;
            return;
        };
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        let protocol = if source.tcp { TransportProtocol::TCP } else { TransportProtocol::UDP };
        let Some(to) = candidate_of(&viewer.advertised, source.address.ip(), to) else { return };
        viewer.peer.receive(now, Inbound { protocol, from: source.address, to, data });
        self.attend(id, now);
    }

    /// Whose datagram this is, if it may send one more. A signed check is its ufrag's and teaches the address; all
    /// else goes by address.
    fn owner(&mut self, now: Instant, source: Source, to: Option<IpAddr>, data: &[u8]) -> Option<u64> {
        let known = self.by_source.get(&source).copied();
        let kind = demux::kind(data)?;
        if kind != Kind::Stun {
            return known.filter(|id| self.viewers.get_mut(id).is_some_and(|viewer| viewer.may_send(now, kind, data)));
        }
        let stun = Stun::parse(data)?;
        if !stun.is_binding_request() {
            return known;
        }
        let named = *self.by_ufrag.get(stun.local_ufrag()?)?;
        // The engine checks the signature again; here it guards the address table, and what the viewer may send.
        let viewer = self.viewers.get_mut(&named)?;
        if !stun.is_signed_with(&viewer.peer.password) || !viewer.checks.takes(now) {
            return None;
        }
        if known != Some(named) {
            if viewer.sources.len() >= MAX_SOURCES {
                return None;
            }
            self.learn(named, source, to);
        }
        Some(named)
    }

    fn learn(&mut self, id: u64, source: Source, to: Option<IpAddr>) {
        if let Some(previous) = self.by_source.insert(source, id)
            && let Some(viewer) = self.viewers.get_mut(&previous)
        {
            viewer.sources.retain(|known| *known != source);
        }
        if let Some(viewer) = self.viewers.get_mut(&id) {
            viewer.sources.push(source);
        }
        // On a host with several addresses the answer must leave from the one that was asked.
        if let Some(ip) = to.filter(|_| self.bind.is_unspecified() && !source.tcp) {
            self.outlet.reply_from.insert(source.address, ip);
        }
    }

    /// What every viewer's turn ends with: media that may leave, then everything the engine has to say.
    fn attend(&mut self, id: u64, now: Instant) {
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        let refused = self.outlet.refused;
        let mut heard = viewer.pump(now, &mut self.outlet);
        let joins = viewer.peer.is_connected() && !viewer.playing;
        if joins || heard.keyframe_requests > 0 {
            self.counters.keyframe_requests += heard.keyframe_requests;
            if let Some(stream) = self.streams.get(&viewer.stream) {
                let from_cache = viewer.catch_up(stream, joins, now) && !joins;
                self.counters.keyframe_requests_from_cache += u64::from(from_cache);
            }
            heard.microphone.extend(viewer.pump(now, &mut self.outlet).microphone);
        }
        if joins {
            debug!(
                viewer = short(id),
                took_ms = now.duration_since(viewer.born).as_millis() as u64,
                "a viewer is connected"
            );
        }
        self.counters.packets_dropped += viewer.cut_where_refused(&self.outlet, refused);
        self.counters.microphone_packets += heard.microphone.len() as u64;
        viewer.speak(heard.microphone);
        if viewer.peer.is_dead() {
            self.remove(id, "connection lost");
        }
    }

    fn play(&mut self, item: Item) {
        let now = clock::now().into_std();
        let Some(stream) = self.streams.get_mut(&item.stream) else { return };
        if let Media::Picture(picture) = &item.media {
            stream.gop.push(now, picture);
        }
        let watching = self.viewers.iter_mut().filter(|(_, viewer)| viewer.playing && viewer.stream == item.stream);
        let mut unplayable = Vec::new();
        for (id, viewer) in watching {
            match viewer.take(&item.media) {
                Taken::Queued => {
                    let refused = self.outlet.refused;
                    viewer.send_media(now, &mut self.outlet);
                    self.counters.packets_dropped += viewer.cut_where_refused(&self.outlet, refused);
                }
                Taken::Unplayable => unplayable.push(*id),
                Taken::NotWanted => {}
            }
        }
        for id in unplayable {
            // What was negotiated cannot be kept; coming anew, the viewer is offered what there is now.
            self.remove(id, "the camera has another codec now");
        }
    }
}

/// What live media are to a viewer.
enum Taken {
    Queued,
    NotWanted,
    /// Of another codec than was negotiated.
    Unplayable,
}

impl Viewer {
    fn deadline(&self) -> Instant {
        let join = (!self.playing).then_some(self.born + JOIN_TIMEOUT);
        let others = self.playout.deadline().into_iter().chain(join);
        others.fold(self.peer.deadline(), Instant::min)
    }

    /// Whether it may send one more datagram, which is no check.
    fn may_send(&mut self, now: Instant, kind: Kind, data: &[u8]) -> bool {
        self.media.takes(now) && (kind != Kind::Rtp || demux::ssrc(data).is_some_and(|ssrc| self.may_be(ssrc)))
    }

    fn may_be(&mut self, ssrc: u32) -> bool {
        let known = self.ssrcs.contains(&ssrc);
        let room = self.ssrcs.len() < MAX_SSRCS;
        if !known && room {
            self.ssrcs.push(ssrc);
        }
        known || room
    }

    /// Queues live media.
    fn take(&mut self, media: &Media) -> Taken {
        match media {
            Media::Picture(picture) if self.video == Some(picture.codec) => self.playout.picture(picture),
            Media::Picture(_) if self.video.is_some() => return Taken::Unplayable,
            Media::Sound(sound) if self.sound == Some(sound.format) => {
                self.playout.sound(sound.ticks, &sound.payload);
            }
            Media::Picture(_) | Media::Sound(_) => return Taken::NotWanted,
        }
        Taken::Queued
    }

    /// Shows the present: on joining, and when the viewer asks for a keyframe. Whether the cached GOP does;
    /// otherwise the camera is asked.
    fn catch_up(&mut self, stream: &Stream, joins: bool, now: Instant) -> bool {
        self.playing |= joins;
        let cached = if joins { !stream.gop.pictures().is_empty() } else { stream.gop.is_fresh(now) };
        if cached {
            self.playout.replay(now, stream.gop.pictures());
        } else {
            stream.hub.request_keyframe();
        }
        cached
    }

    /// Sends the media that may leave now, and whatever else the engine has to send.
    fn pump(&mut self, now: Instant, outlet: &mut Outlet) -> Heard {
        self.queue_media(now);
        self.peer.drain(now, |datagram| outlet.send(&datagram))
    }

    /// Sends the media that may leave now, where nothing else has happened.
    fn send_media(&mut self, now: Instant, outlet: &mut Outlet) {
        self.queue_media(now);
        self.peer.flush(|datagram| outlet.send(&datagram));
    }

    fn queue_media(&mut self, now: Instant) {
        for Packet { medium, timestamp, marker, payload } in self.playout.burst(now) {
            self.peer.send(now, medium, timestamp, marker, payload);
        }
    }

    /// Drops what waits where a connection has refused datagrams since there were `before`; how many it did.
    fn cut_where_refused(&mut self, outlet: &Outlet, before: u64) -> u64 {
        let refused = outlet.refused - before;
        if refused > 0 {
            self.playout.cut();
        }
        refused
    }

    fn speak(&mut self, packets: Vec<rtp::Packet>) {
        let Some((format, mic)) = &self.mic else { return };
        // A packet may be padding alone.
        for rtp::Packet { header, payload } in packets.into_iter().filter(|packet| !packet.payload.is_empty()) {
            let packet = MicPacket {
                format: *format,
                ssrc: header.ssrc,
                sequence: header.sequence_number,
                timestamp: header.timestamp,
                payload,
            };
            // Full: whoever takes the microphone is late already, and older speech is of no use to anybody.
            let _ = mic.try_send(packet);
        }
    }
}

/// For logs: enough to tell viewers apart, too little to close one with.
fn short(viewer: u64) -> u16 {
    viewer as u16
}

/// The candidate of ours that a datagram was sent to. Behind a NAT 1:1 it arrives at an address that nobody was
/// told; then the advertised one of its family is meant.
fn candidate_of(advertised: &[SocketAddr], from: IpAddr, to: Option<IpAddr>) -> Option<SocketAddr> {
    let exact = advertised.iter().find(|candidate| Some(candidate.ip()) == to);
    exact.or_else(|| advertised.iter().find(|candidate| candidate.is_ipv4() == from.is_ipv4())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_belongs_to_the_candidate_it_was_sent_to_or_to_the_advertised_one() {
        let all: Vec<SocketAddr> =
            ["203.0.113.7:1", "192.0.2.1:1", "[2001:db8::1]:1"].map(|a| a.parse().unwrap()).into();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let of = |from: &str, to: Option<&str>| candidate_of(&all, ip(from), to.map(ip)).unwrap().ip().to_string();
        assert_eq!(of("198.51.100.9", Some("192.0.2.1")), "192.0.2.1");
        assert_eq!(of("198.51.100.9", Some("172.17.0.2")), "203.0.113.7");
        assert_eq!(of("2001:db8::9", None), "2001:db8::1");
        assert_eq!(candidate_of(&all[..1], ip("2001:db8::9"), None), None);
    }
}
