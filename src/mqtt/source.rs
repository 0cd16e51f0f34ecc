//! Where the broker is: as it was configured, or as whoever knows it says, asked for as long as nobody does and again
//! when what was said does not hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::backoff::Failure;
use crate::clock::{self, Instant};
use crate::config::MqttUrl;
use crate::model::MqttLink;
use crate::net::supervise::{Backoff, jitter};

/// Where the broker is and how to log in there.
#[derive(Clone)]
pub enum Broker {
    At(MqttUrl),
    /// It is asked for, since it may be another one tomorrow.
    Asked(Ask),
}

/// Asks once where the broker is. Dropped when it is not needed any more.
pub type Ask = Arc<dyn Fn() -> BoxFuture<'static, Result<MqttUrl, Unknown>> + Send + Sync>;

/// Why no broker is known, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// There is none.
    NoBroker(String),
    /// Nobody could say. What was known before may still be so.
    NoAnswer(String),
}

/// The broker of one client, remembered until there is reason to doubt it.
pub(super) struct Source {
    broker: Broker,
    known: Option<MqttUrl>,
    asked: Option<Instant>,
    /// Whether anything has connected since then.
    proven: bool,
    /// Since when nothing has connected.
    troubled: Option<Instant>,
}

impl Source {
    /// After a refused login that never was let in, how long ago the last question must be: whoever was just answered
    /// knows no better now.
    const ASK_AFTER_REFUSAL: Duration = Duration::from_secs(10);
    /// How long nothing may connect before the broker is looked for elsewhere.
    const ASK_WHEN_GONE_FOR: Duration = Duration::from_secs(30);

    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, known: None, asked: None, proven: false, troubled: None }
    }

    /// What the owner can do when the login is refused.
    pub(super) fn remedy(&self) -> &'static str {
        match self.broker {
            Broker::At(_) => "correct `mqtt.url`",
            Broker::Asked(_) => "restart the broker's app, which tells Home Assistant the login that it takes",
        }
    }

    /// Where to connect now. Where that is asked for and not known, it is waited for as long as it takes: 1 s, doubling
    /// to 60 s, between questions.
    pub(super) async fn url(&mut self, link: &watch::Sender<MqttLink>) -> MqttUrl {
        if let Some(known) = &self.known {
            return known.clone();
        }
        let (mut backoff, mut told) = (Backoff::default(), BTreeSet::new());
        loop {
            match self.ask().await {
                Ok(url) => {
                    if !told.is_empty() {
                        tracing::info!(broker = %url, "the MQTT broker is known now");
                    }
                    link.send_replace(MqttLink::Disconnected);
                    return url;
                }
                Err(Unknown::NoBroker(why) | Unknown::NoAnswer(why)) => {
                    if told.insert(why.clone()) {
                        tracing::warn!(%why, "waiting for an MQTT broker; everything else works meanwhile");
                    }
                }
            }
            link.send_replace(MqttLink::Waiting);
            tokio::time::sleep(backoff.next(Duration::ZERO, jitter())).await;
        }
    }

    /// Takes note of how a connection, or the attempt, ended, and asks again where there is reason to. Whether the
    /// broker is another one now, so that waiting would be in vain.
    pub(super) async fn ended(&mut self, failure: Failure, was_connected: bool) -> bool {
        if was_connected {
            self.troubled = None;
            self.proven = true;
        }
        let troubled = *self.troubled.get_or_insert_with(clock::now);
        let older = |than: Duration, since: Instant| since.elapsed() >= than;
        let Some(asked) = self.asked else { return false };
        let doubtful = match failure {
            Failure::Login => self.proven || older(Self::ASK_AFTER_REFUSAL, asked),
            Failure::Absent | Failure::Unnamed | Failure::Dropped => {
                older(Self::ASK_WHEN_GONE_FOR, troubled.max(asked))
            }
        };
        if !doubtful {
            return false;
        }
        let before = self.known.clone();
        match self.ask().await {
            Ok(url) => !before.is_some_and(|before| is_same(&before, &url)),
            Err(Unknown::NoAnswer(_)) => false,
            Err(Unknown::NoBroker(_)) => {
                self.known = None;
                false
            }
        }
    }

    async fn ask(&mut self) -> Result<MqttUrl, Unknown> {
        let url = match &self.broker {
            Broker::At(url) => url.clone(),
            Broker::Asked(ask) => {
                (self.asked, self.proven) = (Some(clock::now()), false);
                ask().await?
            }
        };
        self.known = Some(url.clone());
        Ok(url)
    }
}

