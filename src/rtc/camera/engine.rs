//! How the engine is set up, and what it tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rtc::ice::mdns::MulticastDnsMode;
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::DataChannel;
use webrtc::error::Error;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfiguration,
    RTCConfigurationBuilder, RTCIceCandidateType, RTCIceGatheringState, RTCIceTransportPolicy,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, Registry, SettingEngine, SettingEngineBuilder, configure_nack,
    configure_rtcp_reports, configure_twcc_receiver_only,
};

use super::codecs::{SoundCodecs, VideoCodecs};
use super::{Video, Wanted, candidates};
use crate::clock;
use crate::rtc::feedback::{self, Asked, Feedback};
use crate::rtc::interfaces;

/// Sockets of one connection.
const MOST_ADDRESSES: usize = 8;
/// Of ours that wait to be told, and of theirs that come behind the description. Full: the last ones are dropped; so
/// many lead nowhere anyway.
pub(super) const MOST_CANDIDATES: usize = 32;
/// One picture and one sound. Full: more streams are left out.
const MOST_TRACKS: usize = 2;
/// Channels that the camera opens. Full: more are left out.
const MOST_CHANNELS: usize = 4;
/// Bytes that wait for the camera to take them; who sends more waits.
const UNSENT: usize = 1 << 16;

/// What the engine tells from now on.
pub(super) struct News {
    pub(super) candidates: mpsc::Receiver<String>,
    pub(super) tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    pub(super) channels: mpsc::Receiver<Arc<dyn DataChannel>>,
    pub(super) gathering: watch::Receiver<RTCIceGatheringState>,
    pub(super) state: watch::Receiver<RTCPeerConnectionState>,
    /// What we show begins anew for who has asked for it.
    pub(super) asked: Asked,
}

/// The other end of [`News`]: called by the engine on its own task, so it never waits.
struct Events {
    candidates: mpsc::Sender<String>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
    channels: mpsc::Sender<Arc<dyn DataChannel>>,
    gathering: watch::Sender<RTCIceGatheringState>,
    state: watch::Sender<RTCPeerConnectionState>,
}

fn news() -> (Events, News) {
    let (candidate_sender, candidates) = mpsc::channel(MOST_CANDIDATES);
    let (track_sender, tracks) = mpsc::channel(MOST_TRACKS);
    let (channel_sender, channels) = mpsc::channel(MOST_CHANNELS);
    let (gathering_sender, gathering) = watch::channel(RTCIceGatheringState::New);
    let (state_sender, state) = watch::channel(RTCPeerConnectionState::New);
    let events = Events {
        candidates: candidate_sender,
        tracks: track_sender,
        channels: channel_sender,
        gathering: gathering_sender,
        state: state_sender,
    };
    (events, News { candidates, tracks, channels, gathering, state, asked: Asked::default() })
}

#[async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let _full_or_gone = self.candidates.try_send(init.candidate);
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathering.send_replace(state);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tracing::debug!(%state, "connection to the camera");
        self.state.send_replace(state);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _full_or_gone = self.channels.try_send(channel);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _full_or_gone = self.tracks.try_send(track);
    }
}

/// A connection that has not begun.
pub(super) async fn connection(
    wanted: &Wanted<'_>,
    sound: &SoundCodecs,
    video: &VideoCodecs,
) -> Result<(Arc<dyn PeerConnection>, News), Error> {
    let mut media = MediaEngine::default();
    sound.register(&mut media)?;
    video.register(&mut media)?;
    // Asking for lost packets, reports, and feedback from which a camera chooses its rate.
    let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut media));
    let registry = configure_twcc_receiver_only(registry, &mut media)?;
    let (events, news) = news();
    let now = clock::now().into_std();
    let registry = registry.with(feedback::slot(), Feedback::new(news.asked.clone(), now));
    let connection = PeerConnectionBuilder::new()
        .with_configuration(ways(wanted))
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings(wanted.relay_only, Patience::with(&wanted.video)))
        .with_handler(Arc::new(events))
        .with_udp_addrs(sockets(wanted.loopback))
        .with_data_channel_send_buffer_limit(UNSENT)
        .build()
        .await?;
    Ok((Arc::new(connection), news))
}

/// Makes the engine go through with what it has begun: by itself it waits for a packet or a timer first, 100 ms with
/// the check of a new candidate. To be told the configuration that it has does nothing else.
pub(super) async fn wake(connection: &dyn PeerConnection) {
    let configuration = connection.get_configuration().await;
    let _over = connection.set_configuration(configuration).await;
}

/// Wakes the engine while a data channel is being opened, which takes six packets: it would wait 400 ms before the
/// first, and 200 ms before it looks at one that came too early (measured).
pub(super) async fn hurry(connection: &dyn PeerConnection) {
    const TIMES: u32 = 50;
    const EVERY: Duration = Duration::from_millis(10);
    for _ in 0..TIMES {
        wake(connection).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether the pair of candidates that was chosen goes through a relay. Nothing is known of it without media.
pub(super) async fn is_relayed(connection: &dyn PeerConnection) -> bool {
    for receiver in connection.get_receivers().await {
        let Ok(Some(transport)) = receiver.transport().await else { continue };
        if let Ok(Some(pair)) = transport.ice_transport().get_selected_candidate_pair().await {
            let (local, remote) = (pair.local(), pair.remote());
            return [local, remote].iter().any(|end| end.typ == RTCIceCandidateType::Relay);
        }
    }
    false
}

fn ways(wanted: &Wanted<'_>) -> RTCConfiguration {
    let policy = if wanted.relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
    RTCConfigurationBuilder::default()
        .with_ice_servers(candidates::usable_servers(wanted.ice_servers))
        .with_ice_transport_policy(policy)
        .build()
}

/// How long the other side may say nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Then it counts as away.
    away: Duration,
    /// From then on one that has been reached before is waited for.
    pub(super) grace: Duration,
    /// And so long one that has not.
    lost: Duration,
}

impl Patience {
    pub(super) fn with(video: &Video) -> Self {
        const fn s(seconds: u64) -> Duration {
            Duration::from_secs(seconds)
        }
        match video {
            // A camera on Wi-Fi is now and then away for a moment.
            Video::None | Video::Receive => Self { away: s(2), grace: s(2), lost: s(8) },
            // A doorbell keeps its viewer's place for 30 s (kvs reference §5): people change networks.
            Video::Send(_) => Self { away: s(5), grace: s(25), lost: s(25) },
        }
    }
}

fn settings(relay_only: bool, Patience { away, lost, .. }: Patience) -> SettingEngine {
    // 2 s are given to better ways before one over a relay is taken. Here there are no better ones.
    let relay_wait = if relay_only { Duration::ZERO } else { Duration::from_secs(2) };
    SettingEngineBuilder::new()
        .with_relay_acceptance_min_wait(Some(relay_wait))
        .with_ice_timeouts(Some(away), Some(lost), Some(Duration::from_millis(500)))
        // As often as RFC 8445 §14.2 would have it: a way is taken with the second check. For 10 s, since a camera's
        // own checks may begin seconds after its answer.
        .with_ice_connection_attempts(Some(Duration::from_millis(50)), Some(200))
        // The default opens a multicast socket for each connection.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build()
}

/// A socket for each address of ours: the engine passes over loopback when it is told to bind them all.
fn sockets(loopback: bool) -> Vec<SocketAddr> {
    let mut all = interfaces::advertised(Ipv6Addr::UNSPECIFIED.into(), &[], loopback).unwrap_or_default();
    all.truncate(MOST_ADDRESSES);
    if all.is_empty() {
        all.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    all.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
}
