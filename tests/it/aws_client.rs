//! An account at AWS, asked over HTTP: everything is signed as AWS wants it, what can be remembered is, and whatever is
//! answered is survived.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use doorstep::aws::{Action, Aws, AwsError, Role, Settings};
use doorstep::clock;
use doorstep::config::{AwsKeys, IotEndpoint, KvsEndpoints, KvsLogin};
use doorstep::net::http::HttpError;
use doorstep::net::supervise::Retry;
use doorstep::secret::{Password, Token};
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use crate::support::fake_aws::{
    ARN, ROLE, Reply, SECRET, Seen, Server, TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN, channel, channel_info, claim_of,
    healthy, ok, parameter, refusal,
};

#[tokio::test]
async fn a_channel_is_described_by_its_name_or_its_arn() {
    let server = Server::start(healthy).await;
    let aws = server.aws();
    let described = aws.describe("doorbell-channel").await.unwrap();
    assert_eq!(described.channel, channel());
    assert!(described.active && described.single_master);
    assert_eq!(described.message_ttl, Some(Duration::from_secs(60)));
    assert_eq!(server.last().json(), json!({ "ChannelName": "doorbell-channel" }));
    aws.describe(ARN).await.unwrap();
    assert_eq!(server.last().json(), json!({ "ChannelARN": ARN }));
    let claim = server.last().signer();
    assert_eq!((&*claim.region, &*claim.service), ("us-east-1", "kinesisvideo"));
    assert_eq!(claim.signed_headers, ["content-type", "host", "x-amz-date"]);
}

#[tokio::test]
async fn what_is_signed_as_host_is_what_is_sent_over_ipv6_too() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        return println!("skipped: this machine has no IPv6");
    }
    let server = Server::start_at("[::1]:0", healthy).await;
    server.aws().describe("doorbell-channel").await.unwrap();
    assert_eq!(server.last().header("host"), server.at.to_string());
    server.last().signer();
    let signalling = server.aws().signalling(&channel(), Role::Viewer, "viewer-1").await.unwrap();
    assert_eq!(claim_of(&signalling.url).0.host_str(), Some("[::1]"));
}

#[tokio::test]
async fn every_page_of_channels_is_read_and_what_is_no_channel_left_out() {
    let server = Server::start(|request| match request.json()["NextToken"].as_str() {
        None => ok(&json!({ "ChannelInfoList": [channel_info("a"), { "ChannelName": "half" }], "NextToken": "2" })),
        Some("2") => ok(&json!({ "ChannelInfoList": [channel_info("b"), channel_info("b/#")], "NextToken": "3" })),
        Some(_) => ok(&json!({ "ChannelInfoList": [
            { "ChannelName": "c", "ChannelARN": ARN, "ChannelType": "FULL_MESH", "ChannelStatus": "DELETING" },
        ], "NextToken": null })),
    })
    .await;
    let list = server.aws().list().await.unwrap();
    let names: Vec<&str> = list.iter().map(|described| &*described.channel.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(!list[2].active && !list[2].single_master && list[0].active);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn hostile_cloud_lists_without_end_is_ended() {
    let turns = Server::start(|_| ok(&json!({ "ChannelInfoList": [channel_info("a")], "NextToken": "same" }))).await;
    assert_eq!(turns.aws().list().await.unwrap().len(), 2);
    let count = Mutex::new(0);
    let grows = Server::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        ok(&json!({ "ChannelInfoList": [channel_info("a")], "NextToken": count.to_string() }))
    })
    .await;
    assert_eq!(grows.aws().list().await.unwrap().len(), 50);
    let floods = Server::start(|_| {
        let page: Vec<_> = (0..700).map(|n| channel_info(&format!("c{n}"))).collect();
        ok(&json!({ "ChannelInfoList": page, "NextToken": "more" }))
    })
    .await;
    assert_eq!(floods.aws().list().await.unwrap().len(), 1_000);
    assert_eq!(floods.asked().len(), 2);
}

#[tokio::test]
async fn row_15_a_service_that_wants_to_be_asked_again_at_once_is_left_alone_for_a_while() {
    for (wait, retry) in [
        ("0", Retry::Backoff),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Retry::Backoff),
        ("-5", Retry::Backoff),
        ("7", Retry::After(Duration::from_secs(7))),
        ("99999999999", Retry::After(Duration::from_secs(3_600))),
    ] {
        let server = Server::start(move |_| {
            let mut reply = refusal(429, "ThrottlingException");
            reply.headers.push(("retry-after", wait.to_owned()));
            reply
        })
        .await;
        assert_eq!(server.aws().list().await.unwrap_err().retry(), retry, "{wait}");
    }
}

