//! The public Go client of GWell, without it: what it sent in one session, recorded (`tests/vectors/gwell/go_session.json`
//! says how), is sent again to a virtual server and camera whose ids follow from the same seed.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use doorstep::clock;
use doorstep::proto::gwell::av::Demuxer;
use doorstep::proto::gwell::calling::Calling;
use doorstep::proto::gwell::certify::CertifyRequest;
use doorstep::proto::gwell::control::Control;
use doorstep::proto::gwell::gutes::{Frame, Kind};
use doorstep::proto::gwell::kcp::{self, Arq, Kcp, Windows};
use doorstep::proto::gwell::message::Message;
use doorstep::proto::gwell::mtp::Mtp;
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::token::AccessToken;
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::clip::Clip;
use doorstep::sim::gwell_camera::{self, CameraEvent, CameraSession};
use doorstep::sim::gwell_server::{self, Addresses, ServerSession};
use serde::Deserialize;

const RECORDING: &str = include_str!("../vectors/gwell/go_session.json");
/// What the recorded server's ids, account and camera followed from.
const SEED: u64 = 7;

#[derive(Deserialize)]
struct Recording {
    client: SocketAddr,
    server: SocketAddr,
    camera: SocketAddr,
    /// When it was sent, in milliseconds since the first, to whom, and what.
    sent: Vec<(u64, SocketAddr, String)>,
}

impl Recording {
    fn read() -> Self {
        serde_json::from_str(RECORDING).unwrap()
    }

    fn datagrams(&self) -> impl Iterator<Item = (Duration, SocketAddr, Vec<u8>)> + '_ {
        self.sent.iter().map(|(ms, to, hex)| (Duration::from_millis(*ms), *to, bytes(hex)))
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A server, a camera, and the place of the client, on one clock.
struct Stage {
    recording: Recording,
    server: ServerSession,
    camera: CameraSession,
    begun: Instant,
    told: Vec<CameraEvent>,
    /// MTP frames that the client was sent.
    shown: Vec<Vec<u8>>,
}

impl Stage {
    fn new(recording: Recording) -> Self {
        let begun = clock::now().into_std();
        let settings = gwell_server::Settings::generate(SEED);
        let account = &settings.cameras[0];
        let mut camera = gwell_camera::Settings::new(recording.server, account.name.clone(), account.token.clone());
        (camera.sound, camera.listen) = (false, recording.camera);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let addresses =
            Addresses { signalling: recording.server, list: nowhere, udp_relay: nowhere, tcp_relay: nowhere };
        Self {
            server: ServerSession::new(settings, addresses, SEED, begun),
            camera: CameraSession::new(camera, SEED, begun, SystemTime::UNIX_EPOCH).unwrap(),
            begun,
            told: Vec::new(),
            shown: Vec::new(),
            recording,
        }
    }

    /// Lets everything happen that is due up to `until` after the beginning.
    fn go_on(&mut self, until: Duration) {
        let end = self.begun + until;
        loop {
            let due = [self.server.deadline(), self.camera.deadline()].into_iter().flatten().min();
            let Some(now) = due.filter(|due| *due <= end) else { return };
            if self.server.deadline().is_some_and(|due| due <= now) {
                self.server.on_timeout(now).unwrap();
            }
            if self.camera.deadline().is_some_and(|due| due <= now) {
                self.camera.on_timeout(now).unwrap();
            }
            self.carry(now);
        }
    }

    fn send(&mut self, at: Duration, to: SocketAddr, datagram: &[u8]) {
        let now = self.begun + at;
        if to == self.recording.server {
            self.server.on_datagram(now, Lane::MAIN, self.recording.client, datagram).unwrap();
        } else {
            self.camera.on_datagram(now, Lane::MAIN, self.recording.client, datagram).unwrap();
        }
        self.carry(now);
    }

