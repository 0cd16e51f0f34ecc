//! Both of a virtual GWell camera's counterparts, made by hand from codecs: the P2P server that it logs in to, and a viewer.
//! They hold keys and counters, take apart what arrives, and have no state machines of their own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use doorstep::proto::gwell::av::{Demuxer, Unit};
use doorstep::proto::gwell::calling::{Calling, MtpReply, Relay};
use doorstep::proto::gwell::certify::{CertifyAck, CertifyReply, CertifyRequest};
use doorstep::proto::gwell::control::{Control, Meter, Route};
use doorstep::proto::gwell::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use doorstep::proto::gwell::kcp::{self, Arq, Kcp, Windows};
use doorstep::proto::gwell::message::{self, Message};
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughControl, PassthroughData};
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::session::Path;
use doorstep::proto::gwell::stream_control::{Action, Definition, StreamControl};
use doorstep::proto::gwell::token::AccessToken;

pub(crate) const SERVER: SocketAddr = at(1, 28_800);
pub(crate) const CAMERA: SocketAddr = at(2, 32_100);
pub(crate) const RELAY: SocketAddr = at(9, 9_000);
pub(crate) const TID: u64 = 0x0102_0304_0506_0708;
const SESSION: u64 = 0x5E55_1011;

/// A host of the network in memory.
pub(crate) const fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port))
}

pub(crate) fn token() -> AccessToken {
    AccessToken::of_parts(TID, std::array::from_fn(|n| n as u8), Vec::new())
}

/// The camera's server.
#[derive(Default)]
pub(crate) struct Server {
    /// The camera's session, once there is one.
    key: Option<Rc5>,
    /// What it answers a CertifyReq with.
    pub(crate) code: u16,
    /// Whether it is there at all.
    pub(crate) silent: bool,
    pub(crate) certified: u32,
    pub(crate) acknowledged: u32,
    pub(crate) beats: u32,
    /// Where the camera said that it is.
    pub(crate) taken: Vec<Calling>,
    /// What callers get through it.
    pub(crate) passed: Vec<PassthroughData>,
    sqnum: u32,
}

impl Server {
    /// Takes one datagram from the camera and returns what is answered at once.
    pub(crate) fn on_datagram(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        if self.silent {
            return Vec::new();
        }
        assert_eq!(Mtp::frame_len(*datagram.first_chunk().unwrap()), None, "MTP went to the server");
        let frame = Frame::open(datagram, self.key.as_ref()).expect("the camera's frames can be read");
        match frame.kind {
            Kind::Certify => return self.certify(&frame),
            Kind::CertifyReply => self.acknowledged += 1,
            Kind::Heartbeat => {
                self.beats += 1;
                assert_eq!(frame.id, TID);
                return vec![self.say(|from, sqnum| Frame::new(Kind::Heartbeat, from, sqnum, IN_SESSION, vec![0; 20]))];
            }
            Kind::Calling => self.taken.push(Calling::decode(&frame).unwrap()),
            Kind::Inner => match Inner::decode(&frame).unwrap() {
                Inner::Data(data) => self.passed.push(data),
                other => panic!("the camera said {other:?}"),
            },
            other => panic!("the camera sent {other:?}"),
        }
        Vec::new()
    }

    fn certify(&mut self, frame: &Frame) -> Vec<Vec<u8>> {
        let request = CertifyRequest::decode(frame).unwrap();
        let key = request.verify(&token()).expect("the camera's own token");
        let from = Identity::Session(SESSION);
        let reply = CertifyReply { code: self.code, session: SESSION };
        if self.code == CertifyReply::OK {
            self.key = Some(key);
            self.certified += 1;
        }
        let ack = CertifyAck { code: 0 }.encode(frame, from);
        vec![ack.seal(None), reply.encode(from, 1).seal(None)]
    }

    /// Forgets the camera.
    pub(crate) fn forget(&mut self) {
        self.key = None;
    }

