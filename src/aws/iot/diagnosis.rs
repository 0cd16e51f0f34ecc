//! Why a connection ended, in sentences for the owner, and whether he can help.
//!
//! AWS IoT seldom says what it has against us. It closes the connection, and what was under way then tells why: CONNECT,
//! a subscription, a message, or nothing at all because another client took the connection's place.

use std::error::Error;
use std::io;
use std::time::Duration;

use async_tungstenite::tungstenite;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError, mqttbytes};
use rustls::AlertDescription;

use super::connection::Ended;
use super::worker::MQTTS;
use super::{Settings, Way};
use crate::aws::AwsError;
use crate::net::supervise::Retry;
use crate::net::tls::{self, Distrust};

const HTTPS: u16 = 443;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// We were told to.
    Stopped,
    Lost(Box<ConnectionError>),
    /// A ping or a subscription was not answered.
    Silent,
    /// There is no address to connect to.
    Unsigned(AwsError),
    /// A certificate is no use without TLS.
    Unencrypted,
}

/// What a connection was at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Anything before CONNACK.
    Connect,
    Subscribe(String),
    /// Something was published on this topic a moment ago.
    Publish(String),
    Listen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) why: String,
    pub(super) needs_owner: bool,
}

impl Verdict {
    fn passing(why: String) -> Self {
        Self { why, needs_owner: false }
    }

    fn owner(why: String) -> Self {
        Self { why, needs_owner: true }
    }
}

impl End {
    /// The other side ended an MQTT connection without a word.
    pub(super) fn was_closed(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let Self::Lost(error) = self else { return false };
        let ConnectionError::MqttState(error) = error.as_ref() else { return false };
        match error {
            StateError::ConnectionAborted => true,
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)) => {
                let closed = matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
                closed && alert(error).is_none()
            }
            _ => false,
        }
    }
}

/// What has gone before, since one closed connection proves nothing.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What closed connections in a row were at.
    step: Option<Step>,
    times: u32,
    /// Connections in a row that were let in and closed soon after.
    short: u32,
}

impl History {
    const HEALTHY_AFTER: Duration = Duration::from_secs(60);
    /// Closed so often in the same step, it is closed on purpose.
    const ON_PURPOSE: u32 = 2;
    /// So many short connections are a fight for the client id.
    const FIGHT: u32 = 3;

    pub(super) fn judge(&mut self, settings: &Settings, ended: &Ended) -> Verdict {
        let healthy = ended.lived.is_some_and(|lived| lived >= Self::HEALTHY_AFTER);
        if healthy {
            self.short = 0;
        }
        if !ended.end.was_closed() {
            (self.step, self.times, self.short) = (None, 0, 0);
            return judge_error(settings, &ended.end, ended.lived.is_some());
        }
        self.count(ended, healthy);
        self.judge_closed(settings, &ended.step)
    }

    fn count(&mut self, ended: &Ended, healthy: bool) {
        let again = self.step.as_ref() == Some(&ended.step);
        self.times = if again { self.times.saturating_add(1) } else { 1 };
        self.step = Some(ended.step.clone());
        let is_why = matches!(ended.step, Step::Subscribe(_) | Step::Publish(_)) && self.times >= Self::ON_PURPOSE;
        if is_why {
            self.short = 0;
        } else if ended.lived.is_some() && !healthy {
            self.short = self.short.saturating_add(1);
        }
    }

    fn judge_closed(&self, settings: &Settings, step: &Step) -> Verdict {
        let on_purpose = self.times >= Self::ON_PURPOSE;
        match step {
            Step::Connect => Verdict { why: closed_at_connect(settings), needs_owner: on_purpose },
            Step::Subscribe(filter) if on_purpose || self.short < Self::FIGHT => {
                Verdict { why: not_subscribed(settings, filter, 1), needs_owner: on_purpose }
            }
            Step::Publish(topic) if on_purpose => Verdict::owner(closed_at_publish(settings, topic)),
            _ if self.short >= Self::FIGHT => Verdict::owner(fight(settings, self.short)),
            _ => Verdict::passing(format!("{} has closed the connection. It is made again.", place(settings))),
        }
    }
}

/// Filters that AWS IoT does not let us subscribe to, the first by name.
pub(super) fn not_subscribed(settings: &Settings, filter: &str, how_many: usize) -> String {
    let more = match how_many {
        0 | 1 => String::new(),
        _ => format!(" (and {} more)", how_many - 1),
    };
    let heard = filter.replace(['+', '#'], "*");
    format!(
        "{} does not let the client `{}` subscribe to `{filter}`{more}, so rings there are not heard. {} must allow \
         `iot:Subscribe` on `topicfilter/{filter}`, which a `topic/…` in its place does not, and `iot:Receive` on \
         `topic/{heard}`.",
        place(settings),
        settings.client_id,
        policy(settings),
    )
}

