//! Every stream is registered in go2rtc and stays so, whatever becomes of it; nobody else's is ever touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorstep::config;
use doorstep::doorbell::Registry;
use doorstep::go2rtc::{self, Go2rtc, Pace, Settings};
use doorstep::model::{Capability, Companion, DeviceId, DeviceInfo};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fake_go2rtc::{FakeGo2rtc, Manner};
use crate::support::fake_vendor::FakeVendor;
use crate::support::service::{Camera, Service};

const PATIENCE: Duration = Duration::from_secs(20);
/// Where our streams are said to be served; nobody goes there.
const LISTENER: &str = "127.0.0.1:8480";
const TALKS: &str = "webrtc:ws://127.0.0.1:8480/api/ws?src=fake_1";
const SHOWS: &str = "webrtc:http://127.0.0.1:8480/whep/fake_2";

/// Doorbells, and the face that registers them.
struct House {
    doorbells: Registry,
    go2rtc: Go2rtc,
    stop: CancellationToken,
    /// Every account has told what it has.
    listed: Option<oneshot::Sender<()>>,
    _stop: DropGuard,
}

/// Looks all the time.
fn pace() -> Pace {
    let (look_again, look_for_it) = (Duration::from_millis(50), Duration::from_millis(100));
    Pace { look_again, look_for_it, key_age: Duration::from_secs(300) }
}

impl House {
    /// One doorbell that can be talked to, `fake_1`, and one that cannot, `fake_2`.
    fn new(companion: &str) -> Self {
        Self::with(companion, pace(), |_| None)
    }

    fn with(companion: &str, pace: Pace, keys: impl Fn(&DeviceId) -> Option<String> + Send + Sync + 'static) -> Self {
        let stop = CancellationToken::new();
        let doorbells = Registry::default();
        for (id, capabilities) in [
            ("fake_1", &[Capability::Ring, Capability::Stream, Capability::Talk][..]),
            ("fake_2", &[Capability::Ring, Capability::Stream]),
            ("fake_3", &[Capability::Ring]),
        ] {
            insert(&doorbells, id, capabilities, &stop);
        }
        let companion = config::parse(&format!("go2rtc: {{{companion}}}"), "test").unwrap().go2rtc;
        let (listed, all_listed) = oneshot::channel();
        let settings =
            Settings { companion, usual_url: go2rtc::usual_url(), listener: LISTENER.parse().unwrap(), pace };
        let all_listed = async move { drop(all_listed.await) };
        let go2rtc = go2rtc::start(settings, doorbells.clone(), keys, all_listed, stop.child_token());
        Self { doorbells, go2rtc, stop: stop.clone(), listed: Some(listed), _stop: stop.drop_guard() }
    }

    async fn is(&self, what: &str, condition: impl FnMut(&Companion) -> bool) -> Companion {
        let mut state = self.go2rtc.state();
        let waited = timeout(PATIENCE, state.wait_for(condition)).await;
        match waited {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("never {what}; it is {:?}", self.go2rtc.state().borrow()),
        }
    }

    async fn is_registered(&self) {
        self.is("registered", |state| *state == Companion::Registered { streams: 2 }).await;
    }

    async fn fails(&self, because: &str) {
        let state = self.is("failing", |state| state.why().is_some_and(|why| why.contains(because))).await;
        let why = state.why().unwrap();
        assert!(why.starts_with(|first: char| !first.is_lowercase() || why.starts_with("go2rtc")), "{why}");
        assert!(why.ends_with('.') && why.len() > 40, "no sentence that helps: {why}");
    }
}

fn insert(doorbells: &Registry, id: &str, capabilities: &[Capability], stop: &CancellationToken) {
    let info = DeviceInfo {
        id: DeviceId::parse(id).unwrap(),
        name: "Front Door".to_owned(),
        vendor: "fake",
        model: "FAKE1".to_owned(),
        firmware: None,
        capabilities: capabilities.iter().copied().collect(),
    };
    doorbells.insert(FakeVendor::of(info).doorbell(stop));
}

