//! PubNub's side of the push channel: plain HTTPS, one request held open at a time (vivint reference §4).

use std::time::Duration;

use url::Url;

use super::Subscription;
use crate::config::VivintEndpoints;
use crate::net::http::{Client, HttpError, Method, Request};
use crate::proto::vivint::realtime::{Cursor, Reply};

/// Why a poll brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(in super::super) enum PollError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("it answered HTTP {0}")]
    Status(u16),
    #[error("it sent something that cannot be read")]
    Garbled,
}

impl PollError {
    /// Whether it may be what stands at this place of the channel, rather than the way there.
    pub(super) fn is_of_its_place(&self) -> bool {
        use HttpError::{NotJson, TooDeep, TooLarge};
        matches!(
            self,
            Self::Garbled | Self::Status(400..500) | Self::Http(TooLarge { .. } | TooDeep { .. } | NotJson { .. })
        )
    }
}

/// What is asked for messages.
pub(in super::super) trait Wire {
    /// Waits for what was published after `cursor`. An answer comes every 5 min or so, also when nothing was.
    fn poll(
        &self,
        subscription: &Subscription,
        cursor: &Cursor,
    ) -> impl Future<Output = Result<Reply, PollError>> + Send;

    /// Tells that nobody listens any more.
    fn leave(&self, subscription: &Subscription) -> impl Future<Output = ()> + Send;
}

/// The service itself.
pub(in super::super) struct PubNub {
    client: Client,
    origin: Url,
    key: String,
}

impl PubNub {
    /// Longer than the server holds a request.
    const POLL: Duration = Duration::from_secs(320);
    /// How long the farewell may take: the account has a second.
    const FAREWELL: Duration = Duration::from_millis(700);

    pub(in super::super) fn new(endpoints: &VivintEndpoints) -> Self {
        Self { client: Client::new(), origin: endpoints.pubnub.clone(), key: endpoints.pubnub_key.clone() }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.origin.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

impl Wire for PubNub {
    async fn poll(&self, subscription: &Subscription, cursor: &Cursor) -> Result<Reply, PollError> {
        let mut url = self.url(&["v2", "subscribe", &self.key, &subscription.channel, "0"]);
        url.query_pairs_mut()
            .append_pair("tt", &cursor.timetoken.to_string())
            .append_pair("tr", &cursor.region.to_string())
            .append_pair("uuid", &subscription.subscriber)
            .append_pair("pnsdk", concat!("doorstep/", env!("CARGO_PKG_VERSION")));
        let answer = self.client.send(Request::new(Method::GET, url).long_poll(Self::POLL)).await?;
        if !answer.is_success() {
            return Err(PollError::Status(answer.status()));
        }
        Reply::read(&answer.json()?).ok_or(PollError::Garbled)
    }

    async fn leave(&self, subscription: &Subscription) {
        let mut url = self.url(&["v2", "presence", "sub-key", &self.key, "channel", &subscription.channel, "leave"]);
        url.query_pairs_mut().append_pair("uuid", &subscription.subscriber);
        if let Err(error) = self.client.send(Request::new(Method::GET, url).within(Self::FAREWELL)).await {
            tracing::debug!(%error, "the push channel was left without a farewell");
        }
    }
}
