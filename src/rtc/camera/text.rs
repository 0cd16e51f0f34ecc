//! Data channels that a viewer opens to a camera of ours, of any name: text goes both ways, and what is not text is
//! passed over.

use std::sync::Arc;

use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use super::{Channel, Ending};

/// The channels that the other side opens.
pub struct TextChannels(mpsc::Receiver<Arc<dyn DataChannel>>);

impl TextChannels {
    pub(super) fn new(made: mpsc::Receiver<Arc<dyn DataChannel>>) -> Self {
        Self(made)
    }

    /// The next one; `None` when the connection is over. May be cancelled.
    pub async fn next(&mut self) -> Option<TextChannel> {
        let channel = self.0.recv().await?;
        Some(TextChannel::new(channel.label().await.unwrap_or_default(), channel))
    }
}

/// One channel. It ends with the connection; dropping it leaves it open and unheard.
#[derive(Clone)]
pub struct TextChannel {
    label: Arc<str>,
    channel: Arc<dyn DataChannel>,
}

impl TextChannel {
    pub(super) fn new(label: String, channel: Arc<dyn DataChannel>) -> Self {
        Self { label: label.into(), channel }
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    /// The next message; `None` when the channel is closed. May be cancelled.
    pub async fn next(&self) -> Option<String> {
        loop {
            match self.channel.poll().await? {
                DataChannelEvent::OnMessage(message) if message.is_string && message.data.len() <= Channel::LARGEST => {
                    return Some(String::from_utf8_lossy(&message.data).into_owned());
                }
                DataChannelEvent::OnClosing | DataChannelEvent::OnClose => return None,
                _ => {}
            }
        }
    }

    /// Waits while the other side takes nothing.
    ///
    /// # Errors
    /// `HungUp`: the channel is not open.
    pub async fn send(&self, text: &str) -> Result<(), Ending> {
        self.channel.send_text(text).await.map_err(|_| Ending::HungUp)
    }

    /// The connection goes on without it.
    pub async fn close(&self) {
        let _closed_before = self.channel.close().await;
    }
}
