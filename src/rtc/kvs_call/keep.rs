//! A call whose media flow, until one side hangs up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::arrange::{self, Arranged};
use super::commands::{Commands, Conversation};
use super::line::Line;
use super::{CallError, Ending, Exchange, Wish};
use crate::clock;
use crate::media::{Frame, FrameStream, MediaHub};
use crate::proto::kvs::signaling::{Inbound, MessageType, Payload};
use crate::rtc::camera::CameraPeer;

/// The service may go: media that flow are not touched by that.
pub(super) struct Kept {
    peer: CameraPeer,
    line: Line,
    wish: Wish,
    /// Without one the call does not outlive its first connection and its first relays.
    exchange: Option<Arc<dyn Exchange>>,
    media: AbortOnDropHandle<Ending>,
    conversation: Option<Conversation>,
    /// Of a call that has taken the first one's place.
    passing_on: Option<AbortOnDropHandle<()>>,
    successor: Option<AbortOnDropHandle<Result<Successor, CallError>>>,
    search: Search,
}

/// When another relay was looked for last.
#[derive(Default)]
struct Search(Option<Instant>);

impl Search {
    /// Each is a whole call more, at the service and at the camera. A relay that was given lasts for minutes.
    const APART: Duration = Duration::from_secs(30);

    /// Whether another may begin now.
    fn begins(&mut self, now: Instant) -> bool {
        let begins = self.0.is_none_or(|last| now.saturating_duration_since(last) >= Self::APART);
        if begins {
            self.0 = Some(now);
        }
        begins
    }
}

impl Kept {
    pub(super) fn new(arranged: Arranged, wish: Wish, exchange: Option<Arc<dyn Exchange>>) -> (Self, Option<Commands>) {
        let Arranged { mut peer, line } = arranged;
        let media = peer.flow();
        let (conversation, commands) = wish.channel.map(|_| Conversation::start(peer.take_channel())).unzip();
        let search = Search::default();
        let kept = Self { peer, line, wish, exchange, media, conversation, passing_on: None, successor: None, search };
        (kept, commands)
    }

    pub(super) async fn run(mut self, mut pieces: mpsc::Receiver<Bytes>, stop: CancellationToken) -> Ending {
        let mut pings = pings();
        let ending = loop {
            if self.line.is_leaving() {
                self.stay_in_touch();
            }
            tokio::select! {
                () = stop.cancelled() => break self.hush().await,
                ending = &mut self.media => break ending.unwrap_or(Ending::HungUp),
                Some(piece) = pieces.recv() => self.peer.speak(piece).await,
                frame = self.line.next() => if let Some(frame) = frame {
                    self.take(frame).await;
                },
                Some(candidate) = self.peer.candidate() => self.line.tell(candidate).await,
                successor = ready(&mut self.successor) => {
                    self.successor = None;
                    self.succeed(successor).await;
                }
                _ = pings.tick() => self.line.ping().await,
            }
        };
        self.pass_on_no_more().await;
        ending
    }

    /// Stops the media that flow.
    async fn hush(&mut self) -> Ending {
        self.media.abort();
        (&mut self.media).await.unwrap_or(Ending::HungUp)
    }

    /// Nothing comes to the hub any more once the media are hushed and this has resolved.
    async fn pass_on_no_more(&mut self) {
        if let Some(passing_on) = self.passing_on.take() {
            passing_on.abort();
            let _aborted = passing_on.await;
        }
    }

    fn stay_in_touch(&mut self) {
        match self.exchange.clone() {
            Some(exchange) => self.line.renew(exchange),
            None => self.line.hang_up(),
        }
    }

    async fn take(&mut self, frame: Inbound) {
        match frame {
            Inbound { payload: Some(Payload::Candidate { candidate, .. }), .. } => {
                self.peer.add_candidate(&candidate).await;
            }
            Inbound { message_type: MessageType::ReconnectIceServer, .. } => self.look_for_another_relay().await,
            _ => {}
        }
    }

