//! A viewer for tests: the offering side, over real loopback sockets, on the engine that the product uses too.
//! (Foreign viewers are in `tests/peers`.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use doorstep::clock;
use doorstep::media::g711::Law;
use doorstep::rtc::{Certificate, Settings, Viewers};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{configure_nack, configure_rtcp_reports};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::peer_connection::transport::{RTCDtlsTransportState, RTCIceCandidateInit};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const H264_PT: u8 = 102;
const MIC_SSRC: u32 = 4_711;

/// Where viewers of a test are met: this address, a port of its own.
pub(crate) async fn switchboard(bind: IpAddr, stop: &CancellationToken) -> Viewers {
    let certificate = Certificate::generate().unwrap();
    let settings = Settings { bind, port: 0, addresses: vec![], loopback: true, certificate };
    Viewers::start(settings, stop.clone()).await.unwrap()
}

/// What the viewer has received so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) connected: bool,
    pub(crate) closed: bool,
    /// When the first RTP packet came, since [`Viewer::born`].
    pub(crate) first_packet: Option<Duration>,
    /// When the last packet of the first picture came; `None` where one of those before was missing.
    pub(crate) first_picture: Option<Duration>,
    /// When the first microphone packet left, since then.
    pub(crate) first_spoken: Option<Duration>,
    /// Microphone packets that have left.
    pub(crate) spoken: u16,
    pub(crate) tally: Tally,
    /// Video by extended sequence number: timestamp, marker, payload.
    pub(crate) video: BTreeMap<u64, (u32, bool, Bytes)>,
    pub(crate) audio: Vec<(u8, Bytes)>,
    /// Video packets thrown away on arrival.
    pub(crate) lost: u64,
}

/// The video packets that came, counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    newest: Option<u64>,
    /// Extended sequence numbers that were passed over and have not come since.
    pub(crate) missing: BTreeSet<u64>,
    /// Packets that came out of their place: sent again, or overtaken.
    pub(crate) late: u64,
    /// When the last one came, and how long the longest wait between two was.
    pub(crate) last: Option<Duration>,
    pub(crate) longest_pause: Duration,
}

impl Tally {
    fn count(&mut self, seq: u64, at: Duration) {
        self.packets += 1;
        let pause = self.last.replace(at).map(|last| at.saturating_sub(last));
        self.longest_pause = self.longest_pause.max(pause.unwrap_or_default());
        let newest = self.newest.unwrap_or(seq - 1);
        self.late += u64::from(self.missing.remove(&seq));
        self.missing.extend(newest + 1..seq);
        self.newest = Some(newest.max(seq));
    }
}

impl Seen {
    /// The pictures of which every packet has arrived, in order: each one's last NAL unit.
    pub(crate) fn pictures(&self) -> Vec<Vec<u8>> {
        let mut pictures: Vec<Vec<u8>> = Vec::new();
        let mut whole: Option<Vec<u8>> = None;
        let mut before: Option<u64> = None;
        for (&seq, (_, marker, payload)) in &self.video {
            if before.is_some_and(|before| before + 1 != seq) {
                whole = None;
            } else if whole.is_none() && begins_a_picture(payload) {
                whole = Some(Vec::new());
            }
            if let Some(unit) = &mut whole {
                depacketize(payload, unit);
            }
            if *marker {
                pictures.extend(whole.take());
            }
            before = Some(seq);
        }
        pictures
    }
}

/// Tests send a picture as one NAL unit, or parameter sets with one in front of an IDR slice.
fn begins_a_picture(payload: &[u8]) -> bool {
    match payload[0] & 0x1f {
        28 => payload[1] & 0x80 != 0,
        _ => true,
    }
}

