//! The virtual AWS's signaling service lets in who may come, passes frames on as they came, and is as strict as Amazon's
//! (kvs reference §3, §4).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorstep::aws::{self as client, Aws, Role};
use doorstep::proto::kvs::signaling::{Inbound, MessageType, Payload};
use doorstep::rtc::kvs_call::Socket;
use doorstep::sim::aws::{AwsCommand, ChannelSettings, Event, Fault, Limits, Notice, Quotas, Settings, To, What};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::aws_hand::{AwsHand, Line, PATIENCE, Refusal, Signer, hurried};
use crate::support::http::request_with;

/// A frame of a client, with an id by which its failure is told.
fn frame(action: &str, payload: &str, to: Option<&str>) -> String {
    let mut frame = json!({ "action": action, "messagePayload": STANDARD.encode(payload), "correlationId": "c-1" });
    if let Some(to) = to {
        frame["recipientClientId"] = to.into();
    }
    frame.to_string()
}

const OFFER: &str = r#"{"sdp":"v=0\r\n",  "type":"offer","of":"its own"}"#;
const ANSWER: &str = r#"{"type":"answer","sdp":"v=0\r\n"}"#;
const CANDIDATE: &str = r#"{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdpMid":"0","sdpMLineIndex":0}"#;

async fn refused(hand: &AwsHand, url: &str) -> Refusal {
    let Err(refusal) = Line::open(url).await else { panic!("{url} was let in at {}", hand.aws.plain) };
    refusal
}

fn offer() -> String {
    frame("SDP_OFFER", OFFER, None)
}

async fn report(line: &mut Line) -> Value {
    let report = line.json().await;
    assert_eq!((&report["messageType"], &report["messagePayload"]), (&json!("STATUS_RESPONSE"), &json!("")));
    let status = report["statusResponse"].clone();
    assert_eq!((&status["correlationId"], &status["statusCode"]), (&json!("c-1"), &json!("400")), "{status}");
    status
}

#[tokio::test]
async fn frames_are_passed_on_as_they_came_and_only_the_master_is_told_by_whom() {
    let mut hand = AwsHand::start().await;
    let (mut master, mut one, mut two) =
        (hand.dial(None).await, hand.dial(Some("viewer-1")).await, hand.dial(Some("viewer-2")).await);
    one.send(offer()).await;
    // As a client of Wyze's does, which is no business of a viewer's.
    two.send(frame("ICE_CANDIDATE", CANDIDATE, Some("MASTER"))).await;
    let mut came = vec![master.json().await, master.json().await];
    came.sort_by_key(|frame| frame["senderClientId"].as_str().unwrap().to_owned());
    assert_eq!(
        came,
        [
            json!({ "messageType": "SDP_OFFER", "messagePayload": STANDARD.encode(OFFER), "senderClientId": "viewer-1" }),
            json!({ "messageType": "ICE_CANDIDATE", "messagePayload": STANDARD.encode(CANDIDATE), "senderClientId": "viewer-2" }),
        ]
    );
    // In the spelling of AWS's C SDK, with its blanks.
    let payload = STANDARD.encode(ANSWER);
    let c_sdk = format!(
        "{{\n\t\"action\": \"SDP_ANSWER\",\n\t\"RecipientClientId\": \"viewer-2\",\n\t\"MessagePayload\": \"{payload}\",\n\t\
         \"CorrelationId\": \"c-1\"\n}}"
    );
    master.send(c_sdk).await;
    assert_eq!(two.json().await, json!({ "messageType": "SDP_ANSWER", "messagePayload": payload }));
    hand.happens(
        "an answer",
        |event| matches!(event, Event::Relayed { message: "SDP_ANSWER", to: Some(to), .. } if to == "viewer-2"),
    )
    .await;
}

#[tokio::test]
async fn a_master_that_says_it_is_one_is_the_master() {
    let hand = AwsHand::start().await;
    let mut master = hand.dial(Some("MASTER")).await;
    hand.dial(Some("viewer-1")).await.send(offer()).await;
    assert_eq!(master.json().await["senderClientId"], "viewer-1");
}

