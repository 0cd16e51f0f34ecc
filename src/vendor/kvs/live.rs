//! One life of a doorbell: called whenever somebody wants to see, to talk or to open the door, and left alone otherwise.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::call::{Line, aws_error};
use super::channels::{Known, Obstacle};
use super::door::{CHANNEL, Opener};
use super::{Kvs, trouble};
use crate::aws::{Aws, AwsError, Channel};
use crate::clock::{self, Instant};
use crate::doorbell::guard::Permit;
use crate::doorbell::{ActionError, DevicePort, Question, Request, VendorError};
use crate::model::{Link, Ring, State};
use crate::net::supervise::{Backoff, jitter};
use crate::rtc::kvs_call::{CallError, Commands, KvsCall, Wish};
use crate::vendor::called::{self, Speaker, TalkReply};

/// How long a call is kept after the last viewer left, for the one who comes right back.
const LINGER: Duration = Duration::from_secs(5);
/// Why there is no talk with a doorbell that takes no speech.
const MUTE: &str = "it takes no sound: its program was built without a speaker";

/// One life. Ends with a failure that is not just a doorbell that does not answer.
///
/// # Errors
/// What kept a call from coming about, or ended it.
pub(super) async fn live(kvs: &Kvs, aws: &Aws, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
    let life = Life {
        kvs,
        aws,
        opener: Opener::new(kvs.config.door_command, port.state.clone()),
        known: kvs.known.subscribe(),
        shown: port.state.subscribe(),
        port,
        stop,
        absence: Absence::default(),
    };
    life.run().await
}

struct Life<'a> {
    kvs: &'a Kvs,
    aws: &'a Aws,
    opener: Opener<Permit, Commands>,
    known: watch::Receiver<Known>,
    shown: watch::Receiver<State>,
    port: DevicePort,
    stop: CancellationToken,
    absence: Absence,
}

/// A doorbell that did not answer. One on a Raspberry Pi does so only after it rang, which nobody need be told of as a
/// failure, and which is no reason to be late when it has rung.
#[derive(Default)]
struct Absence {
    is_known: bool,
    backoff: Backoff,
    /// When it is called next, if whoever wants it still does.
    until: Option<Instant>,
    /// As it was when it was called in vain.
    last_ring: Option<Ring>,
}

/// Whether there is more to come in this life.
type Goes<T = ()> = ControlFlow<(), T>;

/// What ends the idle time.
enum Wanted {
    /// A call. Somebody may want to talk.
    Call(Option<TalkReply>),
    /// How the channel stands may be otherwise now.
    Look,
}

