//! A camera whose pictures come by WebRTC, arranged by Wyze's cloud, from the doorbell's side: when to call it, and
//! for how long.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::VENDOR;
use crate::doorbell::vendor::{BoxFuture, Retry};
use crate::doorbell::{ActionError, DevicePort, Request, VendorError};
use crate::media::MediaHub;
use crate::model::Link;
use crate::rtc::kvs_call::{CallError, KvsCall, Signalling};
use crate::vendor::called::{self, Speaker, TalkReply};

/// How long the camera is kept streaming after the last viewer left, for the one who comes right back.
const LINGER: Duration = Duration::from_secs(5);
/// Why there is no talk with a camera that takes no speech.
const MUTE: &str = "it does not take sound over WebRTC. Talking to Wyze's WebRTC cameras is an experiment, and this \
                    one's firmware does not take part in it";

/// Who says where a camera is to be called: Wyze's cloud.
pub trait Streams: Sync {
    /// Good for one call.
    fn ask(&self) -> BoxFuture<'_, Result<Signalling, VendorError>>;
}

/// One life of a camera: called whenever somebody wants to see or to talk, and left alone otherwise. Ends with the
/// first failure.
///
/// # Errors
/// What kept a call from coming about, or ended it.
pub async fn live(streams: &impl Streams, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
    // As far as is known: nothing is asked of a camera that nobody wants.
    port.state.send_modify(|state| state.link = Link::Ready);
    Life { streams, port, stop, arranged: Arranged::default(), listens: None }.run().await
}

struct Life<'a, S> {
    streams: &'a S,
    port: DevicePort,
    stop: CancellationToken,
    arranged: Arranged<'a>,
    /// Whether the camera shows a picture when it is asked for its speaker; `None` while nobody knows.
    listens: Option<bool>,
}

/// Whether there is more to come in this life.
type Goes = ControlFlow<()>;

impl<S: Streams> Life<'_, S> {
    async fn run(mut self) -> Result<(), VendorError> {
        let media = self.port.media.clone();
        loop {
            let talker = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                request = self.port.requests.recv() => match request {
                    Some(Request::StartTalk { reply }) => Some(reply),
                    Some(other) => {
                        self.request(other);
                        continue;
                    }
                    None => return Ok(()),
                },
                () = media.watched() => None,
                Some(()) = self.arranged.next() => continue,
            };
            self.port.state.send_modify(|state| state.link = Link::Connecting);
            let visited = self.visit(talker).await;
            media.reset();
            if visited?.is_break() {
                return Ok(());
            }
            self.port.state.send_modify(|state| {
                state.link = Link::Ready;
                state.transport = None;
                state.last_error = None;
            });
        }
    }

    /// One call, or two: a camera that does not take it well to be asked for its speaker is called once more without.
    /// Of no model is it known whether talking works over this way.
    async fn visit(&mut self, mut talker: Option<TalkReply>) -> Result<Goes, VendorError> {
        loop {
            let talk = self.listens != Some(false);
            match self.try_call(talk, &mut talker).await {
                Err(Failure::Call(error)) if talk && self.listens.is_none() && is_of_the_camera(&error) => {
                    tracing::info!(%error, "calling again without asking for the speaker");
                    self.listens = Some(false);
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// From the question where to call to hanging up.
    async fn try_call(&mut self, talk: bool, talker: &mut Option<TalkReply>) -> Result<Goes, Failure> {
        let mut calling = pin!(call(self.streams, self.port.media.clone(), talk));
        let mut call = loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Goes::Break(())),
                call = &mut calling => break call?,
                request = self.port.requests.recv() => match request {
                    Some(Request::StartTalk { reply }) => *talker = Some(reply),
                    Some(other) => self.request(other),
                    None => return Ok(Goes::Break(())),
                },
                Some(()) = self.arranged.next() => {}
            }
        };
        let mut speaker = Speaker::Closed;
        if let Some(reply) = talker.take() {
            speaker.open(&call, reply, MUTE);
        }
        let outcome = self.watch(&mut call, speaker, talk).await;
        call.close().await;
        Ok(outcome?)
    }

    /// Until nobody wants the call any more.
    async fn watch(&mut self, call: &mut KvsCall, mut speaker: Speaker, talk: bool) -> Result<Goes, CallError> {
        let media = self.port.media.clone();
        let mut unwatched = pin!(media.unwatched_for(LINGER));
        let mut formats = media.formats();
        let mut picture = pin!(async move { formats.wait_for(|formats| formats.video.is_some()).await.is_ok() }.fuse());
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Goes::Break(())),
                error = call.ended() => return Err(error),
                request = self.port.requests.recv() => match request {
                    // The doorbell lets one talk at a time; a second request means that it has let go of the first.
                    Some(Request::StartTalk { reply }) => speaker.open(call, reply, MUTE),
                    Some(other) => self.request(other),
                    None => return Ok(Goes::Break(())),
                },
                piece = speaker.next_piece() => match piece {
                    Some(piece) => call.send_audio(piece),
                    None => speaker = Speaker::Closed,
                },
                _ = &mut picture => {
                    self.listens = Some(talk);
                    called::is_live(&self.port);
                }
                Some(()) = self.arranged.next() => {}
                () = &mut unwatched, if speaker.is_closed() => return Ok(Goes::Continue(())),
            }
        }
    }

    /// Whatever is not about the call of our own.
    fn request(&mut self, request: Request) {
        let reply = match request {
            Request::ArrangeCall { reply } => reply,
            other => return other.refuse(ActionError::Unsupported("it is a camera")),
        };
        let streams = self.streams;
        self.arranged.arrange(reply, async move {
            streams.ask().await.map_err(|error| ActionError::Offline { why: error.what })
        });
    }
}

