//! A call to a camera that is arranged over Amazon's KVS signalling frames (kvs reference §4): what AWS doorbells
//! and Wyze's WebRTC doorbells have in common. We are the viewer, which offers; the camera is the master.

mod arrange;
mod line;
mod socket;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::camera::CameraPeer;
pub use super::camera::{Ending, IceServer};
use crate::media::{AudioFormat, MediaHub};
use crate::net::tls::Authority;
use crate::proto::kvs::signaling::{Inbound, MessageType, Payload};
use crate::secret::SignedUrl;
use line::Line;
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

/// Why there is no call, or none any more. Nothing of an address, a frame or a description is repeated.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Setup(String),
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
    task: AbortOnDropHandle<Ending>,
    stop: CancellationToken,
    _hang_up: DropGuard,
}

impl KvsCall {
    const SPEECH: usize = 10;

    /// Calls, and resolves when the media flow: picture and sound go to `hub`. With `talk` the camera is asked for
    /// its speaker too.
    ///
    /// # Errors
    /// [`CallError`]. A camera that does not answer within 10 s is [`CallError::NoAnswer`].
    pub async fn place(signalling: &Signalling, hub: MediaHub, talk: bool) -> Result<Self, CallError> {
        let (peer, line) = arrange::arrange(signalling, hub, talk).await?;
        let speech_format = peer.speech_format();
        let (speech, pieces) = mpsc::channel(Self::SPEECH);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(peer, line, pieces, stop.clone()).in_current_span());
        let _hang_up = stop.clone().drop_guard();
        Ok(Self { speech_format, speech, task: AbortOnDropHandle::new(task), stop, _hang_up })
    }

    /// What the camera's speaker takes; `None` when it was not asked for or is not offered.
    pub fn talk_format(&self) -> Option<AudioFormat> {
        self.speech_format
    }

    /// Sends 20 ms of sound in that format. Never waits.
    pub fn send_audio(&self, payload: Bytes) {
        let _dropped_when_full = self.speech.try_send(payload);
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

/// Until one side hangs up. The service may go: media that flow are not touched by that.
async fn keep(
    mut peer: CameraPeer,
    mut line: Line,
    mut pieces: mpsc::Receiver<Bytes>,
    stop: CancellationToken,
) -> Ending {
    /// An idle connection is closed after 10 min (kvs reference §4).
    const PING_EVERY: Duration = Duration::from_secs(60);
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut media = peer.flow();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            ending = &mut media => return ending.unwrap_or(Ending::HungUp),
            Some(piece) = pieces.recv() => peer.speak(piece).await,
            Some(frame) = line.next() => match frame {
                Inbound { payload: Some(Payload::Candidate { candidate, .. }), .. } => {
                    peer.add_candidate(&candidate).await;
                }
                Inbound { message_type: MessageType::GoAway, .. } => line.hang_up(),
                _ => {}
            },
            Some(candidate) = peer.candidate() => line.tell(candidate).await,
            _ = pings.tick() => line.ping().await,
        }
    }
    media.abort();
    let _aborted = media.await;
    Ending::HungUp
}