#[tokio::test]
async fn a_call_is_presigned_anew_over_what_is_remembered() {
    let server = Server::start(healthy).await;
    let aws = server.aws();
    let asked = aws.clone();
    // On a task of its own, as callers do it.
    let viewer = tokio::spawn(async move { asked.signalling(&channel(), Role::Viewer, "viewer-1").await });
    let viewer = viewer.await.unwrap().unwrap();
    assert_eq!(viewer.client_id, "viewer-1");
    let (url, claim) = claim_of(&viewer.url);
    assert_eq!((url.scheme(), url.path()), ("ws", "/"));
    assert_eq!(claim.expires, Some(299));
    assert_eq!(parameter(&url, "X-Amz-ChannelARN").as_deref(), Some(ARN));
    assert_eq!(parameter(&url, "X-Amz-ClientId").as_deref(), Some("viewer-1"));
    let urls: Vec<&str> = viewer.ice_servers.iter().flat_map(|server| &server.urls).map(|url| &**url).collect();
    let relays = ["turn:127.0.0.1:3479?transport=udp", "turns:127.0.0.1:443?transport=tcp"];
    assert_eq!(urls, ["stun:127.0.0.1:3478", relays[0], relays[1]]);
    let ice = server.last();
    assert_eq!(ice.json(), json!({ "ChannelARN": ARN, "ClientId": "viewer-1", "Service": "TURN" }));
    ice.signer();

    let again = aws.signalling(&channel(), Role::Viewer, "viewer-2").await.unwrap();
    assert_eq!(parameter(&claim_of(&again.url).0, "X-Amz-ClientId").as_deref(), Some("viewer-2"));
    assert_eq!(server.asked().len(), 2, "{:?}", server.asked());

    let master = aws.signalling(&channel(), Role::Master, "").await.unwrap();
    assert_eq!(parameter(&claim_of(&master.url).0, "X-Amz-ClientId"), None);
    assert_eq!(server.last().json(), json!({ "ChannelARN": ARN, "Service": "TURN" }));
    assert_eq!(server.asked().len(), 4, "the other end has endpoints of its own");

    assert_eq!(aws.ice_servers(&channel(), Role::Viewer, "viewer-2").await.unwrap().len(), 2);
    assert_eq!(server.count("/v1/get-ice-server-config"), 3, "fresh ones were wanted");
    aws.forget(&channel());
    aws.signalling(&channel(), Role::Viewer, "viewer-3").await.unwrap();
    assert_eq!(server.count("/getSignalingChannelEndpoint"), 3);
}

#[tokio::test]
async fn row_28_relays_that_expire_at_once_are_asked_for_each_time() {
    let server = Server::start(|request| match &*request.path {
        "/v1/get-ice-server-config" => {
            ok(&json!({ "IceServerList": [{ "Uris": ["turn:h:1"], "Username": "u", "Password": "p", "Ttl": 30 }] }))
        }
        _ => healthy(request),
    })
    .await;
    let aws = server.aws();
    for _ in 0..2 {
        aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    }
    assert_eq!(server.count("/v1/get-ice-server-config"), 2);
    assert_eq!(server.count("/getSignalingChannelEndpoint"), 1);
}

#[tokio::test]
async fn endpoints_that_lead_nowhere_any_more_are_asked_for_again() {
    let moved = Arc::new(AtomicBool::new(false));
    let has_moved = moved.clone();
    let server = Server::start(move |request| match &*request.path {
        "/getSignalingChannelEndpoint" if !has_moved.load(Ordering::SeqCst) => ok(&json!({ "ResourceEndpointList": [
            { "Protocol": "WSS", "ResourceEndpoint": "wss://old.example" },
            { "Protocol": "HTTPS", "ResourceEndpoint": format!("http://{}/old", request.header("host")) },
        ] })),
        "/old/v1/get-ice-server-config" if has_moved.load(Ordering::SeqCst) => {
            refusal(404, "ResourceNotFoundException")
        }
        "/old/v1/get-ice-server-config" => ok(&json!({ "IceServerList": [] })),
        _ => healthy(request),
    })
    .await;
    let aws = server.aws();
    let old = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    assert!(old.url.expose().starts_with("wss://old.example/?"));
    moved.store(true, Ordering::SeqCst);
    assert_eq!(aws.ice_servers(&channel(), Role::Viewer, "v").await.unwrap().len(), 2);
    let new = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    assert!(new.url.expose().starts_with(&format!("ws://{}/?", server.at)));
}