#[tokio::test]
async fn what_is_sent_to_nobody_waits_for_a_while_and_then_its_sender_is_told() {
    let channels = vec![ChannelSettings { message_ttl: Duration::from_millis(300), ..ChannelSettings::named("bell") }];
    let mut hand = AwsHand::at(Settings { channels, ..hurried() }).await;
    let mut viewer = hand.dial(Some("viewer-1")).await;
    viewer.send(offer()).await;
    hand.happens("a frame that is kept", |event| matches!(event, Event::Kept { message: "SDP_OFFER", .. })).await;
    let status = report(&mut viewer).await;
    assert!(status["description"].as_str().unwrap().contains("not connected"), "{status}");
    hand.happens("a frame that is lost", |event| matches!(event, Event::Lost { .. })).await;
    // Whoever gave no id is told nothing: the next thing to come is an answer.
    let mut uncorrelated: Value = serde_json::from_str(&offer()).unwrap();
    uncorrelated.as_object_mut().unwrap().remove("correlationId");
    viewer.send(uncorrelated.to_string()).await;
    hand.happens("another lost frame", |event| matches!(event, Event::Lost { .. })).await;
    let mut master = hand.dial(None).await;
    master.send(frame("SDP_ANSWER", ANSWER, Some("viewer-1"))).await;
    assert_eq!(viewer.json().await["messageType"], "SDP_ANSWER");
}

#[tokio::test]
async fn a_master_that_comes_late_finds_what_waits_for_it() {
    let mut hand = AwsHand::start().await;
    let mut viewer = hand.dial(Some("viewer-1")).await;
    for frame in [offer(), frame("ICE_CANDIDATE", CANDIDATE, None)] {
        viewer.send(frame).await;
        hand.happens("a frame that is kept", |event| matches!(event, Event::Kept { .. })).await;
    }
    let mut master = hand.dial(None).await;
    assert_eq!(master.json().await["messageType"], "SDP_OFFER");
    assert_eq!(master.json().await["messageType"], "ICE_CANDIDATE");
    drop(master);
    hand.happens("the master's end", |event| matches!(event, Event::Disconnected { role: "MASTER", .. })).await;
    viewer.send(offer()).await;
    hand.happens("a frame for the next one", |event| matches!(event, Event::Kept { .. })).await;
}

#[tokio::test]
async fn the_same_client_takes_its_own_place_and_an_eleventh_viewer_finds_none() {
    let mut hand = AwsHand::start().await;
    let mut viewers = Vec::new();
    for n in 0..10 {
        viewers.push(hand.dial(Some(&format!("viewer-{n}"))).await);
    }
    let full = refused(&hand, &hand.url(Some("viewer-10"))).await;
    assert_eq!((full.status, full.kind.as_str()), (400, "ClientLimitExceededException"));
    let _again = hand.dial(Some("viewer-0")).await;
    viewers[0].ends().await;
    let mut first = hand.dial(None).await;
    let mut second = hand.dial(None).await;
    first.ends().await;
    viewers[1].send(offer()).await;
    assert_eq!(second.json().await["senderClientId"], "viewer-1");
    drop(viewers.pop());
    let gone = |event: &Event| matches!(event, Event::Disconnected { client_id: Some(id), .. } if id == "viewer-9");
    hand.happens("a viewer's end", gone).await;
    hand.dial(Some("viewer-10")).await;
}

