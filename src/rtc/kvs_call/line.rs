//! The way to a camera on which a call is arranged, for as long as the service keeps it, and again after that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tracing::Instrument;

use super::socket::Socket;
use super::{CallError, Exchange, Signalling};
use crate::clock::{self, Instant};
use crate::net::supervise::jitter;
use crate::proto::kvs::signaling::{Inbound, MessageType, Outbound, Payload};

/// A connection to the service, or none once it has hung up.
pub(super) struct Line {
    socket: Option<Socket>,
    client_id: String,
    /// The service has hung up, or has said that it will.
    leaving: bool,
    /// A connection that is being opened in its place; `None` comes of it when that is given up.
    opening: Option<BoxFuture<'static, Option<Socket>>>,
    opened_at: Instant,
    /// Connections in a row that were hardly worth opening.
    short_lived: u32,
}

impl Line {
    /// For each loss of the connection, and for connections in a row that do not last.
    const MOST_ATTEMPTS: u32 = 8;
    const LASTS: Duration = Duration::from_secs(60);

    /// # Errors
    /// As [`Socket::open`].
    pub(super) async fn open(signalling: &Signalling) -> Result<Self, CallError> {
        Ok(Self {
            socket: Some(Socket::open(signalling).await?),
            client_id: signalling.client_id.clone(),
            leaving: false,
            opening: None,
            opened_at: clock::now(),
            short_lived: 0,
        })
    }

    /// # Errors
    /// When the service has hung up.
    pub(super) async fn offer(&mut self, sdp: &str, correlation_id: &str) -> Result<(), CallError> {
        let socket = self.socket.as_mut().ok_or(CallError::ServiceClosed)?;
        let payload = Payload::Offer { sdp: sdp.to_owned() };
        let correlation_id = Some(correlation_id.to_owned());
        socket.send(&Outbound { payload, recipient_client_id: None, correlation_id }).await
    }

    /// The next frame that can be read; `None` when the service hangs up, once for each connection. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Inbound> {
        loop {
            tokio::select! {
                frame = next_of(&mut self.socket) => {
                    match &frame {
                        None => self.lose(),
                        Some(frame) => self.leaving |= frame.message_type == MessageType::GoAway,
                    }
                    return frame;
                }
                socket = opened(&mut self.opening) => self.opened(socket),
            }
        }
    }

    /// Tells the camera an address of ours, if the service is still there to do it.
    pub(super) async fn tell(&mut self, candidate: String) {
        let Some(socket) = &mut self.socket else { return };
        // All media share the first section's transport.
        let (sdp_mid, sdp_m_line_index) = (Some("0".to_owned()), Some(0));
        let payload = Payload::Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: None };
        let message = Outbound { payload, recipient_client_id: None, correlation_id: None };
        if socket.send(&message).await.is_err() {
            self.lose();
        }
    }

    /// Keeps what is between us and the service from forgetting the connection.
    pub(super) async fn ping(&mut self) {
        if let Some(socket) = &mut self.socket {
            socket.ping().await;
        }
    }

    /// Whether another connection is needed.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving && self.opening.is_none()
    }

    fn lose(&mut self) {
        self.socket = None;
        self.leaving = true;
    }

    /// For good.
    pub(super) fn hang_up(&mut self) {
        self.socket = None;
        self.leaving = false;
    }

    /// Begins to open another connection as the same viewer, which replaces this one without a word (kvs reference
    /// §4). The one that is there is kept until then. [`Self::next`] goes through with it, and gives it up in silence:
    /// nothing depends on the service while media flow.
    pub(super) fn renew(&mut self, exchange: Arc<dyn Exchange>) {
        let lasted = self.opened_at.elapsed() >= Self::LASTS;
        self.short_lived = if lasted { 0 } else { self.short_lived + 1 };
        self.leaving = false;
        let (client_id, tried) = (self.client_id.clone(), self.short_lived);
        self.opening = Some(Box::pin(open_again(exchange, client_id, tried).in_current_span()));
    }

    fn opened(&mut self, socket: Option<Socket>) {
        (self.opening, self.leaving) = (None, false);
        match socket {
            Some(socket) => {
                tracing::debug!("the signalling service is connected again");
                (self.socket, self.opened_at) = (Some(socket), clock::now());
            }
            None => tracing::info!("the signalling service cannot be reached any more; the call goes on without it"),
        }
    }
}

/// `tried`: how often another was opened in vain just before.
async fn open_again(exchange: Arc<dyn Exchange>, client_id: String, tried: u32) -> Option<Socket> {
    for attempt in tried..Line::MOST_ATTEMPTS {
        tokio::time::sleep(pause(attempt, jitter())).await;
        let opening = async { Socket::open(&exchange.signalling(&client_id).await?).await };
        match opening.await {
            Ok(socket) => return Some(socket),
            Err(error) => tracing::debug!(%error, "connecting to the signalling service again"),
        }
    }
    None
}

/// None before the first attempt; then anything up to 200 ms, doubling to 10 s: what Amazon's C client does (kvs
/// reference §4). `jitter` is a random number in `0.0..1.0`.
fn pause(attempt: u32, jitter: f64) -> Duration {
    const UNIT: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);
    match attempt {
        0 | 1 => Duration::ZERO,
        _ => UNIT.saturating_mul(1 << (attempt - 1).min(10)).min(LONGEST).mul_f64(jitter),
    }
}

async fn next_of(socket: &mut Option<Socket>) -> Option<Inbound> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

async fn opened(opening: &mut Option<BoxFuture<'static, Option<Socket>>>) -> Option<Socket> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_made_at_once_and_the_others_ever_later() {
        let longest: Vec<u128> = (0..9).map(|attempt| pause(attempt, 1.0).as_millis()).collect();
        assert_eq!(longest, [0, 0, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert_eq!(pause(5, 0.0), Duration::ZERO, "all clients at once would come back all at once");
        assert_eq!(pause(u32::MAX, 0.5), Duration::from_secs(5));
    }
}
