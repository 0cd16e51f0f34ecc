//! A call to a camera that is arranged over Amazon's KVS signalling frames (kvs reference §4): what AWS doorbells
//! and Wyze's WebRTC doorbells have in common. We are the viewer, which offers; the camera is the master.

mod arrange;
mod commands;
mod keep;
mod line;
mod socket;

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

pub use super::camera::{Ending, IceServer};
use crate::media::{AudioFormat, MediaHub};
use crate::net::tls::Authority;
use crate::secret::SignedUrl;
use arrange::Arranged;
pub use commands::{AskError, Commands, IsReply};
use keep::Kept;
pub use socket::Socket;

/// Where and as whom to call, as the vendor's cloud says. Good for one call, some minutes long.
#[derive(Debug, Clone)]
pub struct Signalling {
    /// `wss://` (or `ws://` of a virtual cloud), presigned: it goes out byte for byte.
    pub url: SignedUrl,
    /// Who we are to the camera; new for every call.
    pub client_id: String,
    pub ice_servers: Vec<IceServer>,
    /// Who vouches for the service, where it is not one of the machine's authorities.
    pub authority: Option<Authority>,
}

/// Who says where to call: asked for every connection, since an address is good for one.
pub trait Exchange: Send + Sync + 'static {
    /// # Errors
    /// [`CallError::Exchange`] with the cloud's reason.
    fn signalling<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>>;

    /// The same, after the service has said that the relays which were given are about to go: with ICE servers that
    /// come from no cache.
    fn signalling_with_new_relays<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        self.signalling(client_id)
    }
}

/// What a call is for.
#[derive(Clone)]
pub struct Wish {
    /// Where picture and sound go.
    pub hub: MediaHub,
    /// The camera is asked for its speaker too.
    pub talk: bool,
    /// The name of a data channel to make, in order and without loss, for texts.
    pub channel: Option<&'static str>,
}

/// Why there is no call, or none any more. Nothing of an address, a frame or a description is repeated.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Setup(String),
    /// Who should have said where to call could not.
    #[error(transparent)]
    Exchange(Box<dyn Error + Send + Sync>),
    #[error("the signalling service could not be reached: {0}")]
    Unreachable(String),
    /// `why` is what the service said of it, cut to a line; often empty.
    #[error("the signalling service refused the call with HTTP {status}{}{why}", if why.is_empty() { "" } else { ": " })]
    Refused { status: u16, why: String },
    #[error("the signalling service hung up")]
    ServiceClosed,
    /// `why` is the service's word for it, where it has said one.
    #[error("the doorbell did not answer{}", why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    NoAnswer { why: Option<String> },
    #[error("the doorbell answered, but {0}")]
    BadAnswer(String),
    #[error("{0}")]
    Ended(Ending),
}

/// A call whose media flow. Dropping it hangs up.
pub struct KvsCall {
    speech_format: Option<AudioFormat>,
    /// 200 ms. Full: the piece is dropped; it would be heard late.
    speech: mpsc::Sender<Bytes>,
    commands: Option<Commands>,
    task: AbortOnDropHandle<Ending>,
    stop: CancellationToken,
    _hang_up: DropGuard,
}

impl KvsCall {
    const SPEECH: usize = 10;

    /// Calls at an address that is good for this once, and resolves when the media flow: picture and sound go to
    /// `hub`. With `talk` the camera is asked for its speaker too. The service may hang up from then on.
    ///
    /// # Errors
    /// [`CallError`]. A camera that does not answer within 10 s is [`CallError::NoAnswer`].
    pub async fn place(signalling: &Signalling, hub: MediaHub, talk: bool) -> Result<Self, CallError> {
        let wish = Wish { hub, talk, channel: None };
        let arranged = arrange::at(signalling, &wish).await?;
        Ok(Self::keep(arranged, wish, None))
    }

    /// Calls where `exchange` says, and resolves when the media flow. The way to the service is kept for as long as
    /// the call lasts, over as many connections as that takes; where that fails the call goes on without. A camera
    /// that does not answer within 10 s, or a service that hangs up before, is tried once more as somebody else: it
    /// may have been on its way (kvs reference §4).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn place_by(exchange: Arc<dyn Exchange>, wish: Wish) -> Result<Self, CallError> {
        let arranged = match arrange::by(&*exchange, &wish).await {
            Err(error @ (CallError::NoAnswer { .. } | CallError::ServiceClosed)) => {
                tracing::info!(%error, "calling once more");
                arrange::by(&*exchange, &wish).await?
            }
            outcome => outcome?,
        };
        Ok(Self::keep(arranged, wish, Some(exchange)))
    }

    fn keep(arranged: Arranged, wish: Wish, exchange: Option<Arc<dyn Exchange>>) -> Self {
        let speech_format = arranged.peer.speech_format();
        let (speech, pieces) = mpsc::channel(Self::SPEECH);
        let stop = CancellationToken::new();
        let (kept, commands) = Kept::new(arranged, wish, exchange);
        let task = tokio::spawn(kept.run(pieces, stop.clone()).in_current_span());
        let _hang_up = stop.clone().drop_guard();
        Self { speech_format, speech, commands, task: AbortOnDropHandle::new(task), stop, _hang_up }
    }

    /// What the camera's speaker takes; `None` when it was not asked for or is not offered.
    pub fn talk_format(&self) -> Option<AudioFormat> {
        self.speech_format
    }

    /// Sends 20 ms of sound in that format. Never waits.
    pub fn send_audio(&self, payload: Bytes) {
        let _dropped_when_full = self.speech.try_send(payload);
    }

    /// The data channel, where one was wished for. The camera may still refuse it, which each question is told.
    pub fn commands(&self) -> Option<Commands> {
        self.commands.clone()
    }

    /// Resolves when the call has ended. May be cancelled and, until it has resolved, called again.
    pub async fn ended(&mut self) -> CallError {
        CallError::Ended((&mut self.task).await.unwrap_or(Ending::HungUp))
    }

    /// Hangs up. Nothing comes to the hub any more once it has resolved, which takes no time.
    pub async fn close(self) {
        self.stop.cancel();
        // Else it has told its end already.
        if !self.task.is_finished() {
            let _ending = self.task.await;
        }
    }
}
