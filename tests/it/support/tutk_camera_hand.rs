//! A TUTK camera made by hand from codecs: it lets its client in as the reference has it, and says then, inside of the
//! channel that only the holder of the key can speak on, whatever a test wants it to say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use doorstep::clock;
use doorstep::media::VideoCodec;
use doorstep::proto::tutk::Channel;
use doorstep::proto::tutk::cc51::{self, Direction, Discovery, HmacKey, Keepalive};
use doorstep::proto::tutk::dtls::{DtlsEndpoint, DtlsError, OpensslDtls, Role};
use doorstep::proto::tutk::frame::{CodecId, FrameInfo, MediaChannel, Packetiser};
use doorstep::proto::tutk::iotc::{self, Data};
use doorstep::proto::tutk::kcommand::{AuthResult, Challenge, IoCtrl, KCommand, id};
use doorstep::proto::tutk::keys::{AuthKey, Psk, SessionId};
use doorstep::proto::tutk::login::{AvLogin, AvLoginResponse, LoginStage};
use doorstep::sim::clip::Clip;
use doorstep::sim::tutk_camera::{Protocol, Settings};
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const TICKET: u16 = 7;
/// How often a script is asked what comes next.
const TICK: Duration = Duration::from_millis(10);

/// Of what clients say, which is looked at by those who ask what they say first.
const MOST_HEARD: usize = 64;

/// A record of DTLS, of whatever kind, under whatever numbers.
pub(crate) fn record(kind: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD];
    record.extend(epoch.to_be_bytes());
    record.extend(&sequence.to_be_bytes()[2..]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

/// How far it lets a client come before it hangs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LetsIn {
    UntilTheHandshake,
    UntilTheLogin,
    UntilTheChallenge,
    All,
}

/// The camera's hand: what it holds of one client.
pub(crate) struct CameraHand {
    protocol: Protocol,
    enr: String,
    hmac: HmacKey,
    psk: Psk,
    /// In its first sessions somebody else answers, who knows all that is said in the search, and another key.
    pub(crate) impostors: u32,
    /// Whether these go on in the clear; else they say what anybody says who cannot read what was said.
    pub(crate) goes_on: bool,
    /// Of a refusal, in K10003.
    pub(crate) result: String,
    pub(crate) lets_in: LetsIn,
    session: Option<Session>,
    /// The first datagrams of DTLS that clients have sent, on either channel.
    heard: Vec<Vec<u8>>,
    /// Sessions that were opened.
    pub(crate) sessions: u32,
    /// K-commands that were heard after the login.
    pub(crate) commands: Vec<KCommand>,
    clip: Clip,
    packetiser: Packetiser,
    said: u32,
    shown: u64,
}

struct Session {
    id: SessionId,
    main: Box<dyn DtlsEndpoint>,
    let_in: bool,
    sequence: u16,
}

impl CameraHand {
    pub(crate) fn new(settings: &Settings) -> Self {
        let enr = settings.enr.expose();
        Self {
            protocol: settings.protocol,
            enr: enr.to_owned(),
            hmac: HmacKey::new(&settings.uid, &AuthKey::derive(enr, &settings.mac)),
            psk: Psk::derive(enr),
            impostors: 0,
            goes_on: false,
            result: "1".to_owned(),
            lets_in: LetsIn::All,
            session: None,
            heard: Vec::new(),
            sessions: 0,
            commands: Vec::new(),
            clip: Clip::h264(),
            packetiser: Packetiser::default(),
            said: 0,
            shown: 0,
        }
    }

