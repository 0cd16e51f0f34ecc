//! Amazon's signaling service with a will of its own: between a viewer and a virtual camera, it passes on what the
//! test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use doorstep::proto::kvs::signaling::{Inbound, MessageType, Outbound, Payload};
use doorstep::rtc::kvs_call::{CallError, Exchange, Signalling};
use doorstep::secret::SignedUrl;
use doorstep::sim::kvs_camera::RunningKvsCamera;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{accept_hdr_async, connect_async};
use tokio_util::task::AbortOnDropHandle;

/// What one end is told in place of a frame.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Frame(String),
    Binary(Vec<u8>),
    HangUp,
}

/// What becomes of a frame of the `n`th connection, counted from 0.
pub(crate) type Script = Box<dyn Fn(usize, &str) -> Vec<Said> + Send + Sync>;

pub(crate) fn as_it_is(_connection: usize, frame: &str) -> Vec<Said> {
    vec![Said::Frame(frame.to_owned())]
}

pub(crate) fn nothing(_connection: usize, _frame: &str) -> Vec<Said> {
    vec![]
}

/// Leaves everything but the answer as it is.
pub(crate) fn instead_of_the_answer(then: impl Fn(&str) -> Vec<Said> + Send + Sync + 'static) -> Script {
    Box::new(move |_, frame| match Inbound::decode(frame).ok().and_then(|frame| frame.payload) {
        Some(Payload::Answer { sdp }) => then(&sdp),
        _ => vec![Said::Frame(frame.to_owned())],
    })
}

pub(crate) fn answer(sdp: &str) -> Said {
    Said::Frame(Inbound::relayed(Payload::Answer { sdp: sdp.to_owned() }, None).encode())
}

pub(crate) fn candidate(candidate: &str) -> Said {
    let (sdp_mid, sdp_m_line_index) = (Some("0".to_owned()), Some(0));
    let candidate = candidate.to_owned();
    let payload = Payload::Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: None };
    Said::Frame(Inbound::relayed(payload, None).encode())
}

pub(crate) fn is_offer(frame: &str) -> bool {
    Outbound::decode(frame).is_ok_and(|message| matches!(message.payload, Payload::Offer { .. }))
}

pub(crate) struct CrookedLine {
    address: SocketAddr,
    asked: Mutex<Vec<String>>,
    refusing: AtomicBool,
    to_all: broadcast::Sender<Said>,
    _serving: AbortOnDropHandle<()>,
}

impl CrookedLine {
    pub(crate) async fn to(camera: Arc<RunningKvsCamera>, of_viewer: Script, of_service: Script) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to_all = broadcast::Sender::new(16);
        let (scripts, says) = (Arc::new((of_viewer, of_service)), to_all.clone());
        let serving = async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, camera.clone(), scripts.clone(), connection, says.subscribe()));
                connection += 1;
            }
        };
        let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
        Arc::new(Self { address, asked: Mutex::default(), refusing: AtomicBool::new(false), to_all, _serving })
    }

    /// The client ids for which an address was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Gives no address any more.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Ordering::Relaxed);
    }

    /// Tells every viewer that is connected.
    pub(crate) fn say(&self, said: Said) {
        let _nobody = self.to_all.send(said);
    }

    pub(crate) fn notice(&self, notice: MessageType) {
        self.say(Said::Frame(Inbound::notice(notice).encode()));
    }

    pub(crate) fn signalling_for(&self, client_id: &str) -> Signalling {
        let url = SignedUrl::new(format!("ws://{}/{client_id}", self.address));
        Signalling { url, client_id: client_id.to_owned(), ice_servers: vec![], authority: None }
    }
}

impl Exchange for CrookedLine {
    fn signalling<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        self.asked.lock().unwrap().push(client_id.to_owned());
        let answer = match self.refusing.load(Ordering::Relaxed) {
            true => Err(CallError::Exchange("the cloud is away".into())),
            false => Ok(self.signalling_for(client_id)),
        };
        Box::pin(async move { answer })
    }
}

async fn relay(
    stream: TcpStream,
    camera: Arc<RunningKvsCamera>,
    scripts: Arc<(Script, Script)>,
    connection: usize,
    mut says: broadcast::Receiver<Said>,
) {
    let mut client_id = String::new();
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let note = |request: &Request, response: Response| {
        client_id = request.uri().path().trim_start_matches('/').to_owned();
        Ok(response)
    };
    let mut viewer = accept_hdr_async(stream, note).await.unwrap();
    let (mut service, _) = connect_async(camera.url_for(&client_id).expose()).await.unwrap();
    loop {
        let (to_the_viewer, said) = tokio::select! {
            said = says.recv() => (true, vec![said.unwrap()]),
            frame = viewer.next() => match frame {
                Some(Ok(Message::Text(frame))) => (false, scripts.0(connection, &frame)),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            frame = service.next() => match frame {
                Some(Ok(Message::Text(frame))) => (true, scripts.1(connection, &frame)),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        for said in said {
            let message = match said {
                Said::Frame(frame) => Message::text(frame),
                Said::Binary(bytes) => Message::binary(bytes),
                Said::HangUp => return,
            };
            let sent = match to_the_viewer {
                true => viewer.send(message).await,
                false => service.send(message).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}
