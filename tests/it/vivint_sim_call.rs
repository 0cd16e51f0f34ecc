//! The parts of the virtual Vivint account work together: a call through its database reaches its doorbell, and the
//! pictures are where its system says. Real sockets.

use bytes::Bytes;
use doorstep::clock;
use doorstep::rtc::camera::CameraPeer;
use doorstep::sim::vivint::{Event, doorbell};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::vivint_hand::{Hand, PATIENCE, as_the_app, event};
use crate::support::vivint_wire::Wire;

const CALL: &str = "c9f95f59-c84e-4dd0-a4a1-3ba262140383";

#[tokio::test]
async fn a_call_through_the_database_reaches_the_doorbell() {
    let hand = Hand::logged_in().await;
    let mut events = hand.vivint.events();
    let mut wire = Wire::authenticated(&hand).await;
    let (uid, camera) = (hand.vivint.settings.uid.clone(), hand.camera());
    wire.listen(&hand.node(&uid)).await;
    let mut peer = CameraPeer::offer(as_the_app()).await.unwrap();
    peer.gathered(PATIENCE).await;
    let sent = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let offer = json!({
        "type": "sdp", "sdpType": "offer", "sdp": peer.sdp(), "transactionUuid": CALL, "from": uid,
        "videoSource": {"type": "nosource"}, "_timestamp": sent,
    });
    wire.request("p", json!({"p": format!("/{}", hand.node(&camera)), "d": offer})).await;
    let answer = loop {
        let message = wire.message().await;
        let value = &message["d"]["b"]["d"];
        if value["sdpType"] == "answer" && value["transactionUuid"] == CALL {
            assert_eq!(value["from"], camera);
            break value["sdp"].as_str().unwrap().to_owned();
        }
    };
    peer.answer(&answer).await.unwrap();
    let mut channel = peer.take_channel().unwrap();
    timeout(PATIENCE, channel.opened()).await.expect("a channel").unwrap();
    for (said, heard) in [(&b"\x0a\x00"[..], &b"\x12\x00"[..]), (b"\x4a\x00", b"\x52\x00"), (b"\x5a\x00", b"\x62\x00")]
    {
        channel.send(Bytes::from_static(said)).await.unwrap();
        assert_eq!(timeout(PATIENCE, channel.next()).await.unwrap().unwrap(), heard);
    }
    let talked =
        |happened: &Event| matches!(happened, Event::Call { device: 27, event: doorbell::Event::TalkEnded { .. } });
    let told = serde_json::to_value(event(&mut events, talked).await).unwrap();
    assert_eq!((&told["event"], &told["device"]), (&json!("talk_ended"), &json!(27)));
    assert_eq!(hand.vivint.counts().talks, 1);
}

#[tokio::test]
async fn a_doorbell_may_call_first_and_an_offline_one_does_not_answer() {
    let hand = Hand::logged_in().await;
    let mut events = hand.vivint.events();
    let mut wire = Wire::authenticated(&hand).await;
    let own = hand.node(&hand.vivint.settings.uid);
    wire.listen(&own).await;
    hand.obey("call 27");
    let offer = wire.push().await.1;
    assert_eq!((&offer["d"]["sdpType"], &offer["d"]["from"]), (&json!("offer"), &json!(hand.camera())));
    hand.obey("offline 27");
    let offer = json!({"type": "sdp", "sdpType": "offer", "sdp": "v=0", "transactionUuid": CALL, "from": "me"});
    hand.vivint.tree().put(&hand.node(&hand.camera()), offer);
    let ignored =
        |happened: &Event| matches!(happened, Event::Call { event: doorbell::Event::OfferIgnored { .. }, .. });
    event(&mut events, ignored).await;
    assert_eq!(hand.device(27).await["ol"], false);
}

/// The first line of what an RTSP server says to a question that needs no login; `None` when it says nothing.
async fn rtsp_says(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let options = format!("OPTIONS rtsp://{address}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    stream.write_all(options.as_bytes()).await.unwrap();
    let mut said = [0; 256];
    let length = timeout(PATIENCE, stream.read(&mut said)).await.ok()?.ok()?;
    String::from_utf8_lossy(&said[..length]).lines().next().map(str::to_owned)
}

#[tokio::test]
async fn pictures_are_where_the_system_says() {
    let hand = Hand::logged_in().await;
    let (front, side) = (hand.device(27).await, hand.device(28).await);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let own = format!("{}:{}", text(&front["caip"]), text(&front["cap"]));
    let at_panel = |device: &Value| text(&device["ciu"][0]).split('/').nth(2).unwrap().to_owned();
    assert_eq!((&front["cda"], &side["cda"]), (&json!(true), &json!(false)));
    for address in [own, at_panel(&front), at_panel(&side)] {
        assert_eq!(rtsp_says(&address).await.as_deref(), Some("RTSP/1.0 200 OK"), "{address}");
    }
}