#[tokio::test]
async fn a_call_goes_without_relays_where_aws_gives_none() {
    for status in [403, 500, 400] {
        let server = Server::start(move |request| match &*request.path {
            "/v1/get-ice-server-config" if status == 403 => refusal(403, "AccessDeniedException"),
            "/v1/get-ice-server-config" => refusal(status, "Whatever"),
            _ => healthy(request),
        })
        .await;
        let signalling = server.aws().signalling(&channel(), Role::Viewer, "v").await.unwrap();
        assert_eq!(signalling.ice_servers.len(), 1, "HTTP {status}");
        assert_eq!(signalling.ice_servers[0].urls, ["stun:127.0.0.1:3478"]);
    }
}

#[tokio::test]
async fn hostile_cloud_serves_the_signalling_where_nothing_may_be_sent_be_sent_are_refused() {
    for (wss, https, of) in [
        ("ws://signalling.example", "https://h.example", "WSS"),
        ("wss://signalling.example", "http://h.example", "HTTPS"),
        ("https://signalling.example", "https://h.example", "WSS"),
        ("wss://signalling.example?x=y", "https://h.example", "WSS"),
        ("wss://user@signalling.example", "https://h.example", "WSS"),
        ("", "https://h.example", "WSS"),
        ("wss://signalling.example", "file:///etc/passwd", "HTTPS"),
    ] {
        let server = Server::start(move |_| {
            ok(&json!({ "ResourceEndpointList": [
                { "Protocol": "WSS", "ResourceEndpoint": wss }, { "Protocol": "HTTPS", "ResourceEndpoint": https },
            ] }))
        })
        .await;
        match server.aws().signalling(&channel(), Role::Viewer, "v").await.unwrap_err() {
            AwsError::Unreadable { action: Action::GetSignalingChannelEndpoint, what } => {
                assert!(what.contains(of), "{wss} {https}: {what}");
            }
            error => panic!("{wss} {https}: {error:?}"),
        }
    }
}

/// Tells another time, and refuses what is signed five minutes off.
fn at_another_time(ahead_s: i64, request: &Seen) -> Reply {
    let now = clock::unix_seconds().checked_add_signed(ahead_s).unwrap();
    let date = http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
    let mut reply = match request.signer().signed_at.abs_diff(now) > 300 {
        true => Reply {
            body: br#"{"message":"Signature expired: 20250101T000000Z is now earlier than 20250101T010000Z"}"#.to_vec(),
            ..refusal(403, "InvalidSignatureException")
        },
        false => healthy(request),
    };
    reply.headers.push(("date", date));
    reply
}

