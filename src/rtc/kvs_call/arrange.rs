//! From an offer to media that flow.

use std::time::Duration;

use tokio::time::sleep_until;

use super::line::Line;
use super::{CallError, Ending, Exchange, Signalling, Wish};
use crate::clock;
use crate::media::AudioFormat;
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

/// A call up to media that flow.
pub(super) struct Arranged {
    pub(super) peer: CameraPeer,
    pub(super) line: Line,
}

/// Calls at this address. The offer is made twice there.
pub(super) async fn at(signalling: &Signalling, wish: &Wish) -> Result<Arranged, CallError> {
    arrange(signalling, wish, Some(OFFER_AGAIN_AFTER)).await
}

/// Calls as a viewer that was not there before. The offer is made once: the service keeps it for a camera that comes
/// late, and one that is given two begins two connections.
pub(super) async fn by(exchange: &dyn Exchange, wish: &Wish) -> Result<Arranged, CallError> {
    arrange(&exchange.signalling(&new_client_id()?).await?, wish, None).await
}

/// As [`by`], over relays that were not known before.
pub(super) async fn by_new_relays(exchange: &dyn Exchange, wish: &Wish) -> Result<Arranged, CallError> {
    arrange(&exchange.signalling_with_new_relays(&new_client_id()?).await?, wish, None).await
}

/// The same client id twice replaces the older connection without a word (kvs reference §4).
fn new_client_id() -> Result<String, CallError> {
    let random = getrandom::u64().map_err(|error| CallError::Setup(format!("reading randomness: {error}")))?;
    Ok(format!("doorstep-{random:016x}"))
}

async fn arrange(signalling: &Signalling, wish: &Wish, again: Option<Duration>) -> Result<Arranged, CallError> {
    let wanted = Wanted {
        hub: wish.hub.clone(),
        video: Video::Receive,
        sound: if wish.talk { Sound::Both(&SPOKEN) } else { Sound::Receive },
        channel: wish.channel,
        ice_servers: &signalling.ice_servers,
        relay_only: false,
        loopback: is_this_machine(signalling.url.expose()),
    };
    // Our addresses are looked for while the service is being connected.
    let peer = async { CameraPeer::offer(wanted).await.map_err(CallError::from) };
    let (line, mut peer) = tokio::try_join!(Line::open(signalling), peer)?;
    peer.outlive_channel();
    let mut arrangement = Arrangement { peer, line, early: Vec::new(), answered: false, trouble: None };
    arrangement.offer().await?;
    arrangement.answered(again).await?;
    arrangement.connected().await?;
    Ok(Arranged { peer: arrangement.peer, line: arrangement.line })
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
    /// A service that says GO_AWAY now stays for as long as this takes, mostly.
    async fn answered(&mut self, again: Option<Duration>) -> Result<(), CallError> {
        let begun = clock::now();
        let mut again = again.map(|after| begun + after);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaHub;
    use crate::proto::kvs::signaling::{MAX_PAYLOAD_TAKEN, Outbound};

    /// What Amazon passes on, and what its masters look for (kvs reference §5): the payload counts in base64.
    #[tokio::test]
    async fn an_offer_of_everything_stays_under_the_limit() {
        let wanted = Wanted {
            hub: MediaHub::new(),
            video: Video::Receive,
            sound: Sound::Both(&SPOKEN),
            channel: Some("commands"),
            ice_servers: &[],
            relay_only: false,
            loopback: true,
        };
        let sdp = CameraPeer::offer(wanted).await.unwrap().sdp();
        let payload = Payload::Offer { sdp: sdp.clone() };
        let frame = Outbound { payload, recipient_client_id: None, correlation_id: None }.encode();
        let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
        let len = frame["messagePayload"].as_str().unwrap().len();
        assert!(len < MAX_PAYLOAD_TAKEN / 2, "{len} characters");
        assert!(!sdp.contains("a=candidate:"), "{sdp}");
        let sections: Vec<&str> = sdp.split("\r\nm=").skip(1).collect();
        let [sound, picture, messages] = sections[..] else { panic!("{sdp}") };
        assert!(sound.starts_with("audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\n") && sound.contains("a=sendrecv"), "{sound}");
        assert!(messages.starts_with("application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"), "{messages}");
        let profiles = picture.lines().filter_map(|line| line.split_once("profile-level-id=").map(|(_, id)| id));
        assert_eq!(profiles.collect::<Vec<_>>(), ["42e01f", "42001f", "640c1f"]);
        assert_eq!(picture.matches("packetization-mode=1").count(), 3);
    }

    #[test]
    fn everybody_is_somebody_else() {
        let (one, another) = (new_client_id().unwrap(), new_client_id().unwrap());
        assert!(one != another && one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{one} {another}");
    }
}