    /// Hands on what server and camera have to say.
    fn carry(&mut self, now: Instant) {
        loop {
            let (said, from) = match self.server.poll() {
                Some(Output::Event(_)) => continue,
                Some(Output::Send { to, payload, .. }) => (Some((to, payload)), self.recording.server),
                None => match self.camera.poll() {
                    Some(Output::Event(event)) => {
                        self.told.push(event);
                        continue;
                    }
                    Some(Output::Send { lane: Lane::MAIN, to, payload }) => {
                        (Some((to, payload)), self.recording.camera)
                    }
                    Some(Output::Send { .. }) => continue,
                    None => (None, self.recording.camera),
                },
            };
            let Some((to, payload)) = said else { return };
            if to == self.recording.camera {
                self.camera.on_datagram(now, Lane::MAIN, from, &payload).unwrap();
            } else if to == self.recording.server {
                self.server.on_datagram(now, Lane::MAIN, from, &payload).unwrap();
            } else if to == self.recording.client && Mtp::decode(&payload).is_ok() {
                self.shown.push(payload);
            }
        }
    }
}

#[test]
fn a_recorded_session_of_the_public_go_client_is_shown_the_picture_again() {
    let mut stage = Stage::new(Recording::read());
    // The camera is there before the client is.
    let head_start = Duration::from_secs(1);
    stage.go_on(head_start);
    let sent: Vec<_> = stage.recording.datagrams().collect();
    for (at, to, datagram) in &sent {
        stage.go_on(head_start + *at);
        let unread = stage.server.held().unread;
        stage.send(head_start + *at, *to, datagram);
        assert_eq!(stage.server.held().unread, unread, "the server cannot read {:02x?} of {at:?}", &datagram[..4]);
    }
    let complaints: Vec<_> =
        stage.told.iter().filter(|event| matches!(event, CameraEvent::Check { ok: false, .. })).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(stage.told.iter().any(|event| matches!(event, CameraEvent::Streaming { .. })), "{:?}", stage.told);
    let clip = Clip::h264();
    let pictures = pictures(&stage.shown, &sent);
    assert!(pictures.len() >= 20, "only {} pictures", pictures.len());
    for (n, picture) in pictures.iter().enumerate() {
        assert!(*picture == clip.access_unit(n as u64).data, "picture {n} differs");
    }
}

/// What the client would see, read with the key that it sent.
fn pictures(shown: &[Vec<u8>], sent: &[(Duration, SocketAddr, Vec<u8>)]) -> Vec<bytes::Bytes> {
    let (link, key) = call(sent);
    let ids = kcp::conversations(link);
    let mut data = Kcp::new(ids.data, Windows::DATA);
    let (mut demuxer, mut pictures) = (Demuxer::default(), Vec::new());
    for frame in shown {
        let (_, segments) = Control::split(Mtp::decode(frame).unwrap().payload).unwrap();
        for (_, run) in kcp::by_conversation(segments).filter(|(conversation, _)| *conversation == ids.data) {
            // It refuses what acknowledges the client's segments, which it has not sent, and takes the others.
            let _acknowledgements = data.input(run);
        }
        while let Some(message) = data.recv() {
            if let Ok(Message::Av(plain)) = Message::decode(&message, &key) {
                demuxer.push(&plain);
            }
            pictures.extend(demuxer.by_ref().map(|unit| unit.data));
        }
    }
    pictures
}

/// The link id and the media key, which the client sent to the server in confidence.
fn call(sent: &[(Duration, SocketAddr, Vec<u8>)]) -> (u32, Rc5) {
    let account = &gwell_server::Settings::generate(SEED).terminals[0];
    let mut session = None;
    for (_, _, datagram) in sent {
        let Ok(frame) = Frame::open(datagram, session.as_ref()) else { continue };
        match frame.kind {
            Kind::Certify => session = Some(verified(&frame, account)),
            Kind::Calling => {
                let calling = Calling::decode(&frame).unwrap();
                return (calling.link_id, Rc5::new(&calling.mtp_key));
            }
            _ => {}
        }
    }
    panic!("there is no CALLING in the recording");
}

fn verified(frame: &Frame, account: &AccessToken) -> Rc5 {
    CertifyRequest::decode(frame).unwrap().verify(account).unwrap()
}