    /// Our relay will go. Restarting ICE would be the textbook's way. It is not ours: the engine takes the selected
    /// pair down the moment that the new offer is applied, so that pictures stop until an answer has come and checks
    /// have passed (`rtc` 0.21.1, `Agent::apply_restart`), and no answer to it is to be expected: Amazon's C master
    /// refuses a second offer of a viewer whose call is up, and its Python master begins a new connection for it. So a
    /// second call is placed beside this one, as another viewer, and takes its place when its first picture is there.
    /// Where that fails, as at a camera that has no room for one viewer more, this call goes on for as long as it can.
    async fn look_for_another_relay(&mut self) {
        let Some(exchange) = self.exchange.clone() else { return };
        if self.successor.is_none() && self.peer.is_relayed().await && self.search.begins(clock::now()) {
            tracing::info!("the relay of this call is about to go; placing another call beside it");
            let calling = Successor::call(exchange, self.wish.clone());
            self.successor = Some(AbortOnDropHandle::new(tokio::spawn(calling.in_current_span())));
        }
    }

    async fn succeed(&mut self, successor: Result<Successor, CallError>) {
        let successor = match successor {
            Ok(successor) if successor.peer.speech_format() == self.peer.speech_format() => successor,
            Ok(_) => return tracing::info!("the other call is of another kind; staying with this one"),
            Err(error) => return tracing::info!(%error, "there is no other call; staying with this one"),
        };
        // An end of its own just now is of no account any more.
        let _ending = self.hush().await;
        self.pass_on_no_more().await;
        let Successor { mut peer, line, media, hub, first, frames } = successor;
        self.wish.hub.begin_session();
        let passing_on = pass_on(hub, first, frames, self.wish.hub.clone());
        self.passing_on = Some(AbortOnDropHandle::new(tokio::spawn(passing_on.in_current_span())));
        if let Some(conversation) = &mut self.conversation {
            conversation.move_to(peer.take_channel());
        }
        (self.peer, self.line, self.media) = (peer, line, media);
    }
}

/// An idle connection is closed after 10 min (kvs reference §4).
fn pings() -> Interval {
    const PING_EVERY: Duration = Duration::from_secs(60);
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// A call to the same camera that shows its pictures already, in a hub of its own.
struct Successor {
    peer: CameraPeer,
    line: Line,
    media: AbortOnDropHandle<Ending>,
    hub: MediaHub,
    first: Arc<Frame>,
    frames: FrameStream,
}

impl Successor {
    async fn call(exchange: Arc<dyn Exchange>, wish: Wish) -> Result<Self, CallError> {
        let hub = MediaHub::new();
        let mut frames = hub.listen();
        let Arranged { mut peer, line } =
            arrange::by_new_relays(&*exchange, &Wish { hub: hub.clone(), ..wish }).await?;
        let mut media = peer.flow();
        let first = tokio::select! {
            first = keyframe(&mut frames) => first.ok_or(CallError::Ended(Ending::HungUp))?,
            ending = &mut media => return Err(CallError::Ended(ending.unwrap_or(Ending::HungUp))),
        };
        Ok(Self { peer, line, media, hub, first, frames })
    }
}

async fn keyframe(frames: &mut FrameStream) -> Option<Arc<Frame>> {
    loop {
        let frame = frames.next().await?;
        if frame.kind.is_keyframe() {
            return Some(frame);
        }
    }
}

/// From one hub to another, as a session that begins with this picture.
async fn pass_on(from: MediaHub, first: Arc<Frame>, mut frames: FrameStream, to: MediaHub) {
    let begun = first.pts;
    let mut next = Some(first);
    while let Some(frame) = next {
        to.publish(frame.kind, frame.pts.saturating_sub(begun), frame.data.clone());
        next = loop {
            tokio::select! {
                frame = frames.next() => break frame,
                () = to.keyframe_wanted() => from.request_keyframe(),
            }
        };
    }
}

async fn ready(
    successor: &mut Option<AbortOnDropHandle<Result<Successor, CallError>>>,
) -> Result<Successor, CallError> {
    match successor {
        Some(successor) => successor.await.unwrap_or(Err(CallError::Ended(Ending::HungUp))),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_says_it_without_an_end_does_not_make_call_after_call() {
        let (mut search, begun) = (Search::default(), clock::now());
        let begins: Vec<u64> = (0..90).filter(|s| search.begins(begun + Duration::from_secs(*s))).collect();
        assert_eq!(begins, [0, 30, 60]);
    }
}
