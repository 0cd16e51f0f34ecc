//! From an offer to media that flow.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep_until;
use url::{Host, Url};

use super::socket::Socket;
use super::{CallError, Signalling};
use crate::clock;
use crate::media::MediaHub;
use crate::proto::kvs::signaling::{Inbound, MessageType, Payload};
use crate::rtc::camera::{CameraPeer, PeerError, Wanted};

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
) -> Result<(CameraPeer, Socket), CallError> {
    let socket = Socket::open(&signalling.url).await?;
    let loopback = is_this_machine(signalling.url.expose());
    let wanted = Wanted { hub, talk, ice_servers: &signalling.ice_servers, loopback };
    let peer = CameraPeer::offer(wanted).await?;
    let mut arrangement = Arrangement { peer, socket, early: Vec::new(), answered: false, trouble: None };
    arrangement.offer().await?;
    arrangement.answered().await?;
    arrangement.connected().await?;
    Ok((arrangement.peer, arrangement.socket))
}

/// A service on this machine has its cameras there: both are virtual.
fn is_this_machine(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

struct Arrangement {
    peer: CameraPeer,
    socket: Socket,
    /// The camera's candidates that have overtaken its answer.
    early: Vec<String>,
    answered: bool,
    /// What the service said of an offer that it could not deliver.
    trouble: Option<String>,
}

impl Arrangement {
    async fn offer(&mut self) -> Result<(), CallError> {
        let offer = Payload::Offer { sdp: self.peer.sdp().to_owned() };
        self.socket.send(offer, Some(OFFER_ID)).await
    }

    /// Our candidates wait until the offer is written, theirs until the answer has come.
    async fn answered(&mut self) -> Result<(), CallError> {
        let begun = clock::now();
        let mut again = Some(begun + OFFER_AGAIN_AFTER);
        while !self.answered {
            tokio::select! {
                frame = self.socket.next() => self.take(frame.ok_or(CallError::ServiceClosed)?).await?,
                Some(candidate) = self.peer.candidate() => self.tell(candidate).await?,
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
                    return connected.unwrap_or(Err(super::Ending::NoPath)).map_err(CallError::Ended);
                }
                frame = self.socket.next() => self.take(frame.ok_or(CallError::ServiceClosed)?).await?,
                Some(candidate) = self.peer.candidate() => self.tell(candidate).await?,
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

    async fn tell(&mut self, candidate: String) -> Result<(), CallError> {
        self.socket.send(ours(candidate), None).await
    }
}

/// Tells the camera a late candidate of ours; a service that has gone cannot.
pub(super) async fn tell(service: &mut Option<Socket>, candidate: String) {
    if let Some(socket) = service
        && socket.send(ours(candidate), None).await.is_err()
    {
        *service = None;
    }
}

/// All media share the first section's transport.
fn ours(candidate: String) -> Payload {
    Payload::Candidate { candidate, sdp_mid: Some("0".to_owned()), sdp_m_line_index: Some(0), username_fragment: None }
}

/// An exception's name, as far as it is one.
fn word(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

impl From<PeerError> for CallError {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Setup(_) => Self::Setup(error.to_string()),
            PeerError::BadAnswer | PeerError::NoVideo => Self::BadAnswer(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_this_machine_is_known_by_its_address() {
        for url in ["ws://127.0.0.1:8080/?x", "ws://localhost/", "wss://[::1]:1/"] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in ["wss://v-1.kinesisvideo.us-east-1.amazonaws.com/?x", "ws://192.168.1.2/", "", "localhost"] {
            assert!(!is_this_machine(url), "{url}");
        }
    }
}
