//! Whose session begins next: the P2P servers mix up sessions of one account that begin together (gwell reference
//! §11), so there is a while between the beginnings.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{self, Instant};

/// The beginnings of one account's sessions. Only a beginning takes a turn, however long the session then takes to
/// come about.
pub(super) struct Turns {
    stagger: Duration,
    queue: watch::Sender<Queue>,
}

#[derive(Default)]
struct Queue {
    last: Option<Instant>,
    /// The first is the next: in the order of their coming, those whose last session failed behind all others.
    waiting: BTreeSet<Place>,
    tickets: u64,
    /// Cameras whose last session failed.
    failing: HashSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    failing: bool,
    ticket: u64,
}

impl Turns {
    pub(super) fn new(stagger: Duration) -> Self {
        Self { stagger, queue: watch::Sender::default() }
    }

    /// Waits for the turn of `camera` and takes it. Whoever gives up waiting leaves the queue.
    pub(super) async fn next(&self, camera: &str) {
        let waiting = Waiting::of(self, camera);
        let mut queue = self.queue.subscribe();
        loop {
            let free_at = {
                let queue = queue.borrow_and_update();
                let is_first = queue.waiting.first() == Some(&waiting.place);
                is_first.then(|| queue.last.map_or_else(clock::now, |last| last + self.stagger))
            };
            match free_at {
                Some(at) if at <= clock::now() => {
                    return self.queue.send_modify(|queue| queue.last = Some(clock::now()));
                }
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    Ok(()) = queue.changed() => {}
                },
                None => drop(queue.changed().await),
            }
        }
    }

    pub(super) fn failed(&self, camera: &str) {
        self.queue.send_modify(|queue| {
            queue.failing.insert(camera.to_owned());
        });
    }

    pub(super) fn worked(&self, camera: &str) {
        self.queue.send_modify(|queue| {
            queue.failing.remove(camera);
        });
    }
}

/// A place in the queue.
struct Waiting<'a> {
    turns: &'a Turns,
    place: Place,
}

impl<'a> Waiting<'a> {
    fn of(turns: &'a Turns, camera: &str) -> Self {
        let mut place = Place { failing: false, ticket: 0 };
        turns.queue.send_modify(|queue| {
            queue.tickets += 1;
            place = Place { failing: queue.failing.contains(camera), ticket: queue.tickets };
            queue.waiting.insert(place);
        });
        Self { turns, place }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turns.queue.send_modify(|queue| {
            queue.waiting.remove(&self.place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const STAGGER: Duration = Duration::from_secs(15);

    /// Who began, and how many seconds after the start.
    type Begun = Arc<Mutex<Vec<(&'static str, u64)>>>;

    fn begin(turns: &Arc<Turns>, begun: &Begun, camera: &'static str) -> tokio::task::JoinHandle<()> {
        let (turns, begun, start) = (turns.clone(), begun.clone(), clock::now());
        tokio::spawn(async move {
            turns.next(camera).await;
            begun.lock().unwrap().push((camera, start.elapsed().as_secs()));
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_begins_at_once_and_each_other_a_stagger_later() {
        let (turns, begun) = (Arc::new(Turns::new(STAGGER)), Begun::default());
        let all = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|camera| begin(&turns, &begun, camera));
        for one in all {
            one.await.unwrap();
        }
        let at: Vec<u64> = begun.lock().unwrap().iter().map(|(_, at)| *at).collect();
        assert_eq!(at, [0, 15, 30, 45, 60, 75, 90, 105]);
        tokio::time::advance(STAGGER).await;
        begin(&turns, &begun, "late").await.unwrap();
        assert_eq!(begun.lock().unwrap().last(), Some(&("late", 0)), "nobody has begun for long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_camera_that_fails_waits_until_nobody_else_does() {
        let (turns, begun) = (Arc::new(Turns::new(STAGGER)), Begun::default());
        turns.failed("dead");
        turns.next("first").await;
        let all = ["dead", "b", "c"].map(|camera| begin(&turns, &begun, camera));
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*begun.lock().unwrap(), [("b", 15), ("c", 30), ("dead", 45)]);
        turns.worked("dead");
        let again = ["dead", "b"].map(|camera| begin(&turns, &begun, camera));
        for one in again {
            one.await.unwrap();
        }
        assert_eq!(begun.lock().unwrap()[3..], [("dead", 15), ("b", 30)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_takes_no_turn() {
        let (turns, begun) = (Arc::new(Turns::new(STAGGER)), Begun::default());
        turns.next("first").await;
        let gone = begin(&turns, &begun, "gone");
        let there = begin(&turns, &begun, "there");
        tokio::task::yield_now().await;
        gone.abort();
        there.await.unwrap();
        assert_eq!(*begun.lock().unwrap(), [("there", 15)]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_stagger_nobody_waits() {
        let (turns, begun) = (Arc::new(Turns::new(Duration::ZERO)), Begun::default());
        for one in ["a", "b", "c"].map(|camera| begin(&turns, &begun, camera)) {
            one.await.unwrap();
        }
        assert!(begun.lock().unwrap().iter().all(|(_, at)| *at == 0));
    }
}
