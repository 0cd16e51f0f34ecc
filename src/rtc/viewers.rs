//! All viewers of all doorbells: the handle that faces hold. The work is done by the loop in `switchboard`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::interfaces::{MAX_ADDRESSES, advertised};
use super::peer::Peer;
use super::sdp::{AnswerError, Offer, Plan};
use super::switchboard::{Command, Newcomer, Switchboard};
use super::tcp;
use super::udp::Udp;
use crate::clock;
use crate::media::convert::browser_format;
use crate::media::talkback::MicPacket;
use crate::media::{AudioFormat, Demand, Formats};

/// At a time. The hundred of the largest household, and some that are just leaving.
const MAX_VIEWERS: usize = 128;
/// How long a camera may take to begin streaming.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands that wait for the loop; a face that finds it full waits too.
const COMMANDS: usize = 64;
/// Frames from TCP viewers that wait for the loop; their readers wait too.
const LINES: usize = 256;

/// Where viewers are met.
pub struct Settings {
    pub bind: IpAddr,
    /// UDP and TCP; 0 takes any that is free for both.
    pub port: u16,
    /// Addresses to advertise besides the interfaces' own (NAT 1:1).
    pub addresses: Vec<IpAddr>,
    /// Whether 127.0.0.1 is advertised too.
    pub loopback: bool,
    pub certificate: Certificate,
}

/// An accepted viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Random, and known to this viewer alone: whoever names it may close it.
    pub viewer: u64,
    pub sdp: String,
}

/// What has happened since the start, and `viewers` as of now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    pub viewers: u64,
    pub joined: u64,
    /// Viewers that were accepted and never connected.
    pub never_connected: u64,
    pub streams: u64,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    /// System calls that sent those datagrams: fewer when the kernel segments.
    pub send_calls: u64,
    pub send_errors: u64,
    pub datagrams_received: u64,
    /// Datagrams that were nobody's, or not signed with a viewer's password.
    pub datagrams_refused: u64,
    pub keyframe_requests: u64,
    /// Keyframe requests that the cached GOP answered.
    pub keyframe_requests_from_cache: u64,
    /// Packets dropped because a viewer could not take them.
    pub packets_dropped: u64,
    pub microphone_packets: u64,
    pub tcp_connections: u64,
    /// Addresses that are known to be some viewer's.
    pub sources: u64,
}

impl Counters {
    /// By name, for metrics; a name that ends in `_total` only grows.
    pub fn named(&self) -> [(&'static str, u64); 16] {
        [
            ("viewers", self.viewers),
            ("viewers_joined_total", self.joined),
            ("viewers_never_connected_total", self.never_connected),
            ("streams", self.streams),
            ("datagrams_sent_total", self.datagrams_sent),
            ("bytes_sent_total", self.bytes_sent),
            ("send_calls_total", self.send_calls),
            ("send_errors_total", self.send_errors),
            ("datagrams_received_total", self.datagrams_received),
            ("datagrams_refused_total", self.datagrams_refused),
            ("keyframe_requests_total", self.keyframe_requests),
            ("keyframe_requests_from_cache_total", self.keyframe_requests_from_cache),
            ("packets_dropped_total", self.packets_dropped),
            ("microphone_packets_total", self.microphone_packets),
            ("tcp_connections", self.tcp_connections),
            ("viewer_sources", self.sources),
        ]
    }
}

/// Every viewer, on one port. Cheap to clone.
#[derive(Clone)]
pub struct Viewers(Arc<Shared>);

struct Shared {
    commands: mpsc::Sender<Command>,
    counters: watch::Receiver<Counters>,
    places: Arc<Semaphore>,
    certificate: Certificate,
    advertised: watch::Sender<Advertised>,
    port: u16,
}

/// Where a viewer is told that we are. It knows us by these as long as it is here.
pub(super) type Advertised = Arc<[SocketAddr]>;

impl Viewers {
    /// Binds UDP and TCP on the same port number and starts the loop, which runs until `stop`.
    ///
    /// # Errors
    /// When the port is taken or the address is not this machine's.
    pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<Self> {
        let (udp, tcp) = bind(settings.bind, settings.port).await?;
        let port = udp.local_addr()?.port();
        let ips = advertised(settings.bind, &settings.addresses, settings.loopback)?;
        let advertised: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (lines, tcp_lines) = mpsc::channel(LINES);
        tokio::spawn(tcp::listen(tcp, lines, stop.clone()));
        let (board, counters) = Switchboard::new(Udp::new(udp)?, settings.bind);
        tokio::spawn(board.run(inbox, tcp_lines, stop));
        let places = Arc::new(Semaphore::new(MAX_VIEWERS));
        let certificate = settings.certificate;
        let advertised = watch::Sender::new(advertised.into());
        Ok(Self(Arc::new(Shared { commands, counters, places, certificate, advertised, port })))
    }

