//! The virtual AWS answers its control plane as Amazon's does, and to nobody but who has signed for it (kvs reference
//! §2, §3, §8). Each request is signed by hand here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorstep::aws::{self as client, Action, Aws, AwsError};
use doorstep::config::KvsLogin;
use doorstep::secret::{Password, Token};
use doorstep::sim::aws::{AccessKey, AwsCommand, ChannelSettings, Event, Fault, Quotas, Settings, Turn, TurnServer};
use doorstep::sim::dice::Dice;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

use crate::support::aws_hand::{AwsHand, CHANNEL, DESCRIBE, ENDPOINT, ICE, LIST, Signer, hurried};
use crate::support::http::{Reply, request_with};

/// Status, the type without what stands behind it, and the message.
fn refusal(reply: &Reply) -> (u16, String, String) {
    let kind = reply.header("x-amzn-ErrorType").unwrap_or_else(|| panic!("no x-amzn-ErrorType in {reply:?}"));
    let body = reply.json();
    let message = body["Message"].as_str().or(body["message"].as_str()).expect("a message").to_owned();
    (reply.status, kind.split(':').next().unwrap().to_owned(), message)
}

async fn is_refused(hand: &AwsHand, path: &str, body: Value, status: u16, kind: &str) {
    let reply = hand.ask(path, body.clone()).await;
    let (got, named, message) = refusal(&reply);
    assert_eq!((got, named.as_str()), (status, kind), "{path} {body}: {message}");
}

#[tokio::test]
async fn a_channel_is_described_by_its_name_or_its_arn() {
    let hand = AwsHand::start().await;
    let by_name = hand.ask(DESCRIBE, json!({ "ChannelName": CHANNEL })).await;
    let info = by_name.json()["ChannelInfo"].clone();
    assert_eq!((by_name.status, &info["ChannelARN"]), (200, &json!(hand.arn())));
    assert_eq!((&info["ChannelType"], &info["ChannelStatus"]), (&json!("SINGLE_MASTER"), &json!("ACTIVE")));
    assert_eq!(info["SingleMasterConfiguration"]["MessageTtlSeconds"], 60);
    assert!(info["CreationTime"].is_f64() && info["Version"].is_string(), "{info}");
    let by_arn = hand.ask(DESCRIBE, json!({ "ChannelARN": hand.arn(), "Unknown": { "to": "us" } })).await;
    assert_eq!(by_arn.json()["ChannelInfo"], info);
    for (body, status, kind) in [
        (json!({}), 400, "InvalidArgumentException"),
        (json!({ "ChannelName": CHANNEL, "ChannelARN": hand.arn() }), 400, "InvalidArgumentException"),
        (json!({ "ChannelName": "front door" }), 400, "InvalidArgumentException"),
        (json!({ "ChannelARN": "doorbell-channel" }), 400, "InvalidArgumentException"),
        (json!({ "ChannelName": 7 }), 400, "InvalidArgumentException"),
        (json!({ "ChannelName": "nobody" }), 404, "ResourceNotFoundException"),
    ] {
        is_refused(&hand, DESCRIBE, body, status, kind).await;
    }
    let reply = hand.ask(DESCRIBE, json!({ "ChannelName": "nobody" })).await;
    let kind = reply.header("x-amzn-ErrorType").unwrap();
    assert!(kind.starts_with("ResourceNotFoundException:http://"), "the type has an address behind it: {kind}");
    assert!(reply.header("x-amzn-RequestId").is_some() && reply.header("date").is_some());
}

