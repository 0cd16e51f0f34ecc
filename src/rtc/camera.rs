//! A WebRTC connection to a camera, which we offer and the camera answers: its picture and sound go to the hub,
//! speech goes to its speaker.
//!
//! What the engine (`webrtc` 0.21.1) does not do by itself is done here: it tells no loss of the peer but by ICE's
//! timers, asks for no keyframe, binds no loopback address when told to bind all, and stumbles over spellings of
//! candidates that cameras use.

mod answer;
mod candidates;
mod codecs;
mod depacketize;
mod receive;
mod reorder;
mod rtp_clock;
mod speech;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use webrtc::error::Error;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription, Registry,
    SettingEngine, SettingEngineBuilder, configure_nack, configure_rtcp_reports, configure_twcc_receiver_only,
};

pub(crate) use depacketize::{Depacketizer, Piece};
pub(crate) use rtp_clock::RtpClock;

use super::interfaces;
use super::kvs_call::IceServer;
use crate::clock::{self, Instant};
use crate::media::{AudioFormat, MediaHub};
use answer::Answer;
use receive::Receiver;
use speech::{Microphone, Speech};

/// What a connection is for.
pub(super) struct Wanted<'a> {
    pub(super) hub: MediaHub,
    /// Whether to ask for the speaker too.
    pub(super) talk: bool,
    pub(super) ice_servers: &'a [IceServer],
    /// The camera may be on this machine: a virtual one.
    pub(super) loopback: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("WebRTC could not be set up: {0}")]
    Setup(#[source] Error),
    /// The engine's words are left out: they may repeat lines of the answer, which hold the ICE password.
    #[error("its answer cannot be understood")]
    BadAnswer,
    #[error("it sends no H.264 video")]
    NoVideo,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    #[error("no way to the doorbell through the network was found")]
    NoPath,
    #[error("the doorbell can no longer be reached")]
    Lost,
    #[error("the doorbell hung up")]
    HungUp,
    #[error("the doorbell sends no picture")]
    Silent,
}

/// One connection. Dropping it hangs up.
pub(super) struct CameraPeer {
    connection: Arc<dyn PeerConnection>,
    offer: String,
    /// Ours. Full: the last ones are dropped; so many lead nowhere anyway.
    candidates: mpsc::Receiver<String>,
    next_candidate: Instant,
    remote_candidates: usize,
    state: watch::Receiver<RTCPeerConnectionState>,
    microphone: Option<Microphone>,
    speech: Option<Speech>,
    /// `None` once the media flow.
    waiting: Option<Receiver>,
}

impl CameraPeer {
    const MOST_CANDIDATES: usize = 32;
    /// Amazon passes on 20 a second (kvs reference §4).
    const CANDIDATES_APART: Duration = Duration::from_millis(55);
    /// Sockets of one connection.
    const MOST_ADDRESSES: usize = 8;

    /// Makes the offer, and begins to look for candidates.
    ///
    /// # Errors
    /// `Setup`: no socket, or no randomness.
    pub(super) async fn offer(wanted: Wanted<'_>) -> Result<Self, PeerError> {
        Self::try_offer(wanted).await.map_err(PeerError::Setup)
    }

    async fn try_offer(wanted: Wanted<'_>) -> Result<Self, Error> {
        let (candidate_sender, candidates) = mpsc::channel(Self::MOST_CANDIDATES);
        // One picture and one sound; more streams are left out.
        let (track_sender, tracks) = mpsc::channel(2);
        let (state_sender, state) = watch::channel(RTCPeerConnectionState::New);
        let events = Events { candidates: candidate_sender, tracks: track_sender, state: state_sender };
        let connection = connect(&wanted, events).await?;
        // From here on whatever fails hangs up.
        let mut peer = Self {
            connection,
            offer: String::new(),
            candidates,
            next_candidate: clock::now(),
            remote_candidates: 0,
            state,
            microphone: None,
            speech: None,
            waiting: Some(Receiver::new(wanted.hub, tracks)),
        };
        if wanted.talk {
            peer.microphone = Some(Microphone::add_to(&*peer.connection).await?);
        } else {
            peer.receive(RtpCodecKind::Audio).await?;
        }
        peer.receive(RtpCodecKind::Video).await?;
        let offer = peer.connection.create_offer(None).await?;
        // Said for us: cameras without it wait until they know all their addresses (RFC 8840 §4.1.1).
        peer.offer = offer.sdp.replacen("t=0 0\r\n", "t=0 0\r\na=ice-options:trickle\r\n", 1);
        peer.connection.set_local_description(offer).await?;
        Ok(peer)
    }

