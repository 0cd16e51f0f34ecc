//! People who watch, by WHEP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorstep::clock;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::house::House;
use crate::http::request;
use crate::viewer::{Manners, Seen, Transport, Viewer};

const PATIENCE: Duration = Duration::from_secs(20);
/// Packets come twenty times a second and more.
const STALLED: Duration = Duration::from_secs(1);

/// One of them.
pub(crate) struct Watcher {
    pub(crate) seen: watch::Receiver<Seen>,
    /// When the offer was posted, from which the times in `seen` count.
    pub(crate) posted: Instant,
    leave: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub(crate) async fn join(house: &House, manners: Manners) -> Self {
        let mut viewer = Viewer::new(Manners { keeps: false, ..manners }).await;
        let posted = clock::now().into_std();
        viewer.born = posted;
        let path = format!("/whep/{}", house.id);
        let reply = request(house.page, "POST", &path, "application/sdp", &viewer.offer).await;
        assert_eq!(reply.status, 201, "the offer was refused: {}", reply.body);
        let leave = Arc::new(Notify::new());
        let (seen, task) = viewer.play(&reply.body, leave.clone());
        Self { seen, posted, leave, task }
    }

    pub(crate) async fn see(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let seen = timeout(PATIENCE, self.seen.wait_for(condition)).await;
        seen.unwrap_or_else(|_| panic!("a viewer never saw {what}")).unwrap().clone()
    }

    /// From the POST to the first packet of media.
    pub(crate) async fn first_packet(&mut self) -> Duration {
        let seen = self.see("a packet", |seen| seen.first_packet.is_some()).await;
        seen.first_packet.unwrap()
    }

    /// As a closed page does.
    pub(crate) async fn leave(self) {
        self.leave.notify_one();
        let _ = self.task.await;
    }

    /// Without a word.
    pub(crate) fn vanish(self) {
        self.task.abort();
    }
}

/// Everybody who watches one doorbell for the whole of a measurement.
#[derive(Default)]
pub(crate) struct Audience(Vec<Watcher>);

impl Audience {
    /// Lets people in until there are `count`, one after the other; each has its first packet.
    pub(crate) async fn grow(&mut self, house: &House, count: usize, transport: Transport) {
        while self.0.len() < count {
            let mut watcher = Watcher::join(house, Manners { transport, ..Manners::default() }).await;
            watcher.first_packet().await;
            self.0.push(watcher);
        }
    }

    /// The video packets that came, those of them that came late, and those that never did.
    pub(crate) fn tally(&self) -> (u64, u64, u64) {
        self.0.iter().fold((0, 0, 0), |(packets, late, missing), watcher| {
            let tally = &watcher.seen.borrow().tally;
            (packets + tally.packets, late + tally.late, missing + tally.missing.len() as u64)
        })
    }

    /// How many have 99.9 % of the video packets, the newest just now.
    pub(crate) fn served(&self) -> usize {
        let now = clock::now().into_std();
        let is_served = |watcher: &&Watcher| {
            let tally = &watcher.seen.borrow().tally;
            let flows = tally.last.is_some_and(|last| now - (watcher.posted + last) < STALLED);
            flows && tally.missing.len() as u64 * 1_000 <= tally.packets
        };
        self.0.iter().filter(is_served).count()
    }

    pub(crate) async fn leave(self) {
        for watcher in self.0 {
            watcher.leave().await;
        }
    }

    pub(crate) fn vanish(self) {
        self.0.into_iter().for_each(Watcher::vanish);
    }
}
