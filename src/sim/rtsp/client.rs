//! One client's connection: what it asks, what it is answered, and what it is sent in between (RFC 2326 §10).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::RtspEvent;
use super::digest::{Denied, Guard};
use super::fault::Fault;
use super::film::Film;
use super::message::{self, Inbound, Reply, Request};
use super::sdp::{TRACKS, VIDEO};
use super::server::Server;
use super::track::{Channels, Track, VIDEO_PAYLOAD_TYPE, VIDEO_RATE_HZ, audio_payload};
use crate::clock::{self, Instant};

const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, SET_PARAMETER, TEARDOWN";
/// A client that does not take what it is sent is let go.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Client {
    server: Arc<Server>,
    id: u64,
    /// There are too many others.
    crowded: bool,
    guard: Guard,
    /// How often all nonces had been forgotten when the present one was made.
    nonces: u64,
    session: Option<Session>,
    over: bool,
}

/// From the first SETUP to TEARDOWN.
struct Session {
    id: String,
    path: String,
    film: Film,
    playing: bool,
    expires: Instant,
}

/// What an address leads to.
struct Resource {
    path: String,
    /// `None`: the whole presentation.
    track: Option<usize>,
}

/// Why a request is not carried out.
struct Refusal {
    reply: Reply,
    why: &'static str,
}

impl Refusal {
    fn new(status: u16, why: &'static str) -> Self {
        Self { reply: Reply::new(status), why }
    }
}

impl Client {
    /// # Errors
    /// When the operating system has no randomness.
    pub(super) fn new(server: Arc<Server>, id: u64, crowded: bool) -> std::io::Result<Self> {
        let guard = Guard::new(server.settings.protection, nonce()?);
        let nonces = server.nonces.load(Ordering::Relaxed);
        Ok(Self { server, id, crowded, guard, nonces, session: None, over: false })
    }