    async fn receive(&self, kind: RtpCodecKind) -> Result<(), Error> {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: vec![],
            send_encodings: vec![],
        };
        self.connection.add_transceiver_from_kind(kind, Some(init)).await?;
        Ok(())
    }

    /// The offer, without candidates.
    pub(super) fn sdp(&self) -> &str {
        &self.offer
    }

    /// The next address of ours that the camera is to be told; `None` when there will be no more. May be cancelled.
    pub(super) async fn candidate(&mut self) -> Option<String> {
        tokio::time::sleep_until(self.next_candidate).await;
        let candidate = self.candidates.recv().await;
        self.next_candidate = clock::now() + Self::CANDIDATES_APART;
        candidate
    }

    /// Takes the camera's answer, once.
    ///
    /// # Errors
    /// `BadAnswer`, `NoVideo`.
    pub(super) async fn answer(&mut self, text: &str) -> Result<(), PeerError> {
        let answer = Answer::parse(text);
        if !answer.has_video {
            return Err(PeerError::NoVideo);
        }
        if let (Some(microphone), Some(format)) = (self.microphone.take(), answer.speech) {
            self.speech = Some(microphone.negotiated(format).await.map_err(PeerError::Setup)?);
        }
        let description = RTCSessionDescription::answer(answer.sdp).map_err(|_| PeerError::BadAnswer)?;
        self.connection.set_remote_description(description).await.map_err(|_| PeerError::BadAnswer)?;
        for candidate in answer.candidates {
            self.add(candidate).await;
        }
        Ok(())
    }

    /// Takes an address of the camera. To be called after the answer has been taken.
    pub(super) async fn add_candidate(&mut self, candidate: &str) {
        if let Some(candidate) = candidates::cleaned(candidate) {
            self.add(candidate).await;
        }
    }

    async fn add(&mut self, candidate: String) {
        if self.remote_candidates < Self::MOST_CANDIDATES {
            self.remote_candidates += 1;
            // One that the engine refuses is one that leads nowhere.
            let candidate = RTCIceCandidateInit { candidate, ..Default::default() };
            let _refused = self.connection.add_ice_candidate(candidate).await;
        }
    }

    /// Resolves when the way to the camera is open and encrypted.
    ///
    /// # Errors
    /// `NoPath` when that cannot be.
    pub(super) fn connected(&self) -> impl Future<Output = Result<(), Ending>> + Send + use<> {
        use RTCPeerConnectionState::{Closed, Connected, Failed};
        let mut state = self.state.clone();
        async move {
            let settled = state.wait_for(|state| matches!(state, Connected | Failed | Closed)).await;
            let connected = settled.is_ok_and(|state| *state == Connected);
            if connected { Ok(()) } else { Err(Ending::NoPath) }
        }
    }

    /// Lets the media flow to the hub, once, until the connection has ended or the handle is aborted or dropped.
    pub(super) fn flow(&mut self) -> AbortOnDropHandle<Ending> {
        let (receiver, state, connection) = (self.waiting.take(), self.state.clone(), self.connection.clone());
        let flowing = async move {
            let Some(receiver) = receiver else { return Ending::HungUp };
            tokio::select! {
                biased;
                ending = unreachable(state) => ending,
                () = hung_up(&*connection) => Ending::HungUp,
                () = receiver.run() => Ending::Silent,
            }
        };
        AbortOnDropHandle::new(tokio::spawn(flowing.in_current_span()))
    }

    /// What the camera's speaker takes, if it has answered that it takes anything.
    pub(super) fn speech_format(&self) -> Option<AudioFormat> {
        self.speech.as_ref().map(|speech| speech.format)
    }

    /// Sends 20 ms of sound in that format.
    pub(super) async fn speak(&mut self, payload: Bytes) {
        if let Some(speech) = &mut self.speech {
            speech.send(payload).await;
        }
    }
}

impl Drop for CameraPeer {
    /// The engine goes on without an end unless it is closed, and closing takes seconds when the camera is silent.
    fn drop(&mut self) {
        let connection = self.connection.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { connection.close().await });
        }
    }
}