    pub(crate) fn has_let_in(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.let_in)
    }

    /// What is answered to a datagram.
    pub(crate) fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Vec<Vec<u8>> {
        if cc51::Packet::recognises(datagram) {
            if self.protocol == Protocol::Old {
                return vec![];
            }
            match cc51::Packet::decode(datagram, &self.hmac).unwrap().packet {
                cc51::Packet::Discovery(request) => self.on_discovery(&request),
                cc51::Packet::Dtls(dtls) => self.on_dtls(now, dtls.channel, dtls.payload),
                cc51::Packet::Keepalive(_) => vec![],
            }
        } else {
            if self.protocol == Protocol::New {
                return vec![];
            }
            match iotc::Packet::decode(datagram).unwrap() {
                iotc::Packet::DiscoRequest(request) if matches!(request.stage, iotc::Stage::Broadcast(_)) => {
                    vec![iotc::Packet::DiscoResponse { body: request.body() }.encode()]
                }
                iotc::Packet::SessionRequest(request) => {
                    self.open(request.session_id);
                    vec![iotc::Packet::SessionResponse { body: request.body() }.encode()]
                }
                iotc::Packet::DataTx(data) => self.on_dtls(now, data.channel, data.payload),
                _ => vec![],
            }
        }
    }

    fn on_discovery(&mut self, request: &Discovery) -> Vec<Vec<u8>> {
        let sequence = request.sequence + 1;
        if sequence == 3 {
            self.open(request.session_id);
        }
        let answer =
            Discovery { direction: Direction::Response, sequence, ticket: TICKET, session_id: request.session_id };
        vec![cc51::Packet::Discovery(answer).encode(&self.hmac)]
    }

    fn open(&mut self, id: SessionId) {
        if self.session.as_ref().is_none_or(|session| session.id != id) {
            let psk = if self.is_impostor(self.sessions + 1) { &Psk::derive("another") } else { &self.psk };
            let main = Box::new(OpensslDtls::new(Role::Server, Channel::Main, psk).unwrap());
            self.session = Some(Session { id, main, let_in: false, sequence: 0 });
            self.sessions += 1;
        }
    }

    fn is_impostor(&self, session: u32) -> bool {
        session <= self.impostors
    }

    fn on_dtls(&mut self, now: Instant, channel: Channel, payload: Vec<u8>) -> Vec<Vec<u8>> {
        let Some(session) = &mut self.session else { return vec![] };
        let outcome = if channel == Channel::Main { session.main.on_datagram(now, &payload) } else { Ok(()) };
        let is_enciphered = payload.windows(5).any(|five| five == [22, 0xFE, 0xFD, 0, 1]);
        if self.heard.len() < MOST_HEARD {
            self.heard.push(payload);
        }
        if outcome == Err(DtlsError::Closed) {
            self.session = None;
            return vec![];
        }
        let mut answers = self.outgoing();
        if is_enciphered && self.is_impostor(self.sessions) {
            answers.extend(self.without_the_key());
        }
        if self.lets_in == LetsIn::UntilTheHandshake && self.established() {
            answers.extend(self.hang_up());
        }
        while let Some(message) = self.session.as_mut().and_then(|session| session.main.poll_message()) {
            answers.extend(self.on_message(&message));
        }
        answers
    }

    /// What somebody can say who does not have the key.
    fn without_the_key(&mut self) -> Vec<Vec<u8>> {
        let challenge = Challenge::pose(1, &[5; 16], &self.enr).command();
        let ioctrl = IoCtrl { av_seq: 0, command_seq: 0, command: challenge };
        let bad_record_mac = vec![2, 20];
        let said = match self.goes_on {
            true => vec![(23, AvLoginResponse::accept([1; 4]).encode()), (23, ioctrl.encode())],
            false => vec![(21, bad_record_mac)],
        };
        said.into_iter().map(|(kind, body)| self.wrapped(Channel::Main, record(kind, 0, 9, &body))).collect()
    }

    fn established(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.main.is_established())
    }

    fn on_message(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        if let Ok(AvLogin { head, .. }) = AvLogin::decode(message) {
            let last = self.lets_in == LetsIn::UntilTheLogin;
            return match head.stage {
                LoginStage::First => vec![],
                LoginStage::Second if last => self.hang_up(),
                LoginStage::Second => self.say(&AvLoginResponse::accept(head.random_id).encode()),
            };
        }
        let Ok(frame) = IoCtrl::decode(message) else { return vec![] };
        match frame.command.command {
            id::AUTH if self.lets_in == LetsIn::UntilTheChallenge => self.hang_up(),
            id::AUTH => {
                let challenge = Challenge::pose(1, &[5; 16], &self.enr).command();
                self.command(challenge)
            }
            id::CHALLENGE_RESPONSE => {
                let result = AuthResult { connection_res: Some(self.result.clone()), ..AuthResult::default() };
                let answer = self.command(result.command());
                let accepts = self.result == "1";
                self.session.iter_mut().for_each(|session| session.let_in = accepts);
                answer
            }
            _ => {
                self.commands.push(frame.command);
                vec![]
            }
        }
    }

    // What it says. Each is one datagram, or as many as the frame takes.

    /// A message inside of the channel, whatever it is made of.
    pub(crate) fn say(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        let Some(session) = &mut self.session else { return vec![] };
        session.main.send(message).unwrap();
        self.outgoing()
    }

    pub(crate) fn command(&mut self, command: KCommand) -> Vec<Vec<u8>> {
        self.said += 1;
        let frame = IoCtrl { av_seq: self.said - 1, command_seq: self.said as u16, command };
        self.say(&frame.encode())
    }

    /// A frame as cameras cut it.
    pub(crate) fn frame(&mut self, channel: MediaChannel, info: FrameInfo, data: &[u8]) -> Vec<Vec<u8>> {
        let messages = self.packetiser.packetise(channel, info, data);
        messages.iter().flat_map(|message| self.say(message)).collect()
    }

    /// The next picture of the clip, and a packet of silence with it.
    pub(crate) fn picture(&mut self) -> Vec<Vec<u8>> {
        let unit = self.clip.access_unit(self.shown);
        self.shown += 1;
        let channel = if unit.keyframe { MediaChannel::IVideo } else { MediaChannel::PVideo };
        let pts_us = unit.pts.as_micros() as u32;
        let at = FrameInfo { timestamp_us: pts_us % 1_000_000, timestamp_s: pts_us / 1_000_000, ..info(CodecId::H264) };
        let sound = FrameInfo { codec: CodecId::Pcmu, ..at.clone() };
        [self.frame(channel, at, &unit.data), self.frame(MediaChannel::Audio, sound, &[0xFF; 320])].concat()
    }

    pub(crate) fn keepalive(&mut self, counter: u32) -> Vec<u8> {
        let session_id = self.session.as_ref().map(|session| session.id).unwrap_or_default();
        match self.protocol {
            Protocol::Old => {
                let token = (u64::from(counter) << 8).to_le_bytes();
                iotc::Packet::KeepaliveResponse { token, rest: vec![0; 4] }.encode()
            }
            _ => cc51::Packet::Keepalive(Keepalive { direction: Direction::Response, counter, session_id })
                .encode(&self.hmac),
        }
    }

    /// A datagram of DTLS, or of what claims to be that, as this camera's transport wraps it.
    pub(crate) fn wrapped(&mut self, channel: Channel, payload: Vec<u8>) -> Vec<u8> {
        let Some(session) = &mut self.session else { return vec![] };
        let session_id = session.id;
        session.sequence = session.sequence.wrapping_add(1);
        match self.protocol {
            Protocol::Old => {
                iotc::Packet::DataRx(Data { sequence: session.sequence, session_id, channel, payload }).encode()
            }
            _ => {
                let direction = Direction::Response;
                let dtls = cc51::Dtls { direction, channel, ticket: TICKET, session_id, payload };
                cc51::Packet::Dtls(dtls).encode(&self.hmac)
            }
        }
    }

    /// Closes the channel.
    pub(crate) fn hang_up(&mut self) -> Vec<Vec<u8>> {
        self.session.iter_mut().for_each(|session| session.main.close());
        let farewell = self.outgoing();
        self.session = None;
        farewell
    }

    fn outgoing(&mut self) -> Vec<Vec<u8>> {
        let waiting = |session: &mut Session| std::iter::from_fn(|| session.main.poll_datagram()).collect::<Vec<_>>();
        let datagrams = self.session.as_mut().map(waiting).unwrap_or_default();
        datagrams.into_iter().map(|datagram| self.wrapped(Channel::Main, datagram)).collect()
    }
}