#[tokio::test]
async fn a_connection_that_is_refused_is_told_why() {
    let mut settings = hurried();
    settings.channels.push(ChannelSettings { single_master: false, ..ChannelSettings::named("mesh") });
    settings.channels.push(ChannelSettings { active: false, ..ChannelSettings::named("unfinished") });
    let key = settings.keys[0].clone().without("kinesisvideo:ConnectAsMaster");
    settings.keys.push(doorstep::sim::aws::AccessKey { id: "AKIAIOSFODNN7EXAMPLE".into(), ..key });
    let hand = AwsHand::at(settings).await;
    let (arn, signer) = (hand.arn(), hand.signer());
    let viewer = signer_of(&hand, 1);
    let url = |signer: &Signer, arn: &str, id| hand.url_by(signer, arn, id);
    let good = url(&signer, &arn, Some("v"));
    let late = Signer { skew: -300, ..signer.clone() };
    let host = hand.aws.plain;
    for (url, status, kind) in [
        (format!("ws://{host}/"), 403, "MissingAuthenticationTokenException"),
        (good.replace("X-Amz-ClientId=v", "X-Amz-ClientId=w"), 403, "InvalidSignatureException"),
        (url(&Signer { secret: "x".into(), ..signer.clone() }, &arn, None), 403, "InvalidSignatureException"),
        (url(&late, &arn, Some("v")), 403, "InvalidSignatureException"),
        (url(&viewer, &arn, None), 403, "AccessDeniedException"),
        (url(&signer, "doorbell-channel", None), 400, "InvalidArgumentException"),
        (url(&signer, &arn, Some("AWS_1")), 400, "InvalidClientException"),
        (url(&signer, &arn, Some("a b")), 400, "InvalidArgumentException"),
        (url(&signer, &arn.replace("doorbell-channel", "another"), None), 404, "ResourceNotFoundException"),
        (url(&signer, &hand.aws.arn("mesh").unwrap(), None), 400, "InvalidArgumentException"),
        (url(&signer, &hand.aws.arn("unfinished").unwrap(), None), 404, "ResourceNotFoundException"),
    ] {
        let refusal = refused(&hand, &url).await;
        assert_eq!((refusal.status, refusal.kind.as_str()), (status, kind), "{url}: {}", refusal.message);
        assert!(!refusal.message.is_empty(), "{url}");
    }
    // Signed once, encoded twice.
    let spoilt = refused(&hand, &good.replace('%', "%25")).await;
    assert_eq!(spoilt.status, 403, "{spoilt:?}");
    Line::open(&url(&viewer, &arn, Some("v"))).await.unwrap();
    let query = good.split_once('?').unwrap().1;
    let no_websocket = request_with(host, "GET", &format!("/?{query}"), &[], "").await;
    assert!((400..500).contains(&no_websocket.status), "{no_websocket:?}");
    for (fault, status, kind) in [
        (Fault::RefuseConnect, 403, "AccessDeniedException"),
        (Fault::ChannelFull, 400, "ClientLimitExceededException"),
    ] {
        hand.fault(Some(fault));
        let refusal = refused(&hand, &good).await;
        assert_eq!((refusal.status, refusal.kind.as_str()), (status, kind));
    }
}

fn signer_of(hand: &AwsHand, key: usize) -> Signer {
    hand.signer_with(&hand.aws.settings.keys[key])
}

#[tokio::test]
async fn connections_come_no_faster_than_amazon_takes_them() {
    let quotas = Quotas { connects: 3, ..Quotas::GENEROUS };
    let hand = AwsHand::at(Settings { quotas, ..hurried() }).await;
    let open = |n: usize| {
        let url = hand.url(Some(&format!("viewer-{n}")));
        async move { Line::open(&url).await }
    };
    let (a, b, c, d, e) = tokio::join!(open(0), open(1), open(2), open(3), open(4));
    let refusals: Vec<Refusal> = [a, b, c, d, e].into_iter().filter_map(Result::err).collect();
    assert!(!refusals.is_empty(), "five at once were let in");
    assert!(refusals.iter().all(|refusal| refusal.kind == "ClientLimitExceededException"), "{refusals:?}");
    hand.dial(None).await;
}

