//! A KVS doorbell by hand, signaling service and master in one: it shows the clip to whoever calls, and says over data
//! channels what the test says. Used by both test binaries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::clock;
use doorstep::media::{AudioFormat, FrameKind, MediaHub};
use doorstep::proto::kvs::signaling::{Inbound, MessageType, Outbound, Payload};
use doorstep::rtc::camera::{CameraPeer, IceServer, Sound, TextChannel, Video, Wanted};
use doorstep::rtc::kvs_call::{CallError, Exchange, Signalling};
use doorstep::secret::SignedUrl;
use doorstep::sim::clip::Clip;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

const PATIENCE: Duration = Duration::from_secs(40);

/// What it is made of.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// Of its own, through which alone it can be reached then.
    pub(crate) relay: Option<IceServer>,
    /// Opened by itself beside the viewer's.
    pub(crate) own_channel: Option<&'static str>,
}

pub(crate) struct KvsHand {
    address: SocketAddr,
    asked: Mutex<Vec<String>>,
    notices: broadcast::Sender<MessageType>,
    /// What viewers have opened, as they do.
    channels: tokio::sync::Mutex<mpsc::Receiver<TextChannel>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl KvsHand {
    pub(crate) async fn with(manner: Manner) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (film, notices) = (MediaHub::new(), broadcast::Sender::new(16));
        let (opened, channels) = mpsc::channel(16);
        let (shown, says) = (film.clone(), notices.clone());
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, manner.clone(), shown.clone(), says.subscribe(), opened.clone()));
            }
        };
        let _tasks = [tokio::spawn(serving), tokio::spawn(play(film))].map(AbortOnDropHandle::new);
        let channels = tokio::sync::Mutex::new(channels);
        Arc::new(Self { address, asked: Mutex::default(), notices, channels, _tasks })
    }

    /// The client ids for which an address was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Tells every viewer that is connected.
    pub(crate) fn notice(&self, notice: MessageType) {
        let _nobody = self.notices.send(notice);
    }

    /// The next channel that a viewer opens.
    pub(crate) async fn channel(&self) -> TextChannel {
        let mut channels = self.channels.lock().await;
        tokio::time::timeout(PATIENCE, channels.recv()).await.expect("no channel").unwrap()
    }
}

impl Exchange for KvsHand {
    fn signalling<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        self.asked.lock().unwrap().push(client_id.to_owned());
        let url = SignedUrl::new(format!("ws://{}/", self.address));
        let signalling = Signalling { url, client_id: client_id.to_owned(), ice_servers: vec![], authority: None };
        Box::pin(async move { Ok(signalling) })
    }
}

/// In time, and without gaps.
async fn play(film: MediaHub) {
    let (clip, begun) = (Clip::h264(), clock::now());
    for unit in clip.access_units() {
        tokio::time::sleep_until(begun + unit.pts).await;
        film.publish(FrameKind::Video { codec: clip.codec(), keyframe: unit.keyframe }, unit.pts, unit.data);
    }
}

/// One viewer, for as long as it keeps the connection.
async fn answer(
    stream: TcpStream,
    manner: Manner,
    film: MediaHub,
    mut notices: broadcast::Receiver<MessageType>,
    opened: mpsc::Sender<TextChannel>,
) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let mut peers = Vec::new();
    loop {
        let frame = tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notice) => Inbound::notice(notice),
                Err(_) => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match Outbound::decode(&text).unwrap().payload {
                    Payload::Offer { sdp } => {
                        let (peer, answer) = pick_up(&manner, &film, &sdp, opened.clone()).await;
                        peers.push(peer);
                        Inbound::relayed(Payload::Answer { sdp: answer }, None)
                    }
                    // It learns of the viewer by its checks, or through its relay.
                    Payload::Candidate { candidate, .. } => {
                        if let Some((peer, _)) = peers.last_mut() {
                            peer.add_candidate(&candidate).await;
                        }
                        continue;
                    }
                    Payload::Answer { .. } => panic!("a viewer answers nothing"),
                },
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        if socket.send(Message::text(frame.encode())).await.is_err() {
            return;
        }
    }
}

type PickedUp = (CameraPeer, Vec<AbortOnDropHandle<()>>);

async fn pick_up(
    manner: &Manner,
    film: &MediaHub,
    offer: &str,
    opened: mpsc::Sender<TextChannel>,
) -> (PickedUp, String) {
    let wanted = Wanted {
        hub: MediaHub::new(),
        video: Video::Send(film.clone()),
        sound: Sound::Both(&[AudioFormat::PCMU]),
        channel: None,
        ice_servers: manner.relay.as_slice(),
        relay_only: manner.relay.is_some(),
        loopback: true,
    };
    let mut peer = CameraPeer::answer_to(wanted, offer).await.unwrap();
    peer.gathered(PATIENCE).await;
    let answer = peer.sdp();
    let flow = peer.flow();
    let mut tasks = vec![AbortOnDropHandle::new(tokio::spawn(async move { _ = flow.await }))];
    if let Some(mut channels) = peer.take_channels() {
        tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(channel) = channels.next().await {
                let _unread = opened.send(channel).await;
            }
        })));
    }
    if let Some(label) = manner.own_channel {
        let own = peer.open_channel(label).await.unwrap();
        tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _not_yet_open = own.send("Door opened, says somebody else").await;
            }
        })));
    }
    ((peer, tasks), answer)
}
