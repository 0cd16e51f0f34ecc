//! What a request is refused with: a status and one sentence for a person.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::SetupError;
use super::auth::NotMade;
use crate::config::Mistake;
use crate::doorbell::voice::{NotKept, Unspoken};
use crate::doorbell::{ActionError, SayError};

/// Answered as its status with the body `{"error": "…"}`, and `mistakes` beside where each has a place.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("There is nothing at this address. docs/http-api.md lists what there is.")]
    NoSuchRoute,
    #[error("This address does not take that method. docs/http-api.md lists what it takes.")]
    Method,
    #[error("There is no such doorbell. `GET /api/doorbells` lists the ids of those there are.")]
    NoSuchDoorbell,
    #[error("There is no such account. `GET /api/accounts` lists those there are.")]
    NoSuchAccount,
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("This account waits for no code.")]
    NoCodeWanted,
    /// Without the body, which may hold a code.
    #[error("The code was not understood. Send `{{\"code\":\"…\"}}` with the 4 to 10 digits of the message.")]
    Code,
    #[error("This request says everything with its address. Send no body, or `{{}}`.")]
    BodyUnexpected,
    #[error("Which way was not understood. Send `{{\"open\":true}}` or `{{\"open\":false}}`.")]
    Way,
    #[error("The question was not understood. `ask` is `record`, `oldest_timestamp` or `metadata`.")]
    Question,
    #[error("{doorbell}: {}", sentences(why))]
    Action { doorbell: String, why: ActionError },
    #[error("{doorbell}: {}", unsaid(why))]
    Unsaid { doorbell: String, why: SayError },
    #[error("Beside a file there may be `volume`, from 0 to 1, and `wait`, `true` or `false`.")]
    BesideFile,
    #[error("A file of sound is sent as `audio/…` or `application/octet-stream`.")]
    NoSoundType,
    #[error("The file is too large. It may have 10 MiB.")]
    FileTooLarge,
    #[error("The file took longer than a minute to arrive. Send a smaller one.")]
    FileTooSlow,
    #[error("The file did not arrive whole. Send it again.")]
    FileBroken,
    #[error("Too many files are being sent at once. Try again in a moment.")]
    TooManyUploads,
    #[error("That cannot be the name of a clip. It has 1 to 40 characters of a-z, 0-9 and _.")]
    ClipName,
    #[error("There is no such clip. `GET /api/clips` lists those there are.")]
    NoSuchClip,
    #[error(transparent)]
    ClipNotKept(#[from] NotKept),
    #[error("Whether to wake it was not understood. `wake` is `true` or `false`.")]
    Wake,
    #[error("{doorbell}: there is no picture of it yet. Without `wake=false` one is taken.")]
    NoPicture { doorbell: String },
    #[error("{doorbell}: there is no picture of that ring. Only the last rings have one, and not every one does.")]
    NoRingPicture { doorbell: String },
    #[error("The body was not understood: {0}")]
    Body(#[from] JsonRejection),
    #[error(
        "Requests that change something must be sent as `application/json`, as `application/sdp` for WHEP, or as \
         `audio/…` where sound is sent."
    )]
    ContentType,
    #[error("This entrance is Home Assistant's own.")]
    ForeignPeer,
    #[error("The ticket is used, too old, or for another doorbell. Ask for a new one where this one came from.")]
    TicketWrong,
    #[error("A token is made in Doorstep's page: in Home Assistant, or on the machine itself where nobody needs one.")]
    TokenElsewhere,
    #[error("There is no entrance for other machines that a token could open.")]
    NoDirect,
    #[error("No new token: {0}. The old one is as good as before.")]
    TokenNotMade(#[from] NotMade),
    #[error("The machine gives no randomness. Try again.")]
    NoRandomness,
    #[error("This request came from another site's page and was refused.")]
    ForeignOrigin,
    #[error(
        "The service is not known under the name in the address. Use its IP address, `localhost` or the machine's own \
         name, or add this one to `http.names`."
    )]
    ForeignHost,
    #[error("The request does not say for which host it is.")]
    NoHost,
    #[error(
        "A token is needed: send `Authorization: Bearer …` with the value of `http.token` or one made on the page."
    )]
    TokenMissing,
    #[error(
        "The token is wrong. It is the value of `http.token` in the configuration, or the last one made on the page."
    )]
    TokenWrong,
    #[error("Too many wrong tokens from this address. Try again in {} s.", .wait.as_secs())]
    TooManyAttempts { wait: Duration },
    #[error("This address speaks WebSocket only.")]
    NotWebSocket,
    #[error("Too many pages are listening already. Close one and try again.")]
    TooManyListeners,
    #[error("Too many viewers are being connected at once. Try again in a moment.")]
    TooManyCalls,
}

