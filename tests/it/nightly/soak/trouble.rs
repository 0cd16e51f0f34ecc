//! What goes wrong, and when it is put right again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use doorstep::clock::{self, Instant};

use super::House;
use super::witness::Bells;
use crate::support::impair::Mode;
use crate::support::random::Random;

/// Of the steps, those on which something begins to go wrong.
const ONE_IN: u64 = 4;
/// A ring older than 30 s is dropped, so that no outage takes as long with what it takes to come back.
const OUTAGE: std::ops::Range<u64> = 2..16;

/// What is done about a fault in the end.
#[derive(Debug)]
enum Remedy {
    /// Typed at the demo's console.
    Type(String),
    Line,
    Broker,
}

/// What the doorbells, by the beginning of their id or all of it, and their clouds are told to do wrong; with what
/// puts it right.
const TYPED: &[(&str, &str, &str)] = &[
    ("wyze_d03f27a1b2c3", "offline", "online"),
    ("wyze_d03f27a1b2c3", "fault freeze", "fault none"),
    ("wyze_d03f27a1b2c3", "fault no-back-channel", "fault none"),
    ("wyze_d03f27d4e5f6", "offline", "online"),
    ("wyze_d03f27d4e5f6", "fault loss", "fault none"),
    ("wyze_d03f27d4e5f6", "fault freeze", "fault none"),
    ("wyze_d03f27d4e5f6", "fault login-refused", "fault none"),
    ("wyze_gw_be1", "fault vanish", "fault none"),
    ("wyze_gw_be1", "fault no-answer", "fault none"),
    ("wyze_gw_dbd", "offline", "online"),
    ("wyze_gw_dbd", "fault silent", "fault none"),
    ("wyze_gw_dbd", "fault wrong-checksum", "fault none"),
    ("vivint_", "fault rtsp silent", "fault none"),
    ("vivint_", "fault call no-answer", "fault none"),
    ("vivint_", "fault db_drop", "fault none"),
    ("vivint_", "fault 500 /api", "fault none"),
    ("kvs_", "fault vanish", "fault none"),
    ("kvs_", "fault no-answer", "fault none"),
    ("kvs_", "fault leaves", "fault none"),
    ("wyze_d03f27a1b2c3", "cloud fault 500", "cloud fault none"),
    ("wyze_d03f27a1b2c3", "cloud fault reset", "cloud fault none"),
    ("wyze_d03f27a1b2c3", "cloud fault duplicate_events", "cloud fault none"),
    ("wyze_d03f27a1b2c3", "cloud fault expired", "cloud fault none"),
];

/// Payloads that open nothing.
const NO_COMMANDS: [&str; 5] = ["unlock", "UNLOCK ", "OPEN NOW", "{\"cmd\":\"unlock\"}", "\u{0}"];

pub(super) struct Trouble {
    remedies: Vec<(Instant, String, Remedy)>,
    turn: usize,
    /// How often there was what.
    pub(super) counts: BTreeMap<String, usize>,
    /// Commands for doors that had to be refused.
    pub(super) unlocks: usize,
}

impl Trouble {
    pub(super) fn new() -> Self {
        Self { remedies: Vec::new(), turn: 0, counts: BTreeMap::new(), unlocks: 0 }
    }

    /// Puts right what is due; then, by chance, something else goes wrong.
    pub(super) async fn step(&mut self, house: &mut House, bells: &mut Bells, random: &mut Random) {
        let now = clock::now();
        self.remedy(house, bells, |due| due <= now).await;
        if random.below(ONE_IN) != 0 {
            return;
        }
        match random.below(4) {
            0 => self.broker(house, bells, random).await,
            1 => self.unlock(house, random).await,
            _ => self.device(house, random).await,
        }
    }

    /// Everything is well from now on.
    pub(super) async fn put_right(&mut self, house: &mut House, bells: &mut Bells) {
        self.remedy(house, bells, |_| true).await;
    }