fn at(go2rtc: &FakeGo2rtc) -> String {
    format!("enabled: true, url: \"{}\"", go2rtc.url())
}

#[tokio::test]
async fn whoever_can_be_talked_to_is_registered_with_a_way_back() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let house = House::new(&at(&go2rtc));
    house.is_registered().await;
    let seen = go2rtc.is_left_alone().await;
    assert_eq!(seen.changes, ["PATCH doorstep_fake_1", "PATCH doorstep_fake_2"], "once each, and not in its file");
    assert_eq!(seen.streams["doorstep_fake_1"], [TALKS]);
    assert_eq!(seen.streams["doorstep_fake_2"], [SHOWS]);
    assert_eq!(seen.streams.len(), 2, "a doorbell without a picture has no stream");
}

#[tokio::test]
async fn prefix_mode_and_address_are_the_owners() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let wishes = "prefix: porch-, mode: whep, advertise_url: \"https://door.example/at/home\"";
    let house = House::new(&format!("{}, {wishes}", at(&go2rtc)));
    house.is_registered().await;
    let streams = go2rtc.seen().streams;
    assert_eq!(streams["porch-fake_1"], ["webrtc:https://door.example/at/home/whep/fake_1"]);
    assert_eq!(streams["porch-fake_2"], ["webrtc:https://door.example/at/home/whep/fake_2"]);
}

#[tokio::test]
async fn a_go2rtc_that_restarts_gets_every_stream_again() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let house = House::new(&at(&go2rtc));
    house.is_registered().await;
    for _ in 0..2 {
        go2rtc.restarts();
        go2rtc.until("both streams again", |seen| seen.streams.len() == 2).await;
    }
    let address = go2rtc.ends().await;
    house.fails("gives no answer").await;
    let go2rtc = FakeGo2rtc::start_at(address, Manner::Well).await;
    go2rtc.until("both streams at the new one", |seen| seen.streams.len() == 2).await;
    house.is_registered().await;
}

#[tokio::test]
async fn a_stream_that_somebody_has_changed_is_put_right_and_one_in_use_is_known_again() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    go2rtc.has("doorstep_fake_1", &["webrtc:ws://10.0.0.1:8480/api/ws?src=fake_1"]);
    let house = House::new(&at(&go2rtc));
    house.is_registered().await;
    assert_eq!(go2rtc.seen().streams["doorstep_fake_1"], [TALKS]);
    go2rtc.is_watched("doorstep_fake_1");
    go2rtc.is_watched("doorstep_fake_2");
    let changes = go2rtc.seen().changes.len();
    assert_eq!(go2rtc.is_left_alone().await.changes.len(), changes, "{:?}", go2rtc.seen());
}

#[tokio::test]
async fn nobody_elses_stream_is_ever_touched() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let theirs = [
        ("garden", &["rtsp://192.168.1.9/1"][..]),
        ("fake_1", &[TALKS]),
        ("doorstep_", &["rtsp://192.168.1.9/2"]),
        ("doorstep_garden", &["rtsp://192.168.1.9/3"]),
        ("doorstep_wyze_1", &["webrtc:ws://192.168.1.7:8480/api/ws?src=wyze_1"]),
        ("doorstep_fake_2", &[SHOWS, "ffmpeg:doorstep_fake_2#audio=aac"]),
        ("nothing", &[]),
    ];
    for (name, sources) in theirs {
        go2rtc.has(name, sources);
    }
    let mut house = House::new(&at(&go2rtc));
    house.listed.take().unwrap().send(()).unwrap();
    house.is_registered().await;
    let seen = go2rtc.is_left_alone().await;
    assert_eq!(seen.changes, ["PATCH doorstep_fake_1"]);
    for (name, sources) in theirs {
        assert_eq!(seen.streams[name], sources, "{name}");
    }
}

