//! The data channel over which camera and app command each other, beside sound and picture.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelMessage};

use super::Ending;

/// A reliable, ordered channel of messages, binary or text: each end knows which of them it speaks. Dropping this only
/// stops listening: to close the channel would be the end of calls that live by it.
pub struct Channel {
    line: watch::Receiver<Line>,
    messages: mpsc::Receiver<Message>,
}

enum Message {
    Binary(Bytes),
    Text(String),
}

impl Channel {
    /// A longer message is passed over. It is also what the engine tells the other side (RFC 8841 §6.1).
    pub const LARGEST: usize = 1 << 16;
    /// Messages that wait to be read. Full: what comes then is dropped; nobody has that much to say.
    const WAITING: usize = 64;

    /// Resolves when messages can be sent.
    ///
    /// # Errors
    /// `HungUp` when it is closed, or the connection has ended before.
    pub async fn opened(&mut self) -> Result<(), Ending> {
        open(self.line.clone()).await.map(drop)
    }

    /// Sends one message, once the channel is open. Waits while the camera takes nothing.
    ///
    /// # Errors
    /// `HungUp`.
    pub async fn send(&self, message: Bytes) -> Result<(), Ending> {
        let channel = open(self.line.clone()).await?;
        channel.send(BytesMut::from(message)).await.map_err(|_| Ending::HungUp)
    }

    /// The same with a text.
    ///
    /// # Errors
    /// `HungUp`.
    pub async fn send_text(&self, text: &str) -> Result<(), Ending> {
        let channel = open(self.line.clone()).await?;
        channel.send_text(text).await.map_err(|_| Ending::HungUp)
    }

    /// The next binary message, texts passed over; `None` when the channel is closed. May be cancelled.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Message::Binary(message) = self.messages.recv().await? {
                return Some(message);
            }
        }
    }

    /// The next text, binary messages passed over; `None` when the channel is closed. May be cancelled.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            if let Message::Text(text) = self.messages.recv().await? {
                return Some(text);
            }
        }
    }
}

/// How a channel stands.
#[derive(Clone)]
enum Line {
    Opening,
    Open(Arc<dyn DataChannel>),
    Closed,
}

async fn open(mut line: watch::Receiver<Line>) -> Result<Arc<dyn DataChannel>, Ending> {
    let settled = line.wait_for(|line| !matches!(line, Line::Opening)).await;
    match settled.as_deref() {
        Ok(Line::Open(channel)) => Ok(channel.clone()),
        _ => Err(Ending::HungUp),
    }
}

/// Where a channel comes from.
pub(super) enum Origin {
    /// We have made it.
    Ours(Arc<dyn DataChannel>),
    /// The camera makes it and calls it so.
    Theirs { label: &'static str, made: mpsc::Receiver<Arc<dyn DataChannel>> },
}

impl Origin {
    /// `None` when the connection has ended before there was one.
    async fn channel(self) -> Option<Arc<dyn DataChannel>> {
        let (label, mut made) = match self {
            Self::Ours(channel) => return Some(channel),
            Self::Theirs { label, made } => (label, made),
        };
        loop {
            let channel = made.recv().await?;
            if channel.label().await.is_ok_and(|its| its == label) {
                return Some(channel);
            }
        }
    }
}

/// The connection's own end of a channel. Dropping it ends the channel's task.
pub(super) struct Control {
    line: watch::Receiver<Line>,
    _carrying: AbortOnDropHandle<()>,
}

impl Control {
    pub(super) fn start(origin: Origin, connection_over: impl Future<Output = ()> + Send + 'static) -> (Self, Channel) {
        let (line_sender, line) = watch::channel(Line::Opening);
        let (message_sender, messages) = mpsc::channel(Channel::WAITING);
        let carrying = async move {
            tokio::select! {
                () = carry(origin, &line_sender, message_sender) => {}
                () = connection_over => {}
            }
            line_sender.send_replace(Line::Closed);
        };
        let _carrying = AbortOnDropHandle::new(tokio::spawn(carrying.in_current_span()));
        (Self { line: line.clone(), _carrying }, Channel { line, messages })
    }

    /// Closes the channel, and gives the other side a moment to hear of it. The engine's own good-bye is not heard over
    /// a relay, which it gives up first (`webrtc` 0.21.1).
    pub(super) async fn close(self) {
        const MOMENT: Duration = Duration::from_millis(200);
        let open = match &*self.line.borrow() {
            Line::Open(channel) => Some(channel.clone()),
            _ => None,
        };
        if let Some(channel) = open {
            let _over = channel.close().await;
            let _heard = tokio::time::timeout(MOMENT, self.closed()).await;
        }
    }

    /// Resolves when the channel is closed.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut line = self.line.clone();
        async move {
            // An error means that its task has ended.
            let _closed = line.wait_for(|line| matches!(line, Line::Closed)).await;
        }
    }
}

/// Until the channel is closed.
async fn carry(origin: Origin, line: &watch::Sender<Line>, messages: mpsc::Sender<Message>) {
    let Some(channel) = origin.channel().await else { return };
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnOpen => drop(line.send_replace(Line::Open(channel.clone()))),
            DataChannelEvent::OnMessage(message) if message.data.len() <= Channel::LARGEST => {
                if let Some(message) = read(message) {
                    let _full_or_unread = messages.try_send(message);
                }
            }
            DataChannelEvent::OnClosing | DataChannelEvent::OnClose => return,
            _ => {}
        }
    }
}

/// `None` for a text that is none.
fn read(message: RTCDataChannelMessage) -> Option<Message> {
    let data = message.data.freeze();
    match message.is_string {
        true => Some(Message::Text(std::str::from_utf8(&data).ok()?.to_owned())),
        false => Some(Message::Binary(data)),
    }
}
