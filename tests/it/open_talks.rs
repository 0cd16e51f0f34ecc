//! An open talk is on the disk, and the next process ends what it finds there (row 36). Virtual time, no sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use doorstep::clock;
use doorstep::doorbell::vendor::Retry;
use doorstep::doorbell::{ActionError, Doorbell, OpenTalks, Options};
use doorstep::model::{Capability, DeviceId, Link};
use doorstep::store::Store;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::fake_vendor::{FakeVendor, Life, OnTalk};
use crate::support::log::Log;

/// A folder with what one process leaves to the next.
struct Data(TempDir);

impl Data {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// In which a process was killed in a talk.
    fn of_a_killed_one() -> Self {
        Self::of_one_killed_before(Duration::from_secs(30))
    }

    /// In which one was killed so long ago, 10 s after the talk had begun.
    fn of_one_killed_before(ago: Duration) -> Self {
        let data = Self::new();
        let began = clock::unix_now() - ago - Duration::from_secs(10);
        let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        data.store().put("talks_open_since", &BTreeMap::from([("fake_1", began)])).unwrap();
        data
    }

    fn store(&self) -> Store {
        Store::open(&self.0.path().join("data")).unwrap()
    }

    /// As another process finds them.
    fn open(&self) -> BTreeSet<DeviceId> {
        let open: BTreeMap<DeviceId, u64> =
            Store::read_only(&self.0.path().join("data")).get("talks_open_since").unwrap_or_default();
        open.into_keys().collect()
    }

