//! Whether pictures keep coming: two GWell cameras whose datagrams get lost, one on the LAN and one behind a relay, each
//! with a viewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use doorstep::clock;

use crate::audience::Watcher;
use crate::figures::{Figures, Goal, Unit};
use crate::gwell::Street;
use crate::process::Process;
use crate::viewer::Manners;

const LOSS_PERCENT: &str = "5";
const WAYS: [&str; 2] = ["lan-udp", "relay-udp"];
/// When everything has taken the room that it needs.
const SETTLED: Duration = Duration::from_secs(300);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(figures: &mut Figures, lasting: Duration) {
    let options = WAYS.map(|way| ["--bitrate", "2000", "--loss", LOSS_PERCENT, "--paths", way]);
    let mut street = Street::open(&options.each_ref().map(|options| &options[..])).await;
    let notes: Vec<_> = street.cameras.drain(..).map(Notes::of).collect();
    let mut watchers = Vec::new();
    for id in &street.ids {
        street.house.id.clone_from(id);
        let mut watcher = Watcher::join(&street.house, Manners::default()).await;
        watcher.see("a picture", |seen| seen.tally.packets > 0).await;
        watchers.push(watcher);
    }
    let began = clock::now();
    let settled = SETTLED.min(lasting / 2);
    tokio::time::sleep(settled).await;
    let early = street.house.service.resident_mib();
    figures.add("GWell, 5 % lost: memory when settled", early, Unit::MiB, Goal::None);
    let mut most: f64 = early;
    while began.elapsed() < lasting {
        tokio::time::sleep(MINUTE.min(lasting - began.elapsed())).await;
        most = most.max(street.house.service.resident_mib());
        street.house.camera.forget_lines();
    }
    let minutes = lasting.as_secs_f64() / 60.0;
    figures.add("GWell, 5 % lost: minutes watched", minutes, Unit::Count, Goal::None);
    for (way, (watcher, notes)) in WAYS.iter().zip(watchers.iter().zip(&notes)) {
        let tally = watcher.seen.borrow().tally.clone();
        let add = |figures: &mut Figures, what: &str, value: f64, unit, goal| {
            figures.add(&format!("GWell, 5 % lost, {way}: {what}"), value, unit, goal);
        };
        // A stream that has ended for good stands still until now.
        let quiet = watcher.posted.elapsed().saturating_sub(tally.last.unwrap_or_default());
        let pause = tally.longest_pause.max(quiet).as_secs_f64() * 1_000.0;
        add(figures, "longest stall at a viewer", pause, Unit::Milliseconds, Goal::AtMost(2_000.0));
        add(figures, "packets", tally.packets as f64, Unit::Count, Goal::None);
        add(
            figures,
            "sessions after the first",
            notes.sessions().saturating_sub(1) as f64,
            Unit::Count,
            Goal::AtMost(0.0),
        );
        add(figures, "complaints of the camera", notes.complaints() as f64, Unit::Count, Goal::AtMost(0.0));
    }
    let late = street.house.service.resident_mib();
    figures.add("GWell, 5 % lost: memory at the end", late, Unit::MiB, Goal::None);
    figures.add("GWell, 5 % lost: memory at its most", most, Unit::MiB, Goal::None);
    figures.add("GWell, 5 % lost: memory grown", late - early, Unit::MiB, Goal::AtMost(2.0));
    for watcher in watchers {
        watcher.leave().await;
    }
}

/// What a camera tells, counted as it comes.
struct Notes(Arc<[AtomicU64; 2]>);

impl Notes {
    fn of(mut camera: Process) -> Self {
        let notes = Arc::new([const { AtomicU64::new(0) }; 2]);
        let counted = notes.clone();
        tokio::spawn(async move {
            while let Some(line) = camera.next_line().await {
                counted[0].fetch_add(u64::from(line.contains("\"streaming\"")), Relaxed);
                counted[1].fetch_add(u64::from(line.contains("\"ok\":false")), Relaxed);
            }
        });
        Self(notes)
    }

    fn sessions(&self) -> u64 {
        self.0[0].load(Relaxed)
    }

    fn complaints(&self) -> u64 {
        self.0[1].load(Relaxed)
    }
}
