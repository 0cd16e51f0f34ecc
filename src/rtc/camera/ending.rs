//! How connections end, and how that is noticed.

use std::sync::Arc;
use std::time::Duration;

use rtc::peer_connection::transport::RTCDtlsTransportState;
use tokio::sync::watch;
use webrtc::peer_connection::transport::DtlsTransport;
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

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

/// Until the other side cannot be reached any more: ICE has heard nothing for a while, and for `grace` after that.
pub(super) async fn unreachable(mut state: watch::Receiver<RTCPeerConnectionState>, grace: Duration) -> Ending {
    loop {
        let now = *state.borrow_and_update();
        match now {
            RTCPeerConnectionState::Failed => return Ending::Lost,
            RTCPeerConnectionState::Closed => return Ending::HungUp,
            RTCPeerConnectionState::Disconnected => {
                if tokio::time::timeout(grace, state.changed()).await.is_err() {
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

/// Until the engine has given the connection up.
pub(super) async fn over(mut state: watch::Receiver<RTCPeerConnectionState>) {
    use RTCPeerConnectionState::{Closed, Failed};
    // An error means that the engine is gone.
    let _over = state.wait_for(|state| matches!(state, Failed | Closed)).await;
}

/// Until the camera has said good-bye. The engine's connection stays "connected" then: an open data channel is told at
/// once that it is closed; without one, DTLS must be looked at.
pub(super) async fn hung_up(connection: &dyn PeerConnection, channel_closed: Option<impl Future<Output = ()>>) {
    let channel_closed = async move {
        match channel_closed {
            Some(closed) => closed.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = channel_closed => {}
        () = dtls_closed(connection) => {}
    }
}

async fn dtls_closed(connection: &dyn PeerConnection) {
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(transport) = dtls(connection).await else { continue };
        if matches!(transport.state().await, Ok(RTCDtlsTransportState::Closed | RTCDtlsTransportState::Failed)) {
            return;
        }
    }
}

/// Everything goes over one, be it sound, pictures or messages alone.
async fn dtls(connection: &dyn PeerConnection) -> Option<Arc<dyn DtlsTransport>> {
    for receiver in connection.get_receivers().await {
        if let Ok(Some(transport)) = receiver.transport().await {
            return Some(transport);
        }
    }
    for sender in connection.get_senders().await {
        if let Ok(Some(transport)) = sender.transport().await {
            return Some(transport);
        }
    }
    connection.sctp().await.map(|sctp| sctp.transport())
}