/// The last NAL unit of what has been seen of the picture (RFC 6184 §5).
fn depacketize(payload: &[u8], unit: &mut Vec<u8>) {
    match payload[0] & 0x1f {
        24 => {
            let mut rest = &payload[1..];
            while let [high, low, tail @ ..] = rest {
                let (one, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                *unit = one.to_vec();
                rest = tail;
            }
        }
        28 => {
            if payload[1] & 0x80 != 0 {
                *unit = vec![payload[0] & 0xe0 | payload[1] & 0x1f];
            }
            unit.extend_from_slice(&payload[2..]);
        }
        _ => *unit = payload.to_vec(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// How a viewer behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    pub(crate) transport: Transport,
    /// Sends [`speech`] each 20 ms.
    pub(crate) speaks: bool,
    /// From this packet of it to that one it sends silence.
    pub(crate) silent: (u16, u16),
    /// Its microphone has a section of its own, as in go2rtc's page.
    pub(crate) apart: bool,
    /// Asks for a keyframe each 100 ms, by PLI and by FIR in turn.
    pub(crate) asks: bool,
    /// In percent of the video packets that arrive; drawn from `seed`.
    pub(crate) loss: u64,
    pub(crate) seed: u64,
    /// Whether packets are kept to be looked at, or only counted.
    pub(crate) keeps: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            transport: Transport::Udp,
            speaks: false,
            silent: (0, 0),
            apart: false,
            asks: false,
            loss: 0,
            seed: 1,
            keeps: true,
        }
    }
}

/// A viewer that has made its offer.
pub(crate) struct Viewer {
    pub(crate) offer: String,
    engine: RTCPeerConnection,
    socket: UdpSocket,
    local: SocketAddr,
    mic: Option<RTCRtpSenderId>,
    manners: Manners,
    /// What the times in [`Seen`] count from: when the offer was ready; whoever measures from another moment sets it.
    pub(crate) born: Instant,
}

impl Viewer {
    pub(crate) async fn new(manners: Manners) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        let now = clock::now().into_std();
        let mut engine = engine(now);
        let receive = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: vec![],
            send_encodings: vec![],
        };
        engine.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive.clone())).unwrap();
        if manners.apart || !manners.speaks {
            engine.add_transceiver_from_kind(RtpCodecKind::Audio, Some(receive)).unwrap();
        }
        let mic = manners.speaks.then(|| add_microphone(&mut engine, manners.apart));
        let offer = engine.create_offer(None).unwrap();
        engine.set_local_description(now, offer).unwrap();
        let candidate = match manners.transport {
            Transport::Udp => format!("candidate:1 1 udp 2130706431 127.0.0.1 {} typ host", local.port()),
            Transport::Tcp => "candidate:1 1 tcp 1671430143 127.0.0.1 9 typ host tcptype active".to_owned(),
        };
        engine.add_local_candidate(RTCIceCandidateInit { candidate, ..Default::default() }).unwrap();
        engine.add_local_candidate(RTCIceCandidateInit::default()).unwrap();
        let offer = engine.local_description().unwrap().sdp;
        Self { offer, engine, socket, local, mic, manners, born: clock::now().into_std() }
    }

    /// Plays until `leave` is notified, or the other side closes, or the task is aborted, which is to vanish.
    pub(crate) fn play(self, answer: &str, leave: Arc<Notify>) -> (watch::Receiver<Seen>, JoinHandle<()>) {
        let (seen, shown) = watch::channel(Seen::default());
        let answer = RTCSessionDescription::answer(answer.to_owned()).unwrap();
        (shown, tokio::spawn(Playing::new(self, seen).run(answer, leave)))
    }
}

fn engine(now: Instant) -> RTCPeerConnection {
    let mut media = MediaEngine::default();
    media
        .register_codec(RTCRtpCodecParameters { rtp_codec: h264(), payload_type: H264_PT }, RtpCodecKind::Video)
        .unwrap();
    media.register_codec(RTCRtpCodecParameters { rtp_codec: pcmu(), payload_type: 0 }, RtpCodecKind::Audio).unwrap();
    let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut media));
    let settings = SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(Duration::from_millis(50)), Some(100));
    RTCPeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings.build())
        .build(now)
        .unwrap()
}

fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "video/H264".into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        rtcp_feedback: vec![],
    }
}

fn pcmu() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "audio/PCMU".into(),
        clock_rate: 8_000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: vec![],
    }
}

/// 20 ms of a 1 kHz tone in PCMU, a whole number of periods.
pub(crate) fn speech() -> Bytes {
    const PERIOD: [i16; 8] = [0, 5_792, 8_192, 5_792, 0, -5_792, -8_192, -5_792];
    (0..160).map(|n| Law::Mu.encode(PERIOD[n % PERIOD.len()])).collect()
}

/// As long, of nothing.
fn silence() -> Bytes {
    vec![Law::Mu.encode(0); 160].into()
}

fn add_microphone(engine: &mut RTCPeerConnection, apart: bool) -> RTCRtpSenderId {
    if !apart {
        return engine.add_track(microphone()).unwrap();
    }
    let direction = RTCRtpTransceiverDirection::Sendonly;
    let init = RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: vec![] };
    engine.add_transceiver_from_track(microphone(), Some(init)).unwrap();
    engine.get_senders().last().unwrap()
}