    async fn remedy(&mut self, house: &mut House, bells: &mut Bells, is_due: impl Fn(Instant) -> bool) {
        let due: Vec<_> = self.remedies.extract_if(.., |(at, ..)| is_due(*at)).collect();
        for (_, _, remedy) in due {
            match remedy {
                Remedy::Type(line) => house.demo.program.type_line(&line).await,
                Remedy::Line => house.line.mode(Mode::Passes),
                Remedy::Broker => {
                    house.broker.start_again().await;
                    bells.come_back(&house.broker).await;
                    house.line.mode(Mode::Passes);
                }
            }
        }
    }

    fn begin(&mut self, what: &str, remedy: Remedy, random: &mut Random) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
        let seconds = OUTAGE.start + random.below(OUTAGE.end - OUTAGE.start);
        self.remedies.push((clock::now() + Duration::from_secs(seconds), what.to_owned(), remedy));
    }

    fn is_on(&self, is_it: impl Fn(&Remedy) -> bool) -> bool {
        self.remedies.iter().any(|(_, _, remedy)| is_it(remedy))
    }

    /// The way to the broker is cut or silent, or the broker is killed and forgets everything; each in turn.
    pub(super) async fn broker(&mut self, house: &mut House, bells: &mut Bells, random: &mut Random) {
        if self.is_on(|remedy| matches!(remedy, Remedy::Line | Remedy::Broker)) {
            return;
        }
        self.turn += 1;
        match self.turn % 3 {
            0 => {
                house.line.mode(Mode::Silent);
                self.begin("silent", Remedy::Line, random);
            }
            1 => {
                house.line.mode(Mode::Refuses);
                // Retained, it would open the door whenever somebody subscribes.
                let door = &house.demo.ids[0];
                house.broker.publish(&format!("doorstep/{door}/lock/set"), "UNLOCK", &["-r"]);
                self.unlocks += 1;
                self.begin("cut", Remedy::Line, random);
            }
            _ => {
                house.line.mode(Mode::Refuses);
                bells.turn_away().await;
                house.broker.kill();
                self.begin("killed", Remedy::Broker, random);
            }
        }
    }

    /// Somebody tries a door with what is no command for it.
    async fn unlock(&mut self, house: &mut House, random: &mut Random) {
        *self.counts.entry("refused unlock".to_owned()).or_default() += 1;
        self.unlocks += 1;
        let ids = &house.demo.ids;
        // The doorbells in between have no door.
        if random.below(2) == 0 || self.is_on(|remedy| matches!(remedy, Remedy::Broker)) {
            let id = &ids[1 + random.below(3) as usize];
            let reply = house.page.post(&format!("/api/doorbells/{id}/unlock"), "{}").await;
            assert_eq!(reply.status, 404, "{reply:?}");
        } else {
            let id = [&ids[0], &ids[4], &ids[5]][random.below(3) as usize];
            let payload = NO_COMMANDS[random.below(NO_COMMANDS.len() as u64) as usize];
            house.broker.publish(&format!("doorstep/{id}/lock/set"), payload, &["-q", "1"]);
        }
    }

    /// A camera or a cloud, each with one fault at a time.
    async fn device(&mut self, house: &mut House, random: &mut Random) {
        let (begin, fault, remedy) = TYPED[random.below(TYPED.len() as u64) as usize];
        let id = house.demo.ids.iter().find(|id| id.starts_with(begin)).expect("there is such a doorbell");
        let whole = |line: &str| format!("{line} {id}");
        let undo = whole(remedy);
        let busy: BTreeSet<&str> = self.remedies.iter().filter_map(|(_, what, _)| what.split(' ').next()).collect();
        if busy.contains(begin) {
            return;
        }
        house.demo.program.type_line(&whole(fault)).await;
        self.begin(&format!("{begin} {fault}"), Remedy::Type(undo), random);
    }
}