fn not_connected(settings: &Settings) -> String {
    let id = &settings.client_id;
    format!(
        "{} must allow `iot:Connect` on `client/{id}`; otherwise set `client_id` to one that it allows.",
        policy(settings)
    )
}

fn closed_at_connect(settings: &Settings) -> String {
    let certificate = match settings.way {
        Way::Certificate(_) => " The certificate must be active, too.",
        Way::Signed(_) => "",
    };
    format!(
        "{} closes the connection when the client `{}` connects, which is how it refuses one. {}{certificate}",
        place(settings),
        settings.client_id,
        not_connected(settings)
    )
}

fn closed_at_publish(settings: &Settings, topic: &str) -> String {
    format!(
        "{} closes the connection when something is published to `{topic}`. {} must allow `iot:Publish` on \
         `topic/{topic}`.",
        place(settings),
        policy(settings)
    )
}

fn fight(settings: &Settings, times: u32) -> String {
    format!(
        "{} lets the client `{}` in and has closed its connection soon after, {times} times in a row. Most likely \
         another program uses the same client id, and the two push each other out: set `client_id` to one of its own.",
        place(settings),
        settings.client_id
    )
}

fn judge_error(settings: &Settings, end: &End, was_connected: bool) -> Verdict {
    let error = match end {
        End::Lost(error) => error.as_ref(),
        End::Unsigned(error) => return unsigned(error),
        End::Unencrypted => {
            let why = "A certificate cannot be shown to AWS IoT over `ws://`; correct `iot_endpoint`.";
            return Verdict::owner(why.to_owned());
        }
        End::Stopped | End::Silent => {
            return Verdict::passing(format!("{} has fallen silent. The connection is made again.", place(settings)));
        }
    };
    if let Some(fault) = tls::fault_of(error) {
        return judge_tls(settings, fault, was_connected);
    }
    match error {
        ConnectionError::ConnectionRefused(code) => judge_code(settings, *code),
        ConnectionError::Websocket(tungstenite::Error::Http(answer)) => {
            judge_handshake(settings, answer.status().as_u16(), answer.body().as_deref().unwrap_or_default())
        }
        ConnectionError::ResponseValidation(_) | ConnectionError::NotConnAck(_) => not_aws_iot(settings),
        ConnectionError::Websocket(tungstenite::Error::Protocol(_)) if !was_connected => not_aws_iot(settings),
        ConnectionError::NetworkTimeout => {
            Verdict::passing(format!("{} has not answered in time.{}", address(settings), shared_port(settings)))
        }
        ConnectionError::Io(error) => judge_socket(settings, error),
        ConnectionError::Tls(TlsError::Io(error)) => cut_in_tls(settings, error),
        ConnectionError::Websocket(tungstenite::Error::Io(error)) if !was_connected => cut_in_tls(settings, error),
        ConnectionError::Tls(error) => no_tls(settings, &error.to_string()),
        _ => Verdict::passing(format!("The connection to {} was lost. It is made again.", place(settings))),
    }
}

fn unsigned(error: &AwsError) -> Verdict {
    let passes = matches!(error, AwsError::Throttled { .. }) || error.retry() == Retry::Backoff;
    Verdict { why: format!("AWS IoT cannot be connected to without AWS credentials. {error}"), needs_owner: !passes }
}

/// Before TLS: the name and the socket. Only the system's own errors have a number, which a resolver's do not.
fn judge_socket(settings: &Settings, error: &io::Error) -> Verdict {
    if error.raw_os_error().is_none() && error.kind() != io::ErrorKind::TimedOut {
        return Verdict::passing(format!(
            "The address of {} cannot be found ({error}). Either this machine is not online, or `iot_endpoint` is \
             wrong.",
            place(settings)
        ));
    }
    Verdict::passing(format!("{} cannot be reached ({error}).{}", address(settings), shared_port(settings)))
}

fn judge_tls(settings: &Settings, fault: &rustls::Error, was_connected: bool) -> Verdict {
    match fault {
        rustls::Error::InvalidCertificate(why) => {
            let distrust = Distrust::from(why);
            Verdict::owner(format!("The certificate of {} is not believed: {distrust}.", place(settings)))
        }
        rustls::Error::AlertReceived(alert) => judge_alert(settings, *alert),
        other => Verdict { needs_owner: !was_connected, ..no_tls(settings, &other.to_string()) },
    }
}

