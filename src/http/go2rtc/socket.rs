//! go2rtc's signalling, one socket: JSON text messages `{"type": …, "value": …}` (go2rtc 1.9.14, `internal/api/ws` and
//! `internal/webrtc`).
//!
//! | from the viewer | to the viewer |
//! |---|---|
//! | `webrtc/offer`, the SDP | `webrtc/answer`, the SDP |
//! | `webrtc`, `{"type":"offer","sdp":…}` | `webrtc`, `{"type":"answer","sdp":…}` |
//! | `webrtc/candidate`, a line; empty when there are no more | nothing: ours are in the answer |
//! | anything else (`mse`, `mp4`, `hls`, `mjpeg`) | `error`, `mse: not supported` |
//!
//! go2rtc closes the socket once it is connected. That does not end the call; before the answer, it does.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, close_code};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock::{self, Instant};
use crate::doorbell::Doorbell;
use crate::http::events::farewell;
use crate::http::whep::{self, Refused};
use crate::rtc::{Answered, Viewers};

/// An offer with every codec and candidate there is has 20 KiB.
pub(super) const MESSAGE_LIMIT: usize = 64 * 1024;
/// Candidates that came before the answer; more than an offer may hold, so further ones are dropped.
const EARLY: usize = 32;
/// How long a socket without a call may stay open.
const IDLE: Duration = Duration::from_secs(30);
/// How long one message may take to go out.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keeps proxies from closing a quiet connection, and shows whether anybody is still there.
const HEARTBEAT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(50);
/// How much of a type that nobody knows is told back.
const SHOWN: usize = 32;

/// What a viewer says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Offer {
        sdp: String,
        form: Form,
    },
    /// Without a line when there are no more.
    Candidate(String),
    /// An offer or a candidate that is none.
    Nonsense(&'static str),
    /// Of this type, which is not spoken here.
    Unknown(String),
}

/// How an offer came, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Object,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "webrtc/offer",
            Self::Object => "webrtc",
        }
    }

    fn answer(self, sdp: &str) -> Value {
        match self {
            Self::Text => json!({ "type": "webrtc/answer", "value": sdp }),
            Self::Object => json!({ "type": "webrtc", "value": { "type": "answer", "sdp": sdp } }),
        }
    }
}

const CANDIDATE: &str = "webrtc/candidate";

impl Said {
    /// `None` when it is no message at all.
    fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope {
            r#type: String,
            #[serde(default)]
            value: Value,
        }
        let Envelope { r#type, value } = serde_json::from_str(text).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(match r#type.as_str() {
            "webrtc/offer" => match text(&value) {
                Some(sdp) => Self::Offer { sdp, form: Form::Text },
                None => Self::Nonsense(Form::Text.word()),
            },
            "webrtc" => match text(&value["sdp"]) {
                Some(sdp) => Self::Offer { sdp, form: Form::Object },
                None => Self::Nonsense(Form::Object.word()),
            },
            CANDIDATE => text(&value).map_or(Self::Nonsense(CANDIDATE), Self::Candidate),
            other => Self::Unknown(other.chars().take(SHOWN).collect()),
        })
    }
}

/// Connects a viewer to `doorbell`, or tells it that there is none.
pub(super) async fn attend(socket: WebSocket, doorbell: Option<Doorbell>, viewers: Viewers, stop: CancellationToken) {
    let mut talk = Talk { socket, viewers, early: Vec::new(), call: Call::None { since: clock::now() } };
    let end = match &doorbell {
        Some(doorbell) => talk.run(doorbell, &stop).await,
        None => talk.refuse(Form::Text.word(), "There is no doorbell of this id.").await.err().unwrap_or(End::Unknown),
    };
    debug!(?end, "a viewer's socket is closed");
    if let Some((code, reason)) = end.farewell() {
        farewell(&mut talk.socket, code, reason).await;
    }
}

/// Why a socket is closed.
#[derive(Debug)]
enum End {
    Stopping,
    Left,
    TooSlow,
    Silent,
    /// Nobody was called for [`IDLE`].
    Idle,
    /// It was no message, or a longer one than any can be.
    NotUnderstood,
    /// Nobody knows the doorbell.
    Unknown,
}

impl End {
    /// What is said at the end to whoever is still there.
    fn farewell(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Stopping => Some((close_code::AWAY, "the service stops")),
            Self::Idle => Some((close_code::NORMAL, "no offer came")),
            Self::NotUnderstood => Some((close_code::POLICY, "not a message of go2rtc's signalling")),
            Self::Unknown => Some((close_code::NORMAL, "no such doorbell")),
            Self::Left | Self::TooSlow | Self::Silent => None,
        }
    }
}

/// The one call that a socket may have.
enum Call {
    None {
        since: Instant,
    },
    /// Dropped, it ends the attempt.
    Begun {
        form: Form,
        answer: BoxFuture<'static, Result<Answered, Refused>>,
    },
    Stands {
        viewer: u64,
    },
}

impl Call {
    /// Its answer, once.
    async fn answered(&mut self) -> (Form, Result<Answered, Refused>) {
        match self {
            Self::Begun { form, answer } => {
                let answered = (*form, answer.await);
                *self = Self::None { since: clock::now() };
                answered
            }
            Self::None { .. } | Self::Stands { .. } => std::future::pending().await,
        }
    }

    /// When a socket without one is closed.
    fn is_missed_at(&self) -> Option<Instant> {
        match self {
            Self::None { since } => Some(*since + IDLE),
            Self::Begun { .. } | Self::Stands { .. } => None,
        }
    }
}

struct Talk {
    socket: WebSocket,
    viewers: Viewers,
    early: Vec<String>,
    call: Call,
}