    /// Calls the camera, and names the relays.
    pub(crate) fn call(&mut self, calling: &Calling, relays: Vec<Relay>) -> Vec<Vec<u8>> {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let reply = MtpReply { link_id: calling.link_id, outer: nowhere, lan: nowhere, session_port: 0, relays };
        vec![self.say(|from, sqnum| calling.encode(from, sqnum)), self.say(|from, sqnum| reply.encode(from, sqnum))]
    }

    pub(crate) fn wake_up(&mut self) -> Vec<u8> {
        self.say(|from, sqnum| Frame::new(Kind::WakeUp, from, sqnum, IN_SESSION, Vec::new()))
    }

    /// Passes a viewer's MTP frame on.
    pub(crate) fn pass(&mut self, caller: u64, mtp: Vec<u8>) -> Vec<u8> {
        let data = PassthroughData { tid: TID, access_id: caller, message_id: 1, mtp };
        self.say(|from, sqnum| data.encode(from, sqnum))
    }

    pub(crate) fn create_kcp(&mut self, caller: u64, link_id: u32) -> Vec<u8> {
        let command = PassthroughControl::CREATE_KCP;
        let control = PassthroughControl { tid: TID, access_id: caller, command, link_id };
        self.say(|from, sqnum| control.encode(from, sqnum))
    }

    fn say(&mut self, frame: impl FnOnce(Identity, u32) -> Frame) -> Vec<u8> {
        self.sqnum += 1;
        frame(Identity::Session(SESSION), self.sqnum).seal(self.key.as_ref())
    }
}

const IN_SESSION: Flags = Flags::new(Mode::Session, Delivery::Forgotten);

/// A viewer's hand: what it holds of one call.
pub(crate) struct Viewer {
    pub(crate) call: Calling,
    /// Where it is, over UDP and over TCP.
    pub(crate) address: SocketAddr,
    pub(crate) way: Path,
    pub(crate) stream_id: u32,
    key: Rc5,
    data: Kcp,
    ctrl: Kcp,
    /// Everything that arrived and was not consumed, oldest first, each with the way on which it came.
    pub(crate) controls: Vec<(Path, Control)>,
    pub(crate) messages: Vec<StreamControl>,
    /// Of the messages of media, the longest.
    pub(crate) longest: usize,
    pub(crate) demuxer: Demuxer,
    pub(crate) units: Vec<Unit>,
    /// MTP frames that arrived, by way.
    pub(crate) frames: Vec<Path>,
    pub(crate) broken: u32,
    pub(crate) answers_meters: bool,
    /// Takes no segments.
    pub(crate) deaf: bool,
}

impl Viewer {
    pub(crate) fn new(number: u8, way: Path) -> Self {
        Self::with_windows(number, way, Windows::DATA)
    }

    pub(crate) fn with_windows(number: u8, way: Path, windows: Windows) -> Self {
        let link_id = 0x9A00_0001 + (u32::from(number) << 8);
        let call = Calling {
            link_id,
            caller: 0xACC0 + u64::from(number),
            callee: TID,
            port: 40_000,
            address: Ipv4Addr::new(10, 0, 1, number),
            mtp_key: [number; 8],
            lan: false,
        };
        let ids = kcp::conversations(link_id);
        Self {
            address: SocketAddr::from((call.address, call.port)),
            way,
            stream_id: 0x57E4 + u32::from(number),
            key: Rc5::new(&call.mtp_key),
            call,
            data: Kcp::new(ids.data, windows),
            ctrl: Kcp::new(ids.ctrl, Windows::CTRL),
            controls: Vec::new(),
            messages: Vec::new(),
            longest: 0,
            demuxer: Demuxer::default(),
            units: Vec::new(),
            frames: Vec::new(),
            broken: 0,
            answers_meters: true,
            deaf: false,
        }
    }

    pub(crate) fn route(&self) -> Route {
        Route { link_id: self.call.link_id, sender: self.call.caller, receiver: TID }
    }

