//! Sixteen cameras at once, each with somebody who watches it.

use std::time::Duration;

use serde_json::Value;

use crate::audience::Watcher;
use crate::figures::{Figures, Goal, Unit};
use crate::house::{House, KBIT_PER_SECOND, wyze};
use crate::process::Process;
use crate::viewer::Manners;

const CAMERAS: usize = 16;
const SIM: [&str; 6] = ["sim", "tutk-camera", "--bitrate", KBIT_PER_SECOND, "--audio", "pcmu"];
const SETTLING: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(20);
/// No camera pauses that long.
const STALLED: Duration = Duration::from_secs(1);

pub(crate) async fn measure(figures: &mut Figures) {
    let mut others = Vec::with_capacity(CAMERAS);
    let (mut house, _) = House::with(&SIM, "tutk-camera", async |first: &Value| {
        let mut announced = vec![first.clone()];
        while announced.len() < CAMERAS {
            let mut camera = Process::start(&SIM);
            let (_, line) = camera.line("tutk-camera").await;
            announced.push(serde_json::from_str(&line).unwrap());
            others.push(camera);
        }
        wyze(&announced)
    })
    .await;
    let mut watchers = Vec::with_capacity(CAMERAS);
    for id in ids(&house).await {
        house.doorbell(|doorbell| doorbell["id"] == id && doorbell["link"] == "ready").await;
        let mut watcher = Watcher::join(&house, Manners::default()).await;
        watcher.first_packet().await;
        watchers.push(watcher);
    }
    tokio::time::sleep(SETTLING).await;
    let before: Vec<u64> = watchers.iter().map(|watcher| watcher.seen.borrow().tally.packets).collect();
    let sent_before = house.metric("bytes_sent_total").await;
    let percent = house.service.processor_over(MEASURED).await;
    let sent = house.metric("bytes_sent_total").await - sent_before;
    let streams = watchers.iter().zip(before).filter(|(watcher, before)| flows(watcher, *before)).count();
    figures.add("cameras that stream at once, 2 Mbit/s each", streams as f64, Unit::Count, Goal::AtLeast(16.0));
    figures.add("cameras: processor, 16 of them", percent, Unit::Percent, Goal::None);
    let mbit = sent * 8.0 / 1e6 / MEASURED.as_secs_f64();
    figures.add("cameras: sent meanwhile", mbit, Unit::MbitPerSecond, Goal::None);
    figures.add("cameras: memory, 16 of them", house.service.resident_mib(), Unit::MiB, Goal::None);
    for watcher in watchers {
        watcher.leave().await;
    }
}

async fn ids(house: &House) -> Vec<Value> {
    loop {
        let doorbells: Vec<Value> = serde_json::from_str(&house.get("/api/doorbells").await.body).unwrap();
        if doorbells.len() == CAMERAS {
            return doorbells.iter().map(|doorbell| doorbell["id"].clone()).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether everything came that the camera has sent since it had sent this much, and without a pause.
fn flows(watcher: &Watcher, packets_before: u64) -> bool {
    let seen = watcher.seen.borrow();
    let (tally, came) = (&seen.tally, seen.tally.packets - packets_before);
    // 2 Mbit/s are 20 pictures of 12.5 kB a second, each of ten packets and more.
    let all = 20 * 10 * MEASURED.as_secs() * 9 / 10;
    came >= all && tally.missing.len() as u64 * 1_000 <= tally.packets && tally.longest_pause < STALLED
}