fn no_tls(settings: &Settings, why: &str) -> Verdict {
    Verdict::owner(format!("There is no TLS with {}: {why}.", address(settings)))
}

fn cut_in_tls(settings: &Settings, error: &io::Error) -> Verdict {
    Verdict::passing(format!("{} has ended the connection before it was made ({error}).", address(settings)))
}

fn judge_alert(settings: &Settings, alert: AlertDescription) -> Verdict {
    use AlertDescription as Alert;
    match (alert, &settings.way) {
        (Alert::NoApplicationProtocol, _) => Verdict::owner(format!(
            "{} offers no MQTT on this port (ALPN `x-amzn-mqtt-ca`); correct `iot_endpoint`, or leave out its port.",
            address(settings)
        )),
        (
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::HandshakeFailure
            | Alert::CertificateRequired,
            Way::Certificate(_),
        ) => Verdict::owner(format!(
            "{} does not accept the certificate that we show it (TLS alert {alert:?}). It must be registered and active \
             in the AWS account and region of this endpoint, and not expired.",
            address(settings)
        )),
        _ => no_tls(settings, &format!("it sends the alert {alert:?}")),
    }
}

fn judge_code(settings: &Settings, code: ConnectReturnCode) -> Verdict {
    match code {
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword => Verdict::owner(format!(
            "{} does not let the client `{}` connect. {}",
            place(settings),
            settings.client_id,
            not_connected(settings)
        )),
        ConnectReturnCode::BadClientId => Verdict::owner(format!(
            "{} does not take `{}` for a client id; set `client_id`, which may have 128 characters.",
            place(settings),
            settings.client_id
        )),
        ConnectReturnCode::RefusedProtocolVersion => not_aws_iot(settings),
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
            Verdict::passing(format!("{} is not available at present.", place(settings)))
        }
    }
}

/// The WebSocket's handshake was answered with something else.
fn judge_handshake(settings: &Settings, status: u16, body: &[u8]) -> Verdict {
    let clue = clue(body).map(|clue| format!(": {clue}")).unwrap_or_default();
    match status {
        401 | 403 => Verdict::owner(format!(
            "{} refuses our signed address (HTTP {status}{clue}). The AWS keys must be valid and allow `iot:Connect` on \
             `client/{}`, and the clock of this machine must be right to within five minutes.",
            place(settings),
            settings.client_id
        )),
        429 | 500.. => {
            Verdict::passing(format!("{} is not available at present (HTTP {status}{clue}).", place(settings)))
        }
        _ => Verdict::owner(format!(
            "{} answers HTTP {status}{clue}, as AWS IoT does not; correct `iot_endpoint`.",
            address(settings)
        )),
    }
}

/// What the body of a refusal says, if it can be shown. Some of AWS's recite the signed request.
fn clue(body: &[u8]) -> Option<String> {
    const LONGEST: usize = 200;
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(json) => ["message", "Message"].iter().find_map(|key| json.get(key)?.as_str().map(str::to_owned))?,
        Err(_) => std::str::from_utf8(body).ok()?.to_owned(),
    };
    let line = text.lines().next().unwrap_or_default().trim();
    let is_plain = !line.is_empty() && !line.contains(['<', '&', '=']) && !line.chars().any(char::is_control);
    is_plain.then(|| line.chars().take(LONGEST).collect())
}

fn not_aws_iot(settings: &Settings) -> Verdict {
    Verdict::owner(format!("{} does not speak MQTT as AWS IoT does; correct `iot_endpoint`.", address(settings)))
}

/// What the other side says of our TLS, which with TLS 1.3 comes after the handshake.
fn alert(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    match tls::fault_of(error) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

fn policy(settings: &Settings) -> &'static str {
    match settings.way {
        Way::Certificate(_) => "The IoT policy that is attached to the certificate",
        Way::Signed(_) => "The IAM policy of the user or role whose keys are used",
    }
}

fn place(settings: &Settings) -> String {
    format!("AWS IoT at `{}`", settings.endpoint.host)
}

fn address(settings: &Settings) -> String {
    let port = match (settings.endpoint.port, &settings.way) {
        (Some(port), _) => port,
        (None, Way::Certificate(_)) => MQTTS,
        (None, Way::Signed(_)) => HTTPS,
    };
    format!("AWS IoT at `{}`, port {port},", settings.endpoint.host)
}