/// Until the camera cannot be reached any more.
async fn unreachable(mut state: watch::Receiver<RTCPeerConnectionState>) -> Ending {
    /// A camera on Wi-Fi is now and then away for a moment; ICE has waited 2 s by then.
    const GRACE: Duration = Duration::from_secs(2);
    loop {
        let now = *state.borrow_and_update();
        match now {
            RTCPeerConnectionState::Failed => return Ending::Lost,
            RTCPeerConnectionState::Closed => return Ending::HungUp,
            RTCPeerConnectionState::Disconnected => {
                if tokio::time::timeout(GRACE, state.changed()).await.is_err() {
                    return Ending::Lost;
                }
            }
            _ => {
                if state.changed().await.is_err() {
                    return Ending::HungUp;
                }
            }
        }
    }
}

/// Until the camera has said good-bye. The engine has no event for it and its connection stays "connected".
async fn hung_up(connection: &dyn PeerConnection) {
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for receiver in connection.get_receivers().await {
            let Ok(Some(transport)) = receiver.transport().await else { continue };
            if matches!(transport.state().await, Ok(RTCDtlsTransportState::Closed | RTCDtlsTransportState::Failed)) {
                return;
            }
        }
    }
}

/// Called by the engine on its own task, so it never waits.
struct Events {
    candidates: mpsc::Sender<String>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let _full_or_gone = self.candidates.try_send(init.candidate);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tracing::debug!(%state, "connection to the camera");
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _full_or_gone = self.tracks.try_send(track);
    }
}

async fn connect(wanted: &Wanted<'_>, events: Events) -> Result<Arc<dyn PeerConnection>, Error> {
    let mut media = MediaEngine::default();
    codecs::register(&mut media)?;
    // Asking for lost packets, reports, and feedback from which a camera chooses its rate.
    let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut media));
    let registry = configure_twcc_receiver_only(registry, &mut media)?;
    let servers = candidates::usable_servers(wanted.ice_servers);
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::default().with_ice_servers(servers).build())
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings())
        .with_handler(Arc::new(events))
        .with_udp_addrs(sockets(wanted.loopback))
        .build()
        .await?;
    Ok(Arc::new(connection))
}

fn settings() -> SettingEngine {
    SettingEngineBuilder::new()
        // A camera that has vanished is noticed after 2 s; one that has not been reached yet has 2 s and 8 s.
        .with_ice_timeouts(Some(Duration::from_secs(2)), Some(Duration::from_secs(8)), Some(Duration::from_millis(500)))
        // A camera's own checks may begin seconds after its answer.
        .with_ice_connection_attempts(Some(Duration::from_millis(100)), Some(100))
        // The default opens a multicast socket for each connection.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build()
}

/// A socket for each address of ours: the engine passes over loopback when it is told to bind them all.
fn sockets(loopback: bool) -> Vec<SocketAddr> {
    let mut all = interfaces::advertised(Ipv6Addr::UNSPECIFIED.into(), &[], loopback).unwrap_or_default();
    all.truncate(CameraPeer::MOST_ADDRESSES);
    if all.is_empty() {
        all.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    all.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_offer_is_small_and_says_what_cameras_look_for() {
        for (talk, direction) in [(true, "a=sendrecv"), (false, "a=recvonly")] {
            let wanted = Wanted { hub: MediaHub::new(), talk, ice_servers: &[], loopback: true };
            let peer = CameraPeer::offer(wanted).await.unwrap();
            let (session, sections) = peer.sdp().split_once("m=").unwrap();
            assert!(
                session.contains("a=ice-options:trickle\r\n") && session.contains("a=group:BUNDLE 0 1"),
                "{session}"
            );
            let (sound, video) = sections.split_once("m=").unwrap();
            assert!(sound.starts_with("audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\n") && sound.contains(direction), "{sound}");
            assert!(video.starts_with("video 9 UDP/TLS/RTP/SAVPF 102 104 106\r\n"), "{video}");
            assert!(video.contains("a=rtcp-fb:102 nack pli") && video.contains("a=recvonly"), "{video}");
            assert!(!peer.sdp().contains("a=candidate:"));
            // Of the 10,000 characters of base64 that Amazon passes on.
            assert!(peer.sdp().len() < 3_000, "{} bytes", peer.sdp().len());
        }
    }
}
