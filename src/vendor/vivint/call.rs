//! A call to a camera: arranged over the signalling database, spoken over WebRTC, commanded over its data channel
//! (vivint reference §5, §8, §9).

mod arrange;
mod signals;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::database::{Database, DatabaseError};
use crate::clock::{self, Instant};
use crate::media::AudioFormat;
use crate::proto::vivint::channel::{Body, Received};
use crate::proto::wire;
use crate::rtc::camera::{CameraPeer, Channel, Ending, IceServer, PeerError};
use arrange::Arranged;
use signals::Signals;

/// Whom to call, and how.
#[derive(Clone, Copy)]
pub(super) struct Calling<'a> {
    pub(super) database: &'a Database,
    pub(super) panel: i64,
    /// The camera's `uuid`.
    pub(super) camera: &'a str,
    pub(super) ice_servers: &'a [IceServer],
    /// The camera may be on this machine: a virtual one.
    pub(super) loopback: bool,
    /// When whoever calls gives up.
    pub(super) deadline: Instant,
}

/// Why there is no call, or none any more. Nothing of an address or a description is repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the signalling database was not reached in time")]
    NotReady,
    /// Whole sentences.
    #[error("{0}")]
    Database(#[source] DatabaseError),
    /// Before the answer; afterwards a call has no need of the database.
    #[error("the connection to the signalling database was lost")]
    Interrupted,
    #[error("there is no randomness to be had")]
    NoRandomness,
    #[error("{0}")]
    Peer(#[from] PeerError),
    #[error("the doorbell did not answer")]
    NoAnswer,
    #[error("{0}")]
    Ended(#[from] Ending),
    /// Three Pings without a Pong.
    #[error("the doorbell has gone silent")]
    Unresponsive,
}

impl From<DatabaseError> for CallError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::NotConnected | DatabaseError::Lost => Self::Interrupted,
            other => Self::Database(other),
        }
    }
}

/// A call whose channel is open. Dropping it hangs up.
pub(super) struct Call {
    speech_format: Option<AudioFormat>,
    /// 200 ms. Full: the piece is dropped; it would be heard late.
    speech: mpsc::Sender<Bytes>,
    /// Nobody has much to say. Full: whoever says waits.
    said: mpsc::Sender<Body>,
    /// Full: what the camera says then is dropped.
    heard: mpsc::Receiver<Received>,
    task: AbortOnDropHandle<CallError>,
    stop: CancellationToken,
}

impl Call {
    const SPEECH: usize = 10;
    const WORDS: usize = 8;
    const HANGS_UP_WITHIN: Duration = Duration::from_millis(500);

    /// Calls, and resolves when the camera can be commanded.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn place(calling: Calling<'_>) -> Result<Self, CallError> {
        let arranged = arrange::arrange(calling).await?;
        let speech_format = arranged.peer.speech_format();
        let (speech, pieces) = mpsc::channel(Self::SPEECH);
        let (said, saying) = mpsc::channel(Self::WORDS);
        let (hearing, heard) = mpsc::channel(Self::WORDS);
        let stop = CancellationToken::new();
        let Arranged { peer, channel, signals } = arranged;
        let kept = Kept { peer, channel, signals, pieces, saying, hearing, pulse: Pulse::default() };
        let task = tokio::spawn(kept.run(stop.clone()).in_current_span());
        Ok(Self { speech_format, speech, said, heard, task: AbortOnDropHandle::new(task), stop })
    }

    /// What the camera's speaker takes; `None` when it takes nothing.
    pub(super) fn speech_format(&self) -> Option<AudioFormat> {
        self.speech_format
    }

    /// Sends 20 ms of sound in that format. Never waits.
    pub(super) fn speak(&self, payload: Bytes) {
        let _dropped_when_full = self.speech.try_send(payload);
    }

    /// Says something to the camera. A call that is over takes no words; its end is told by [`Self::heard`].
    pub(super) async fn say(&self, body: Body) {
        let _call_over = self.said.send(body).await;
    }

    /// What the camera says next, but Ping and Pong. May be cancelled, and is not to be called again once it has
    /// failed.
    ///
    /// # Errors
    /// When the call has ended.
    pub(super) async fn heard(&mut self) -> Result<Received, CallError> {
        match self.heard.recv().await {
            Some(received) => Ok(received),
            None => Err((&mut self.task).await.unwrap_or(CallError::Ended(Ending::HungUp))),
        }
    }

    /// Hangs up. What then is closed behind it takes its own time, while the next call may be placed.
    pub(super) async fn hang_up(self) {
        self.stop.cancel();
        // A call that is being told something is cut off.
        if !self.task.is_finished() {
            let _ending = timeout(Self::HANGS_UP_WITHIN, self.task).await;
        }
    }
}

/// The camera's side of a call that is made of channels alone.
#[cfg(test)]
pub(super) struct Script {
    pub(super) pieces: mpsc::Receiver<Bytes>,
    pub(super) said: mpsc::Receiver<Body>,
    /// `None` once the camera has hung up.
    pub(super) says: Option<mpsc::Sender<Received>>,
    pub(super) hung_up: CancellationToken,
}