/// Firewalls know 8883 less well than 443.
fn shared_port(settings: &Settings) -> String {
    match (&settings.way, settings.endpoint.port.unwrap_or(MQTTS)) {
        (Way::Certificate(_), MQTTS) => {
            format!(" If a firewall stops port 8883, write `iot_endpoint: {}:443`.", settings.endpoint.host)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IotEndpoint;
    use crate::net::tls::Trust;

    fn settings() -> Settings {
        Settings {
            endpoint: IotEndpoint { host: "a1-ats.iot.us-east-1.amazonaws.com".to_owned(), port: None, tls: true },
            way: Way::Certificate(Trust::default()),
            client_id: "thing-doorstep".to_owned(),
            filters: Vec::new(),
            clean_session: true,
        }
    }

    fn lost(error: ConnectionError) -> End {
        End::Lost(Box::new(error))
    }

    /// Closed without a word, this many seconds after CONNACK.
    fn closed(step: Step, lived: Option<u64>) -> Ended {
        let end = lost(ConnectionError::MqttState(StateError::ConnectionAborted));
        Ended { end, step, lived: lived.map(Duration::from_secs) }
    }

    fn subscribe(filter: &str) -> Step {
        Step::Subscribe(filter.to_owned())
    }

    #[test]
    fn one_closed_connection_proves_nothing_and_two_in_the_same_step_do() {
        for (step, lived, said) in [
            (Step::Connect, None, "`iot:Connect` on `client/thing-doorstep`"),
            (subscribe("a/#"), Some(0), "`iot:Receive` on `topic/a/*`"),
            (Step::Publish("door".to_owned()), Some(0), "`iot:Publish` on `topic/door`"),
        ] {
            let mut history = History::default();
            let mut judge = || history.judge(&settings(), &closed(step.clone(), lived));
            let [first, second] = [judge(), judge()];
            assert!(!first.needs_owner && second.needs_owner, "{first:?} {second:?}");
            assert!(second.why.contains(said), "{}", second.why);
        }
    }

    #[test]
    fn connections_that_are_closed_soon_whatever_they_are_at_are_fought_for() {
        let mut history = History::default();
        let steps = [Step::Listen, subscribe("a"), subscribe("b"), Step::Listen];
        let verdicts = steps.map(|step| history.judge(&settings(), &closed(step, Some(3))));
        assert_eq!(verdicts.each_ref().map(|verdict| verdict.needs_owner), [false, false, true, true]);
        assert!(verdicts[3].why.contains("4 times in a row"), "{}", verdicts[3].why);
        // AWS IoT closes every connection after a day.
        assert!(!history.judge(&settings(), &closed(Step::Listen, Some(86_400))).needs_owner);
    }

    #[test]
    fn connections_that_a_policy_ended_are_not_taken_for_a_fight_later() {
        let mut history = History::default();
        let mut judge = |step, lived| history.judge(&settings(), &closed(step, Some(lived)));
        let refused = [(); 5].map(|()| judge(subscribe("a"), 0));
        assert!(refused.iter().all(|verdict| verdict.why.contains("`topicfilter/a`")), "{refused:?}");
        // The policy is mended, and then the network breaks.
        let lost = judge(Step::Listen, 40);
        assert!(!lost.needs_owner && lost.why.ends_with("It is made again."), "{lost:?}");
    }

    #[test]
    fn what_port_8883_is_up_against_is_said_where_it_is_used() {
        let timeout = || Ended { end: lost(ConnectionError::NetworkTimeout), step: Step::Connect, lived: None };
        let mut settings = settings();
        let at = |settings: &Settings| History::default().judge(settings, &timeout()).why;
        assert!(at(&settings).ends_with("write `iot_endpoint: a1-ats.iot.us-east-1.amazonaws.com:443`."));
        settings.endpoint.port = Some(443);
        assert!(at(&settings).ends_with("has not answered in time."), "{}", at(&settings));
    }

    #[test]
    fn a_refusal_s_clue_is_one_plain_line() {
        for (body, expected) in [
            (r#"{"message":"Forbidden","traceId":"7"}"#, Some("Forbidden")),
            (
                r#"{"Message":"Signature expired: 20250101T000000Z is now earlier"}"#,
                Some("Signature expired: 20250101T000000Z is now earlier"),
            ),
            ("no such endpoint\r\nsee the manual", Some("no such endpoint")),
            ("", None),
            (r#"{"traceId":"7"}"#, None),
            ("<html><body>403", None),
            ("GET /mqtt?X-Amz-Security-Token=abc", None),
            ("\u{1b}[31mred", None),
        ] {
            assert_eq!(clue(body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert_eq!(clue(&[0xff]), None);
        assert_eq!(clue("x".repeat(10_000).as_bytes()).map(|clue| clue.len()), Some(200));
    }
}
