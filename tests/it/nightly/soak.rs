//! The whole program for ten minutes (`DOORSTEP_SOAK_S`) with everything going wrong at random: no ring is lost, no
//! door moves, and afterwards nothing is left behind.
//!
//! Faults come in rounds from a seed (`DOORSTEP_SOAK_SEED`); after each round everything is put right, and what the
//! program holds then is compared. The first round warms up.

mod audience;
mod trouble;
mod witness;

use std::time::Duration;

use doorstep::clock::{self, Instant};
use serde_json::{Value, json};

use crate::support::demo::Demo;
use crate::support::impair::{Line, Tcp};
use crate::support::mosquitto::Mosquitto;
use crate::support::random::Random;
use crate::support::score::{Figure, tally};
use crate::support::service::Page;
use audience::Audience;
use trouble::Trouble;
use witness::Bells;

const VIEWERS: u64 = 4;
const ROUNDS: u32 = 10;
/// Between one thing that happens and the next.
const STEP: Duration = Duration::from_millis(500);
/// How long it may take until everything is well again: the longest wait of an account is 60 s, and half of that more.
const PATIENCE: Duration = Duration::from_secs(150);
/// What is left of a viewer who vanished, and of a camera that nobody watches any more.
const GAUGES: [&str; 4] = ["viewers", "viewer_sources", "tcp_connections", "streams"];
/// Timers and connections that come and go by themselves.
const TASKS_MORE: f64 = 5.0;
const DESCRIPTORS_MORE: usize = 4;
/// What ten minutes can tell of memory: a tenth more than after the first round, and what allocators keep.
const MEMORY_GROWN: f64 = 1.10;
const MEMORY_KEPT_MIB: f64 = 8.0;

/// What the program holds while nobody wants anything of it.
#[derive(Debug, Clone, Copy)]
struct Held {
    after: Duration,
    memory_mib: f64,
    descriptors: usize,
    tasks: f64,
}

struct House {
    demo: Demo,
    page: Page,
    broker: Mosquitto,
    line: Tcp,
}

impl House {
    /// The demo with all its doorbells, whose way to the broker can be cut.
    async fn open(seed: u64) -> Self {
        let broker = Mosquitto::start().await;
        let line = Tcp::to(broker.port, Line::late(Duration::from_millis(5)), seed).await;
        let demo = Demo::start(&["--mqtt", &format!("mqtt://127.0.0.1:{}", line.port)]).await;
        let page = Page::at(demo.page);
        Self { demo, page, broker, line }
    }

    async fn metric(&self, name: &str) -> f64 {
        let metrics = self.page.get("/metrics").await.body;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("doorstep_")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
    }

    /// Waits until every doorbell can be used and nobody uses one, and takes stock.
    async fn at_rest(&self, begun: Instant, tasks: Option<f64>) -> Held {
        let limit = clock::now() + PATIENCE;
        loop {
            let unrest = self.unrest().await;
            let calm = tasks.is_none_or(|least| unrest.1 <= least);
            if unrest.0.is_empty() && calm {
                break;
            }
            // Tasks that stay are for the caller to find.
            assert!(clock::now() < limit || unrest.0.is_empty(), "this is not well again: {:?}", unrest.0);
            if clock::now() >= limit {
                break;
            }
            tokio::time::sleep(STEP).await;
        }
        Held {
            after: begun.elapsed(),
            memory_mib: self.demo.program.resident_mib(),
            descriptors: self.demo.program.descriptors(),
            tasks: self.metric("tasks").await,
        }
    }