    /// Takes one MTP frame and returns the payloads that are answered at once.
    pub(crate) fn on_frame(&mut self, way: Path, frame: &[u8]) -> Vec<Vec<u8>> {
        self.frames.push(way);
        let Ok(mtp) = Mtp::decode(frame) else {
            self.broken += 1;
            return Vec::new();
        };
        assert_eq!(mtp.to.is_some(), way == Path::RelayUdp, "only UDP relays need a destination");
        let (control, segments) = Control::split(mtp.payload).unwrap();
        let mut answers = Vec::new();
        if let Some(control) = control {
            assert_eq!(control.route().reversed(), self.route());
            if let (Control::Meter(route, meter), true) = (control, self.answers_meters) {
                answers.push(Control::ack(route, meter).encode());
            }
            self.controls.push((way, control));
        }
        if !self.deaf {
            self.take_segments(segments);
        }
        answers
    }

    fn take_segments(&mut self, segments: &[u8]) {
        let ids = kcp::conversations(self.call.link_id);
        for (id, run) in kcp::by_conversation(segments) {
            let engine = if id == ids.data { &mut self.data } else { &mut self.ctrl };
            let _odd_segments_are_some_faults = engine.input(run);
        }
        while let Some(bytes) = self.ctrl.recv().or_else(|| self.data.recv()) {
            match Message::decode(&bytes, &self.key).unwrap() {
                Message::Control(control) => self.messages.push(control),
                Message::Av(plain) => {
                    self.longest = self.longest.max(bytes.len());
                    self.demuxer.push(&plain);
                    self.units.extend(std::iter::from_fn(|| self.demuxer.next()));
                }
                Message::Command(_) => panic!("no camera sends commands"),
            }
        }
    }

    pub(crate) fn init(&mut self) {
        let request = StreamControl::init_req(self.stream_id, Definition::Hd);
        self.ctrl.send(&Message::Control(request).encode(&self.key)).unwrap();
    }

    pub(crate) fn start(&mut self) {
        self.say_on_data(Action::Start);
    }

    pub(crate) fn say_on_data(&mut self, action: Action) {
        let control = StreamControl::of(action, self.stream_id);
        self.data.send(&Message::Control(control).encode(&self.key)).unwrap();
    }

    pub(crate) fn av_init(&mut self) {
        self.data.send(&message::viewer_av_init(&self.key)).unwrap();
    }

    pub(crate) fn create(&self) -> Vec<u8> {
        Control::Create(self.route()).encode()
    }

    pub(crate) fn meter(&self, unix_ms: u64) -> Vec<u8> {
        Control::Meter(self.route(), Meter::new(1, unix_ms)).encode()
    }

    /// INITREQ as a segment of its own, not of an engine.
    pub(crate) fn init_by_hand(&self, sn: u32) -> Vec<u8> {
        let request = StreamControl::init_req(self.stream_id, Definition::Hd);
        segment(kcp::conversations(self.call.link_id).ctrl, 81, sn, 0, &request.encode())
    }

    /// An acknowledgement on ctrl that says what has arrived on data.
    pub(crate) fn ack_by_hand(&self, sn: u32, una: u32) -> Vec<u8> {
        segment(kcp::conversations(self.call.link_id).ctrl, 82, sn, una, &[])
    }

    /// The payloads that KCP has to send.
    pub(crate) fn outgoing(&mut self, unix_ms: u64) -> Vec<Vec<u8>> {
        self.data.update(unix_ms as u32);
        self.ctrl.update(unix_ms as u32);
        std::iter::from_fn(|| self.data.poll().or_else(|| self.ctrl.poll())).collect()
    }

    /// A payload as it goes out on a way; for passthrough, as it goes to the server.
    pub(crate) fn frame(&self, way: Path, payload: &[u8]) -> Vec<u8> {
        let to = (way == Path::RelayUdp).then_some(TID);
        let carrier = if matches!(way, Path::LanTcp | Path::RelayTcp) { Carrier::Stream } else { Carrier::Datagram };
        Mtp { urgent: false, to, payload }.encode(carrier)
    }
}

fn segment(conversation: u32, command: u8, sn: u32, una: u32, data: &[u8]) -> Vec<u8> {
    const WINDOW: u16 = 128;
    let mut bytes = conversation.to_le_bytes().to_vec();
    bytes.extend([command, 0]);
    bytes.extend(WINDOW.to_le_bytes());
    for field in [0, sn, una, data.len() as u32] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(data);
    bytes
}