#[tokio::test]
async fn a_stream_goes_with_its_doorbell_and_stays_when_we_stop() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let house = House::new(&at(&go2rtc));
    house.is_registered().await;
    house.doorbells.remove(&DeviceId::parse("fake_1").unwrap());
    go2rtc.until("the stream's end", |seen| !seen.streams.contains_key("doorstep_fake_1")).await;
    insert(&house.doorbells, "fake_4", &[Capability::Stream], &house.stop);
    let seen = go2rtc.until("a newcomer", |seen| seen.streams.contains_key("doorstep_fake_4")).await;
    assert_eq!(seen.changes[2..], ["DELETE doorstep_fake_1", "PATCH doorstep_fake_4"]);
    house.stop.cancel();
    drop(house);
    assert_eq!(go2rtc.seen().streams.len(), 2, "whoever watches them finds them again");
}

#[tokio::test]
async fn what_a_former_run_has_left_goes_when_all_accounts_have_told_what_they_have() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    go2rtc.has("doorstep_fake_9", &["webrtc:ws://127.0.0.1:8480/api/ws?src=fake_9&key=longgone"]);
    let mut house = House::new(&at(&go2rtc));
    house.is_registered().await;
    assert!(go2rtc.is_left_alone().await.streams.contains_key("doorstep_fake_9"), "its account may yet list it");
    house.listed.take().unwrap().send(()).unwrap();
    go2rtc.until("the leftover's end", |seen| !seen.streams.contains_key("doorstep_fake_9")).await;
}

#[tokio::test]
async fn a_go2rtc_that_comes_later_is_found_and_one_that_is_not_there_is_nothing_to_speak_of() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let url = go2rtc.url();
    let address = go2rtc.ends().await;
    let house = House::new(&format!("url: \"{url}\""));
    assert_eq!(*house.go2rtc.state().borrow(), Companion::Absent);
    let go2rtc = FakeGo2rtc::start_at(address, Manner::Well).await;
    house.is_registered().await;
    // Neither is something else that listens there.
    for stranger in [Manner::Garbage("<html>a router"), Manner::Garbage("{}"), Manner::Status(404), Manner::Status(401)]
    {
        go2rtc.behaves(stranger);
        house.is("absent", |state| *state == Companion::Absent).await;
        go2rtc.behaves(Manner::Well);
        house.is_registered().await;
    }
    // One that is there and does not let us in is.
    for (manner, because) in [(Manner::Hidden, "`api.allow_paths`"), (Manner::Login("Basic aToi"), "wants a login")] {
        go2rtc.behaves(manner);
        house.fails(because).await;
    }
}

#[tokio::test]
async fn each_trouble_is_told_with_its_remedy() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let house = House::new(&at(&go2rtc));
    house.is_registered().await;
    for (manner, because) in [
        (Manner::Login("Basic aToi"), "Set `go2rtc.username` and `go2rtc.password`"),
        (Manner::Hidden, "`api.allow_paths`"),
        (Manner::Garbage("[1, 2]"), "is not go2rtc"),
        (Manner::Garbage("{\"a\":{\"producers\":7}}"), "is not go2rtc"),
        (Manner::Status(500), "HTTP 500"),
        (Manner::Status(302), "redirects"),
        (Manner::Slow, "did not answer in time"),
    ] {
        go2rtc.behaves(manner);
        house.fails(because).await;
        // Once it has answered, it is asked as often as ever.
        go2rtc.behaves(Manner::Well);
        house.is_registered().await;
    }
    go2rtc.behaves(Manner::NoWebrtc);
    go2rtc.restarts();
    house.fails("`app.modules`").await;
    go2rtc.behaves(Manner::Well);
    house.is_registered().await;
}

#[tokio::test]
async fn a_go2rtc_with_a_login_and_a_base_path_is_spoken_to_as_it_wants() {
    // admin:p@ss
    let go2rtc = FakeGo2rtc::start(Manner::Login("Basic YWRtaW46cEBzcw==")).await;
    let url = format!("url: \"{}/behind/a/path/\"", go2rtc.url());
    let wrong = House::new(&format!("{url}, username: admin, password: pass"));
    wrong.fails("refuses the login").await;
    let house = House::new(&format!("{url}, username: admin, password: \"p@ss\""));
    house.is_registered().await;
}

