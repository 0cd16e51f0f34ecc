//! From an offer to an open channel.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::signals::Signals;
use super::{CallError, Calling};
use crate::clock::{self, Instant};
use crate::media::{AudioFormat, MediaHub};
use crate::proto::vivint::channel;
use crate::proto::vivint::signaling::{Heard, Offer};
use crate::rtc::camera::{CameraPeer, Channel, Ending, PeerError, Sound, Video, Wanted};

/// A TURN server that does not answer holds nothing up for longer; it ends as soon as all addresses are known.
const GATHER_WITHIN: Duration = Duration::from_secs(3);
/// From the descriptions on, up to an open channel. ICE gives up after 10 s by itself.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// What Doorstep speaks of what Vivint's app offers.
const SPOKEN: &[AudioFormat] = &[AudioFormat::OPUS, AudioFormat::PCMU];

/// A call whose channel is open and whose media do not flow yet.
pub(super) struct Arranged {
    pub(super) peer: CameraPeer,
    pub(super) channel: Channel,
    pub(super) signals: Signals,
}

/// Calls, up to a channel that is open.
pub(super) async fn arrange(calling: Calling<'_>) -> Result<Arranged, CallError> {
    let ready = timeout_at(calling.deadline, calling.database.ready());
    let uid = ready.await.map_err(|_| CallError::NotReady)??;
    let interrupted = interrupted(calling.database.connection());
    let agreed = tokio::select! {
        agreed = timeout_at(calling.deadline, agree(calling, uid)) => agreed.map_err(|_| CallError::NoAnswer)??,
        () = interrupted => return Err(CallError::Interrupted),
    };
    agreed.connected(calling.deadline).await
}

/// A message that was put on an earlier connection may have been lost, and so may its answer.
async fn interrupted(mut connection: watch::Receiver<u64>) {
    connection.mark_unchanged();
    // The sender goes only with the database itself, which then fails whatever is asked of it.
    if connection.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Both sides have said who they are.
async fn agree(calling: Calling<'_>, uid: String) -> Result<Agreed, CallError> {
    let mut signals = Signals::open(calling, uid).await?;
    let theirs = tokio::select! {
        biased;
        theirs = signals.offered() => theirs,
        ours = ours(calling) => return offer(ours?, signals).await,
    };
    answer(calling, signals, theirs).await
}

/// Our side of the connection, which offers.
async fn ours(calling: Calling<'_>) -> Result<CameraPeer, PeerError> {
    let mut peer = CameraPeer::offer(wanted(calling)).await?;
    peer.gathered(GATHER_WITHIN).await;
    Ok(peer)
}

async fn offer(mut peer: CameraPeer, mut signals: Signals) -> Result<Agreed, CallError> {
    signals.offer(peer.sdp()).await?;
    loop {
        tokio::select! {
            heard = signals.next() => if let Heard::Answer { sdp } = heard {
                peer.answer(&sdp).await?;
                return Ok(Agreed { peer, signals });
            },
            Some(candidate) = peer.candidate() => signals.tell_candidate(&candidate),
        }
    }
}

/// The camera offers first.
async fn answer(calling: Calling<'_>, mut signals: Signals, offer: Offer) -> Result<Agreed, CallError> {
    tracing::debug!("the doorbell calls by itself");
    let mut peer = CameraPeer::answer_to(wanted(calling), &offer.sdp).await?;
    peer.gathered(GATHER_WITHIN).await;
    signals.answer(peer.sdp(), &offer).await?;
    Ok(Agreed { peer, signals })
}

fn wanted(calling: Calling<'_>) -> Wanted<'_> {
    Wanted {
        // What the camera hears comes with its picture, by RTSP; whether it comes here too is not known.
        hub: MediaHub::new(),
        video: Video::None,
        sound: Sound::Both(SPOKEN),
        channel: Some(channel::LABEL),
        ice_servers: calling.ice_servers,
        relay_only: false,
        loopback: calling.loopback,
    }
}

/// The descriptions are exchanged.
struct Agreed {
    peer: CameraPeer,
    signals: Signals,
}

impl Agreed {
    async fn connected(mut self, deadline: Instant) -> Result<Arranged, CallError> {
        let deadline = deadline.min(clock::now() + CONNECT_WITHIN);
        let mut channel = self.peer.take_channel().ok_or(CallError::Ended(Ending::HungUp))?;
        let connected = self.peer.connected();
        let opened = async {
            connected.await?;
            channel.opened().await
        };
        timeout_at(deadline, self.exchange_until(opened)).await.unwrap_or(Err(Ending::NoPath))?;
        Ok(Arranged { peer: self.peer, channel, signals: self.signals })
    }

    /// Tells and takes addresses until `opened` has resolved.
    async fn exchange_until(&mut self, opened: impl Future<Output = Result<(), Ending>>) -> Result<(), Ending> {
        let mut opened = std::pin::pin!(opened);
        loop {
            tokio::select! {
                opened = &mut opened => return opened,
                candidate = self.signals.candidate() => self.peer.add_candidate(&candidate).await,
                Some(candidate) = self.peer.candidate() => self.signals.tell_candidate(&candidate),
            }
        }
    }
}
