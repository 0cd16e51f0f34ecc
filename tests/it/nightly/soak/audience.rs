//! People who watch whichever doorbell, some of whom talk, and who close the page or vanish.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::support::random::Random;
use crate::support::service::Page;
use crate::support::viewer::{Manners, Transport, Viewer};

/// What they have met with.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seen {
    /// Offers that were answered.
    joined: usize,
    /// Offers that were not, since the doorbell was away.
    refused: usize,
    pub(super) vanished: usize,
    talked: usize,
    /// Of video.
    pub(super) packets: u64,
}

pub(super) struct Audience {
    may_watch: watch::Sender<Option<bool>>,
    people: JoinSet<Seen>,
}

impl Audience {
    pub(super) fn enter(count: u64, page: &Page, ids: &[String], seed: u64) -> Self {
        let may_watch = watch::Sender::new(Some(false));
        let mut people = JoinSet::new();
        for n in 0..count {
            let person = Person {
                page: page.clone(),
                ids: ids.to_vec(),
                random: Random((seed + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
                may_watch: may_watch.subscribe(),
                seen: Seen::default(),
            };
            people.spawn(person.live());
        }
        Self { may_watch, people }
    }

    /// Whether people come; those who are there leave, one way or the other.
    pub(super) fn may_watch(&self, may: bool) {
        self.may_watch.send_replace(Some(may));
    }

    /// Everybody goes home.
    pub(super) async fn leave(self) -> Seen {
        self.may_watch.send_replace(None);
        let all = self.people.join_all().await;
        all.into_iter().fold(Seen::default(), |sum, one| Seen {
            joined: sum.joined + one.joined,
            refused: sum.refused + one.refused,
            vanished: sum.vanished + one.vanished,
            talked: sum.talked + one.talked,
            packets: sum.packets + one.packets,
        })
    }
}

struct Person {
    page: Page,
    ids: Vec<String>,
    random: Random,
    may_watch: watch::Receiver<Option<bool>>,
    seen: Seen,
}

impl Person {
    async fn live(mut self) -> Seen {
        loop {
            let allowed = self.may_watch.wait_for(|may| *may != Some(false)).await.ok().and_then(|may| *may);
            if allowed.is_none() {
                return self.seen;
            }
            self.watch().await;
        }
    }

    /// For some seconds, or until nobody may watch any more.
    async fn watch(&mut self) {
        let id = self.ids[self.random.below(self.ids.len() as u64) as usize].clone();
        let transport = if self.random.below(4) == 0 { Transport::Tcp } else { Transport::Udp };
        let speaks = self.random.below(3) == 0;
        let viewer = Viewer::new(Manners { transport, speaks, keeps: false, ..Manners::default() }).await;
        let reply = self.page.offer(&id, &viewer.offer).await;
        let stays = Duration::from_millis(1_000 + self.random.below(9_000));
        if reply.status != 201 {
            self.seen.refused += 1;
            assert!(matches!(reply.status, 404 | 406 | 503), "{reply:?}");
            return tokio::time::sleep(stays / 4).await;
        }
        self.seen.joined += 1;
        let leave = Arc::new(Notify::new());
        let (seen, playing) = viewer.play(&reply.body, leave.clone());
        let sent_away = async { drop(self.may_watch.wait_for(|may| *may != Some(true)).await) };
        let _stayed = tokio::time::timeout(stays, sent_away).await;
        if self.random.below(2) == 0 {
            playing.abort();
            self.seen.vanished += 1;
        } else {
            leave.notify_one();
            let _ = playing.await;
        }
        let seen = seen.borrow();
        self.seen.packets += seen.tally.packets;
        self.seen.talked += usize::from(seen.spoken > 0);
    }
}