/// What a camera tells of a frame; number and size are filled in where it is cut.
pub(crate) fn info(codec: CodecId) -> FrameInfo {
    FrameInfo {
        codec,
        flags: 0,
        camera_index: 0,
        online_num: 1,
        fps: 20,
        frame_size: 0,
        bitrate: 0,
        timestamp_us: 0,
        timestamp_s: 0,
        payload_size: 0,
        frame_no: 0,
        device_id: [0; 16],
    }
}

/// What it sends when it has let somebody in: asked each 10 ms, with how often it was asked.
pub(crate) type Script = Box<dyn FnMut(&mut CameraHand, u64) -> Vec<Vec<u8>> + Send>;

/// How it goes with a camera at work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) sessions: u32,
    /// How often the script was asked.
    pub(crate) ticks: u64,
    pub(crate) datagrams: u64,
    pub(crate) commands: Vec<u16>,
    /// The first datagrams of DTLS.
    pub(crate) heard: Vec<Vec<u8>>,
}

/// A hand on a socket, with a thread of its own: it has its own share of the machine, and what a service costs can be
/// told from it.
pub(crate) struct HostileCamera {
    pub(crate) address: SocketAddr,
    progress: watch::Receiver<Progress>,
    _stop: DropGuard,
}

impl HostileCamera {
    pub(crate) fn start(hand: CameraHand, script: Script) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (told, progress) = watch::channel(Progress::default());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let socket = UdpSocket::from_std(socket).unwrap();
                stopped.run_until_cancelled(work(socket, hand, script, told)).await
            })
        });
        Self { address, progress, _stop: stop.drop_guard() }
    }

    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.clone();
        match timeout(PATIENCE, progress.wait_for(condition)).await {
            Ok(progress) => progress.unwrap().clone(),
            Err(_) => panic!("the camera never came to this: {what}; {:?}", self.progress.borrow()),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }
}