#[tokio::test]
async fn channels_are_listed_page_by_page_and_by_how_they_begin() {
    let channels = ["bell-a", "gate", "bell-b", "bell-c"].map(ChannelSettings::named).to_vec();
    let hand = AwsHand::at(Settings { channels, ..hurried() }).await;
    let names = |answer: &Value| -> Vec<String> {
        let infos = answer["ChannelInfoList"].as_array().unwrap();
        infos.iter().map(|info| info["ChannelName"].as_str().unwrap().to_owned()).collect()
    };
    let all = hand.ask(LIST, json!({})).await.json();
    assert_eq!((names(&all).len(), &all["NextToken"]), (4, &Value::Null));
    let condition = json!({ "ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "bell" });
    let first = hand.ask(LIST, json!({ "MaxResults": 2, "ChannelNameCondition": condition })).await.json();
    assert_eq!(names(&first), ["bell-a", "bell-b"]);
    let next = json!({ "MaxResults": 2, "ChannelNameCondition": condition, "NextToken": first["NextToken"] });
    let second = hand.ask(LIST, next).await.json();
    assert_eq!((names(&second), &second["NextToken"]), (vec!["bell-c".to_owned()], &Value::Null));
    for body in [
        json!({ "MaxResults": 0 }),
        json!({ "MaxResults": 10_001 }),
        json!({ "NextToken": "*" }),
        json!({ "ChannelNameCondition": { "ComparisonOperator": "ENDS_WITH", "ComparisonValue": "b" } }),
    ] {
        is_refused(&hand, LIST, body, 400, "InvalidArgumentException").await;
    }
}

#[tokio::test]
async fn endpoints_lead_back_to_the_host_that_was_asked() {
    let hand = AwsHand::start().await;
    let of = |protocols: Value, role: &str| {
        json!({ "ChannelARN": hand.arn(), "SingleMasterChannelEndpointConfiguration": {
            "Protocols": protocols, "Role": role } })
    };
    let plain = hand.aws.plain;
    for (host, expected) in [
        (plain.to_string(), plain.to_string()),
        ("aws.test:80".to_owned(), "aws.test".to_owned()),
        ("[::1]:8080".to_owned(), "[::1]:8080".to_owned()),
    ] {
        let body = of(json!(["WSS", "HTTPS"]), "VIEWER").to_string();
        let reply = hand.signer().ask_as(&host, plain, "POST", ENDPOINT, "application/json", &body).await;
        assert_eq!(
            reply.json()["ResourceEndpointList"],
            json!([
                { "Protocol": "WSS", "ResourceEndpoint": format!("ws://{expected}") },
                { "Protocol": "HTTPS", "ResourceEndpoint": format!("http://{expected}") },
            ])
        );
    }
    let one = hand.ask(ENDPOINT, of(json!(["WSS"]), "MASTER")).await.json();
    assert_eq!(one["ResourceEndpointList"].as_array().unwrap().len(), 1);
    for (protocols, role) in [(json!(["FTP"]), "MASTER"), (json!([]), "MASTER"), (json!(["WSS"]), "GUEST")] {
        is_refused(&hand, ENDPOINT, of(protocols, role), 400, "InvalidArgumentException").await;
    }
    let other = hand.arn().replace("doorbell-channel", "another");
    is_refused(&hand, ENDPOINT, json!({ "ChannelARN": other }), 404, "ResourceNotFoundException").await;
}

#[tokio::test]
async fn channels_are_made_and_deleted() {
    let hand = AwsHand::start().await;
    let made = hand.ask(
        "/createSignalingChannel",
        json!({ "ChannelName": "gate", "SingleMasterConfiguration": {
        "MessageTtlSeconds": 5 } }),
    );
    let arn = made.await.json()["ChannelARN"].as_str().unwrap().to_owned();
    let info = hand.ask(DESCRIBE, json!({ "ChannelARN": arn })).await.json()["ChannelInfo"].clone();
    assert_eq!(
        (&info["ChannelName"], &info["SingleMasterConfiguration"]["MessageTtlSeconds"]),
        (&json!("gate"), &json!(5))
    );
    let create = "/createSignalingChannel";
    is_refused(&hand, create, json!({ "ChannelName": "gate" }), 400, "ResourceInUseException").await;
    let long = json!({ "ChannelName": "slow", "SingleMasterConfiguration": { "MessageTtlSeconds": 121 } });
    is_refused(&hand, create, long, 400, "InvalidArgumentException").await;
    let delete = "/deleteSignalingChannel";
    let wrong = json!({ "ChannelARN": arn, "CurrentVersion": "x" });
    is_refused(&hand, delete, wrong, 400, "VersionMismatchException").await;
    let deleted = hand.ask(delete, json!({ "ChannelARN": arn, "CurrentVersion": info["Version"] })).await;
    assert_eq!(deleted.status, 200);
    is_refused(&hand, DESCRIBE, json!({ "ChannelARN": arn }), 404, "ResourceNotFoundException").await;
}

#[tokio::test]
async fn only_a_good_signature_is_answered_and_a_bad_one_is_told_what_is_wrong() {
    let hand = AwsHand::start().await;
    let good = hand.signer();
    let wrong = |change: fn(&mut Signer)| {
        let mut signer = good.clone();
        change(&mut signer);
        signer
    };
    for (signer, kind, says) in [
        (wrong(|own| own.secret.push('x')), "InvalidSignatureException", "does not match"),
        (wrong(|own| own.id.push('X')), "UnrecognizedClientException", "token included in the request is invalid"),
        (wrong(|own| own.token = Some("none".into())), "UnrecognizedClientException", "is invalid"),
        (wrong(|own| own.region = "eu-west-1".into()), "InvalidSignatureException", "valid region"),
        (wrong(|own| own.service = "iot"), "InvalidSignatureException", "correct service: 'kinesisvideo'"),
        (wrong(|own| own.skew = -310), "InvalidSignatureException", "Signature expired"),
        (wrong(|own| own.skew = 310), "InvalidSignatureException", "Signature not yet current"),
    ] {
        let (status, named, message) = refusal(&hand.ask_by(&signer, LIST, json!({})).await);
        assert_eq!((status, named.as_str()), (403, kind), "{message}");
        assert!(message.contains(says), "{message}");
    }
    for skew in [-280, 280] {
        let signer = Signer { skew, ..good.clone() };
        assert_eq!(hand.ask_by(&signer, LIST, json!({})).await.status, 200, "{skew} s off");
    }
    let unsigned = request_with(hand.aws.plain, "POST", LIST, &[], "{}").await;
    assert_eq!(
        refusal(&unsigned),
        (403, "MissingAuthenticationTokenException".into(), "Missing Authentication Token".into())
    );
}

/// So that a client can set its clock by it.
#[tokio::test]
async fn a_skewed_signature_is_told_both_times() {
    let hand = AwsHand::start().await;
    let signer = Signer { skew: -3_600, ..hand.signer() };
    let (_, _, message) = refusal(&hand.ask_by(&signer, LIST, json!({})).await);
    let is_date = |word: &&str| word.len() == 16 && word.ends_with('Z') && word.as_bytes()[8] == b'T';
    let words: Vec<&str> = message.split([' ', '(']).filter(is_date).collect();
    assert_eq!(words.len(), 3, "{message}");
    assert!(words[0] < words[1] && words[1] < words[2] && message.ends_with("- 5 min.)"), "{message}");
}

#[tokio::test]
async fn what_was_not_signed_is_not_believed() {
    let hand = AwsHand::start().await;
    let host = hand.aws.plain.to_string();
    // Of another body, and for another host.
    let signer = hand.signer();
    let elsewhere = signer.ask_as("elsewhere", hand.aws.plain, "POST", LIST, "application/json", "{}").await;
    assert_eq!(elsewhere.status, 200, "the host that was signed is the one that came");
    let date = doorstep::proto::kvs::sigv4::amz_date(doorstep::clock::unix_seconds());
    let scope = format!("{}/{}/kinesisvideo/aws4_request", &date[..8], signer.region);
    for (signed, kind) in [
        ("content-type;x-amz-date", "InvalidSignatureException"),
        ("host;x-amz-date", "InvalidSignatureException"),
        ("host;x-amz-date;x-not-there", "IncompleteSignatureException"),
    ] {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={}",
            signer.id,
            "0".repeat(64)
        );
        let headers = [
            ("host", host.as_str()),
            ("content-type", "application/json"),
            ("x-amz-date", &date),
            ("authorization", &authorization),
        ];
        let reply = request_with(hand.aws.plain, "POST", LIST, &headers, "{}").await;
        let (status, named, message) = refusal(&reply);
        assert_eq!((status, named.as_str()), (403, kind), "{signed}: {message}");
    }
}

#[tokio::test]
async fn a_temporary_key_wants_its_token_and_ends() {
    let mut dice = Dice::new(5);
    let keys = [("IQoJ/+==", 600), ("IQoJ", 0)].map(|(token, life)| AccessKey {
        token: Some(Token::new(token)),
        expires_in: Some(Duration::from_secs(life)),
        ..AccessKey::generate(&mut dice)
    });
    let keys = keys.to_vec();
    let hand = AwsHand::at(Settings { keys, ..hurried() }).await;
    let signer = hand.signer();
    assert_eq!(hand.ask_by(&signer, LIST, json!({})).await.status, 200);
    let without = Signer { token: None, ..signer.clone() };
    assert_eq!(refusal(&hand.ask_by(&without, LIST, json!({})).await).1, "UnrecognizedClientException");
    let over = hand.signer_with(&hand.aws.settings.keys[1]);
    let (status, kind, _) = refusal(&hand.ask_by(&over, LIST, json!({})).await);
    assert_eq!((status, kind.as_str()), (403, "ExpiredTokenException"));
}

#[tokio::test]
async fn a_policy_denies_what_it_names_and_says_so() {
    let settings = hurried();
    let keys = vec![settings.keys[0].clone().without("kinesisvideo:ListSignalingChannels").without("sts:*")];
    let hand = AwsHand::at(Settings { keys, ..settings }).await;
    assert_eq!(hand.ask(DESCRIBE, json!({ "ChannelName": CHANNEL })).await.status, 200);
    let (status, kind, message) = refusal(&hand.ask(LIST, json!({})).await);
    assert_eq!((status, kind.as_str()), (401, "AccessDeniedException"));
    assert!(
        message.contains("is not authorized to perform: kinesisvideo:ListSignalingChannels on resource"),
        "{message}"
    );
    let assumed = assume(&hand, &hand.aws.settings.roles[0].arn).await;
    assert_eq!(assumed.status, 403);
    assert!(assumed.body.contains("<Code>AccessDenied</Code>"), "{}", assumed.body);
}

async fn sts(hand: &AwsHand, form: &str) -> Reply {
    let signer = Signer { service: "sts", ..hand.signer() };
    sts_by(hand, &signer, form).await
}

async fn sts_by(hand: &AwsHand, signer: &Signer, form: &str) -> Reply {
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    signer.ask(hand.aws.plain, "POST", "/", kind, form).await
}

async fn assume(hand: &AwsHand, role: &str) -> Reply {
    let role = role.replace(':', "%3A").replace('/', "%2F");
    sts(hand, &format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=doorstep")).await
}

fn tag<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no <{name}> in {xml}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[tokio::test]
async fn a_role_is_assumed_and_its_credentials_are_good_until_they_expire() {
    let hand = AwsHand::start().await;
    let reply = assume(&hand, &hand.aws.settings.roles[0].arn).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/xml")));
    let assumed = Signer {
        id: tag(&reply.body, "AccessKeyId").to_owned(),
        secret: tag(&reply.body, "SecretAccessKey").to_owned(),
        token: Some(tag(&reply.body, "SessionToken").to_owned()),
        ..hand.signer()
    };
    assert!(tag(&reply.body, "Expiration").ends_with('Z'));
    assert_eq!(hand.ask_by(&assumed, LIST, json!({})).await.status, 200);
    let who = Signer { service: "sts", ..assumed.clone() };
    let identity = sts_by(&hand, &who, "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert!(tag(&identity.body, "Arn").ends_with(":assumed-role/doorbell-viewer/doorstep"), "{}", identity.body);
    hand.fault(Some(Fault::ExpiredToken));
    assert_eq!(refusal(&hand.ask_by(&assumed, LIST, json!({})).await).1, "ExpiredTokenException");
    assert_eq!(hand.ask(LIST, json!({})).await.status, 200, "a long-lived key goes on");
}

#[tokio::test]
async fn sts_says_no_in_xml() {
    let hand = AwsHand::start().await;
    let wrong = Signer { service: "sts", secret: "x".into(), ..hand.signer() };
    let unsigned = sts_by(&hand, &wrong, "Action=GetCallerIdentity&Version=2011-06-15").await;
    for (reply, status, code) in [
        (unsigned, 403, "SignatureDoesNotMatch"),
        (assume(&hand, "arn:aws:iam::123456789012:role/another").await, 403, "AccessDenied"),
        (assume(&hand, "x").await, 400, "ValidationError"),
        (sts(&hand, "Action=GetFederationToken&Version=2011-06-15").await, 400, "InvalidAction"),
    ] {
        assert_eq!((reply.status, tag(&reply.body, "Code")), (status, code), "{}", reply.body);
    }
}

#[tokio::test]
async fn turn_servers_are_those_of_the_settings() {
    let hand = AwsHand::start().await;
    let body = json!({ "ChannelARN": hand.arn(), "ClientId": "viewer-1", "Service": "TURN" });
    assert_eq!(hand.ask(ICE, body.clone()).await.json(), json!({ "IceServerList": [] }));
    let uris = vec!["turn:127.0.0.1:3478?transport=udp".to_owned()];
    let fixed = TurnServer { uris: uris.clone(), username: "u".into(), password: Password::new("p") };
    hand.command(AwsCommand::Turn(Some(Turn::Fixed(vec![fixed]))));
    let row = json!({ "Uris": uris, "Username": "u", "Password": "p", "Ttl": 300 });
    assert_eq!(hand.ask(ICE, body.clone()).await.json(), json!({ "IceServerList": [row] }));
    hand.command(AwsCommand::Turn(Some(Turn::Secret { uris, secret: Password::new("north") })));
    let server = hand.ask(ICE, body).await.json()["IceServerList"][0].clone();
    let user = server["Username"].as_str().unwrap();
    let mac = Hmac::<Sha1>::new_from_slice(b"north").unwrap().chain_update(user).finalize().into_bytes();
    assert_eq!(server["Password"], STANDARD.encode(mac));
    let (until, client) = user.split_once(':').unwrap();
    let left = until.parse::<u64>().unwrap().saturating_sub(doorstep::clock::unix_seconds());
    assert!((200..=300).contains(&left) && client == "viewer-1", "{user}");
    for (wrong, kind) in [
        (json!({ "ChannelARN": hand.arn(), "ClientId": "aws_x" }), "InvalidClientException"),
        (json!({ "ChannelARN": hand.arn(), "ClientId": "a b" }), "InvalidArgumentException"),
        (json!({ "ChannelARN": hand.arn(), "Service": "STUN" }), "InvalidArgumentException"),
        (json!({ "ClientId": "viewer-1" }), "InvalidArgumentException"),
    ] {
        is_refused(&hand, ICE, wrong, 400, kind).await;
    }
}

#[tokio::test]
async fn aws_iot_is_where_it_was_asked_for() {
    let hand = AwsHand::start().await;
    let signer = Signer { service: "iot", ..hand.signer() };
    let target = "/endpoint?endpointType=iot%3AData-ATS";
    let reply = signer.ask(hand.aws.plain, "GET", target, "application/json", "").await;
    assert_eq!(reply.json(), json!({ "endpointAddress": format!("ws://{}", hand.aws.plain) }));
    let wrong = signer.ask(hand.aws.plain, "GET", "/endpoint?endpointType=iot%3AJobs", "application/json", "").await;
    assert_eq!(wrong.status, 400);
    let secure = Aws::new(client::Settings {
        region: hand.aws.settings.region.clone(),
        login: hand.aws.login().unwrap(),
        role_arn: None,
        endpoints: hand.aws.secure_endpoints(),
        identity: None,
    });
    let endpoint = secure.unwrap().iot_endpoint().await.unwrap();
    assert_eq!((endpoint.port, endpoint.tls), (Some(hand.aws.tls.port()), true));
}

fn account(hand: &AwsHand, login: KvsLogin) -> Aws {
    let (region, endpoints) = (hand.aws.settings.region.clone(), hand.aws.secure_endpoints());
    Aws::new(client::Settings { region, login, role_arn: None, endpoints, identity: None }).unwrap()
}

#[tokio::test]
async fn a_certificate_is_worth_credentials_to_its_own_thing_alone() {
    let things = vec!["front".to_owned(), "gate".to_owned()];
    let mut hand = AwsHand::at(Settings { things, ..hurried() }).await;
    let login = hand.aws.certificate_login().unwrap();
    assert_eq!(account(&hand, login.clone()).list().await.unwrap().len(), 1);
    hand.happens("credentials", |event| matches!(event, Event::Credentials { to, .. } if to.ends_with("/front"))).await;
    let KvsLogin::Certificate { endpoint, role_alias, identity, .. } = login else { panic!("another login") };
    let as_another = KvsLogin::Certificate {
        endpoint: endpoint.clone(),
        role_alias: role_alias.clone(),
        thing: "gate".into(),
        identity: identity.clone(),
    };
    let denied = account(&hand, as_another).list().await.unwrap_err();
    assert!(matches!(denied, AwsError::AccessDenied { action: Action::AssumeRoleWithCertificate }), "{denied:?}");
    let another_alias = KvsLogin::Certificate { endpoint, role_alias: "x".into(), thing: "front".into(), identity };
    assert!(account(&hand, another_alias).list().await.is_err());
    // Without TLS there is no certificate.
    let path = format!("/role-aliases/{role_alias}/credentials");
    let plain = request_with(hand.aws.plain, "GET", &path, &[("x-amzn-iot-thingname", "front")], "").await;
    assert_eq!(refusal(&plain).0, 403);
    hand.fault(Some(Fault::ProviderForbidden));
    assert!(account(&hand, hand.aws.certificate_login().unwrap()).list().await.is_err());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (hand, other) = (AwsHand::start().await, AwsHand::start().await);
    let KvsLogin::Certificate { endpoint, role_alias, thing, .. } = hand.aws.certificate_login().unwrap() else {
        panic!("another login")
    };
    let identity = other.aws.identity().unwrap();
    let login = KvsLogin::Certificate { endpoint, role_alias, thing, identity };
    let error = account(&hand, login).list().await.unwrap_err();
    assert!(matches!(error, AwsError::Unreachable(_)), "{error:?}");
    // Nor is a stranger believed to be AWS.
    let endpoints = doorstep::config::KvsEndpoints {
        authority: other.aws.secure_endpoints().authority,
        ..hand.aws.secure_endpoints()
    };
    let region = hand.aws.settings.region.clone();
    let settings =
        client::Settings { region, login: hand.aws.login().unwrap(), role_arn: None, endpoints, identity: None };
    assert!(matches!(Aws::new(settings).unwrap().list().await.unwrap_err(), AwsError::Unreachable(_)));
}

#[tokio::test]
async fn more_than_amazon_takes_in_a_second_is_refused() {
    let quotas = Quotas { describes: 2, lists: 1, ..Quotas::GENEROUS };
    let hand = AwsHand::at(Settings { quotas, ..Settings::generate(1) }).await;
    let describe = || hand.ask(DESCRIBE, json!({ "ChannelName": CHANNEL }));
    let (a, b, c, d) = tokio::join!(describe(), describe(), describe(), describe());
    let refused: Vec<_> = [a, b, c, d].iter().filter(|reply| reply.status != 200).map(refusal).collect();
    assert!(!refused.is_empty());
    assert_eq!((refused[0].0, refused[0].1.as_str()), (400, "ClientLimitExceededException"));
    assert_eq!(Quotas::default().describes, 5, "Amazon's");
}

#[tokio::test]
async fn pages_of_other_origins_may_ask() {
    let hand = AwsHand::start().await;
    let headers = [("origin", "http://example"), ("access-control-request-headers", "x-amz-date,authorization")];
    let asked = request_with(hand.aws.plain, "OPTIONS", LIST, &headers, "").await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!(asked.header("access-control-allow-headers"), Some("x-amz-date,authorization"));
    let answer = hand.ask(LIST, json!({})).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn each_fault_of_an_answer_shows() {
    for fault in [Fault::AccessDenied, Fault::AccessDeniedList, Fault::Throttled, Fault::SkewedClock] {
        let hand = AwsHand::with_fault(fault).await;
        let (status, kind, _) = refusal(&hand.ask(LIST, json!({})).await);
        let expected = match fault {
            Fault::Throttled => (400, "ClientLimitExceededException"),
            Fault::SkewedClock => (403, "InvalidSignatureException"),
            _ => (401, "AccessDeniedException"),
        };
        assert_eq!((status, kind.as_str()), expected, "{fault}");
        let describes = hand.ask(DESCRIBE, json!({ "ChannelName": CHANNEL })).await.status == 200;
        assert_eq!(describes, fault == Fault::AccessDeniedList, "{fault}");
    }
    let reply = AwsHand::with_fault(Fault::EndpointHtml).await.ask(LIST, json!({})).await;
    assert!(reply.status == 200 && reply.body.starts_with("<!doctype html>"), "{reply:?}");
    assert_eq!(AwsHand::with_fault(Fault::ServerError).await.ask(LIST, json!({})).await.status, 500);
    let reply = AwsHand::with_fault(Fault::Truncated).await.ask(LIST, json!({})).await;
    assert!(reply.status == 200 && serde_json::from_str::<Value>(&reply.body).is_err(), "{reply:?}");
    let reply = AwsHand::with_fault(Fault::UnknownFields).await.ask(LIST, json!({})).await.json();
    assert!(reply["NotYetInvented"].is_object() && reply["ChannelInfoList"][0]["NotYetInvented"].is_object());
    let hand = AwsHand::with_fault(Fault::Creating).await;
    let info = hand.ask(DESCRIBE, json!({ "ChannelName": CHANNEL })).await.json()["ChannelInfo"].clone();
    assert_eq!(info["ChannelStatus"], "CREATING");
    is_refused(&hand, ENDPOINT, json!({ "ChannelARN": hand.arn() }), 400, "ResourceInUseException").await;
    let hand = AwsHand::with_fault(Fault::IceServerError).await;
    assert_eq!(hand.ask(ICE, json!({ "ChannelARN": hand.arn() })).await.status, 500);
    let uris = vec!["turn:127.0.0.1:3478".to_owned()];
    hand.command(AwsCommand::Turn(Some(Turn::Secret { uris, secret: Password::new("s") })));
    hand.fault(Some(Fault::NoIce));
    assert_eq!(hand.ask(ICE, json!({ "ChannelARN": hand.arn() })).await.json(), json!({ "IceServerList": [] }));
    let begun = std::time::Duration::from_secs(3);
    let hand = AwsHand::with_fault(Fault::Slow).await;
    assert!(tokio::time::timeout(begun, hand.ask(LIST, json!({}))).await.is_err(), "it is not slow");
}

#[tokio::test]
async fn nobody_gets_through_to_an_aws_that_is_offline() {
    let hand = AwsHand::start().await;
    let asks = || async { account(&hand, hand.aws.login().unwrap()).list().await };
    asks().await.unwrap();
    hand.command(AwsCommand::Online(false));
    assert!(matches!(asks().await, Err(AwsError::Unreachable(_))));
    hand.command(AwsCommand::Online(true));
    asks().await.unwrap();
    hand.fault(Some(Fault::Reset));
    assert!(matches!(asks().await, Err(AwsError::Unreachable(_))));
}