/// Why an action failed, and what the owner can do about it.
fn sentences(why: &ActionError) -> String {
    let remedy = match why {
        ActionError::Offline { why } => return why.clone(),
        ActionError::Busy => "Wait until they have finished, then try again.",
        ActionError::Speaking => "Wait until it has finished, or have it stop.",
        ActionError::BeingTaken => "Try again when it is done.",
        ActionError::Unsupported(_) => "Its `capabilities` say what it can do.",
        ActionError::Timeout => "Try again; if it stays so, restart the doorbell.",
        ActionError::Refused { .. } => "Try again in a moment.",
    };
    format!("{why}. {remedy}")
}

/// Why a saying was not said, and what can be done about it.
fn unsaid(why: &SayError) -> String {
    match why {
        SayError::Full => format!("{why}. Wait until they have been said, or stop them, then try again."),
        SayError::Stopped => format!("{why}. Send it again if it is still wanted."),
        SayError::Unspoken(why) => why.to_string(),
        SayError::Action(why) => sentences(why),
    }
}

fn status_of(why: &ActionError) -> StatusCode {
    match why {
        ActionError::Busy | ActionError::Speaking | ActionError::BeingTaken => StatusCode::CONFLICT,
        ActionError::Unsupported(_) => StatusCode::NOT_FOUND,
        ActionError::Offline { .. } | ActionError::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        ActionError::Refused { .. } => StatusCode::BAD_GATEWAY,
    }
}

impl ApiError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchRoute | Self::NoSuchDoorbell | Self::NoSuchAccount | Self::NoDirect => StatusCode::NOT_FOUND,
            Self::NoCodeWanted => StatusCode::CONFLICT,
            Self::Setup(why) => match why {
                SetupError::Mistakes(_) => StatusCode::BAD_REQUEST,
                SetupError::NoSuchAccount => StatusCode::NOT_FOUND,
                SetupError::Configured | SetupError::Full(_) => StatusCode::CONFLICT,
                SetupError::Failed => StatusCode::INTERNAL_SERVER_ERROR,
                SetupError::NotKept(_) => StatusCode::INSUFFICIENT_STORAGE,
            },
            Self::Code | Self::BodyUnexpected | Self::Way | Self::Question => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Action { why, .. } => status_of(why),
            Self::Unsaid { why, .. } => match why {
                SayError::Full => StatusCode::TOO_MANY_REQUESTS,
                SayError::Stopped => StatusCode::CONFLICT,
                SayError::Unspoken(Unspoken::Unusable(_)) => StatusCode::BAD_REQUEST,
                SayError::Unspoken(Unspoken::Forbidden(_)) => StatusCode::FORBIDDEN,
                SayError::Unspoken(Unspoken::Unavailable(_)) => StatusCode::BAD_GATEWAY,
                SayError::Action(why) => status_of(why),
            },
            Self::ClipNotKept(why) => match why {
                NotKept::Unusable(_) => StatusCode::BAD_REQUEST,
                NotKept::Full(_) | NotKept::Unwritable(_) => StatusCode::INSUFFICIENT_STORAGE,
            },
            Self::BesideFile | Self::Wake | Self::ClipName | Self::FileBroken => StatusCode::BAD_REQUEST,
            Self::NoSuchClip | Self::NoPicture { .. } | Self::NoRingPicture { .. } => StatusCode::NOT_FOUND,
            Self::FileTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::FileTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Body(rejection) => rejection.status(),
            Self::ContentType | Self::NoSoundType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ForeignOrigin | Self::ForeignHost | Self::ForeignPeer | Self::TokenElsewhere => StatusCode::FORBIDDEN,
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::TokenMissing | Self::TokenWrong | Self::TicketWrong => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyListeners
            | Self::TooManyCalls
            | Self::TooManyUploads
            | Self::TokenNotMade(_)
            | Self::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.to_string() });
        if let Self::Setup(SetupError::Mistakes(mistakes)) = &self {
            let mistake = |Mistake { path, what, .. }: &Mistake| json!({ "path": path, "what": what });
            body["mistakes"] = mistakes.iter().map(mistake).collect();
        }
        let mut response = (self.status(), Json(body)).into_response();
        match &self {
            Self::TokenMissing | Self::TokenWrong | Self::TicketWrong => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooManyAttempts { wait } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            _ => {}
        }
        response
    }
}