async fn work(socket: UdpSocket, mut hand: CameraHand, mut script: Script, told: watch::Sender<Progress>) {
    let mut client = None;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut buffer = vec![0; 65_535];
    let mut asked = 0;
    loop {
        let datagrams = tokio::select! {
            biased;
            _ = ticks.tick() => {
                if !hand.has_let_in() {
                    continue;
                }
                asked += 1;
                script(&mut hand, asked)
            }
            Ok((len, from)) = socket.recv_from(&mut buffer) => {
                client = Some(from);
                hand.on_datagram(clock::now().into_std(), &buffer[..len])
            }
        };
        let count = datagrams.len() as u64;
        for datagram in datagrams {
            // A socket that has no room loses it, as a network would.
            let _lost = socket.try_send_to(&datagram, client.unwrap());
        }
        told.send_modify(|progress| {
            progress.sessions = hand.sessions;
            progress.ticks = asked;
            progress.datagrams += count;
            if progress.heard.len() < hand.heard.len() {
                progress.heard = hand.heard.clone();
            }
            progress.commands = hand.commands.iter().map(|command| command.command).collect();
        });
    }
}

/// A picture's parameter sets and slice, of this codec, that say nothing true.
pub(crate) fn absurd_picture(codec: VideoCodec) -> Vec<u8> {
    let nals: &[&[u8]] = match codec {
        // A profile of 66, level 6.2; 131 070 macroblocks each way in unsigned Exp-Golomb, all further bits set.
        VideoCodec::H264 => &[
            &[0x67, 0x42, 0x00, 0x3E, 0xF4, 0x00, 0x00, 0x3F, 0xFF, 0xE0, 0x00, 0x07, 0xFF, 0xFC, 0xFF, 0xFF],
            &[0x68, 0xCE, 0x3C, 0x80],
            &[0x65, 0x88, 0x84, 0x00, 0xFF, 0xFF, 0xFF, 0xFF],
        ],
        VideoCodec::H265 => &[
            &[0x40, 0x01, 0x0C, 0x01, 0xFF, 0xFF],
            &[0x42, 0x01, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x01, 0xFF, 0xFF],
            &[0x44, 0x01, 0xC1, 0x72],
            &[0x26, 0x01, 0xAF, 0xFF, 0xFF],
        ],
    };
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}