impl Life<'_> {
    async fn run(mut self) -> Result<(), VendorError> {
        let last_error = self.port.state.borrow().last_error.clone();
        self.rest(last_error);
        loop {
            self.known.mark_unchanged();
            let goes = match self.kvs.channel(&self.port.info.id) {
                Ok(channel) => match self.idle().await {
                    Goes::Continue(Wanted::Call(talker)) => self.visit(channel, talker).await?,
                    Goes::Continue(Wanted::Look) => Goes::Continue(()),
                    Goes::Break(()) => Goes::Break(()),
                },
                Err(obstacle) => self.without_calls(&obstacle).await,
            };
            if goes.is_break() {
                return Ok(());
            }
        }
    }

    /// Reachable as far as is known: nothing is asked of a doorbell that nobody wants.
    fn rest(&self, last_error: Option<String>) {
        self.port.state.send_modify(|state| {
            state.link = Link::Ready;
            state.transport = None;
            state.last_error = last_error;
        });
    }

    async fn idle(&mut self) -> Goes<Wanted> {
        let media = self.port.media.clone();
        loop {
            let absent = self.absence.until;
            let last_ring = &self.absence.last_ring;
            let rings = async { self.shown.wait_for(|state| state.last_ring != *last_ring).await.is_ok() };
            tokio::select! {
                () = self.stop.cancelled() => return Goes::Break(()),
                request = self.port.requests.recv() => match request {
                    Some(Request::StartTalk { reply }) => return Goes::Continue(Wanted::Call(Some(reply))),
                    Some(Request::WorkLock { permit, reply }) => {
                        self.opener.open(permit, reply);
                        if self.opener.wants_call() {
                            return Goes::Continue(Wanted::Call(None));
                        }
                    }
                    Some(other) => self.request(other),
                    None => return Goes::Break(()),
                },
                () = media.watched(), if absent.is_none() => return Goes::Continue(Wanted::Call(None)),
                () = sleep_until(absent.unwrap_or_else(clock::now)), if absent.is_some() => self.absence.until = None,
                // Whoever comes next finds out for himself.
                () = media.unwatched_for(Duration::ZERO), if absent.is_some() => self.absence.until = None,
                // It is there now, or in a moment.
                true = rings, if absent.is_some() => self.absence.until = None,
                Ok(()) = self.known.changed() => return Goes::Continue(Wanted::Look),
                () = self.opener.turn() => {}
            }
        }
    }

    /// While the channel cannot be called. It may ring all the same.
    async fn without_calls(&mut self, obstacle: &Obstacle) -> Goes {
        let why = obstacle.why.clone();
        tracing::warn!(why, "the doorbell cannot be called");
        self.port.state.send_modify(|state| {
            state.link = if obstacle.may_ring { Link::Ready } else { Link::Offline };
            state.last_error = Some(why.clone());
        });
        while self.kvs.channel(&self.port.info.id).as_ref().err() == Some(obstacle) {
            tokio::select! {
                () = self.stop.cancelled() => return Goes::Break(()),
                Ok(()) = self.known.changed() => {}
                request = self.port.requests.recv() => match request {
                    Some(diagnosis @ Request::Diagnose { .. }) => self.request(diagnosis),
                    Some(other) => other.refuse(ActionError::Offline { why: why.clone() }),
                    None => return Goes::Break(()),
                },
                () = self.opener.turn() => {}
            }
        }
        self.rest(None);
        Goes::Continue(())
    }

    /// One call, from placing it to hanging up.
    async fn visit(&mut self, channel: Channel, mut talker: Option<TalkReply>) -> Result<Goes, VendorError> {
        self.port.state.send_modify(|state| state.link = Link::Connecting);
        self.absence.last_ring = self.shown.borrow().last_ring.clone();
        let outcome = self.call(&channel, &mut talker).await;
        self.port.media.reset();
        let goes = match outcome {
            Ok(goes) => goes,
            Err(error) => return self.failed(&channel, error, talker),
        };
        self.opener.hung_up("The call to the doorbell was ended.");
        self.absence = Absence::default();
        self.rest(None);
        Ok(goes)
    }

    /// Tells everybody who waits. A doorbell that just does not answer ends no life.
    fn failed(&mut self, channel: &Channel, error: CallError, talker: Option<TalkReply>) -> Result<Goes, VendorError> {
        self.heed(channel, &error);
        let is_absent = matches!(error, CallError::NoAnswer { .. });
        let failure = trouble::of_call(error);
        if let Some(talker) = talker {
            let _gave_up = talker.send(Err(ActionError::Offline { why: failure.what.clone() }));
        }
        self.opener.hung_up(&failure.what);
        if !is_absent {
            return Err(failure);
        }
        if !std::mem::replace(&mut self.absence.is_known, true) {
            tracing::warn!(why = failure.what, "the doorbell does not answer");
        }
        self.absence.until = Some(clock::now() + self.absence.backoff.next(Duration::ZERO, jitter()));
        self.rest(Some(failure.what));
        Ok(Goes::Continue(()))
    }

    /// What was known of the channel may have been wrong.
    fn heed(&self, channel: &Channel, error: &CallError) {
        match (error, aws_error(error)) {
            (CallError::Refused { .. }, _) => self.aws.forget(channel),
            (_, Some(AwsError::NoSuchChannel { .. })) => {
                self.aws.forget(channel);
                self.kvs.relist.notify_one();
            }
            _ => {}
        }
    }

    async fn call(&mut self, channel: &Channel, talker: &mut Option<TalkReply>) -> Result<Goes, CallError> {
        let line = Arc::new(Line { aws: self.aws.clone(), channel: channel.clone() });
        let wish = Wish { hub: self.port.media.clone(), talk: true, channel: Some(CHANNEL) };
        let mut placing = pin!(KvsCall::place_by(line, wish));
        let mut call = loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Goes::Break(())),
                call = &mut placing => break call?,
                request = self.port.requests.recv() => match request {
                    Some(Request::StartTalk { reply }) => *talker = Some(reply),
                    Some(Request::WorkLock { permit, reply }) => self.opener.open(permit, reply),
                    Some(other) => self.request(other),
                    None => return Ok(Goes::Break(())),
                },
                () = self.opener.turn() => {}
            }
        };
        self.opener.called(call.commands());
        let mut speaker = Speaker::Closed;
        if let Some(reply) = talker.take() {
            speaker.open(&call, reply, MUTE);
        }
        let outcome = self.watch(&mut call, speaker).await;
        call.close().await;
        outcome
    }

    /// Until nobody wants the call any more.
    async fn watch(&mut self, call: &mut KvsCall, mut speaker: Speaker) -> Result<Goes, CallError> {
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
                    Some(Request::WorkLock { permit, reply }) => self.opener.open(permit, reply),
                    Some(other) => self.request(other),
                    None => return Ok(Goes::Break(())),
                },
                piece = speaker.next_piece() => match piece {
                    Some(piece) => call.send_audio(piece),
                    None => speaker = Speaker::Closed,
                },
                _ = &mut picture => {
                    self.absence = Absence::default();
                    called::is_live(&self.port);
                }
                () = self.opener.turn() => {}
                () = &mut unwatched, if speaker.is_closed() && !self.opener.is_busy() => return Ok(Goes::Continue(())),
            }
        }
    }

    /// Whatever is not about the call of our own.
    fn request(&mut self, request: Request) {
        match request {
            // Whoever is at the other end of such a call can open the door, and is asked by no guard (kvs reference §7).
            arrangement @ Request::ArrangeCall { .. } => arrangement.refuse(ActionError::Unsupported(
                "a call to it could open its door, so none is given to other programs",
            )),
            Request::Diagnose { question: Question::Record, reply } => {
                let record = self.kvs.record(&self.port.info.id);
                let _asker_left = reply.send(record.ok_or(ActionError::Unsupported("nothing is known of it yet")));
            }
            other => other.refuse(ActionError::Unsupported("it is a doorbell at AWS")),
        }
    }
}
