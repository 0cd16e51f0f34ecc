//! Talking to a camera, from the press to `TwoWayTalkEnd`, and asking it what it knows (vivint reference §5, §9).

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::VENDOR;
use super::call::{Call, CallError};
use super::caller::{Callers, Claimed};
use super::devices::Camera;
use crate::clock::{self, Instant};
use crate::doorbell::vendor::Retry;
use crate::doorbell::{ANSWER_WITHIN, ActionError, Question, TalkLine, VendorError};
use crate::media::AudioFormat;
use crate::proto::vivint::channel::{Body, Received};
use crate::proto::wire;
use crate::rtc::camera::Ending;

/// Sooner than the press is given up: a sentence says more than a time-out.
const PRESS: Duration = ANSWER_WITHIN.saturating_sub(Duration::from_millis(500));
/// Nobody holds a button down for the answer to a question.
const ASKING: Duration = Duration::from_secs(30);
/// `TwoWayTalkStartResponse`; without it talk begins all the same (vivint reference §9).
const CONSENT_WITHIN: Duration = Duration::from_secs(3);
/// `TwoWayTalkEndResponse`; without it we hang up all the same.
const FAREWELL_WITHIN: Duration = Duration::from_millis(500);
/// What follows a question.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
/// Speech on its way to the call: 200 ms. Full: the speaker's side drops.
const SPEECH: usize = 10;

type Reply = oneshot::Sender<Result<TalkLine, ActionError>>;

/// A whole talk: opens the camera's speaker, calling it first, and resolves when it is closed again: because the line
/// was let go of, `stop` said so, or the call broke. The camera has been told then. Why a speaker could not be opened
/// is told in `reply` and is no error.
///
/// # Errors
/// When an open line broke.
pub async fn talk(
    callers: &Callers,
    camera: &Camera,
    mut reply: Reply,
    stop: CancellationToken,
) -> Result<(), VendorError> {
    let pressed = clock::now();
    let placed = tokio::select! {
        placed = callers.call(camera, pressed + PRESS) => placed,
        () = reply.closed() => return Ok(()),
        () = stop.cancelled() => return Ok(()),
    };
    match placed {
        Ok(Claimed { call, line: _line }) => Talk { call, stop }.run(reply, pressed).await,
        Err(error) => {
            let _gave_up = reply.send(Err(error));
            Ok(())
        }
    }
}

struct Talk {
    call: Call,
    stop: CancellationToken,
}

impl Talk {
    async fn run(mut self, reply: Reply, pressed: Instant) -> Result<(), VendorError> {
        let Some(format) = self.call.speech_format() else {
            let why = "it takes no sound over WebRTC. Check that Vivint's app can talk to it";
            let _gave_up = reply.send(Err(ActionError::Refused { why: why.to_owned() }));
            self.call.hang_up().await;
            return Ok(());
        };
        let over = self.speak(reply, format, pressed).await;
        if matches!(over, Over::Asked) {
            self.farewell().await;
        }
        self.call.hang_up().await;
        match over {
            Over::Broken(error) => Err(broken(error)),
            Over::Asked | Over::NotBegun => Ok(()),
        }
    }

    async fn speak(&mut self, mut reply: Reply, format: AudioFormat, pressed: Instant) -> Over {
        let consent_by = (clock::now() + CONSENT_WITHIN).min(pressed + PRESS);
        let stop = self.stop.clone();
        let consent = tokio::select! {
            consent = self.start(consent_by) => consent,
            () = reply.closed() => return Over::Asked,
            () = stop.cancelled() => return Over::Asked,
        };
        let confirmed = match consent {
            Ok(confirmed) => confirmed,
            Err(error) => {
                let _gave_up = reply.send(Err(ActionError::Offline { why: why(&error) }));
                return Over::NotBegun;
            }
        };
        let took_ms = pressed.elapsed().as_millis();
        if confirmed {
            tracing::debug!(took_ms, ?format, "the doorbell lets us talk");
        } else {
            tracing::info!(took_ms, ?format, "talking unconfirmed: the doorbell has not said that it listens");
        }
        let (audio, pieces) = mpsc::channel(SPEECH);
        // Given up on meanwhile: `audio` is dropped, and the closed line ends the talk.
        let _gave_up = reply.send(Ok(TalkLine { format, audio }));
        self.carry(pieces).await
    }

    /// Whether the camera has said that it listens.
    async fn start(&mut self, by: Instant) -> Result<bool, CallError> {
        self.call.say(Body::TwoWayTalkStart(Bytes::new())).await;
        let said = |received: &Received| matches!(received, Received::Known(Body::TwoWayTalkStartResponse(_)));
        timeout_at(by, hears(&mut self.call, said)).await.map_or(Ok(false), |heard| heard.map(|_| true))
    }

