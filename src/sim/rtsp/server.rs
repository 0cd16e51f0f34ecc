//! Who is served, and what is true for all of them.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::digest::Login;
use super::fault::Fault;
use super::film::Film;
use super::track::audio_payload;
use super::{RtspCommand, RtspEvent, Settings, sdp};
use crate::sim::clip::Clip;
use crate::sim::sound::Sound;

pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) events: broadcast::Sender<RtspEvent>,
    pub(super) description: String,
    clip: Clip,
    sound: Option<Sound>,
    stop: CancellationToken,
    orders: Mutex<Orders>,
    /// Counts how often all nonces were forgotten.
    pub(super) nonces: AtomicU64,
    clients: AtomicUsize,
}

/// What commands change.
struct Orders {
    login: Login,
    fault: Option<Fault>,
    /// Cancelled to close every connection.
    hang_up: CancellationToken,
}

impl Server {
    /// # Errors
    /// When the clip has no such sound, or it cannot be sent.
    pub(super) fn new(settings: Settings, stop: CancellationToken) -> io::Result<Self> {
        let sound = settings.audio.map(Sound::new).transpose().map_err(io::Error::other)?;
        if settings.audio.is_some_and(|format| audio_payload(format).is_none()) {
            return Err(io::Error::other("this sound is not sent by RTP here"));
        }
        let clip = Clip::h264();
        let login = Login { user: settings.user.clone(), password: settings.password.clone() };
        Ok(Self {
            description: sdp::describe(&clip, settings.audio),
            events: broadcast::Sender::new(256),
            orders: Mutex::new(Orders { login, fault: settings.fault, hang_up: stop.child_token() }),
            settings,
            clip,
            sound,
            stop,
            nonces: AtomicU64::default(),
            clients: AtomicUsize::default(),
        })
    }

    /// Serves until it is stopped and every client is gone.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut clients = JoinSet::new();
        let mut count = 0;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
            };
            match accepted {
                Ok((socket, _)) => {
                    count += 1;
                    clients.spawn(Arc::clone(&self).serve(count, socket));
                }
                Err(error) => {
                    // As when there are no more file descriptors: they come back.
                    tracing::warn!(%error, "the virtual RTSP server cannot take a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        while clients.join_next().await.is_some() {}
    }

    async fn serve(self: Arc<Self>, id: u64, socket: TcpStream) {
        // A connection that refuses is slower and works.
        let _ = socket.set_nodelay(true);
        let crowded = self.clients.fetch_add(1, Ordering::Relaxed) >= self.settings.clients;
        let hang_up = self.orders().hang_up.clone();
        let why = match Client::new(Arc::clone(&self), id, crowded) {
            Ok(client) => client.converse(socket, hang_up).await,
            Err(_) => "this machine has no randomness",
        };
        self.clients.fetch_sub(1, Ordering::Relaxed);
        self.tell(RtspEvent::End { client: id, why });
    }

    pub(super) fn obey(&self, command: RtspCommand) {
        let mut orders = self.orders();
        match command {
            RtspCommand::Password(password) => orders.login.password = password,
            RtspCommand::ForgetNonces => drop(self.nonces.fetch_add(1, Ordering::Relaxed)),
            RtspCommand::HangUp => {
                std::mem::replace(&mut orders.hang_up, self.stop.child_token()).cancel();
            }
            RtspCommand::Fault(fault) => {
                orders.fault = fault;
                self.tell(RtspEvent::Fault { name: fault.map_or("none", Fault::name) });
            }
        }
    }

    pub(super) fn login(&self) -> Login {
        self.orders().login.clone()
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.orders().fault
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    pub(super) fn film(&self) -> Film {
        Film::new(self.clip.clone(), self.sound.clone(), self.settings.parameter_sets)
    }

    pub(super) fn tell(&self, event: RtspEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    /// Nothing panics while it holds this lock, so a poisoned one is as good as any.
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