    /// Until the connection is over; why.
    pub(super) async fn converse(mut self, mut socket: TcpStream, hang_up: CancellationToken) -> &'static str {
        let (mut arrived, mut out) = (BytesMut::new(), BytesMut::new());
        loop {
            tokio::select! {
                () = hang_up.cancelled() => return "hung up",
                read = socket.read_buf(&mut arrived) => match read {
                    Ok(0) | Err(_) => return "the client is gone",
                    Ok(_) => if self.read(&mut arrived, &mut out).is_err() {
                        return "what the client sends is no RTSP";
                    },
                },
                () = until(self.due()) => self.film(&mut out),
                () = until(self.expires()) => return "the client has not been heard for too long",
            }
            match timeout(PATIENCE, socket.write_all_buf(&mut out)).await {
                Ok(Ok(())) if self.over => return "the client has ended it",
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "the client is gone",
                Err(_) => return "the client does not take what it is sent",
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.session.as_ref().filter(|session| session.playing).map(|session| session.film.due())
    }

    fn expires(&self) -> Option<Instant> {
        self.session.as_ref().map(|session| session.expires)
    }

    fn film(&mut self, out: &mut BytesMut) {
        let fault = self.server.fault();
        if let Some(session) = &mut self.session {
            session.film.put(fault, out);
        }
    }

    /// Answers what has arrived.
    fn read(&mut self, arrived: &mut BytesMut, out: &mut BytesMut) -> Result<(), message::Malformed> {
        while let Some(message) = message::take(arrived)? {
            if let Some(session) = &mut self.session {
                session.expires = clock::now() + self.server.settings.session;
            }
            match message {
                Inbound::Request(request) if self.server.fault() != Some(Fault::Deaf) => self.request(&request, out),
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&mut self, request: &Request, out: &mut BytesMut) {
        let reply = self.answer(request).unwrap_or_else(|Refusal { reply, why }| {
            if why != Denied::Nothing.why() {
                self.server.tell(RtspEvent::Refused { client: self.id, status: reply.status, why });
            }
            reply
        });
        out.extend_from_slice(&reply.encode(request.header("CSeq").unwrap_or("0")));
    }

    fn answer(&mut self, request: &Request) -> Result<Reply, Refusal> {
        if request.version != "RTSP/1.0" {
            return Err(Refusal::new(505, "another version of RTSP"));
        }
        if request.header("CSeq").is_none_or(|cseq| cseq.parse::<u32>().is_err()) {
            return Err(Refusal::new(400, "no CSeq"));
        }
        if self.crowded {
            self.over = true;
            return Err(Refusal::new(503, "too many clients"));
        }
        // As go2rtc asks first whether there is a back channel.
        if let Some(options) = request.header("Require") {
            let reply = Reply::new(551).with("Unsupported", options);
            return Err(Refusal { reply, why: "options that are not known" });
        }
        match request.method.as_str() {
            "OPTIONS" => Ok(self.ping()),
            "DESCRIBE" => self.admitted(request)?.describe(request),
            "SETUP" => self.admitted(request)?.set_up(request),
            "PLAY" => self.admitted(request)?.play(request),
            "GET_PARAMETER" | "SET_PARAMETER" => self.admitted(request)?.parameter(request),
            "TEARDOWN" => self.admitted(request)?.tear_down(request),
            _ => Err(Refusal { reply: Reply::new(501).with("Public", METHODS), why: "a method that is not known" }),
        }
    }

    fn admitted(&mut self, request: &Request) -> Result<&mut Self, Refusal> {
        let nonces = self.server.nonces.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.nonces, nonces) != nonces {
            self.guard.renew(nonce().unwrap_or_default());
        }
        match self.guard.admit(&self.server.login(), request) {
            Ok(()) => Ok(self),
            Err(denied) => {
                let reply = Reply::new(401).with("WWW-Authenticate", self.guard.challenge(denied));
                Err(Refusal { reply, why: denied.why() })
            }
        }
    }

    /// Many clients keep a session alive with OPTIONS.
    fn ping(&self) -> Reply {
        if self.session.is_some() {
            self.server.tell(RtspEvent::KeepAlive { client: self.id });
        }
        Reply::new(200).with("Public", METHODS)
    }

    fn describe(&mut self, request: &Request) -> Result<Reply, Refusal> {
        self.resource(request)?;
        let base = format!("{}/", request.uri.trim_end_matches('/'));
        let description = match self.server.fault() {
            Some(Fault::BadDescription) => {
                "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP \r\n".into()
            }
            _ => self.server.description.clone(),
        };
        let mut reply = Reply::new(200).with("Content-Base", base).body("application/sdp", description);
        reply.claimed = Some(u64::from(u32::MAX) + 1).filter(|_| self.server.fault() == Some(Fault::HugeReply));
        Ok(reply)
    }

    fn set_up(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let Resource { path, track } = self.resource(request)?;
        let track = match (track, self.server.settings.audio) {
            (Some(track), _) => track,
            (None, None) => VIDEO,
            (None, Some(_)) => return Err(Refusal::new(459, "SETUP of several tracks at once")),
        };
        let given = request.header("Session").map(session_id);
        if self.session.as_ref().map(|session| session.id.as_str()) != given {
            return Err(Refusal::new(454, "another session"));
        }
        if self.session.as_ref().is_some_and(|session| session.playing || session.path != path) {
            return Err(Refusal::new(455, "SETUP while something else plays"));
        }
        let offered = request.header("Transport").unwrap_or_default();
        let channels = offered.split(',').find_map(interleaved);
        let channels = channels.ok_or_else(|| Refusal::new(461, "a transport that is not interleaved"))?;
        let lease = self.server.settings.session;
        let session = self.open(path).map_err(|_| Refusal::new(503, "this machine has no randomness"))?;
        session.track(track, channels).map_err(|_| Refusal::new(503, "this machine has no randomness"))?;
        let Channels { rtp, rtcp } = channels;
        let session = format!("{};timeout={}", session.id, lease.as_secs());
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}");
        Ok(Reply::new(200).with("Session", session).with("Transport", transport))
    }

    /// The session that there is, or a new one.
    fn open(&mut self, path: String) -> std::io::Result<&mut Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session {
                id: nonce()?,
                path,
                film: self.server.film(),
                playing: false,
                expires: clock::now() + self.server.settings.session,
            },
        };
        Ok(self.session.insert(session))
    }

    fn play(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let Resource { path, track } = self.resource(request)?;
        let (server, client) = (Arc::clone(&self.server), self.id);
        let session = self.session(request)?;
        if track.is_some() {
            return Err(Refusal::new(460, "PLAY of one track"));
        }
        if session.path != path {
            return Err(Refusal::new(455, "PLAY of what was not set up"));
        }
        if !std::mem::replace(&mut session.playing, true) {
            session.film.begin();
            server.tell(RtspEvent::Play { client, path });
        }
        let base = request.uri.trim_end_matches('/');
        let info = [&session.film.video, &session.film.audio].into_iter().zip(TRACKS);
        let info = info.filter_map(|(track, name)| Some((track.as_ref()?, name)));
        let info = info
            .map(|(Track { sequence, start, .. }, name)| format!("url={base}/{name};seq={sequence};rtptime={start}"));
        let info = info.collect::<Vec<_>>().join(",");
        let reply = Reply::new(200).with("Session", session.id.clone()).with("Range", "npt=0.000-");
        Ok(reply.with("RTP-Info", info))
    }

    /// Nothing can be read or set. Without a body it says that the client is there.
    fn parameter(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let (server, client) = (Arc::clone(&self.server), self.id);
        let session = self.session(request)?;
        server.tell(RtspEvent::KeepAlive { client });
        Ok(Reply::new(200).with("Session", session.id.clone()))
    }

    fn tear_down(&mut self, request: &Request) -> Result<Reply, Refusal> {
        self.session(request)?;
        self.session = None;
        self.over = true;
        Ok(Reply::new(200))
    }

    fn session(&mut self, request: &Request) -> Result<&mut Session, Refusal> {
        let given = request.header("Session").map(session_id);
        let session = self.session.as_mut().filter(|session| Some(session.id.as_str()) == given);
        session.ok_or_else(|| Refusal::new(454, "no such session"))
    }

    fn resource(&self, request: &Request) -> Result<Resource, Refusal> {
        let settings = &self.server.settings;
        let tracks = if settings.audio.is_some() { &TRACKS[..] } else { &TRACKS[..1] };
        resource(&request.uri, &settings.paths, tracks).ok_or_else(|| Refusal::new(404, "nothing is there"))
    }
}