    /// From now on viewers are told these, the most promising first, and nothing else: where this machine has
    /// addresses that lead to nobody, as a container has. At most 16 count.
    pub fn advertise(&self, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(MAX_ADDRESSES);
        self.0.advertised.send_replace(addresses.into());
    }

    /// Of UDP and TCP.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Answers an offer with the pictures and the sound of the demanded hub; the demand is kept until the viewer is
    /// gone.
    ///
    /// `mic` is where the viewer's microphone goes, if it may talk: bounded, a packet is dropped when it is full;
    /// closed when the viewer is gone. Waits up to 10 s for the camera to show what it sends.
    ///
    /// # Errors
    /// `BadOffer`, `NotPlayable`, `NoPicture` and `Full`, each with a sentence for the viewer.
    pub async fn answer(
        &self,
        offer: &str,
        demand: Demand,
        mic: Option<mpsc::Sender<MicPacket>>,
    ) -> Result<Answered, AnswerError> {
        let offer = Offer::parse(offer)?;
        let place = self.0.places.clone().try_acquire_owned().map_err(|_| AnswerError::Full)?;
        let formats = timeout(PATIENCE, demand.formats()).await.map_err(|_| AnswerError::NoPicture)?;
        let plan = choose(&offer, formats, mic.is_some())?;
        let now = clock::now().into_std();
        let shared = &*self.0;
        let advertised = shared.advertised.borrow().clone();
        let (peer, sdp) = Peer::answer(now, &offer, &plan, &shared.certificate, &advertised)?;
        let viewer = random_u64()?;
        let video = plan.video.as_ref().map(|accepted| accepted.codec);
        let sound = plan.audio.iter().find(|accepted| accepted.to_viewer).map(|accepted| accepted.codec);
        let spoken = plan.audio.iter().find(|accepted| accepted.from_viewer).map(|accepted| accepted.codec);
        let mic = spoken.zip(mic);
        let offset = (random_u64()? & 0x7fff_ffff) as u32;
        let newcomer = Newcomer { viewer, peer, advertised, demand, video, sound, mic, offset, place };
        let accepted = shared.commands.send(Command::Add(Box::new(newcomer))).await;
        // The loop has ended: the service is stopping and takes nobody any more.
        accepted.map_err(|_| AnswerError::Full)?;
        Ok(Answered { viewer, sdp })
    }

    /// Takes candidates that came after the offer (an SDP fragment, RFC 8840); lines that are none are ignored.
    /// Whether the viewer is known.
    pub async fn add_candidates(&self, viewer: u64, fragment: &str) -> bool {
        let fragment = fragment.to_owned();
        self.ask(|reply| Command::Candidates { viewer, fragment, reply }).await
    }

    /// Ends a viewer. Whether it was known.
    pub async fn close(&self, viewer: u64) -> bool {
        self.ask(|reply| Command::Close { viewer, reply }).await
    }

    /// Ends every viewer without a word to it, as a cut cable would: for virtual cameras.
    pub async fn abandon_all(&self) {
        // The loop has ended: everybody has been told that it is over.
        let _ = self.0.commands.send(Command::AbandonAll).await;
    }

    /// Resolves when, after the stop, every viewer has been told that it is over.
    pub async fn ended(&self) {
        self.0.commands.closed().await;
    }

    /// As of the loop's last turn.
    pub fn counters(&self) -> Counters {
        *self.0.counters.borrow()
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<bool>) -> Command) -> bool {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).await.is_ok() && answer.await.unwrap_or(false)
    }
}

/// The codec of the sound: what the camera sends where a browser plays that, else Opus, else PCMU.
fn choose(offer: &Offer, formats: Formats, talk: bool) -> Result<Plan, AnswerError> {
    let mut audio = Vec::new();
    if let Some(format) = formats.audio {
        audio.extend([browser_format(format), AudioFormat::OPUS, AudioFormat::PCMU]);
    }
    offer.choose(formats.video, &audio, talk)
}

/// A machine without randomness can take no viewer.
fn random_u64() -> Result<u64, AnswerError> {
    getrandom::u64().map_err(|_| AnswerError::Full)
}

/// The same port number for both, which for port 0 may take some tries.
async fn bind(ip: IpAddr, port: u16) -> io::Result<(std::net::UdpSocket, TcpListener)> {
    const TRIES: usize = 16;
    let mut tries = 0;
    loop {
        let udp = std::net::UdpSocket::bind((ip, port))?;
        tries += 1;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if port == 0 && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}