impl Talk {
    async fn run(&mut self, doorbell: &Doorbell, stop: &CancellationToken) -> End {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut heard = clock::now();
        loop {
            let missed_at = self.call.is_missed_at();
            let went = tokio::select! {
                () = stop.cancelled() => return End::Stopping,
                message = self.socket.recv() => {
                    heard = clock::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(text.as_str(), doorbell).await,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Binary(_)) | Err(_)) => Err(End::NotUnderstood),
                        Some(Ok(Message::Close(_))) | None => Err(End::Left),
                    }
                }
                (form, outcome) = self.call.answered() => self.conclude(form, outcome).await,
                () = tokio::time::sleep_until(missed_at.unwrap_or_else(clock::now)), if missed_at.is_some() => Err(End::Idle),
                _ = heartbeat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return End::Silent;
                    }
                    self.send(Message::Ping(Default::default())).await
                }
            };
            if let Err(end) = went {
                return end;
            }
        }
    }

    async fn hear(&mut self, text: &str, doorbell: &Doorbell) -> Result<(), End> {
        match Said::parse(text) {
            Some(Said::Offer { form, .. }) if matches!(self.call, Call::Begun { .. }) => {
                self.refuse(form.word(), "Another offer of this socket is being answered.").await
            }
            Some(Said::Offer { form, sdp }) => {
                self.hang_up().await;
                let (doorbell, viewers) = (doorbell.clone(), self.viewers.clone());
                let answer = async move { whep::admit(&doorbell, &viewers, &sdp).await }.boxed();
                self.call = Call::Begun { form, answer };
                Ok(())
            }
            Some(Said::Candidate(line)) => {
                self.take_candidate(line).await;
                Ok(())
            }
            Some(Said::Nonsense(word)) => self.refuse(word, "Its value was not understood.").await,
            Some(Said::Unknown(word)) => self.refuse(&word, "not supported").await,
            None => {
                let sentence = "Send JSON: `{\"type\":\"webrtc/offer\",\"value\":…}`.";
                self.say(&json!({ "type": "error", "value": sentence })).await?;
                Err(End::NotUnderstood)
            }
        }
    }

    /// A second call of the same socket takes the place of the first.
    async fn hang_up(&mut self) {
        if let Call::Stands { viewer } = self.call {
            self.viewers.close(viewer).await;
        }
    }

    async fn take_candidate(&mut self, line: String) {
        match self.call {
            Call::Stands { viewer } => drop(self.viewers.add_candidates(viewer, &line).await),
            Call::None { .. } | Call::Begun { .. } if self.early.len() < EARLY => self.early.push(line),
            Call::None { .. } | Call::Begun { .. } => {}
        }
    }

    /// The answer is the first that go2rtc expects to hear.
    async fn conclude(&mut self, form: Form, outcome: Result<Answered, Refused>) -> Result<(), End> {
        let early = std::mem::take(&mut self.early);
        let Answered { viewer, sdp } = match outcome {
            Ok(answered) => answered,
            Err(refused) => return self.refuse(form.word(), &refused.sentence).await,
        };
        self.call = Call::Stands { viewer };
        let said = self.say(&form.answer(&sdp)).await;
        match said {
            // Nobody has heard it, so nobody will come.
            Err(_) => self.hang_up().await,
            Ok(()) if early.is_empty() => {}
            Ok(()) => drop(self.viewers.add_candidates(viewer, &early.join("\r\n")).await),
        }
        said
    }

    async fn refuse(&mut self, word: &str, why: &str) -> Result<(), End> {
        self.say(&json!({ "type": "error", "value": format!("{word}: {why}") })).await
    }

    async fn say(&mut self, message: &Value) -> Result<(), End> {
        self.send(Message::text(message.to_string())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Left),
            Err(_) => Err(End::TooSlow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_offer_are_understood() {
        let offer = |form| Some(Said::Offer { sdp: "v=0".to_owned(), form });
        assert_eq!(Said::parse(r#"{"type":"webrtc/offer","value":"v=0"}"#), offer(Form::Text));
        let object = r#"{"type":"webrtc","value":{"type":"offer","sdp":"v=0","ice_servers":[{"urls":[]}]}}"#;
        assert_eq!(Said::parse(object), offer(Form::Object));
        assert_eq!(Form::Text.answer("v=1"), json!({"type": "webrtc/answer", "value": "v=1"}));
        assert_eq!(Form::Object.answer("v=1"), json!({"type": "webrtc", "value": {"type": "answer", "sdp": "v=1"}}));
    }

    #[test]
    fn what_is_no_message_is_told_from_what_is_not_spoken_here() {
        for text in ["", "hello", "[]", "{}", r#"{"type":1}"#, r#"{"value":"v=0"}"#, "\u{0}", "{\"type\":\"a\""] {
            assert_eq!(Said::parse(text), None, "{text}");
        }
        for (text, word) in [
            (r#"{"type":"webrtc/offer"}"#, "webrtc/offer"),
            (r#"{"type":"webrtc/offer","value":{"sdp":"v=0"}}"#, "webrtc/offer"),
            (r#"{"type":"webrtc","value":"v=0"}"#, "webrtc"),
            (r#"{"type":"webrtc/candidate","value":7}"#, "webrtc/candidate"),
        ] {
            assert_eq!(Said::parse(text), Some(Said::Nonsense(word)), "{text}");
        }
        assert_eq!(Said::parse(r#"{"type":"mse","value":"avc1.640029"}"#), Some(Said::Unknown("mse".to_owned())));
        let long = format!(r#"{{"type":"{}"}}"#, "ü".repeat(1_000));
        assert_eq!(Said::parse(&long), Some(Said::Unknown("ü".repeat(SHOWN))), "what is told back has a limit");
    }
}