impl Session {
    fn track(&mut self, track: usize, channels: Channels) -> std::io::Result<()> {
        let random = random()?;
        if track == VIDEO {
            self.film.video = Some(Track::new(channels, VIDEO_PAYLOAD_TYPE, VIDEO_RATE_HZ, random));
        } else if let Some((payload_type, rate_hz)) =
            self.film.sound.as_ref().and_then(|sound| audio_payload(sound.format()))
        {
            self.film.audio = Some(Track::new(channels, payload_type, rate_hz, random));
        }
        Ok(())
    }
}

/// Never, without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// 32 hexadecimal digits that nobody can foretell.
fn nonce() -> std::io::Result<String> {
    Ok(format!("{:016x}{:016x}", random()?, random()?))
}

fn random() -> std::io::Result<u64> {
    getrandom::u64().map_err(std::io::Error::other)
}

/// Without its parameters.
fn session_id(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

/// `rtsp://host:port/Video-27/track0` → its path and track.
fn resource(uri: &str, paths: &[String], tracks: &[&str]) -> Option<Resource> {
    let (_, behind) = uri.split_once("://")?;
    let (_, path) = behind.split_once('/')?;
    let path = path.trim_end_matches('/');
    if let Some(found) = paths.iter().find(|own| *own == path) {
        return Some(Resource { path: found.clone(), track: None });
    }
    let (path, name) = path.rsplit_once('/')?;
    let found = paths.iter().find(|own| *own == path)?;
    let track = tracks.iter().position(|own| *own == name)?;
    Some(Resource { path: found.clone(), track: Some(track) })
}

/// The channels of `RTP/AVP/TCP;unicast;interleaved=0-1`.
fn interleaved(transport: &str) -> Option<Channels> {
    let mut parts = transport.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("RTP/AVP/TCP") {
        return None;
    }
    let channels = parts.find_map(|part| part.strip_prefix("interleaved="))?;
    let (rtp, rtcp) = channels.split_once('-')?;
    Some(Channels { rtp: rtp.parse().ok()?, rtcp: rtcp.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_a_presentation_or_to_one_of_its_tracks() {
        let paths = ["Video-27".to_owned(), "443/192P0P2P1/8554/Video-27_SD".to_owned()];
        let found = |uri: &str| resource(uri, &paths, &TRACKS).map(|Resource { path, track }| (path, track));
        let base = "rtsp://127.0.0.1:8554";
        assert_eq!(found(&format!("{base}/Video-27")), Some((paths[0].clone(), None)));
        assert_eq!(found(&format!("{base}/Video-27/")), Some((paths[0].clone(), None)));
        assert_eq!(found(&format!("{base}/Video-27/track1")), Some((paths[0].clone(), Some(1))));
        assert_eq!(found(&format!("{base}/{}/track0", paths[1])), Some((paths[1].clone(), Some(0))));
        for uri in ["*", "rtsp://a", "rtsp://a/Video-2", "rtsp://a/Video-27/track2", "rtsp://a/Video-27/x/track0"] {
            assert_eq!(found(uri), None, "{uri}");
        }
    }

    #[test]
    fn only_an_interleaved_transport_is_taken() {
        let channels = |rtp, rtcp| Some(Channels { rtp, rtcp });
        assert_eq!(interleaved("RTP/AVP/TCP;unicast;interleaved=2-3"), channels(2, 3));
        assert_eq!(interleaved(" RTP/AVP/TCP;interleaved=0-1;mode=play"), channels(0, 1));
        for bad in ["RTP/AVP;unicast;client_port=4-5", "RTP/AVP/TCP;unicast", "RTP/AVP/TCP;interleaved=0", ""] {
            assert_eq!(interleaved(bad), None, "{bad}");
        }
        assert_eq!(interleaved("RTP/AVP/TCP;interleaved=300-301"), None);
    }
}