#[tokio::test]
async fn a_frame_that_breaks_a_rule_is_reported_and_harms_nobody() {
    let mut hand = AwsHand::start().await;
    let mut master = hand.dial(None).await;
    let mut viewer = hand.dial(Some("viewer-1")).await;
    let long = frame("SDP_OFFER", &"v".repeat(7_501), None);
    let id = |frame: &str| frame.replace("c-1", "c 1");
    for (bad, reported) in [
        (Message::text(long), true),
        (Message::text(r#"{"action":"SDP_OFFER","messagePayload":"*","correlationId":"c-1"}"#), true),
        (Message::text(r#"{"action":"SDP_OFFER","messagePayload":"e30=","CorrelationId":"c-1"}"#), true),
        (Message::text(r#"{"action":"SEND_CAKE","messagePayload":"e30=","correlationId":"c-1"}"#), true),
        (Message::text(r#"{"messagePayload":"e30=","correlationId":"c-1"}"#), true),
        (Message::text(frame("SDP_OFFER", ANSWER, None)), true),
        (Message::text(""), false),
        (Message::text("{"), false),
        (Message::text("[]"), false),
        (Message::text(r#"{"action":"SDP_OFFER","messagePayload":"*"}"#), false),
        (Message::binary(offer().into_bytes()), false),
    ] {
        let what = format!("{bad:.60}");
        viewer.send(bad).await;
        hand.happens(&what, |event| matches!(event, Event::FrameRefused { .. })).await;
        if reported {
            assert_eq!(report(&mut viewer).await["errorType"], "InvalidArgumentException", "{what}");
        }
    }
    // With an id that is none; it is repeated all the same.
    viewer.send(id(&offer())).await;
    assert_eq!(viewer.json().await["statusResponse"]["correlationId"], "c 1");
    viewer.send(offer()).await;
    assert_eq!(master.json().await["messageType"], "SDP_OFFER", "and nothing else came of all that");
    for to in [None, Some(""), Some("a b")] {
        master.send(frame("SDP_ANSWER", ANSWER, to)).await;
        assert_eq!(report(&mut master).await["errorType"], "InvalidArgumentException", "{to:?}");
    }
}

#[tokio::test]
async fn offers_and_candidates_come_no_faster_than_amazon_takes_them() {
    let quotas = Quotas { connects: 1_000, ..Quotas::default() };
    let hand = AwsHand::at(Settings { quotas, ..hurried() }).await;
    let _master = hand.dial(None).await;
    for (frame, many) in [(offer(), 20), (frame("ICE_CANDIDATE", CANDIDATE, None), 80)] {
        let mut viewer = hand.dial(Some("viewer-1")).await;
        for _ in 0..many {
            viewer.send(frame.clone()).await;
        }
        assert_eq!(report(&mut viewer).await["errorType"], "ClientLimitExceededException");
    }
}

#[tokio::test]
async fn a_connection_ends_after_its_life_and_a_silent_one_earlier() {
    let [connection, grace, idle] = [400, 300, 5_000].map(Duration::from_millis);
    let hand = AwsHand::at(Settings { limits: Limits { connection, grace, idle }, ..hurried() }).await;
    let mut viewer = hand.dial(Some("viewer-1")).await;
    assert_eq!(viewer.inbound().await, Inbound::notice(MessageType::GoAway));
    // Until then it is served.
    let mut master = hand.dial(None).await;
    viewer.send(offer()).await;
    assert_eq!(master.json().await["messageType"], "SDP_OFFER");
    viewer.ends().await;
    let idle = Duration::from_millis(300);
    let hand = AwsHand::at(Settings { limits: Limits { idle, ..Limits::default() }, ..hurried() }).await;
    hand.dial(Some("viewer-1")).await.ends().await;
}

#[tokio::test]
async fn the_service_says_what_it_is_told_to_whom_it_is_told() {
    let limits = Limits { grace: Duration::from_millis(100), ..Limits::default() };
    let mut hand = AwsHand::at(Settings { limits, ..hurried() }).await;
    let (mut master, mut viewer) = (hand.dial(None).await, hand.dial(Some("viewer-1")).await);
    for _ in 0..2 {
        hand.happens("a connection", |event| matches!(event, Event::Connected { .. })).await;
    }
    let say = |what, to| hand.command(AwsCommand::Notice(Notice { what, to }));
    say(What::ReconnectIceServer, To::Everybody);
    assert_eq!(viewer.inbound().await, Inbound::notice(MessageType::ReconnectIceServer));
    assert_eq!(master.inbound().await, Inbound::notice(MessageType::ReconnectIceServer));
    say(What::GoAway, To::Viewers);
    assert_eq!(viewer.inbound().await, Inbound::notice(MessageType::GoAway));
    viewer.ends().await;
    say(What::ReconnectIceServer, To::Masters);
    assert_eq!(master.inbound().await, Inbound::notice(MessageType::ReconnectIceServer), "it stays");
}

#[tokio::test]
async fn a_deleted_channel_or_a_cut_ends_every_connection() {
    let hand = AwsHand::start().await;
    let mut viewer = hand.dial(Some("viewer-1")).await;
    hand.command(AwsCommand::Drop);
    viewer.ends().await;
    let mut viewer = hand.dial(Some("viewer-1")).await;
    let deleted = hand.ask("/deleteSignalingChannel", json!({ "ChannelARN": hand.arn() })).await;
    assert_eq!(deleted.status, 200);
    viewer.ends().await;
}

#[tokio::test]
async fn each_fault_of_a_frame_shows_and_the_frame_comes_all_the_same() {
    let hand = AwsHand::start().await;
    let (mut master, mut viewer) = (hand.dial(None).await, hand.dial(Some("viewer-1")).await);
    for fault in
        [Fault::EmptyFrame, Fault::TruncatedFrame, Fault::UnknownFrame, Fault::BrokenPayload, Fault::TwiceFrame]
    {
        hand.fault(Some(fault));
        viewer.send(offer()).await;
        let odd = Inbound::decode(&master.text().await.unwrap());
        match fault {
            Fault::UnknownFrame => {
                assert_eq!(odd.unwrap().message_type, MessageType::Other("NOT_YET_INVENTED".to_owned()));
            }
            Fault::TwiceFrame => assert!(odd.is_ok()),
            _ => assert!(odd.is_err(), "{fault}: {odd:?}"),
        }
        assert!(matches!(master.inbound().await.payload, Some(Payload::Offer { .. })), "{fault}");
    }
    hand.fault(Some(Fault::LostFrames));
    viewer.send(offer()).await;
    hand.fault(None);
}

#[tokio::test]
async fn our_own_client_meets_our_own_client_over_tls() {
    let hand = AwsHand::start().await;
    let aws = Aws::new(client::Settings {
        region: hand.aws.settings.region.clone(),
        login: hand.aws.certificate_login().unwrap(),
        role_arn: Some(hand.aws.settings.roles[0].arn.clone()),
        endpoints: hand.aws.secure_endpoints(),
        identity: None,
    })
    .unwrap();
    let channel = aws.describe("doorbell-channel").await.unwrap().channel;
    let mut sockets = Vec::new();
    for (role, id) in [(Role::Master, ""), (Role::Viewer, "viewer-1")] {
        let signalling = aws.signalling(&channel, role, id).await.unwrap();
        assert!(signalling.url.expose().starts_with("wss://"));
        sockets.push(Socket::open(&signalling).await.unwrap());
    }
    let payload = Payload::Offer { sdp: "v=0\r\n".to_owned() };
    let offer = doorstep::proto::kvs::signaling::Outbound {
        payload: payload.clone(),
        recipient_client_id: None,
        correlation_id: None,
    };
    sockets[1].send(&offer).await.unwrap();
    let came = timeout(PATIENCE, sockets[0].next()).await.expect("a frame").expect("the socket is open");
    assert_eq!((came.payload, came.sender_client_id.as_deref()), (Some(payload), Some("viewer-1")));
}