/// As servers write it: `Sat, 12 Oct 2024 19:50:31 GMT`. The day of the week counts for nothing.
fn http_date(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = clock::rfc3339(at);
    let month = MONTHS[text[5..7].parse::<usize>().unwrap() - 1];
    format!("Sat, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

#[tokio::test]
async fn row_28_a_wrong_clock_costs_one_request() {
    for ahead_s in [7_200, -7_200, 40 * 365 * 86_400] {
        let server = Server::start(move |request| at_another_time(ahead_s, request)).await;
        let aws = server.aws();
        aws.describe("doorbell-channel").await.unwrap();
        assert_eq!(server.asked().len(), 2, "asked, told the time, and asked again");
        aws.describe("doorbell-channel").await.unwrap();
        assert_eq!(server.asked().len(), 3, "the time is known now");
        let there = aws.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let off = there.abs_diff(clock::unix_seconds().checked_add_signed(ahead_s).unwrap());
        assert!(off <= 2, "{off} s off");
        let signalling = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
        assert!(claim_of(&signalling.url).1.signed_at.abs_diff(there) <= 2, "the address is of another time");
    }
}

#[tokio::test]
async fn row_39_a_service_that_always_finds_the_clock_wrong_is_asked_twice() {
    let server = Server::start(|_| {
        let mut reply = refusal(403, "RequestTimeTooSkewed");
        reply.headers.push(("date", "Sat, 01 Jan 2022 00:00:00 GMT".to_owned()));
        reply
    })
    .await;
    let error = server.aws().describe("doorbell-channel").await.unwrap_err();
    assert_eq!(error, AwsError::Skew);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn row_16_a_refusal_is_told_for_what_it_is() {
    const ACTION: Action = Action::DescribeSignalingChannel;
    let no_channel =
        || AwsError::NoSuchChannel { channel: "doorbell-channel".to_owned(), region: "us-east-1".to_owned() };
    let login = |kind: &str| AwsError::Credentials { action: ACTION, kind: kind.to_owned() };
    let refused = |status, kind: &str| AwsError::Refused { action: ACTION, status, kind: kind.to_owned() };
    let json = "application/json";
    let cases = [
        (404, "ResourceNotFoundException", json, "{}", no_channel()),
        (404, "ResourceNotFoundException:http://internal.amazon.com/x/", json, "", no_channel()),
        (404, "", json, r#"{"__type":"com.amazon.kinesis#ResourceNotFoundException","message":"x"}"#, no_channel()),
        (401, "AccessDeniedException", json, r#"{"Message":"x"}"#, AwsError::AccessDenied { action: ACTION }),
        (403, "AccessDeniedException", json, r#"{"message":"x"}"#, AwsError::AccessDenied { action: ACTION }),
        (403, "", json, r#"{"message":"Forbidden"}"#, AwsError::AccessDenied { action: ACTION }),
        (403, "UnrecognizedClientException", json, "{}", login("UnrecognizedClientException")),
        (403, "ExpiredTokenException", json, "{}", login("ExpiredTokenException")),
        (403, "InvalidSignatureException", json, r#"{"message":"does not match"}"#, login("InvalidSignatureException")),
        (403, "InvalidSignatureException", json, r#"{"message":"Signature not yet current: x"}"#, AwsError::Skew),
        (403, "RequestTimeTooSkewed", json, "{}", AwsError::Skew),
        (400, "ClientLimitExceededException", json, "{}", AwsError::Throttled { action: ACTION, wait: None }),
        (429, "", "text/html", "<html>slow", AwsError::Throttled { action: ACTION, wait: None }),
        (503, "", "text/html", "<html>down", AwsError::Trouble { action: ACTION, status: 503 }),
        (500, "InternalFailure", json, "{}", AwsError::Trouble { action: ACTION, status: 500 }),
        (400, "InvalidArgumentException", json, "{}", refused(400, "InvalidArgumentException")),
        (400, "<script>alert(1)</script>", json, "\u{0}", refused(400, "")),
        (418, "", "text/html", "<html>", refused(418, "")),
    ];
    for (status, kind, content_type, body, error) in cases {
        let server = Server::start(move |_| {
            let mut reply = refusal(status, kind);
            reply.headers.retain(|(_, value)| !value.is_empty());
            reply.headers.push(("content-type", content_type.to_owned()));
            Reply { body: body.as_bytes().to_vec(), ..reply }
        })
        .await;
        assert_eq!(server.aws().describe("doorbell-channel").await.unwrap_err(), error, "{status} {kind} {body}");
    }
}

#[tokio::test]
async fn row_16_an_answer_that_is_none_is_told_and_survived() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let huge = "x".repeat(5 << 20);
    let far = json!({ "ChannelInfo": { "ChannelName": "a/b", "ChannelARN": ARN } }).to_string();
    let bodies = ["", "null", "[]", "{}", "{\"ChannelInfo\":{}}", "<html>login</html>", &deep, &huge, &far];
    for body in bodies.map(str::to_owned) {
        let shown: String = body.chars().take(40).collect();
        let server = Server::start(move |_| Reply { status: 200, headers: vec![], body: body.clone().into_bytes() });
        let aws = server.await.aws();
        match aws.describe("doorbell-channel").await.unwrap_err() {
            AwsError::Unreadable { .. } | AwsError::Unreachable(HttpError::TooLarge { .. }) => {}
            error => panic!("{shown}: {error:?}"),
        }
        for outcome in [aws.list().await.map(drop), aws.iot_endpoint().await.map(drop)] {
            assert!(outcome.is_err(), "{shown}");
        }
        aws.signalling(&channel(), Role::Viewer, "v").await.unwrap_err();
    }
}

#[tokio::test]
async fn what_the_owner_is_told_says_what_to_type() {
    let server = Server::start(|_| refusal(403, "AccessDeniedException")).await;
    let aws = server.aws();
    let told = |error: AwsError| (error.to_string(), error.retry());
    let (list, retry) = told(aws.list().await.unwrap_err());
    assert_eq!(
        list,
        "AWS does not allow `kinesisvideo:ListSignalingChannels`. Allow it in the policy of the login, or name the \
         channels: on Doorstep's page if the account was added there, otherwise under `kvs[].channels` in the \
         configuration, and restart Doorstep then."
    );
    assert!(matches!(retry, Retry::After(_)));
    let (endpoint, _) = told(aws.iot_endpoint().await.unwrap_err());
    assert!(endpoint.contains("Write `iot_endpoint` under `kvs`"), "{endpoint}");
    let nobody: Url = "http://127.0.0.1:9".parse().unwrap();
    let endpoints = KvsEndpoints { kinesisvideo: nobody, ..server.settings().endpoints };
    let unreachable = Aws::new(Settings { endpoints, ..server.settings() }).unwrap();
    let (unreachable, retry) = told(unreachable.list().await.unwrap_err());
    assert!(unreachable.contains("`127.0.0.1:9` cannot be reached"), "{unreachable}");
    assert_eq!(retry, Retry::Backoff);
}

#[tokio::test]
async fn aws_iot_is_found_and_its_address_signed_with_the_token_behind() {
    let server = Server::start(healthy).await;
    let aws = Aws::new(Settings { role_arn: Some(ROLE.to_owned()), ..server.settings() }).unwrap();
    let endpoint = aws.iot_endpoint().await.unwrap();
    assert_eq!(endpoint, IotEndpoint { host: "abc-ats.iot.us-east-1.amazonaws.com".to_owned(), port: None, tls: true });
    let asked = server.last();
    assert_eq!((&*asked.method, &*asked.query), ("GET", "endpointType=iot%3AData-ATS"));
    assert_eq!(asked.signer().service, "iot");

    for (text, base) in [
        ("abc-ats.iot.us-east-1.amazonaws.com", "wss://abc-ats.iot.us-east-1.amazonaws.com/mqtt?"),
        ("mqtts://iot.example:8883", "wss://iot.example/mqtt?"),
        ("wss://iot.example:443", "wss://iot.example/mqtt?"),
        ("wss://iot.example:8443", "wss://iot.example:8443/mqtt?"),
        ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001/mqtt?"),
        ("ws://[::1]:9001", "ws://[::1]:9001/mqtt?"),
    ] {
        let signed = aws.iot_url(&IotEndpoint::parse(text).unwrap()).await.unwrap();
        assert!(signed.expose().starts_with(base), "{text}");
        let (url, claim) = claim_of(&signed);
        assert_eq!((&*claim.service, claim.expires), ("iotdevicegateway", None));
        let token = url.query_pairs().last().unwrap();
        assert_eq!((&*token.0, &*token.1), ("X-Amz-Security-Token", TOKEN), "{text}");
    }
}

/// AWS's refusal of a signature repeats the whole canonical request, with the token.
#[tokio::test]
async fn nothing_that_is_shown_shows_a_secret() {
    let server = Server::start(|request| {
        let told: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let body = json!({ "message": format!("The Canonical String should have been {told:?} {SECRET} {TOKEN}") });
        Reply { body: body.to_string().into_bytes(), ..refusal(403, "SignatureDoesNotMatch") }
    })
    .await;
    let keys = AwsKeys {
        access_key_id: TEMPORARY_KEY.to_owned(),
        secret_access_key: Password::new(TEMPORARY_SECRET),
        session_token: Some(Token::new(TOKEN)),
    };
    let settings = Settings { login: KvsLogin::Keys(keys), ..server.settings() };
    let mut shown = format!("{settings:?}");
    let aws = Aws::new(settings).unwrap();
    let error = aws.describe("doorbell-channel").await.unwrap_err();
    let signalling = Server::start(healthy).await.aws().signalling(&channel(), Role::Viewer, "v").await.unwrap();
    let url = aws.iot_url(&IotEndpoint::parse("iot.example").unwrap()).await.unwrap();
    let credentials = aws.credentials().await.unwrap();
    shown += &format!("{aws:?} {error:?} {error} {credentials:?} {signalling:?} {url:?}");
    shown += &format!("{:?}", server.last().signer());
    for secret in [SECRET, TEMPORARY_SECRET, TOKEN, "X-Amz-Signature", "relay password", "Canonical String"] {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
    assert!(shown.contains(TEMPORARY_KEY), "{shown}");
}
