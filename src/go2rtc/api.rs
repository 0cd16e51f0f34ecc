//! go2rtc's HTTP API, as far as streams are registered over it (go2rtc 1.9.14, `internal/streams/api.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::Url;

use super::plan::{Call, There};
use crate::net::http::{Answer, Client, HttpError, Method, Request, host};
use crate::secret::Password;

/// It is on this machine or in this house.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Why go2rtc does not have our streams, in whole sentences for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("go2rtc gives no answer: {0}. It is asked again by itself; `go2rtc.url` says where it is looked for.")]
    Http(#[from] HttpError),
    #[error(
        "go2rtc at `{host}` wants a login. Set `go2rtc.username` and `go2rtc.password` to its `api.username` and \
         `api.password`."
    )]
    LoginWanted {
        host: String,
        /// Whether it is go2rtc that asks, rather than whatever else may be there.
        by_go2rtc: bool,
    },
    #[error(
        "go2rtc at `{host}` refuses the login. Compare `go2rtc.username` and `go2rtc.password` with its \
         `api.username` and `api.password`."
    )]
    LoginRefused { host: String },
    #[error(
        "go2rtc at `{host}` has nothing at `{path}`. Where it has an `api.base_path`, that belongs to the end of \
         `go2rtc.url`; where it has `api.allow_paths`, `{path}` belongs among them."
    )]
    Hidden { host: String, path: String },
    #[error("What answers at `{host}` is not go2rtc. Check `go2rtc.url`.")]
    Stranger { host: String },
    #[error("go2rtc at `{host}` answered with HTTP {status}. It is asked again by itself.")]
    Status { host: String, status: u16 },
    #[error("go2rtc at `{host}` takes no stream over WebRTC. Where it has `app.modules`, `webrtc` belongs among them.")]
    NotTaken { host: String },
    #[error(
        "go2rtc is on another machine and cannot reach Doorstep, which listens on this one alone. Set `http.listen` to \
         an address of this machine, with `http.token`; or `go2rtc.advertise_url` to where a proxy answers for it."
    )]
    Unreachable,
    #[error("There is no way to go2rtc at present. `go2rtc.url` says where it is looked for.")]
    Lost,
}

impl Trouble {
    /// Whether it may simply be that there is no go2rtc.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::Http(_) | Self::Stranger { .. } | Self::Status { .. } | Self::Lost => true,
            Self::LoginWanted { by_go2rtc, .. } => !by_go2rtc,
            Self::LoginRefused { .. } | Self::Hidden { .. } | Self::NotTaken { .. } | Self::Unreachable => false,
        }
    }
}

/// How a call went that go2rtc did not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Wholly,
    /// For as long as it runs: its configuration file cannot be written.
    InMemory,
}

pub(super) struct Api {
    client: Client,
    base: Url,
    authorization: Option<Password>,
}

/// A stream of `GET /api/streams`. A stream without a source has `null` for its producers.
#[derive(Deserialize)]
struct Stream {
    producers: Option<Vec<Producer>>,
}

/// One in use tells the address as its connection has it; one that was brought by somebody else may tell none.
#[derive(Deserialize)]
struct Producer {
    #[serde(default)]
    url: String,
}

impl Api {
    /// `base` is the address up to `/api`.
    pub(super) fn new(base: Url, login: Option<&(String, Password)>) -> Self {
        let authorization = login.map(|(user, password)| {
            let both = STANDARD.encode(format!("{user}:{}", password.expose()));
            Password::new(format!("Basic {both}"))
        });
        Self { client: Client::new(), base, authorization }
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// That what is there is a go2rtc. That is as little as can be asked of it.
    ///
    /// # Errors
    /// `Stranger`, or why it does not answer.
    pub(super) async fn greet(&self) -> Result<(), Trouble> {
        let answer = self.send(Method::GET, &[], &[]).await.map_err(|trouble| match trouble {
            Trouble::Hidden { .. } => self.stranger(),
            other => other,
        })?;
        let told = answer.json().ok();
        let is_go2rtc = told.is_some_and(|told| told["version"].is_string() && told["host"].is_string());
        if is_go2rtc { Ok(()) } else { Err(self.stranger()) }
    }

    /// Every stream that there is, ours and others'.
    ///
    /// # Errors
    /// Why they were not told.
    pub(super) async fn streams(&self) -> Result<There, Trouble> {
        let answer = self.send(Method::GET, &["streams"], &[]).await?;
        let told = answer.json().map_err(|_| self.stranger())?;
        let streams: BTreeMap<String, Stream> = serde_json::from_value(told).map_err(|_| self.stranger())?;
        let urls = |stream: Stream| stream.producers.into_iter().flatten().map(|producer| producer.url).collect();
        Ok(streams.into_iter().map(|(name, stream)| (name, urls(stream))).collect())
    }

    /// Makes one change.
    ///
    /// # Errors
    /// Why it was not made.
    pub(super) async fn carry_out(&self, call: &Call) -> Result<Done, Trouble> {
        let path = &["streams"];
        let (method, query) = match call {
            Call::Write { name, source } => (Method::PUT, vec![("name", name.clone()), ("src", source.expose())]),
            Call::Set { name, source } => (Method::PATCH, vec![("name", name.clone()), ("src", source.expose())]),
            Call::Remove { name } => (Method::DELETE, vec![("src", name.clone())]),
        };
        let refusal = match self.send(method, path, &query).await {
            Ok(_) => return Ok(Done::Wholly),
            Err(refusal) => refusal,
        };
        // It has taken the change by the time it tries to write the file, and says 400 when it cannot.
        match (call, refusal) {
            (Call::Write { .. } | Call::Remove { .. }, Trouble::Status { status: 400, .. }) => Ok(Done::InMemory),
            (_, Trouble::Status { status: 400, .. }) => Err(self.not_taken()),
            (_, refusal) => Err(refusal),
        }
    }

    async fn send(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Trouble> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let path = url.path().to_owned();
        let mut request = Request::new(method, url).within(ANSWERS_WITHIN);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        let answer = self.client.send(request).await?;
        let host = || answer.host().to_owned();
        match answer.status() {
            200..300 => Ok(answer),
            401 if self.authorization.is_some() => Err(Trouble::LoginRefused { host: host() }),
            401 => {
                let by_go2rtc = answer.header("www-authenticate").is_some_and(|asked| asked.contains("go2rtc"));
                Err(Trouble::LoginWanted { host: host(), by_go2rtc })
            }
            404 => Err(Trouble::Hidden { host: host(), path }),
            status => Err(Trouble::Status { host: host(), status }),
        }
    }

    pub(super) fn not_taken(&self) -> Trouble {
        Trouble::NotTaken { host: host(&self.base) }
    }

    fn stranger(&self) -> Trouble {
        Trouble::Stranger { host: host(&self.base) }
    }
}
