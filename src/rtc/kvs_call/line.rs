//! The way to a camera on which a call is arranged, for as long as the service keeps it.

use super::socket::Socket;
use super::{CallError, Signalling};
use crate::proto::kvs::signaling::{Inbound, Outbound, Payload};

/// `None` once the service has hung up.
pub(super) struct Line(Option<Socket>);

impl Line {
    /// # Errors
    /// As [`Socket::open`].
    pub(super) async fn open(signalling: &Signalling) -> Result<Self, CallError> {
        Ok(Self(Some(Socket::open(signalling).await?)))
    }

    /// # Errors
    /// When the service has hung up.
    pub(super) async fn offer(&mut self, sdp: &str, correlation_id: &str) -> Result<(), CallError> {
        let socket = self.0.as_mut().ok_or(CallError::ServiceClosed)?;
        let payload = Payload::Offer { sdp: sdp.to_owned() };
        let correlation_id = Some(correlation_id.to_owned());
        socket.send(&Outbound { payload, recipient_client_id: None, correlation_id }).await
    }

    /// The next frame that can be read; `None` once, when the service hangs up. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Inbound> {
        let Some(socket) = &mut self.0 else { return std::future::pending().await };
        let frame = socket.next().await;
        if frame.is_none() {
            self.hang_up();
        }
        frame
    }

    /// Tells the camera an address of ours, if the service is still there to do it.
    pub(super) async fn tell(&mut self, candidate: String) {
        let Some(socket) = &mut self.0 else { return };
        // All media share the first section's transport.
        let (sdp_mid, sdp_m_line_index) = (Some("0".to_owned()), Some(0));
        let payload = Payload::Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: None };
        let message = Outbound { payload, recipient_client_id: None, correlation_id: None };
        if socket.send(&message).await.is_err() {
            self.hang_up();
        }
    }

    /// Keeps what is between us and the service from forgetting the connection.
    pub(super) async fn ping(&mut self) {
        if let Some(socket) = &mut self.0 {
            socket.ping().await;
        }
    }

    pub(super) fn hang_up(&mut self) {
        self.0 = None;
    }
}
