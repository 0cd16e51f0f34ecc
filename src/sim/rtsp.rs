//! A camera's RTSP server, as far as a client can tell (RFC 2326, RFC 7616): pictures and sound of the clip, over the
//! TCP connection that asked for them, to whoever knows the login.
//!
//! What stands in the clip is constrained baseline, where Vivint's Pro cameras send main profile; the description says
//! what is sent. A client sees the clip from its first keyframe on, as from a camera that begins a session with one.

mod client;
mod digest;
mod fault;
mod film;
mod message;
mod sdp;
mod server;
mod track;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use fault::Fault;

use crate::media::AudioFormat;
use crate::secret::Password;
use server::Server;

/// What an RTSP server is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port 0 for any free one.
    pub listen: SocketAddr,
    pub user: String,
    pub password: Password,
    /// What can be asked for, without slashes at the ends: `Video-27`. All show the same clip.
    pub paths: Vec<String>,
    /// Opus with two channels, or G.711; `None` for a camera without a microphone.
    pub audio: Option<AudioFormat>,
    /// Where clients learn the parameter sets.
    pub parameter_sets: ParameterSets,
    pub protection: Protection,
    /// A client that has said nothing for so long is let go. Told in whole seconds.
    pub session: Duration,
    /// At a time; one more is told to come back later.
    pub clients: usize,
    /// How it misbehaves from the start.
    pub fault: Option<Fault>,
}

impl Default for Settings {
    /// A camera that only this machine can reach: Opus, one path, digest with `qop`.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            user: "viewer".to_owned(),
            password: Password::new("not-a-real-password"),
            paths: vec!["live.sdp".to_owned()],
            audio: Some(AudioFormat::OPUS),
            parameter_sets: ParameterSets::InBand,
            protection: Protection::Auth,
            session: Duration::from_secs(60),
            clients: 8,
            fault: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterSets {
    /// Before each keyframe, and in the description.
    InBand,
    /// In the description only.
    Described,
}

/// How a client proves that it knows the password (RFC 7616, MD5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// As before `qop` was thought of.
    Legacy,
    /// `qop="auth"`: requests are counted.
    Auth,
}

/// What a running server can be told.
#[derive(Debug, Clone)]
pub enum RtspCommand {
    /// Another password from now on. Who plays already goes on playing.
    Password(Password),
    /// Every nonce that was given out is stale.
    ForgetNonces,
    /// Every connection is closed without a word.
    HangUp,
    /// Misbehaves from now on; `None` for no more.
    Fault(Option<Fault>),
}

/// What happened at a server. Clients are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event")]
pub enum RtspEvent {
    /// A client is sent pictures.
    #[serde(rename = "rtsp_play")]
    Play { client: u64, path: String },
    /// A request was not carried out. The first question for a login is none.
    #[serde(rename = "rtsp_refused")]
    Refused { client: u64, status: u16, why: &'static str },
    /// A client that plays says that it is still there.
    #[serde(rename = "rtsp_keep_alive")]
    KeepAlive { client: u64 },
    /// The connection is over.
    #[serde(rename = "rtsp_end")]
    End { client: u64, why: &'static str },
    #[serde(rename = "rtsp_fault")]
    Fault { name: &'static str },
}

/// A server that runs until its token is cancelled.
pub struct RunningRtsp {
    pub address: SocketAddr,
    pub settings: Settings,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

impl RunningRtsp {
    /// `rtsp://127.0.0.1:40123/Video-27`, without the login.
    pub fn url(&self, path: &str) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("rtsp://{address}/{path}")
    }

    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<RtspEvent> {
        self.server.events.subscribe()
    }

    /// Carries out a command at once.
    pub fn obey(&self, command: RtspCommand) {
        self.server.obey(command);
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.server.clients()
    }

    /// Waits until a server that was told to stop has let go of its clients.
    pub async fn stopped(self) {
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Binds the server's socket and serves in a task of its own.
///
/// # Errors
/// When the address cannot be bound, the clip has no sound in the format, the format cannot be sent by RTP, or the
/// operating system has no randomness.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningRtsp> {
    let server = Arc::new(Server::new(settings.clone(), stop)?);
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(Arc::clone(&server).run(listener));
    Ok(RunningRtsp { address, settings, server, task })
}
