//! A camera from the doorbell's side: streamed while somebody watches, and beside that it talks, takes still pictures
//! and answers questions.

mod services;
mod stream;

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::devices::Camera;
use super::rtsp::{Login, Way, Wish};
use super::snapshot;
use crate::clock::{self, Instant};
use crate::doorbell::vendor::BoxFuture;
use crate::doorbell::{ActionError, DevicePort, Question, Request, TalkLine, VendorError};
use crate::model::Link;
pub(super) use services::{OfAccount, Ways};
use stream::Attempt;

/// Pictures and answers on their way to whoever asked; one more is refused.
const MOST_ERRANDS: usize = 4;

/// Whoever wants to talk waits here for an open speaker.
pub type TalkReply = oneshot::Sender<Result<TalkLine, ActionError>>;

/// What a camera's life asks of its account and of the clouds behind it.
pub trait Services: Sync {
    /// As the account lists it now.
    fn camera(&self) -> Result<Camera, VendorError>;
    /// The same, listed anew: its own login may have changed.
    fn relisted(&self) -> BoxFuture<'_, Result<Camera, VendorError>>;
    /// For the panel and the relay. `renew` when the last one was refused.
    fn panel_login(&self, renew: bool) -> BoxFuture<'_, Result<Login, VendorError>>;
    fn wish(&self) -> Wish;
    /// Which way to its picture worked last.
    fn worked(&self) -> &Worked;

    /// Has the camera take a still picture.
    fn request_thumbnail(&self) -> BoxFuture<'_, Result<(), VendorError>>;
    /// When the newest still picture was taken.
    fn newest_thumbnail(&self) -> Option<SystemTime>;
    /// Waits for one that is newer than this.
    fn newer_thumbnail(&self, than: Option<SystemTime>) -> BoxFuture<'_, SystemTime>;
    fn thumbnail(&self, taken_at: SystemTime) -> BoxFuture<'_, Result<Bytes, VendorError>>;

    /// Its record in the account, without what is secret.
    fn record(&self) -> Option<Value>;
    /// Asks the camera itself.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, ActionError>>;

    /// Why nobody can talk to it although it has a speaker, in whole sentences.
    fn talk_obstacle(&self) -> Option<String>;
    /// Gets ready what a talk needs, so that it begins sooner.
    fn warm(&self) -> BoxFuture<'_, ()>;
    /// A whole talk; over when the line is let go of, or `stop` says so, and the camera knows.
    fn talk(&self, reply: TalkReply, stop: CancellationToken) -> BoxFuture<'_, Result<(), VendorError>>;
}

/// The way that led to a picture last, for a while: what did not answer may be back.
#[derive(Debug, Default)]
pub struct Worked(Mutex<Option<(Way, Instant)>>);

impl Worked {
    const FOR: Duration = Duration::from_secs(3_600);

    fn remember(&self, way: Way) {
        let mut worked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not anew by each use: the better way is tried again some time.
        if worked.is_none_or(|(known, _)| known != way) {
            *worked = Some((way, clock::now()));
        }
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn way(&self) -> Option<Way> {
        let mut worked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        worked.take_if(|(_, since)| since.elapsed() >= Self::FOR);
        worked.map(|(way, _)| way)
    }
}

/// One life of a camera. Left alone unless somebody wants something of it; ends with the first failure of a stream,
/// once nobody talks any more.
///
/// # Errors
/// Why there is no picture.
pub async fn live(services: &impl Services, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
    port.state.send_modify(|state| {
        // As far as is known: nothing is asked of a camera that nobody wants.
        state.link = Link::Ready;
        state.talk_obstacle = services.talk_obstacle();
        state.talk_pending = state.talk_obstacle.is_none();
    });
    let warming = port.state.borrow().talk_pending.then(|| services.warm());
    let leave = CancellationToken::new();
    let life = Life {
        services,
        port,
        leave,
        warming,
        streaming: None,
        talk: None,
        next_talk: None,
        errands: FuturesUnordered::new(),
        failure: None,
    };
    life.run(stop).await
}

type Running<'a, T> = Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

struct Life<'a, S> {
    services: &'a S,
    port: DevicePort,
    /// Cancelled when this life ends, for what has to say farewell.
    leave: CancellationToken,
    /// Finds out who may be called.
    warming: Running<'a, ()>,
    streaming: Running<'a, Result<(), VendorError>>,
    talk: Running<'a, Result<(), VendorError>>,
    /// Waits until the talk before it is over: the doorbell lets one talk at a time, and asks again only when it has
    /// let go of the first.
    next_talk: Option<TalkReply>,
    errands: FuturesUnordered<BoxFuture<'a, ()>>,
    /// Of a stream, while a talk goes on.
    failure: Option<VendorError>,
}