#[cfg(test)]
impl Call {
    pub(super) fn scripted(speech_format: Option<AudioFormat>) -> (Self, Script) {
        let (speech, pieces) = mpsc::channel(Self::SPEECH);
        let (said, saying) = mpsc::channel(Self::WORDS);
        let (hearing, heard) = mpsc::channel(Self::WORDS);
        let (stop, gone) = (CancellationToken::new(), hearing.downgrade());
        let hung_up = stop.clone();
        let task = tokio::spawn(async move {
            while gone.upgrade().is_some() && !hung_up.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            CallError::Ended(Ending::HungUp)
        });
        let script = Script { pieces, said: saying, says: Some(hearing), hung_up: stop.clone() };
        (Self { speech_format, speech, said, heard, task: AbortOnDropHandle::new(task), stop }, script)
    }
}

/// The call's own side of [`Call`].
struct Kept {
    peer: CameraPeer,
    channel: Channel,
    signals: Signals,
    pieces: mpsc::Receiver<Bytes>,
    saying: mpsc::Receiver<Body>,
    hearing: mpsc::Sender<Received>,
    pulse: Pulse,
}

impl Kept {
    /// Of our design; no interval is attested.
    const PING_EVERY: Duration = Duration::from_secs(15);
    /// A camera that takes nothing holds up nobody for longer.
    const SAID_WITHIN: Duration = Duration::from_secs(5);

    /// Until one side hangs up. The database may go: media that flow are not touched by that.
    async fn run(mut self, stop: CancellationToken) -> CallError {
        let mut pings = interval_at(clock::now() + Self::PING_EVERY, Self::PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut media = self.peer.flow();
        // The first one comes before anything else is said (vivint reference §5).
        if let Err(error) = self.ping().await {
            return error;
        }
        let ending = loop {
            let outcome = tokio::select! {
                // Speech before words: what was spoken is heard before the talk is ended. Both before what the
                // camera says, which may be without an end.
                biased;
                () = stop.cancelled() => break CallError::Ended(Ending::HungUp),
                ending = &mut media => return CallError::Ended(ending.unwrap_or(Ending::HungUp)),
                Some(piece) = self.pieces.recv() => {
                    self.peer.speak(piece).await;
                    Ok(())
                }
                Some(body) = self.saying.recv() => self.say(&body).await,
                _ = pings.tick() => self.ping().await,
                message = self.channel.next() => match message {
                    Some(message) => self.take(message).await,
                    None => break CallError::Ended(Ending::HungUp),
                },
                candidate = self.signals.candidate() => {
                    self.peer.add_candidate(&candidate).await;
                    Ok(())
                }
                Some(candidate) = self.peer.candidate() => {
                    self.signals.tell_candidate(&candidate);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                break error;
            }
        };
        media.abort();
        let _aborted = media.await;
        ending
    }

    async fn say(&self, body: &Body) -> Result<(), CallError> {
        tracing::debug!(message = body.name(), "telling the doorbell");
        let said = timeout(Self::SAID_WITHIN, self.channel.send(body.to_bytes())).await;
        Ok(said.map_err(|_| CallError::Unresponsive)??)
    }

    async fn ping(&mut self) -> Result<(), CallError> {
        self.pulse.ping()?;
        self.say(&Body::Ping(Bytes::new())).await
    }

    async fn take(&mut self, message: Bytes) -> Result<(), CallError> {
        let received = match Received::decode(message) {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "passed over what the doorbell said");
                return Ok(());
            }
        };
        log(&received);
        match received {
            Received::Known(Body::Ping(_)) => self.say(&Body::Pong(Bytes::new())).await?,
            Received::Known(Body::Pong(_)) => self.pulse = Pulse::default(),
            Received::Empty => {}
            other => {
                let _dropped_when_full = self.hearing.try_send(other);
            }
        }
        Ok(())
    }
}

/// Pings since the last Pong.
#[derive(Default)]
struct Pulse {
    unanswered: u8,
}

impl Pulse {
    const MOST_UNANSWERED: u8 = 3;

    /// Another one goes out.
    ///
    /// # Errors
    /// Not any more: the camera is as good as dead.
    fn ping(&mut self) -> Result<(), CallError> {
        if self.unanswered >= Self::MOST_UNANSWERED {
            return Err(CallError::Unresponsive);
        }
        self.unanswered += 1;
        Ok(())
    }
}

/// Of what answers Start and End nothing is known; other bodies may tell of the household.
fn log(received: &Received) {
    /// Of a body, in bytes.
    const SHOWN: usize = 64;
    match received {
        Received::Known(Body::TwoWayTalkStartResponse(body) | Body::TwoWayTalkEndResponse(body))
            if !body.is_empty() =>
        {
            let shown = wire::hex(&body[..body.len().min(SHOWN)]);
            tracing::debug!(message = %received, len = body.len(), body = shown, "the doorbell says");
        }
        _ => {
            let len = received.field().map_or(0, |(_, body)| body.len());
            tracing::debug!(message = %received, len, "the doorbell says");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_pings_without_a_pong_are_the_end() {
        let mut pulse = Pulse::default();
        assert!((0..3).all(|_| pulse.ping().is_ok()));
        assert!(matches!(pulse.ping(), Err(CallError::Unresponsive)));
    }
}