#[tokio::test]
async fn streams_are_written_into_its_file_once_where_the_owner_wants_that() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let house = House::new(&format!("{}, persist: true", at(&go2rtc)));
    house.is_registered().await;
    assert_eq!(go2rtc.is_left_alone().await.changes, ["PUT doorstep_fake_1", "PUT doorstep_fake_2"]);
    // A file that cannot be written is no reason to do without them.
    go2rtc.behaves(Manner::ReadOnly);
    go2rtc.restarts();
    go2rtc.until("both again", |seen| seen.streams.len() == 2).await;
    house.is_registered().await;
    house.doorbells.remove(&DeviceId::parse("fake_2").unwrap());
    house.is("one left", |state| *state == Companion::Registered { streams: 1 }).await;
}

#[tokio::test]
async fn a_key_in_an_address_is_one_of_minutes() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let issued = Arc::new(AtomicUsize::new(0));
    let count = issued.clone();
    let keys = move |id: &DeviceId| Some(format!("key{}of{id}", count.fetch_add(1, Ordering::Relaxed)));
    let pace = Pace { key_age: Duration::from_millis(300), ..pace() };
    let house = House::with(&format!("{}, persist: true, mode: whep", at(&go2rtc)), pace, keys);
    house.is_registered().await;
    let first = go2rtc.seen().streams["doorstep_fake_1"][0].clone();
    assert!(first.starts_with(&format!("{TALKS}&key=key")), "WHEP takes no key: {first}");
    let seen = go2rtc.until("another key", |seen| seen.streams["doorstep_fake_1"][0] != first).await;
    assert!(seen.streams["doorstep_fake_1"][0].starts_with(&format!("{TALKS}&key=key")), "{seen:?}");
    let written = seen.changes.iter().filter(|change| change.starts_with("PUT")).count();
    assert_eq!(written, 2, "no key but the first is written into a file: {:?}", seen.changes);
    let looks = go2rtc.is_left_alone().await.reads;
    assert!(issued.load(Ordering::Relaxed) < 2 * looks, "a key is not made anew at each look");
}

#[tokio::test]
async fn the_service_registers_its_doorbells_with_a_key_where_a_token_is_needed() {
    let camera = Camera::start(1, |_| {}).await;
    let stream = format!("doorstep_{}", camera.id());
    let token = "4f6b0c7d9e2a815346fb7cd02e918a5d";
    for (http, keyed) in [("127.0.0.1:0\"".to_owned(), false), (format!("127.0.0.1:0\", token: {token}"), true)] {
        let go2rtc = FakeGo2rtc::start(Manner::Well).await;
        let camera = camera.yaml(camera.address);
        let text = format!(
            "http: {{listen: \"{http}}}\ngo2rtc: {{url: \"{}\"}}\nwyze: [{{cameras: [{camera}]}}]\n",
            go2rtc.url()
        );
        let service = Service::configured(&text).await;
        let seen = go2rtc.until("our stream", |seen| seen.streams.contains_key(&stream)).await;
        let source = &seen.streams[&stream][0];
        let place = format!("webrtc:ws://{}/api/ws?src={}", service.page.address, &stream["doorstep_".len()..]);
        assert!(source.starts_with(&place) && !source.contains(token), "{source}");
        assert_eq!(source.contains("&key="), keyed, "{source}");
        service.running.stop().await;
        assert!(go2rtc.seen().streams.contains_key(&stream), "whoever watches it there finds it again");
    }
}

#[tokio::test]
async fn who_wants_none_gets_none() {
    let go2rtc = FakeGo2rtc::start(Manner::Well).await;
    let house = House::new(&format!("enabled: false, url: \"{}\"", go2rtc.url()));
    assert_eq!(*house.go2rtc.state().borrow(), Companion::Off);
    let other = House::new(&format!("{}, prefix: other_", at(&go2rtc)));
    other.is_registered().await;
    let seen = go2rtc.is_left_alone().await;
    assert!(seen.streams.keys().all(|name| name.starts_with("other_")), "{seen:?}");
}
