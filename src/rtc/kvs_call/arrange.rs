//! From an offer to media that flow.

use std::time::Duration;

use tokio::time::sleep_until;

use super::line::Line;
use super::{CallError, Ending, Signalling};
use crate::clock;
use crate::media::{AudioFormat, MediaHub};
use crate::proto::kvs::signaling::{Inbound, MessageType, Payload};
use crate::rtc::camera::{CameraPeer, PeerError, Sound, Video, Wanted};
use crate::rtc::interfaces::is_this_machine;

/// The best first.
const SPOKEN: [AudioFormat; 3] = [AudioFormat::OPUS, AudioFormat::PCMU, AudioFormat::PCMA];
/// Sent along with the offer, so that the service says when it could not deliver it.
const OFFER_ID: &str = "offer";
/// An offer may have been sent before the camera was there to hear it.
const OFFER_AGAIN_AFTER: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// From the answer on. ICE gives up after 10 s by itself.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Candidates that come before the answer.
const MOST_EARLY: usize = 32;

/// Calls, up to media that flow.
pub(super) async fn arrange(
    signalling: &Signalling,
    hub: MediaHub,
    talk: bool,
) -> Result<(CameraPeer, Line), CallError> {
    let line = Line::open(signalling).await?;
    let loopback = is_this_machine(signalling.url.expose());
    let wanted = Wanted {
        hub,
        video: Video::Receive,
        sound: if talk { Sound::Both(&SPOKEN) } else { Sound::Receive },
        channel: None,
        ice_servers: &signalling.ice_servers,
        relay_only: false,
        loopback,
    };
    let peer = CameraPeer::offer(wanted).await?;
    let mut arrangement = Arrangement { peer, line, early: Vec::new(), answered: false, trouble: None };
    arrangement.offer().await?;
    arrangement.answered().await?;
    arrangement.connected().await?;
    Ok((arrangement.peer, arrangement.line))
}

struct Arrangement {
    peer: CameraPeer,
    line: Line,
    /// The camera's candidates that have overtaken its answer.
    early: Vec<String>,
    answered: bool,
    /// What the service said of an offer that it could not deliver.
    trouble: Option<String>,
}

impl Arrangement {
    async fn offer(&mut self) -> Result<(), CallError> {
        self.line.offer(&self.peer.sdp(), OFFER_ID).await
    }

    /// Our candidates wait until the offer is written, theirs until the answer has come.
    async fn answered(&mut self) -> Result<(), CallError> {
        let begun = clock::now();
        let mut again = Some(begun + OFFER_AGAIN_AFTER);
        while !self.answered {
            tokio::select! {
                frame = self.line.next() => self.take(frame.ok_or(CallError::ServiceClosed)?).await?,
                Some(candidate) = self.peer.candidate() => self.line.tell(candidate).await,
                () = sleep_until(again.unwrap_or(begun)), if again.is_some() => {
                    again = None;
                    self.offer().await?;
                }
                () = sleep_until(begun + ANSWER_WITHIN) => {
                    return Err(CallError::NoAnswer { why: self.trouble.take() });
                }
            }
        }
        Ok(())
    }

    async fn connected(&mut self) -> Result<(), CallError> {
        let connected = tokio::time::timeout(CONNECT_WITHIN, self.peer.connected());
        let mut connected = std::pin::pin!(connected);
        loop {
            tokio::select! {
                connected = &mut connected => {
                    return connected.unwrap_or(Err(Ending::NoPath)).map_err(CallError::Ended);
                }
                // A service that hangs up now has told all it had to.
                Some(frame) = self.line.next() => self.take(frame).await?,
                Some(candidate) = self.peer.candidate() => self.line.tell(candidate).await,
            }
        }
    }

    async fn take(&mut self, frame: Inbound) -> Result<(), CallError> {
        match frame.payload {
            // A second one answers the offer that was sent again.
            Some(Payload::Answer { sdp }) if !self.answered => self.answer(&sdp).await?,
            Some(Payload::Candidate { candidate, .. }) if self.answered => self.peer.add_candidate(&candidate).await,
            Some(Payload::Candidate { candidate, .. }) if self.early.len() < MOST_EARLY => self.early.push(candidate),
            _ => {}
        }
        if frame.message_type == MessageType::StatusResponse {
            self.trouble = frame.status.map(|status| word(&status.error_type)).filter(|word| !word.is_empty());
        }
        Ok(())
    }

    async fn answer(&mut self, sdp: &str) -> Result<(), CallError> {
        self.peer.answer(sdp).await?;
        self.answered = true;
        for candidate in std::mem::take(&mut self.early) {
            self.peer.add_candidate(&candidate).await;
        }
        Ok(())
    }
}

/// An exception's name, as far as it is one.
fn word(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

impl From<PeerError> for CallError {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Setup(_) => Self::Setup(error.to_string()),
            PeerError::BadOffer | PeerError::BadAnswer | PeerError::NoVideo => Self::BadAnswer(error.to_string()),
        }
    }
}