fn microphone() -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(MIC_SSRC), ..Default::default() },
        codec: pcmu(),
        ..Default::default()
    };
    MediaStreamTrack::new("viewer".into(), "mic".into(), "mic".into(), RtpCodecKind::Audio, vec![encoding])
}

struct Playing {
    viewer: Viewer,
    seen: watch::Sender<Seen>,
    tcp: Option<TcpStream>,
    inbound: Vec<u8>,
    ice: bool,
    early: Vec<TaggedBytesMut>,
    spoken: u16,
    asked: u8,
    random: u64,
    newest: Option<u64>,
}

impl Playing {
    fn new(viewer: Viewer, seen: watch::Sender<Seen>) -> Self {
        let random = viewer.manners.seed;
        Self {
            viewer,
            seen,
            tcp: None,
            inbound: vec![],
            ice: false,
            early: vec![],
            spoken: 0,
            asked: 0,
            random,
            newest: None,
        }
    }

    async fn run(mut self, answer: RTCSessionDescription, leave: Arc<Notify>) {
        let now = clock::now().into_std();
        self.viewer.engine.set_remote_description(now, answer).unwrap();
        let _ = self.viewer.engine.handle_timeout(now);
        let mut mic = tokio::time::interval(Duration::from_millis(20));
        let mut ask = tokio::time::interval(Duration::from_millis(100));
        let mut buffer = [0; 2_048];
        while !self.seen.borrow().closed {
            self.drain().await;
            let deadline = self.viewer.engine.poll_timeout().unwrap_or(now + Duration::from_secs(3_600));
            let Self { viewer, tcp, inbound, .. } = &mut self;
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {
                    let _ = viewer.engine.handle_timeout(clock::now().into_std());
                }
                Ok((length, from)) = viewer.socket.recv_from(&mut buffer) => {
                    self.receive(TransportProtocol::UDP, from, &buffer[..length]);
                }
                Some(true) = read_some(tcp, inbound) => self.receive_frames(),
                () = leave.notified() => return self.leave().await,
                _ = ask.tick(), if viewer.manners.asks => self.ask(),
                _ = mic.tick(), if viewer.mic.is_some() => self.speak(),
            }
        }
    }

    fn receive_frames(&mut self) {
        let from = self.tcp.as_ref().unwrap().peer_addr().unwrap();
        while let [high, low, rest @ ..] = &self.inbound[..] {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if rest.len() < length {
                return;
            }
            let frame = rest[..length].to_vec();
            self.inbound.drain(..2 + length);
            self.receive(TransportProtocol::TCP, from, &frame);
        }
    }

    fn receive(&mut self, transport_protocol: TransportProtocol, peer_addr: SocketAddr, data: &[u8]) {
        let is_video = matches!(data, [128..=191, second, ..] if second & 0x7f == H264_PT);
        if is_video && self.draw(100) < self.viewer.manners.loss {
            self.seen.send_modify(|seen| seen.lost += 1);
            return;
        }
        let transport = TransportContext { local_addr: self.viewer.local, peer_addr, ecn: None, transport_protocol };
        let tagged = TaggedBytesMut { now: clock::now().into_std(), transport, message: BytesMut::from(data) };
        if !self.ice && data[0] > 3 {
            return self.early.push(tagged);
        }
        let _ = self.viewer.engine.handle_read(tagged);
        if matches!(data[0], 20..=63) && self.is_dtls_closed() {
            self.seen.send_modify(|seen| seen.closed = true);
        }
    }

    /// The engine has no event for it.
    fn is_dtls_closed(&mut self) -> bool {
        let engine = &mut self.viewer.engine;
        let Some(receiver) = engine.get_receivers().next() else { return false };
        let Some(receiver) = engine.rtp_receiver(receiver) else { return false };
        receiver.transport().is_some_and(|transport| transport.state() == RTCDtlsTransportState::Closed)
    }

    /// Leaves as a browser does whose page is closed: a DTLS close_notify.
    async fn leave(&mut self) {
        let _ = self.viewer.engine.close();
        while let Some(out) = self.viewer.engine.poll_write() {
            self.send(&out).await;
        }
    }

    fn draw(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn speak(&mut self) {
        if !self.seen.borrow().connected {
            return;
        }
        let (from, until) = self.viewer.manners.silent;
        let payload = if (from..until).contains(&self.spoken) { silence() } else { speech() };
        let mut packet = rtc::rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.ssrc = MIC_SSRC;
        packet.header.sequence_number = self.spoken;
        packet.header.timestamp = u32::from(self.spoken) * 160;
        self.spoken += 1;
        let at = clock::now().into_std() - self.viewer.born;
        self.seen.send_if_modified(|seen| {
            let first = seen.first_spoken.is_none();
            seen.first_spoken.get_or_insert(at);
            seen.spoken = self.spoken;
            first
        });
        let mic = self.viewer.mic.unwrap();
        let mut sender = self.viewer.engine.rtp_sender(mic).unwrap();
        let _ = sender.write_rtp(clock::now().into_std(), packet);
    }

    fn ask(&mut self) {
        let engine = &mut self.viewer.engine;
        let Some(receiver) = engine.get_receivers().next() else { return };
        let Some(mut receiver) = engine.rtp_receiver(receiver) else { return };
        self.asked += 1;
        let fir =
            FullIntraRequest { fir: vec![FirEntry { ssrc: 1, sequence_number: self.asked }], ..Default::default() };
        let request: Box<dyn rtc::rtcp::Packet> =
            if self.asked.is_multiple_of(2) { Box::new(fir) } else { Box::new(PictureLossIndication::default()) };
        receiver.write_rtcp(clock::now().into_std(), vec![request]).unwrap();
    }

    async fn drain(&mut self) {
        let mut settled = false;
        while !settled {
            while let Some(out) = self.viewer.engine.poll_write() {
                self.send(&out).await;
            }
            settled = true;
            while let Some(event) = self.viewer.engine.poll_event() {
                settled = false;
                self.note(&event);
            }
            while let Some(message) = self.viewer.engine.poll_read() {
                if let RTCMessage::RtpPacket(_, packet) = message.message {
                    self.take(packet);
                }
            }
        }
    }

    fn note(&mut self, event: &RTCPeerConnectionEvent) {
        use RTCPeerConnectionEvent::{OnConnectionStateChangeEvent, OnIceConnectionStateChangeEvent};
        match event {
            OnIceConnectionStateChangeEvent(RTCIceConnectionState::Connected) if !self.ice => {
                self.ice = true;
                let _ = self.viewer.engine.handle_timeout(clock::now().into_std());
                for early in std::mem::take(&mut self.early) {
                    let _ = self.viewer.engine.handle_read(early);
                }
            }
            OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected) => {
                self.seen.send_modify(|seen| seen.connected = true);
            }
            OnConnectionStateChangeEvent(RTCPeerConnectionState::Closed | RTCPeerConnectionState::Failed) => {
                self.seen.send_modify(|seen| seen.closed = true);
            }
            _ => {}
        }
    }

    fn take(&mut self, packet: rtc::rtp::Packet) {
        let at = clock::now().into_std() - self.viewer.born;
        let header = &packet.header;
        let video = header.payload_type == H264_PT;
        let keeps = self.viewer.manners.keeps;
        // Each medium counts by itself; only the pictures' numbers are looked at.
        let seq = if video { self.extended(header.sequence_number) } else { 0 };
        self.seen.send_modify(|seen| {
            seen.first_packet.get_or_insert(at);
            if video {
                seen.tally.count(seq, at);
                if header.marker && seen.tally.missing.is_empty() {
                    seen.first_picture.get_or_insert(at);
                }
            }
            if !keeps {
                return;
            }
            if video {
                seen.video.insert(seq, (header.timestamp, header.marker, packet.payload.clone()));
            } else {
                seen.audio.push((header.payload_type, packet.payload.clone()));
            }
        });
    }

    fn extended(&mut self, seq: u16) -> u64 {
        let newest = self.newest.unwrap_or(1 << 32 | u64::from(seq));
        let distance = seq.wrapping_sub(newest as u16) as i16;
        let extended = newest.wrapping_add_signed(i64::from(distance));
        self.newest = Some(newest.max(extended));
        extended
    }

    async fn send(&mut self, out: &TaggedBytesMut) {
        let to = out.transport.peer_addr;
        if out.transport.transport_protocol == TransportProtocol::UDP {
            let _ = self.viewer.socket.send_to(&out.message, to).await;
            return;
        }
        if self.tcp.is_none() {
            self.tcp = TcpStream::connect(to).await.ok();
        }
        if let Some(tcp) = &mut self.tcp {
            let _ = tcp.write_u16(out.message.len() as u16).await;
            let _ = tcp.write_all(&out.message).await;
        }
    }
}

/// `None` without a connection, `Some(false)` at its end.
async fn read_some(tcp: &mut Option<TcpStream>, into: &mut Vec<u8>) -> Option<bool> {
    match tcp {
        Some(tcp) => Some(tcp.read_buf(into).await.is_ok_and(|count| count > 0)),
        None => std::future::pending().await,
    }
}