    /// Speech, which comes at the pace at which it is to be heard, until the talk is over.
    async fn carry(&mut self, mut pieces: mpsc::Receiver<Bytes>) -> Over {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Over::Asked,
                heard = self.call.heard() => match heard {
                    Ok(received) => tracing::debug!(message = %received, "the doorbell says something unasked"),
                    Err(error) => return Over::Broken(error),
                },
                piece = pieces.recv() => match piece {
                    Some(piece) => self.call.speak(piece),
                    None => return Over::Asked,
                },
            }
        }
    }

    async fn farewell(&mut self) {
        self.call.say(Body::TwoWayTalkEnd(Bytes::new())).await;
        let said = |received: &Received| matches!(received, Received::Known(Body::TwoWayTalkEndResponse(_)));
        let _hung_up_or_silent = timeout(FAREWELL_WITHIN, hears(&mut self.call, said)).await;
    }
}

/// Why nobody talks any more.
enum Over {
    /// Whoever talked has let go of the line, or nothing is to be done any more.
    Asked,
    /// The call has ended under an open line.
    Broken(CallError),
    /// The call has ended before that, which was told.
    NotBegun,
}

/// Until the camera says what is waited for; what else it says is passed over.
async fn hears(call: &mut Call, awaited: impl Fn(&Received) -> bool) -> Result<Received, CallError> {
    loop {
        let received = call.heard().await?;
        if awaited(&received) {
            return Ok(received);
        }
    }
}

/// Asks the camera itself. The answer is not understood: `{"asked": "get_oldest_timestamp", "answered_by": "field 17",
/// "hex": "0896…"}`.
///
/// # Errors
/// [`ActionError`], in sentences where it is more than `Busy`.
pub async fn ask(callers: &Callers, camera: &Camera, question: Question) -> Result<Value, ActionError> {
    let request = match question {
        Question::OldestTimestamp => Body::GetOldestTimestamp(Bytes::new()),
        Question::Metadata => Body::GetMetadataRequest(Bytes::new()),
        Question::Record => return Err(ActionError::Unsupported("its record is the account's to tell")),
    };
    let Claimed { call, line: _line } = callers.call(camera, clock::now() + ASKING).await?;
    put_to(call, request).await
}

async fn put_to(mut call: Call, request: Body) -> Result<Value, ActionError> {
    let asked = request.name();
    call.say(request).await;
    let answer = timeout(REPLY_WITHIN, call.heard()).await;
    call.hang_up().await;
    match answer {
        Ok(Ok(received)) => Ok(told(asked, &received)),
        Ok(Err(error)) => Err(ActionError::Offline { why: why(&error) }),
        Err(_) => {
            let why = format!("it says nothing to `{asked}`. Not every model or firmware knows it");
            Err(ActionError::Refused { why })
        }
    }
}

fn told(asked: &str, received: &Received) -> Value {
    /// Of a body, in bytes: more is for nobody's eyes.
    const SHOWN: usize = 4 << 10;
    let (answered_by, hex) = match received.field() {
        Some((field, body)) => (format!("field {field}"), wire::hex(&body[..body.len().min(SHOWN)])),
        None => ("nothing".to_owned(), String::new()),
    };
    json!({ "asked": asked, "answered_by": answered_by, "hex": hex })
}

/// What a call that came to nothing means for the doorbell's owner.
pub(super) fn why(error: &CallError) -> String {
    let advice = match error {
        CallError::NoAnswer | CallError::Unresponsive | CallError::Ended(Ending::Lost | Ending::Silent) => {
            "Check its power and its Wi-Fi if this goes on."
        }
        CallError::Ended(Ending::HungUp) => {
            "Somebody else of the household may be using it in Vivint's app. Try again in a moment."
        }
        CallError::Ended(Ending::NoPath) => "If this goes on, check that a firewall lets this machine use UDP.",
        CallError::Database(error) => return error.to_string(),
        CallError::NotReady | CallError::Interrupted => "Check this machine's way to the internet if this goes on.",
        CallError::Peer(_) | CallError::NoRandomness => "Try again.",
    };
    format!("Calling the doorbell failed: {error}. {advice}")
}

fn broken(error: CallError) -> VendorError {
    let what = match &error {
        CallError::Ended(Ending::HungUp) => {
            "The doorbell ended the talk. Somebody else of the household may have begun to use it in Vivint's app. Try \
             again in a moment."
                .to_owned()
        }
        other => format!("The talk was broken off: {other}. Check the doorbell's power and its Wi-Fi if this goes on."),
    };
    VendorError { vendor: VENDOR, what, retry: Retry::Backoff, source: Some(error.into()) }
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