    async fn is(&self, open: &[&str]) {
        let wanted: BTreeSet<_> = open.iter().map(|id| DeviceId::parse(id).unwrap()).collect();
        for _ in 0..1_000 {
            if self.open() == wanted {
                return;
            }
            // The disk takes real time, which does not pass here.
            std::thread::sleep(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
        panic!("on the disk there is {:?}", self.open());
    }

    fn doorbell(&self, vendor: &Arc<FakeVendor>, stop: &CancellationToken) -> Doorbell {
        let options = Options { open_talks: OpenTalks::kept_in(self.store()), ..Options::default() };
        vendor.doorbell_with(options, stop)
    }
}

async fn is_ready(doorbell: &Doorbell) {
    doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn row_36_a_talk_is_on_the_disk_when_it_begins_and_no_longer_when_it_has_ended() {
    let (data, vendor, stop) = (Data::new(), FakeVendor::new(), CancellationToken::new());
    let doorbell = data.doorbell(&vendor, &stop);
    is_ready(&doorbell).await;
    for _ in 0..2 {
        let grant = doorbell.start_talk(1).await.unwrap();
        assert_eq!(data.open().len(), 1, "somebody is heard and nobody would find it");
        drop(grant);
        data.is(&[]).await;
    }
    let refusal = ActionError::Refused { why: "the phone app is talking".to_owned() };
    vendor.on_talk(OnTalk::Refuses(refusal));
    assert!(doorbell.start_talk(1).await.is_err());
    data.is(&[]).await;

    vendor.on_talk(OnTalk::Opens(doorstep::media::AudioFormat::PCMU));
    doorbell.switch_talk(true).await.unwrap();
    assert_eq!(data.open().len(), 1);
    stop.cancel();
    doorbell.stopped().await;
    assert_eq!(data.open().len(), 0, "who stops in order leaves nothing behind");
}

#[tokio::test(start_paused = true)]
async fn row_36_what_a_killed_process_has_left_is_opened_and_closed_once() {
    let (data, vendor) = (Data::of_a_killed_one(), FakeVendor::new());
    let begun = Instant::now();
    let doorbell = data.doorbell(&vendor, &CancellationToken::new());
    vendor.until("the end of the talk", |seen| seen.talks_ended == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    data.is(&[]).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let seen = vendor.seen();
    assert_eq!((seen.talks_asked, seen.talks_ended, seen.heard.len()), (1, 1, 0));
    assert!(!doorbell.state().borrow().talking);

    let vendor = FakeVendor::new();
    let doorbell = data.doorbell(&vendor, &CancellationToken::new());
    is_ready(&doorbell).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(vendor.seen().talks_asked, 0, "it is over");
}

#[tokio::test(start_paused = true)]
async fn row_36_a_camera_that_is_away_is_told_as_soon_as_it_is_back() {
    let (data, vendor) = (Data::of_a_killed_one(), FakeVendor::new());
    vendor.then_life(Life::Fails(FakeVendor::error("no answer", Retry::After(Duration::from_secs(90)))));
    vendor.on_talk(OnTalk::Refuses(ActionError::Timeout));
    let _doorbell = data.doorbell(&vendor, &CancellationToken::new());
    vendor.lives(2).await;
    vendor.until("some attempts", |seen| seen.talks_asked == 3).await;
    assert_eq!(data.open().len(), 1, "killed again it would be known still");
    vendor.on_talk(OnTalk::Opens(doorstep::media::AudioFormat::PCMU));
    vendor.until("the end of the talk", |seen| seen.talks_ended == 1).await;
    data.is(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_stays_away_is_given_up_with_a_warning() {
    let (log, _while_this_test_runs) = Log::capture(Level::WARN);
    let (data, vendor) = (Data::of_a_killed_one(), FakeVendor::new());
    vendor.on_talk(OnTalk::Refuses(ActionError::Timeout));
    let doorbell = data.doorbell(&vendor, &CancellationToken::new());
    is_ready(&doorbell).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    data.is(&[]).await;
    let asked = vendor.seen().talks_asked;
    assert!((10..40).contains(&asked), "asked {asked} times in five minutes");
    let warned = log.lines().iter().filter(|line| line.contains("could not be told that the talk is over")).count();
    assert_eq!(warned, 1, "{:#?}", log.lines());
}

#[tokio::test(start_paused = true)]
async fn whoever_talks_first_ends_what_was_left_with_his_own_talk() {
    let (data, vendor) = (Data::of_a_killed_one(), FakeVendor::new());
    vendor.then_life(Life::Fails(FakeVendor::error("no answer", Retry::After(Duration::from_secs(5)))));
    let doorbell = data.doorbell(&vendor, &CancellationToken::new());
    vendor.lives(2).await;
    let grant = loop {
        match doorbell.start_talk(1).await {
            Ok(grant) => break grant,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    drop(grant);
    data.is(&[]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(vendor.seen().talks_asked <= 2 && !vendor.seen().speaker_open);
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_has_lost_its_speaker_is_forgotten() {
    let (data, vendor) = (Data::of_a_killed_one(), FakeVendor::with([Capability::Ring]));
    let doorbell = data.doorbell(&vendor, &CancellationToken::new());
    is_ready(&doorbell).await;
    data.is(&[]).await;
    assert_eq!(vendor.seen().talks_asked, 0);
}

/// A camera stops listening by itself, and nobody wants to hear it click days later.
#[tokio::test(start_paused = true)]
async fn row_36_a_talk_that_was_left_long_ago_opens_no_speaker() {
    for (ago, ended) in
        [(Duration::from_secs(50 * 60), 1), (Duration::from_secs(3_600), 0), (Duration::from_secs(86_400), 0)]
    {
        let (data, vendor) = (Data::of_one_killed_before(ago), FakeVendor::new());
        let doorbell = data.doorbell(&vendor, &CancellationToken::new());
        is_ready(&doorbell).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(vendor.seen().talks_ended, ended, "after {ago:?}");
        doorbell.start_talk(1).await.unwrap();
        data.is(&[]).await;
    }
}

/// A clock that was put back, or stands at 1970 after a boot, tells nothing of how long it is ago.
#[tokio::test(start_paused = true)]
async fn row_36_a_talk_that_began_in_the_future_is_ended_all_the_same() {
    let (data, vendor) = (Data::new(), FakeVendor::new());
    data.store().put("talks_open_since", &BTreeMap::from([("fake_1", u64::MAX)])).unwrap();
    let _doorbell = data.doorbell(&vendor, &CancellationToken::new());
    vendor.until("the end of the talk", |seen| seen.talks_ended == 1).await;
    data.is(&[]).await;
}
