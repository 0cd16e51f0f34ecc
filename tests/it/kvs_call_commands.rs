//! What is asked over the data channel of a KVS call arrives, and its reply comes back, whatever else the camera does
//! with channels. Real sockets.

use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::media::{FrameStream, MediaHub};
use doorstep::proto::kvs::signaling::MessageType;
use doorstep::rtc::kvs_call::{AskError, Commands, KvsCall, Wish};
use tokio::time::timeout;

use crate::support::kvs_hand::{KvsHand, Manner};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const DOOR: &str = r#"{"action":"open_door"}"#;

async fn call(camera: &Arc<KvsHand>) -> (KvsCall, Commands, FrameStream) {
    let hub = MediaHub::new();
    let frames = hub.listen();
    let wish = Wish { hub, talk: true, channel: Some("commands") };
    let call = timeout(PATIENCE, KvsCall::place_by(camera.clone(), wish)).await.unwrap().unwrap();
    let commands = call.commands().expect("a channel was wished for");
    (call, commands, frames)
}

async fn sees(frames: &mut FrameStream, mut pictures: usize) {
    while pictures > 0 {
        let frame = timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap();
        pictures -= usize::from(frame.kind.is_video());
    }
}

#[tokio::test]
async fn a_command_arrives_byte_for_byte_and_its_reply_comes_back() {
    let camera = KvsHand::with(Manner::default()).await;
    let begun = clock::now();
    let (_call, commands, mut frames) = call(&camera).await;
    let connected = begun.elapsed();
    sees(&mut frames, 1).await;
    println!("first picture after {:?}, of which {connected:?} until the call was up", begun.elapsed());
    let asking = commands.ask(DOOR, |text| text.starts_with("Door opened"), PATIENCE);
    let answering = async {
        let channel = camera.channel().await;
        assert_eq!(channel.label(), "commands");
        assert_eq!(channel.next().await.as_deref(), Some(DOOR));
        channel.send("Received something").await.unwrap();
        channel.send("Door opened successfully").await.unwrap();
    };
    let (reply, ()) = tokio::join!(asking, answering);
    assert_eq!(reply.as_deref(), Ok("Door opened successfully"));
}

#[tokio::test]
async fn a_channel_of_the_cameras_own_is_neither_heard_nor_in_the_way() {
    let camera = KvsHand::with(Manner { own_channel: Some("kvsDataChannel"), ..Manner::default() }).await;
    let (_call, commands, mut frames) = call(&camera).await;
    let channel = camera.channel().await;
    sees(&mut frames, 10).await;
    let asking = commands.ask(DOOR, |text| text.starts_with("Door opened"), PATIENCE);
    let answering = async {
        assert_eq!(channel.next().await.as_deref(), Some(DOOR));
        sees(&mut frames, 10).await;
        channel.send("Door opened successfully").await.unwrap();
    };
    assert_eq!(tokio::join!(asking, answering).0.as_deref(), Ok("Door opened successfully"));
}

#[tokio::test]
async fn pictures_go_on_when_the_camera_closes_the_channel() {
    let camera = KvsHand::with(Manner::default()).await;
    let (mut call, commands, mut frames) = call(&camera).await;
    let channel = camera.channel().await;
    commands.opened(PATIENCE).await.unwrap();
    let asking = commands.ask(DOOR, |_| true, PATIENCE);
    let hanging_up = async {
        assert_eq!(channel.next().await.as_deref(), Some(DOOR));
        channel.close().await;
    };
    assert_eq!(tokio::join!(asking, hanging_up).0, Err(AskError::Ended));
    assert_eq!(commands.ask(DOOR, |_| true, PATIENCE).await, Err(AskError::NotOpen));
    sees(&mut frames, 40).await;
    assert!(timeout(Duration::ZERO, call.ended()).await.is_err(), "the call has ended with its channel");
}

#[tokio::test]
async fn a_call_without_a_relay_is_left_alone_when_relays_go() {
    let camera = KvsHand::with(Manner::default()).await;
    let (_call, _, mut frames) = call(&camera).await;
    sees(&mut frames, 5).await;
    camera.notice(MessageType::ReconnectIceServer);
    sees(&mut frames, 40).await;
    assert_eq!(camera.asked().len(), 1, "another call was placed");
}
