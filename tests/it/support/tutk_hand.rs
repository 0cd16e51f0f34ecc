//! A TUTK client made by hand from codecs: it holds one session's keys and counters, takes apart what
//! arrives, and has no state machine of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use doorstep::proto::Lane;
use doorstep::proto::tutk::Channel;
use doorstep::proto::tutk::cc51::{self, Direction, HmacKey, Keepalive};
use doorstep::proto::tutk::dtls::{DtlsEndpoint, DtlsError, OpensslDtls, Role};
use doorstep::proto::tutk::frame::MediaPacket;
use doorstep::proto::tutk::iotc::{self, Data};
use doorstep::proto::tutk::kcommand::{ControlMessage, IoCtrl, KCommand};
use doorstep::proto::tutk::keys::{AuthKey, Psk, SessionId};
use doorstep::proto::tutk::login::Ack;
use doorstep::sim::tutk_camera::{Protocol, Settings};

/// The client's hand: what it holds of one session.
pub(crate) struct Hand {
    pub(crate) address: SocketAddr,
    pub(crate) enr: String,
    pub(crate) wire: Wire,
    pub(crate) main: Box<dyn DtlsEndpoint>,
    pub(crate) back: Option<Box<dyn DtlsEndpoint>>,
    pub(crate) psk: Psk,
    pub(crate) av_seq: u32,
    pub(crate) commands: u16,
    pub(crate) acks: u16,
    pub(crate) next_ack: Option<Instant>,
    /// Everything that arrived and was not consumed, oldest first.
    pub(crate) answers: Vec<Vec<u8>>,
    pub(crate) messages: VecDeque<Vec<u8>>,
    pub(crate) media: Vec<MediaPacket>,
    pub(crate) back_messages: VecDeque<Vec<u8>>,
    pub(crate) keepalives: u32,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) farewell: bool,
}

pub(crate) struct Wire {
    pub(crate) protocol: Protocol,
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u16,
    pub(crate) ticket: u16,
    pub(crate) key: HmacKey,
}

impl Wire {
    pub(crate) fn wrap(&mut self, channel: Channel, payload: Vec<u8>) -> Vec<u8> {
        let session_id = self.session_id;
        if self.protocol == Protocol::Old {
            let sequence = self.sequence;
            self.sequence = sequence.wrapping_add(1);
            iotc::Packet::DataTx(Data { sequence, session_id, channel, payload }).encode()
        } else {
            let direction = Direction::Request;
            let dtls = cc51::Dtls { direction, channel, ticket: self.ticket, session_id, payload };
            cc51::Packet::Dtls(dtls).encode(&self.key)
        }
    }
}

impl Hand {
    pub(crate) fn new(settings: &Settings, protocol: Protocol, number: u8) -> Self {
        let enr = settings.enr.expose().to_owned();
        let auth_key = AuthKey::derive(&enr, &settings.mac);
        let psk = Psk::derive(&enr);
        let key = HmacKey::new(&settings.uid, &auth_key);
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 40_000 + u16::from(number))),
            wire: Wire { protocol, session_id: [number; 8], sequence: 0, ticket: 0, key },
            main: Box::new(OpensslDtls::new(Role::Client, Channel::Main, &psk).unwrap()),
            back: None,
            psk,
            enr,
            av_seq: 0,
            commands: 0,
            acks: 0,
            next_ack: None,
            answers: Vec::new(),
            messages: VecDeque::new(),
            media: Vec::new(),
            back_messages: VecDeque::new(),
            keepalives: 0,
            lanes: Vec::new(),
            farewell: false,
        }
    }

    /// Takes one datagram from the camera and returns what is answered at once.
    pub(crate) fn on_datagram(&mut self, now: Instant, datagram: Vec<u8>) -> Option<Vec<u8>> {
        if cc51::Packet::recognises(&datagram) {
            let received = cc51::Packet::decode(&datagram, &self.wire.key).unwrap();
            assert!(received.authentic, "the camera sent a wrong HMAC");
            return self.on_new(now, received.packet, datagram);
        }
        match iotc::Packet::decode(&datagram).unwrap() {
            iotc::Packet::DataRx(data) => self.on_dtls(now, data.channel, &data.payload),
            iotc::Packet::KeepaliveResponse { token, .. } => {
                self.keepalives += 1;
                return Some(iotc::Packet::KeepaliveRequest { echo: token }.encode());
            }
            _ => self.answers.push(datagram),
        }
        None
    }

    pub(crate) fn on_new(&mut self, now: Instant, packet: cc51::Packet, datagram: Vec<u8>) -> Option<Vec<u8>> {
        match packet {
            cc51::Packet::Dtls(dtls) => self.on_dtls(now, dtls.channel, &dtls.payload),
            cc51::Packet::Discovery(_) => self.answers.push(datagram),
            cc51::Packet::Keepalive(Keepalive { session_id, .. }) => {
                self.keepalives += 1;
                let counter = 2 * self.keepalives;
                let answer = Keepalive { direction: Direction::Request, counter, session_id };
                return Some(cc51::Packet::Keepalive(answer).encode(&self.wire.key));
            }
        }
        None
    }

    pub(crate) fn on_dtls(&mut self, now: Instant, channel: Channel, datagram: &[u8]) {
        match channel {
            Channel::Main => {
                match self.main.on_datagram(now, datagram) {
                    Err(DtlsError::Closed) => self.farewell = true,
                    outcome => drop(outcome),
                }
                while let Some(message) = self.main.poll_message() {
                    if MediaPacket::recognises(&message) && ControlMessage::decode(&message).is_err() {
                        assert!(message.len() <= 1_150, "a media packet of {} bytes", message.len());
                        self.media.push(MediaPacket::decode(&message).unwrap());
                    } else {
                        self.messages.push_back(message);
                    }
                }
            }
            Channel::Back => {
                let psk = &self.psk;
                let back = self
                    .back
                    .get_or_insert_with(|| Box::new(OpensslDtls::new(Role::Server, Channel::Back, psk).unwrap()));
                let _ = back.on_datagram(now, datagram);
                while let Some(message) = back.poll_message() {
                    self.back_messages.push_back(message);
                }
            }
        }
    }

    /// All DTLS datagrams that wait to be sent, wrapped.
    pub(crate) fn outgoing(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(datagram) = self.main.poll_datagram() {
            datagrams.push(self.wire.wrap(Channel::Main, datagram));
        }
        while let Some(datagram) = self.back.as_mut().and_then(|back| back.poll_datagram()) {
            datagrams.push(self.wire.wrap(Channel::Back, datagram));
        }
        datagrams
    }

    pub(crate) fn acknowledge(&mut self, now: Instant) {
        if self.next_ack.is_some_and(|at| now >= at) {
            self.next_ack = Some(now + Duration::from_millis(100));
            self.acks += 1;
            let av_seq = self.take_seq();
            let ack = Ack { av_seq, rx_start: u16::MAX, rx_end: u16::MAX, count: self.acks, clock_ms: 0 };
            self.main.send(&ack.encode()).unwrap();
        }
    }

    pub(crate) fn take_seq(&mut self) -> u32 {
        self.av_seq += 1;
        self.av_seq - 1
    }

    /// The next K-command as a frame.
    pub(crate) fn frame(&mut self, command: KCommand) -> IoCtrl {
        self.commands += 1;
        IoCtrl { av_seq: self.take_seq(), command_seq: self.commands - 1, command }
    }
}