async fn call(streams: &impl Streams, hub: MediaHub, talk: bool) -> Result<KvsCall, Failure> {
    let signalling = streams.ask().await?;
    Ok(KvsCall::place(&signalling, hub, talk).await?)
}

/// Who is to blame.
enum Failure {
    Cloud(VendorError),
    Call(CallError),
}

impl From<VendorError> for Failure {
    fn from(error: VendorError) -> Self {
        Self::Cloud(error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Failure> for VendorError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Cloud(error) => error,
            Failure::Call(error) => why(error),
        }
    }
}

/// Whether another way of asking may fare better.
fn is_of_the_camera(error: &CallError) -> bool {
    matches!(error, CallError::NoAnswer { .. } | CallError::BadAnswer(_) | CallError::Ended(_))
}

/// Calls that other programs will make, on their way to whoever asked.
#[derive(Default)]
struct Arranged<'a>(FuturesUnordered<BoxFuture<'a, ()>>);

impl<'a> Arranged<'a> {
    /// At the same time; one more is refused.
    const MOST: usize = 4;

    fn arrange(
        &mut self,
        reply: oneshot::Sender<Result<Signalling, ActionError>>,
        asking: impl Future<Output = Result<Signalling, ActionError>> + Send + 'a,
    ) {
        if self.0.len() >= Self::MOST {
            let _gave_up = reply.send(Err(ActionError::Busy));
            return;
        }
        self.0.push(Box::pin(async move {
            let _gave_up = reply.send(asking.await);
        }));
    }

    /// Drives them. `None` while there are none.
    async fn next(&mut self) -> Option<()> {
        self.0.next().await
    }
}

/// What a call that came to nothing means for the doorbell's owner.
fn why(error: CallError) -> VendorError {
    let advice = called::advice(&error);
    let what = format!("The call to the camera failed: {error}. It is being tried again. {advice}");
    let what = what.trim_end().to_owned();
    VendorError { vendor: VENDOR, what, retry: Retry::Backoff, source: Some(error.into()) }
}