fn is_same(a: &MqttUrl, b: &MqttUrl) -> bool {
    let login = |url: &MqttUrl| url.login.as_ref().map(|(user, password)| (user.clone(), password.expose().to_owned()));
    (&a.host, a.port, a.tls, login(a)) == (&b.host, b.port, b.tls, login(b))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers what is in the script, and then its last line for ever; and when it was asked.
    struct Desk(Arc<Mutex<Book>>);

    type Said = Result<&'static str, Unknown>;

    struct Book {
        script: VecDeque<Said>,
        asked: Vec<Instant>,
    }

    impl Desk {
        fn saying(script: impl IntoIterator<Item = Said>) -> Self {
            Self(Arc::new(Mutex::new(Book { script: script.into_iter().collect(), asked: Vec::new() })))
        }

        fn source(&self) -> Source {
            let desk = self.0.clone();
            Source::new(Broker::Asked(Arc::new(move || {
                let mut desk = desk.lock().unwrap();
                desk.asked.push(clock::now());
                let last = desk.script.len() == 1;
                let said = if last { desk.script.front().cloned() } else { desk.script.pop_front() };
                let answer = said.unwrap().map(|url| MqttUrl::parse(url).unwrap());
                Box::pin(async move { answer })
            })))
        }

        fn asked(&self) -> Vec<Instant> {
            self.0.lock().unwrap().asked.clone()
        }
    }

    fn nobody() -> Said {
        Err(Unknown::NoBroker("No broker is installed.".to_owned()))
    }

    fn silence() -> Said {
        Err(Unknown::NoAnswer("Nobody answers.".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_starts_later_is_waited_for_ever_more_patiently() {
        let script = (0..12).map(|n| if n % 2 == 0 { nobody() } else { silence() });
        let desk = Desk::saying(script.chain([Ok("mqtt://a")]));
        let link = watch::channel(MqttLink::Disconnected).0;
        let url = desk.source().url(&link).await;
        assert_eq!((url.host.as_str(), *link.borrow()), ("a", MqttLink::Disconnected));
        let asked = desk.asked();
        let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits.len(), 12);
        for (n, wait) in waits.iter().enumerate() {
            let middle = SECOND * (1 << n.min(6)).min(60);
            assert!((middle / 2..=middle * 3 / 2).contains(wait), "wait {n}: {wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_asked_about_and_never_in_a_storm() {
        let desk = Desk::saying([Ok("mqtt://u:old@a"), Ok("mqtt://u:old@a"), Ok("mqtt://u:new@a")]);
        let (mut source, link) = (desk.source(), watch::channel(MqttLink::Disconnected).0);
        source.url(&link).await;
        assert!(!source.ended(Failure::Login, false).await, "it was asked a moment ago");
        assert_eq!(desk.asked().len(), 1);
        tokio::time::advance(30 * SECOND).await;
        assert!(!source.ended(Failure::Login, false).await, "nothing has changed");
        tokio::time::advance(30 * SECOND).await;
        assert!(source.ended(Failure::Login, false).await);
        assert_eq!(source.url(&link).await.login.unwrap().1.expose(), "new");
        for _ in 0..1_000 {
            source.ended(Failure::Login, false).await;
        }
        assert_eq!(desk.asked().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_was_good_until_now_is_asked_about_at_once() {
        let desk = Desk::saying([Ok("mqtt://u:old@a"), Ok("mqtt://u:new@a")]);
        let (mut source, link) = (desk.source(), watch::channel(MqttLink::Disconnected).0);
        source.url(&link).await;
        assert!(!source.ended(Failure::Dropped, true).await, "the broker restarts");
        assert!(source.ended(Failure::Login, false).await, "with another password");
        assert!(!source.ended(Failure::Login, false).await);
        assert_eq!(desk.asked().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_gone_for_a_while_is_looked_for_elsewhere() {
        let desk = Desk::saying([Ok("mqtt://a"), silence(), Ok("mqtt://b")]);
        let (mut source, link) = (desk.source(), watch::channel(MqttLink::Disconnected).0);
        source.url(&link).await;
        tokio::time::advance(3_600 * SECOND).await;
        let mut moved_after = None;
        for second in 0..90 {
            if source.ended(Failure::Absent, second == 0).await {
                moved_after = Some(second);
                break;
            }
            assert_eq!(source.url(&link).await.host, "a", "what was known may still be so");
            tokio::time::advance(SECOND).await;
        }
        assert_eq!((moved_after, desk.asked().len()), (Some(60), 3));
        assert_eq!(source.url(&link).await.host, "b");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_no_more_is_forgotten() {
        let desk = Desk::saying([Ok("mqtt://a"), nobody(), nobody(), Ok("mqtt://b")]);
        let (mut source, link) = (desk.source(), watch::channel(MqttLink::Disconnected).0);
        let mut seen = link.subscribe();
        source.url(&link).await;
        source.ended(Failure::Absent, true).await;
        tokio::time::advance(31 * SECOND).await;
        assert!(!source.ended(Failure::Absent, false).await);
        // What is waited for must not be kept: it locks the channel.
        let waiting = async { seen.wait_for(|link| *link == MqttLink::Waiting).await.is_ok() };
        let (url, waited) = tokio::join!(source.url(&link), waiting);
        assert_eq!((url.host.as_str(), waited), ("b", true));
    }

    #[tokio::test]
    async fn a_configured_broker_is_asked_of_nobody() {
        let mut source = Source::new(Broker::At(MqttUrl::parse("mqtt://u:p@a").unwrap()));
        let link = watch::channel(MqttLink::Disconnected).0;
        assert_eq!(source.url(&link).await.host, "a");
        assert!(!source.ended(Failure::Login, false).await);
        assert_eq!(*link.borrow(), MqttLink::Disconnected);
    }
}
