//! What is measured of each doorbell that is called only when somebody wants it.

use std::time::Duration;

use doorstep::clock;

use crate::audience::Watcher;
use crate::figures::{Figures, Goal, Unit};
use crate::house::House;
use crate::viewer::Manners;

/// From the press of the button to MQTT. `between`: longer than rings of one doorbell are taken for one.
pub(crate) async fn rings(house: &mut House, count: usize, between: Duration) -> Vec<Duration> {
    let mut witness = house.broker.listen("doorstep/+/ring").await;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let pressed = clock::now();
        house.camera.type_line("ring").await;
        witness.next().await;
        times.push(pressed.elapsed());
        tokio::time::sleep(between).await;
    }
    times
}

/// From the offer to the first packet, each of a doorbell that nobody watches.
pub(crate) async fn pictures(house: &House, count: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let mut watcher = Watcher::join(house, Manners::default()).await;
        watcher.see("a picture", |seen| seen.tally.packets > 0).await;
        times.push(watcher.posted.elapsed());
        watcher.leave().await;
        house.is_left_alone().await;
    }
    times
}

/// What the service holds when it has been used: what has come from that at all is not counted.
pub(crate) struct Before {
    files: usize,
    memory_mib: f64,
}

impl Before {
    pub(crate) fn of(house: &House) -> Self {
        Self { files: house.service.open_files(), memory_mib: house.service.resident_mib() }
    }

    /// What `uses` of it, such as `50 talks`, have left behind.
    pub(crate) async fn after(self, figures: &mut Figures, house: &House, (vendor, uses): (&str, &str)) {
        let settled = async {
            while house.service.open_files() > self.files {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let _left_over = tokio::time::timeout(Duration::from_secs(15), settled).await;
        let left = house.service.open_files().saturating_sub(self.files);
        let name = format!("{vendor}: files left open by {uses}");
        figures.add(&name, left as f64, Unit::Count, Goal::AtMost(0.0));
        let grown = house.service.resident_mib() - self.memory_mib;
        figures.add(&format!("{vendor}: memory grown by {uses}"), grown, Unit::MiB, Goal::None);
    }
}