impl<'a, S: Services> Life<'a, S> {
    async fn run(mut self, stop: CancellationToken) -> Result<(), VendorError> {
        let media = self.port.media.clone();
        loop {
            if self.talk.is_none()
                && let Some(failure) = self.failure.take()
            {
                return Err(failure);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                request = self.port.requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => break,
                },
                () = media.watched(), if self.streaming.is_none() && self.failure.is_none() => self.stream(),
                outcome = end_of(&mut self.streaming) => self.streamed(outcome),
                outcome = end_of(&mut self.talk) => self.talked(outcome),
                () = end_of(&mut self.warming) => self.warmed(),
                // One of them may have found out that nobody can.
                Some(()) = self.errands.next() => self.show_talk_obstacle(),
            }
        }
        self.leave().await;
        Ok(())
    }

    fn warmed(&mut self) {
        self.warming = None;
        self.show_talk_obstacle();
    }

    fn stream(&mut self) {
        self.port.state.send_modify(|state| state.link = Link::Connecting);
        let (media, state) = (self.port.media.clone(), self.port.state.clone());
        self.streaming = Some(Box::pin(Attempt::new(self.services, media, state, self.leave.clone()).run()));
    }

    fn streamed(&mut self, outcome: Result<(), VendorError>) {
        self.streaming = None;
        self.port.media.reset();
        self.port.state.send_modify(|state| {
            state.link = Link::Ready;
            state.transport = None;
            state.last_error = outcome.as_ref().err().map(|failure| failure.what.clone());
        });
        self.failure = outcome.err();
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::StartTalk { reply } => self.start_talk(reply),
            Request::TakeSnapshot { reply } => self.send(reply, snapshot::take(self.services)),
            Request::Diagnose { question: Question::Record, reply } => {
                let record = self.services.record();
                let why = || "Its account has not been read yet. Try again in a minute.".to_owned();
                let _gave_up = reply.send(record.ok_or_else(|| ActionError::Offline { why: why() }));
            }
            Request::Diagnose { question, reply } => self.send(reply, self.services.ask(question)),
            other @ (Request::ArrangeCall { .. } | Request::WorkLock { .. }) => {
                other.refuse(ActionError::Unsupported("it is a camera of Vivint"));
            }
        }
    }

    /// Nothing is done for those who have given up.
    fn send<T: Send + 'static>(
        &mut self,
        mut reply: oneshot::Sender<Result<T, ActionError>>,
        errand: impl Future<Output = Result<T, ActionError>> + Send + 'a,
    ) {
        if self.errands.len() >= MOST_ERRANDS {
            let _gave_up = reply.send(Err(ActionError::Busy));
            return;
        }
        self.errands.push(Box::pin(async move {
            let outcome = tokio::select! {
                outcome = errand => outcome,
                () = reply.closed() => return,
            };
            let _gave_up = reply.send(outcome);
        }));
    }

    fn start_talk(&mut self, reply: TalkReply) {
        if self.talk.is_none() {
            self.talk = Some(self.services.talk(reply, self.leave.clone()));
        } else if let Some(third) = self.next_talk.replace(reply) {
            let _gave_up = third.send(Err(ActionError::Busy));
        }
    }

    /// What became of it was told to whoever talked.
    fn talked(&mut self, outcome: Result<(), VendorError>) {
        self.talk = None;
        if let Err(error) = outcome {
            tracing::warn!(error = %error.what, "the talk broke off");
        }
        self.show_talk_obstacle();
        if let Some(reply) = self.next_talk.take() {
            self.start_talk(reply);
        }
    }

    fn show_talk_obstacle(&self) {
        let (obstacle, pending) = (self.services.talk_obstacle(), self.warming.is_some());
        self.port.state.send_if_modified(|state| {
            let news = state.talk_obstacle != obstacle || state.talk_pending != pending;
            (state.talk_obstacle, state.talk_pending) = (obstacle, pending);
            news
        });
    }

    /// The camera hears that nobody watches or talks any more.
    async fn leave(mut self) {
        self.leave.cancel();
        self.next_talk = None;
        while self.streaming.is_some() || self.talk.is_some() {
            tokio::select! {
                outcome = end_of(&mut self.streaming) => self.streamed(outcome),
                _ = end_of(&mut self.talk) => self.talk = None,
            }
        }
    }
}

/// Never, of what does not run.
async fn end_of<T>(running: &mut Running<'_, T>) -> T {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}