    /// What is not at rest, and how many tasks there are.
    async fn unrest(&self) -> (Vec<String>, f64) {
        let doorbells: Vec<Value> = serde_json::from_str(&self.page.get("/api/doorbells").await.body).unwrap();
        let used =
            |doorbell: &&Value| doorbell["link"] != "ready" || doorbell["talking"] == true || doorbell["viewers"] != 0;
        let mut unrest: Vec<String> = doorbells
            .iter()
            .filter(used)
            .map(|doorbell| format!("{} {} {}", doorbell["id"], doorbell["link"], doorbell["viewers"]))
            .collect();
        for gauge in GAUGES {
            let left = self.metric(gauge).await;
            unrest.extend((left > 0.0).then(|| format!("{left} {gauge}")));
        }
        let connected = self.metric("mqtt_connected").await;
        unrest.extend((connected < 1.0).then(|| "the broker is not connected".to_owned()));
        (unrest, self.metric("tasks").await)
    }
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn row_44_ten_minutes_of_faults_lose_no_ring_and_leave_nothing_behind() {
    let lasting = Duration::from_secs(number_of("DOORSTEP_SOAK_S", 600));
    let seed = number_of("DOORSTEP_SOAK_SEED", u64::from(std::process::id()) + 1);
    println!("seed {seed}, {lasting:?}");
    let mut house = House::open(seed).await;
    let ids = house.demo.ids.clone();
    assert_eq!(ids.len(), 6, "{ids:?}");
    let begun = clock::now();
    house.at_rest(begun, None).await;

    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut trouble = Trouble::new();
    let mut bells = Bells::new(&house.broker, &ids).await;
    let audience = Audience::enter(VIEWERS, &house.page, &ids, seed);
    let mut held: Vec<Held> = Vec::new();
    while held.len() < 2 || begun.elapsed() < lasting {
        let round = clock::now();
        audience.may_watch(true);
        trouble.broker(&mut house, &mut bells, &mut random).await;
        while round.elapsed() < lasting / ROUNDS {
            trouble.step(&mut house, &mut bells, &mut random).await;
            bells.ring_next(&mut house.demo).await;
            tokio::time::sleep(STEP).await;
        }
        trouble.put_right(&mut house, &mut bells).await;
        audience.may_watch(false);
        let least = held.iter().map(|held| held.tasks).reduce(f64::min);
        let now = house.at_rest(begun, least.map(|tasks| tasks + TASKS_MORE)).await;
        bells.catch_up().await;
        println!("{now:?} rings {:?}", bells.count());
        held.push(now);
    }
    let seen = audience.leave().await;
    report(&house, &bells, &trouble, &seen, &held, seed).await;
}

/// Prints what there was, leaves it for the scoreboard, and compares it with what is promised.
async fn report(house: &House, bells: &Bells, trouble: &Trouble, seen: &audience::Seen, held: &[Held], seed: u64) {
    let (warm, last) = (held[0], held[held.len() - 1]);
    let (heard, rung) = bells.count();
    let panics = house.demo.program.log().matches("panicked at").count();
    let moved = house.demo.program.said().iter().filter(|line| opens(line)).count();
    let figures = json!({
        "seed": seed, "hours": last.after.as_secs_f64() / 3_600.0, "rss_mib_per_hour": slope(held),
        "rss_mib": [warm.memory_mib, last.memory_mib], "descriptors": [warm.descriptors, last.descriptors],
        "tasks": [warm.tasks, last.tasks], "panics": panics, "rings": rung, "lost_rings": rung - heard,
        "refused_unlocks": trouble.unlocks, "moved_doors": moved, "faults": trouble.counts, "viewers": seen,
    });
    println!("{figures:#}");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("score");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("soak.json"), figures.to_string()).unwrap();

    // That there were faults: the broker saw us come again, viewers saw pictures and offers were refused.
    let connections = house.broker.log().matches("New client connected").count();
    let cuts =
        ["cut", "killed"].map(|name| trouble.counts.get(name).copied().unwrap_or_default()).iter().sum::<usize>();
    assert!(cuts > 0 && connections > cuts, "{connections} connections after {cuts} cuts");
    assert!(seen.packets > 0 && seen.vanished > 0, "{seen:?}");

    tally(Figure::EventsDelivered, heard, rung);
    assert_eq!(heard, rung, "rings were lost: {}", bells.lost());
    tally(Figure::UnlocksRefused, trouble.unlocks.saturating_sub(moved), trouble.unlocks);
    assert_eq!(moved, 0, "a door moved");
    assert_eq!(panics, 0, "{}", house.demo.program.log());
    assert!(last.tasks <= warm.tasks + TASKS_MORE, "tasks: {held:?}");
    assert!(last.descriptors <= warm.descriptors + DESCRIPTORS_MORE, "descriptors: {held:?}");
    assert!(last.memory_mib <= warm.memory_mib * MEMORY_GROWN + MEMORY_KEPT_MIB, "memory: {held:?}");
}

/// What a virtual lock or opener tells when it moves.
fn opens(line: &str) -> bool {
    let told: Option<Value> = serde_json::from_str(line).ok();
    told.is_some_and(|told| ["unlocked", "door_opened"].iter().any(|event| told["event"] == *event))
}

/// MiB an hour by least squares, the first round left out.
fn slope(held: &[Held]) -> Option<f64> {
    let points: Vec<(f64, f64)> =
        held.iter().map(|held| (held.after.as_secs_f64() / 3_600.0, held.memory_mib)).collect();
    let points = &points[1..];
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    // One round has no slope.
    (points.len() > 1).then(|| together / spread)
}
