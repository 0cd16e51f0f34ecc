//! What the lives of doorbells that are called over KVS signalling have in common, whoever made them.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::doorbell::{ActionError, DevicePort, TalkLine};
use crate::media::AudioFormat;
use crate::media::convert::Converter;
use crate::model::Link;
use crate::rtc::kvs_call::{CallError, Ending, KvsCall};

/// Whoever wants to talk waits here for an open speaker.
pub(super) type TalkReply = oneshot::Sender<Result<TalkLine, ActionError>>;

/// The speaker at the other end of a call.
pub(super) enum Speaker {
    Closed,
    Open(mpsc::Receiver<Bytes>),
}

impl Speaker {
    /// Speech on its way to the call: 200 ms. Full: the speaker's side drops.
    const SPEECH: usize = 10;

    /// `mute` says why nobody can talk, where the other end takes no speech.
    pub(super) fn open(&mut self, call: &KvsCall, reply: TalkReply, mute: &str) {
        let Some(format) = call.talk_format().filter(|format| can_be_spoken(*format)) else {
            let _gave_up = reply.send(Err(ActionError::Refused { why: mute.to_owned() }));
            return;
        };
        let (audio, pieces) = mpsc::channel(Self::SPEECH);
        // Given up on meanwhile: `audio` is dropped, and the closed line ends the talk.
        let _gave_up = reply.send(Ok(TalkLine { format, audio }));
        *self = Self::Open(pieces);
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// The next piece of speech; `None` when nobody holds the speaker any more. Nothing while it is closed.
    pub(super) async fn next_piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Open(pieces) => pieces.recv().await,
            Self::Closed => std::future::pending().await,
        }
    }
}

fn can_be_spoken(format: AudioFormat) -> bool {
    Converter::new(AudioFormat::OPUS, format).is_ok()
}

/// The first picture of a call is there.
pub(super) fn is_live(port: &DevicePort) {
    tracing::info!("picture is live");
    port.state.send_modify(|state| {
        state.link = Link::Streaming;
        state.transport = Some("webrtc");
        state.last_error = None;
    });
}

/// What its owner can do about a call that came to nothing; empty where nothing helps but trying again.
pub(super) fn advice(error: &CallError) -> &'static str {
    match error {
        CallError::Setup(_) | CallError::Exchange(_) | CallError::Refused { .. } => "",
        CallError::Unreachable(_) | CallError::ServiceClosed => {
            "Check this machine's way to the internet if this goes on."
        }
        CallError::NoAnswer { .. } | CallError::Ended(Ending::Lost | Ending::HungUp | Ending::Silent) => {
            "Check its power and its Wi-Fi if this goes on."
        }
        CallError::BadAnswer(_) => "Restart it if this goes on.",
        CallError::Ended(Ending::NoPath) => "If this goes on, check that a firewall lets this machine use UDP.",
    }
}
