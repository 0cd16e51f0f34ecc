//! An account at the virtual AWS, which was written from the reference and not from our client: with keys, with a role
//! and with a certificate, over HTTP and over TLS, and with everything that it does wrong.

use std::time::Duration;

use doorstep::aws::{Action, Aws, AwsError, Role, Settings};
use doorstep::config::{IotEndpoint, KvsEndpoints, KvsLogin};
use doorstep::net::http::HttpError;
use doorstep::proto::kvs::signaling::{Outbound, Payload};
use doorstep::rtc::kvs_call::Socket;
use doorstep::sim::aws::{self as sim, ChannelSettings, Quotas, RunningAws};
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(10);

struct House {
    aws: RunningAws,
    _stop: DropGuard,
}

impl House {
    async fn start() -> Self {
        let seed = 5;
        println!("seed {seed}");
        let stop = CancellationToken::new();
        let settings = sim::Settings {
            channels: ["front", "back", "side"].map(ChannelSettings::named).to_vec(),
            page: 2,
            quotas: Quotas::GENEROUS,
            ..sim::Settings::generate(seed)
        };
        let aws = sim::start(settings, stop.clone()).await.unwrap();
        Self { aws, _stop: stop.drop_guard() }
    }

    fn client(&self, login: KvsLogin, endpoints: KvsEndpoints, role_arn: Option<String>) -> Aws {
        Aws::new(Settings { region: self.aws.settings.region.clone(), login, role_arn, endpoints, identity: None })
            .unwrap()
    }

    fn with_keys(&self) -> Aws {
        self.client(self.aws.login().unwrap(), self.aws.endpoints(), None)
    }

    fn role(&self) -> Option<String> {
        Some(self.aws.settings.roles[0].arn.clone())
    }

    fn fault(&self, name: &str) {
        self.aws.obey(sim::parse(&format!("fault {name}")).unwrap().unwrap()).unwrap();
    }
}

/// Everything that an account does, up to a frame from one end of a channel to the other.
async fn does_everything(aws: &Aws) {
    let mut names: Vec<String> = aws.list().await.unwrap().into_iter().map(|found| found.channel.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["back", "front", "side"]);
    let front = aws.describe("front").await.unwrap();
    assert!(front.active && front.single_master);
    assert_eq!(aws.describe(&front.channel.arn).await.unwrap(), front);
    let gone = aws.describe("cellar").await.unwrap_err();
    assert!(matches!(gone, AwsError::NoSuchChannel { .. }), "{gone:?}");

    let master = aws.signalling(&front.channel, Role::Master, "").await.unwrap();
    let mut master = Socket::open(&master).await.unwrap();
    let viewer = aws.signalling(&front.channel, Role::Viewer, "viewer-1").await.unwrap();
    let mut viewer = Socket::open(&viewer).await.unwrap();
    let payload = Payload::Offer { sdp: "v=0\r\n".to_owned() };
    viewer.send(&Outbound { payload, recipient_client_id: None, correlation_id: None }).await.unwrap();
    let frame = tokio::time::timeout(PATIENCE, master.next()).await.expect("the offer did not come").unwrap();
    assert_eq!(frame.sender_client_id.as_deref(), Some("viewer-1"));

    let endpoint = aws.iot_endpoint().await.unwrap();
    assert!(aws.iot_url(&endpoint).await.unwrap().expose().contains("/mqtt?X-Amz-Algorithm="));
}

#[tokio::test]
async fn keys_open_everything() {
    let house = House::start().await;
    does_everything(&house.with_keys()).await;
    let secure = house.client(house.aws.login().unwrap(), house.aws.secure_endpoints(), None);
    does_everything(&secure).await;
}

#[tokio::test]
async fn a_role_and_a_certificate_open_everything() {
    let house = House::start().await;
    does_everything(&house.client(house.aws.login().unwrap(), house.aws.endpoints(), house.role())).await;
    let certificate = || house.aws.certificate_login().unwrap();
    does_everything(&house.client(certificate(), house.aws.secure_endpoints(), None)).await;
    does_everything(&house.client(certificate(), house.aws.secure_endpoints(), house.role())).await;
}

#[tokio::test]
async fn row_39_a_clock_fifteen_minutes_off_is_corrected() {
    let house = House::start().await;
    house.fault("skewed-clock");
    does_everything(&house.with_keys()).await;
}

#[tokio::test]
async fn fields_that_nobody_knows_are_passed_over() {
    let house = House::start().await;
    house.fault("unknown-fields");
    does_everything(&house.with_keys()).await;
}

#[tokio::test]
async fn what_aws_does_wrong_is_told_for_what_it_is() {
    let house = House::start().await;
    let list = async |fault: &str| {
        house.fault(fault);
        house.with_keys().list().await.unwrap_err()
    };
    let denied = AwsError::AccessDenied { action: Action::ListSignalingChannels };
    assert_eq!(list("access-denied-list").await, denied);
    house.with_keys().describe("front").await.unwrap();
    assert_eq!(list("access-denied").await, denied);
    assert!(matches!(list("throttled").await, AwsError::Throttled { .. }));
    assert!(matches!(list("500").await, AwsError::Trouble { status: 500, .. }));
    assert!(matches!(list("endpoint-html").await, AwsError::Unreadable { .. }));
    assert!(matches!(list("truncated").await, AwsError::Unreadable { .. } | AwsError::Unreachable(_)));
    assert!(matches!(list("reset").await, AwsError::Unreachable(HttpError::BrokenOff { .. })));
    house.fault("provider-403");
    let certificate = house.client(house.aws.certificate_login().unwrap(), house.aws.secure_endpoints(), None);
    let refused = AwsError::AccessDenied { action: Action::AssumeRoleWithCertificate };
    assert_eq!(certificate.list().await.unwrap_err(), refused);
}

#[tokio::test]
async fn temporary_keys_that_aws_takes_back_are_told_as_expired() {
    let house = House::start().await;
    let aws = house.client(house.aws.login().unwrap(), house.aws.endpoints(), house.role());
    aws.list().await.unwrap();
    house.fault("expired-token");
    match aws.list().await.unwrap_err() {
        AwsError::Credentials { kind, .. } => assert_eq!(kind, "ExpiredTokenException"),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_not_believed() {
    let house = House::start().await;
    let strange = KvsEndpoints { authority: None, ..house.aws.secure_endpoints() };
    let error = house.client(house.aws.login().unwrap(), strange, None).list().await.unwrap_err();
    assert!(matches!(error, AwsError::Unreachable(HttpError::Untrusted { .. })), "{error:?}");
    assert!(error.to_string().contains("`authority` names another authority"), "{error}");
}

#[tokio::test]
async fn aws_iot_is_where_aws_says() {
    let house = House::start().await;
    let endpoint = house.with_keys().iot_endpoint().await.unwrap();
    let IotEndpoint { host, port, .. } = endpoint;
    assert_eq!(host, "127.0.0.1");
    assert!([house.aws.plain, house.aws.tls, house.aws.mqtts].iter().any(|at| Some(at.port()) == port), "{port:?}");
}
