//! Who rings, and who counts at the broker what has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use doorstep::clock;

use crate::support::demo::Demo;
use crate::support::mosquitto::{Mosquitto, Witness};

/// Doorbells take turns, so that two rings of one are further apart than what a vendor takes for one visitor.
const TURNS: usize = 18;
/// A ring older than 30 s is not sent any more.
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) struct Bells {
    ids: Vec<String>,
    turn: usize,
    rung: BTreeMap<String, usize>,
    /// The ids of rings, by doorbell: one that comes twice is one.
    heard: BTreeMap<String, BTreeSet<String>>,
    /// At the broker itself. `None` while that is down.
    witness: Option<Witness>,
}

impl Bells {
    pub(super) async fn new(broker: &Mosquitto, ids: &[String]) -> Self {
        let witness = Some(broker.listen("doorstep/+/ring").await);
        Self { ids: ids.to_vec(), turn: 0, rung: BTreeMap::new(), heard: BTreeMap::new(), witness }
    }

    /// Somebody rings at the doorbell whose turn it is.
    pub(super) async fn ring_next(&mut self, demo: &mut Demo) {
        self.turn = (self.turn + 1) % TURNS;
        // Three steps each.
        let Some(id) = self.ids.get(self.turn / 3).filter(|_| self.turn.is_multiple_of(3)) else { return };
        // The wired button tells over the broker too, so that one ring could stand for another that was lost.
        let command = match id.strip_prefix("wyze_") {
            Some(mac) if id == &self.ids[0] => format!("cloud ring {} {id}", mac.to_uppercase()),
            _ => format!("ring {id}"),
        };
        demo.program.type_line(&command).await;
        *self.rung.entry(id.clone()).or_default() += 1;
    }

    /// Hears everything that the broker has taken by now.
    async fn collect(&mut self) {
        let Some(witness) = &mut self.witness else { return };
        for ring in witness.until_fence().await {
            let id = ring.topic.split('/').nth(1).unwrap_or_default().to_owned();
            let event = ring.json()["id"].as_str().expect("a ring has an id").to_owned();
            self.heard.entry(id).or_default().insert(event);
        }
    }

    /// Waits for rings that are still on their way.
    pub(super) async fn catch_up(&mut self) {
        let limit = clock::now() + PATIENCE;
        loop {
            self.collect().await;
            let (heard, rung) = self.count();
            if heard == rung || clock::now() > limit {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The broker is about to go: what it has acknowledged is heard first.
    pub(super) async fn turn_away(&mut self) {
        self.collect().await;
        self.witness = None;
    }

    pub(super) async fn come_back(&mut self, broker: &Mosquitto) {
        self.witness = Some(broker.listen("doorstep/+/ring").await);
    }

    /// Rings heard of those rung. One that nobody rang counts for nothing.
    pub(super) fn count(&self) -> (usize, usize) {
        let heard = |(id, rung): (&String, &usize)| self.heard.get(id).map_or(0, BTreeSet::len).min(*rung);
        (self.rung.iter().map(heard).sum(), self.rung.values().sum())
    }

    /// By doorbell: rung, and what was heard of it.
    pub(super) fn lost(&self) -> String {
        format!("{:?}, heard {:?}", self.rung, self.heard)
    }
}
