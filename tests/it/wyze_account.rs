//! A Wyze account against a virtual cloud: what is on it appears, follows and goes, and its button rings once.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::config;
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Doorbell, Registry};
use doorstep::model::{AccountLink, Capability, DeviceId, Event, Link, Motion, MotionKind, Ring};
use doorstep::secret::Password;
use doorstep::sim::tutk_camera;
use doorstep::sim::wyze_cloud::{
    self, CloudCommand, CloudEvent, Device, Fault, RunningCloud, Scripted, SecondFactor, Settings, Trouble,
};
use doorstep::store::Store;
use doorstep::vendor;
use doorstep::vendor::wyze::gwell::talk;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::service::Camera;
use crate::support::told;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_secs(1);
const LIST: &str = "/app/v2/home_page/get_object_list";
const EVENTS_2: &str = "/app/v2/device/get_event_list";
const EVENTS_4: &str = "/app/v4/device/get_event_list";

/// A cloud, and the folder of the service that logs in to it.
pub(crate) struct Place {
    pub(crate) cloud: RunningCloud,
    data: TempDir,
    _cloud_stops: DropGuard,
}

impl Place {
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { upload: Duration::ZERO, ..Settings::generate(3) };
        change(&mut settings);
        let stop = CancellationToken::new();
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        Self { cloud, data: tempfile::tempdir().unwrap(), _cloud_stops: stop.drop_guard() }
    }

    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) fn obey(&self, command: CloudCommand) {
        self.cloud.obey(command).unwrap();
    }

    fn fault_at(&self, fault: Fault, at: &str) {
        self.obey(CloudCommand::Trouble(Some(Trouble { fault, at: at.to_owned() })));
    }

    fn device(&self, model: &str) -> Device {
        let devices = self.cloud.devices();
        devices.into_iter().find(|device| device.model == model).unwrap_or_else(|| panic!("no {model} on the account"))
    }

    fn config(&self, more: &str) -> config::Config {
        let Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let url = self.cloud.url();
        let mut text = format!(
            "wyze:\n  - email: {}\n    password: {}\n    key_id: {}\n    api_key: {}\n    poll_s: {}\n    \
             endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", \
             mars: \"{url}\", device_management: \"{url}\"}}\n",
            email.expose(),
            password.expose(),
            key_id.expose(),
            api_key.expose(),
            POLL.as_secs(),
        );
        writeln!(text, "{more}").unwrap();
        config::parse(&text, "test").unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub(crate) fn house(&self) -> House {
        self.house_with("")
    }

    /// The service's accounts and doorbells, without its faces. `more` is of the account or behind it.
    fn house_with(&self, more: &str) -> House {
        let store = Store::open(&self.data.path().join("data")).unwrap();
        let stop = CancellationToken::new();
        let (doorbells, locks) = (Registry::default(), Registry::default());
        let wishes = Wishes {
            options: Default::default(),
            locks: Default::default(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let vendors = vendor::all(&self.config(more), &store);
        let accounts = Accounts::start(vendors, wishes, doorbells.clone(), locks, &stop);
        House { accounts, doorbells, stop }
    }
}

pub(crate) struct House {
    pub(crate) accounts: Accounts,
    doorbells: Registry,
    stop: CancellationToken,
}

impl House {
    pub(crate) async fn account_is(&self, what: &str, mut is_so: impl FnMut(&AccountLink) -> bool) -> AccountLink {
        let (.., mut status) = self.accounts.all().remove(0);
        let waited = tokio::time::timeout(PATIENCE, status.wait_for(|account| is_so(&account.link))).await;
        match waited.map(|status| status.unwrap().link.clone()) {
            Ok(link) => link,
            Err(_) => panic!("the account never was {what}; it is {:?}", self.accounts.all()[0].2.borrow()),
        }
    }

    pub(crate) async fn ready(&self) {
        self.account_is("ready", |link| *link == AccountLink::Ready).await;
    }

    /// Has the account listed anew, and waits until the house has the listing.
    async fn relisted(&self, place: &Place) {
        let mut happened = place.cloud.events();
        self.accounts.rediscover();
        told::first(&mut happened, "a listing", |event| matches!(event, CloudEvent::List { .. }).then_some(())).await;
    }

    /// Waits for the registry to be so.
    async fn until(&self, what: &str, is_so: impl Fn(&Registry) -> bool) {
        let waiting = async {
            while !is_so(&self.doorbells) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "it never came to this: {what}; there are {:?}", self.names());
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.doorbells.all().iter().map(|doorbell| doorbell.info().name.clone()).collect();
        names.sort();
        names
    }

    pub(crate) async fn doorbell(&self, device: &Device) -> Doorbell {
        let id = id(device);
        self.until("the doorbell is there", |doorbells| doorbells.get(&id).is_some()).await;
        self.doorbells.get(&id).unwrap()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.accounts.stopped()).await.expect("the account did not stop");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn id(device: &Device) -> DeviceId {
    DeviceId::from_hardware("wyze", &device.mac)
}

/// Waits until the cloud has given out its event list so many times more.
async fn polled(place: &Place, times: usize) {
    let mut happened = place.cloud.events();
    for _ in 0..times {
        let polled = |event: &CloudEvent| matches!(event, CloudEvent::Events { .. }).then_some(());
        told::first(&mut happened, "a reading of the event list", polled).await;
    }
}

async fn event(events: &mut broadcast::Receiver<Event>) -> Event {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("nothing was told").unwrap()
}

async fn ring(events: &mut broadcast::Receiver<Event>) -> Ring {
    match event(events).await {
        Event::Ring(ring) => ring,
        Event::Motion(motion) => panic!("{motion:?}"),
    }
}

#[tokio::test]
async fn what_is_on_the_account_appears_after_one_login() {
    let place = Place::open().await;
    let house = place.house();
    house.ready().await;
    let names = [
        "Back Door",
        "Driveway",
        "Floodlight",
        "Front Door",
        "Garage",
        "Garden Gate",
        "Hall",
        "Parcel Door",
        "Side Entrance",
    ];
    assert_eq!(house.names(), names, "doorbells, and the cameras that can be reached");
    let pro = house.doorbell(&place.device("GW_BE1")).await.info();
    let all = [Capability::Ring, Capability::Motion, Capability::Stream, Capability::Talk, Capability::Snapshot];
    assert_eq!(pro.capabilities, all.into());
    let camera = house.doorbell(&place.device("HL_CAM4")).await.info();
    assert_eq!(camera.capabilities, all[1..].iter().copied().collect());
    assert_eq!(camera.firmware.as_deref(), Some("4.52.9.5332"));
    assert_eq!(place.cloud.counts().logins, 1);
    assert_eq!(house.accounts.all()[0].2.borrow().devices, place.cloud.devices().len());
}

#[tokio::test]
async fn a_device_that_is_added_renamed_or_removed_follows_without_a_restart() {
    let place = Place::open().await;
    let house = place.house();
    house.ready().await;
    let (front, added) = (place.device("WYZEDB3"), Device::generate("HL_DB2", "Cellar Door", 99));

    place.obey(CloudCommand::Add(Box::new(added.clone())));
    place.obey(CloudCommand::Rename { device: front.mac.clone(), nickname: "Main Door".to_owned() });
    let before = house.doorbell(&front).await;
    house.relisted(&place).await;
    house.doorbell(&added).await;
    house.until("renamed", |_| before.info().name == "Main Door").await;

    place.obey(CloudCommand::Remove { device: front.mac.clone() });
    house.relisted(&place).await;
    house.relisted(&place).await;
    house.until("gone", |doorbells| doorbells.get(&id(&front)).is_none()).await;
    assert!(house.doorbells.get(&id(&added)).is_some());
}

#[tokio::test]
async fn row_18_a_camera_that_moves_to_another_address_is_found_there_and_the_old_one_left_alone() {
    let here = Camera::start(21, |_| {}).await;
    // The same camera, on another address.
    let there = Camera::start(21, |_| {}).await;
    let place = Place::with(|settings| settings.devices = vec![listed(&here.settings, here.address)]).await;
    let house = place.house();
    let device = place.cloud.devices().remove(0);
    let doorbell = house.doorbell(&device).await;
    here.is_left_alone().await;

    let (device, address) = (device.mac, there.address.to_string());
    place.obey(CloudCommand::Address { device, address });
    house.relisted(&place).await;
    house.relisted(&place).await;
    let _viewer = doorbell.watch();
    let told = here.told().len();
    there.tells("a session", |told| !told.is_empty()).await;
    let mut state = doorbell.state();
    let streams = tokio::time::timeout(PATIENCE, state.wait_for(|state| state.link == Link::Streaming)).await;
    assert!(streams.is_ok(), "no picture came");
    assert_eq!(here.told().len(), told, "the old address is still sent to");
}

/// A virtual camera as the cloud lists it.
pub(crate) fn listed(camera: &tutk_camera::Settings, address: SocketAddr) -> Device {
    let mut device = Device::generate("HL_DB2", "Front Door", 1);
    device.mac.clone_from(&camera.mac);
    device.uid = camera.uid_text();
    device.enr = camera.enr.clone();
    device.address = address.to_string();
    device
}

#[tokio::test]
async fn a_camera_that_is_typed_in_and_listed_is_one_and_the_typed_keys_win() {
    let camera = Camera::start(22, |_| {}).await;
    let wrong: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let place = Place::with(|settings| settings.devices = vec![listed(&camera.settings, wrong)]).await;
    let house = place.house_with(&format!("    cameras: [{}]", camera.yaml(camera.address)));
    house.ready().await;
    camera.is_left_alone().await;
    assert_eq!(house.doorbells.all().len(), 1);
    let info = house.doorbell(&place.cloud.devices()[0]).await.info();
    assert!(info.capabilities.contains(&Capability::Ring), "its rings come from the account");
}

#[tokio::test]
async fn a_typed_camera_that_only_the_cloud_reaches_waits_for_its_account() {
    let place = Place::with(|settings| settings.devices = vec![Device::generate("LD_CFP", "Light", 24)]).await;
    let mac = "D03F27A1B2C3";
    let house = place.house_with(&format!(
        "    cameras: [{{name: Door, model: GW_BE1, mac: {mac}, uid: HSBJYB5HSETGCDWD111A, enr: aKzdqckqZ8HUHFe5, \
         address: 127.0.0.1}}]"
    ));
    let doorbell = house.doorbell(&Device { mac: mac.to_owned(), ..place.cloud.devices().remove(0) }).await;
    let mut state = doorbell.state();
    let told = state.wait_for(|state| state.last_error.is_some());
    drop(tokio::time::timeout(PATIENCE, told).await.expect("it says nothing").unwrap());
    assert_eq!(state.borrow().link, Link::Offline, "it was given up");

    let listed = Device { mac: mac.to_owned(), ..Device::generate("GW_BE1", "Pro", 24) };
    place.obey(CloudCommand::Add(Box::new(listed)));
    house.accounts.rediscover();
    let ready = state.wait_for(|state| state.link == Link::Ready);
    drop(tokio::time::timeout(PATIENCE, ready).await.expect("it never came").unwrap());
    assert_eq!(doorbell.info().name, "Door", "the owner's name stands");
}

#[tokio::test]
async fn a_doorbell_that_fails_on_the_lan_again_and_again_is_called_through_the_cloud_for_an_hour() {
    let place = Place::with(|settings| {
        // Nobody listens there.
        settings.devices = vec![listed(&tutk_camera::Settings::generate(23), ([127, 0, 0, 1], 9).into())];
    })
    .await;
    let house = place.house();
    house.ready().await;
    house.end().await;
    // From here on by what is stored, so that no time passes outside of this test.
    place.obey(CloudCommand::Online { device: None, online: false });
    tokio::time::pause();
    let house = place.house();
    let mut state = house.doorbell(&place.cloud.devices()[0]).await.state();
    let begun = clock::now();
    for round in 0..2 {
        let moved = state.wait_for(|state| {
            state.last_error.as_ref().is_some_and(|why| why.ends_with("it is called through Wyze's cloud instead."))
        });
        drop(tokio::time::timeout(Duration::from_secs(7_200), moved).await.expect("the cloud is never asked").unwrap());
        let ready = state.wait_for(|state| state.link == Link::Ready && state.last_error.is_none());
        drop(tokio::time::timeout(Duration::from_secs(7_200), ready).await.expect("it is not ready").unwrap());
        println!("called through the cloud after {:?}", begun.elapsed());
        assert_eq!(begun.elapsed() > Duration::from_secs(3_600), round == 1, "the LAN is tried again after an hour");
    }
}

#[tokio::test]
async fn a_camera_of_gwell_that_cannot_be_called_is_reached_over_gwell_and_cannot_be_talked_to_meanwhile() {
    let place = Place::with(|settings| settings.devices = vec![Device::generate("GW_BE1", "Gate", 23)]).await;
    let house = place.house();
    house.ready().await;
    house.end().await;
    // From here on by what is stored, so that no time passes outside of this test.
    place.obey(CloudCommand::Online { device: None, online: false });
    tokio::time::pause();
    let house = place.house();
    let doorbell = house.doorbell(&place.cloud.devices()[0]).await;
    assert!(doorbell.info().capabilities.contains(&Capability::Talk), "as long as it is called by WebRTC");
    let _watching = doorbell.watch();
    let mut state = doorbell.state();
    for (end, talk_obstacle) in [
        ("For an hour it is reached over GWell instead.", Some(talk::UNKNOWN)),
        ("It is called through Wyze's cloud again.", None),
    ] {
        let moved = state.wait_for(|state| state.last_error.as_ref().is_some_and(|why| why.ends_with(end)));
        drop(tokio::time::timeout(Duration::from_secs(600), moved).await.expect(end).unwrap());
        let told = state.wait_for(|state| state.talk_obstacle.as_deref() == talk_obstacle);
        drop(tokio::time::timeout(Duration::from_secs(600), told).await.expect(end).unwrap());
    }
    assert_eq!(place.cloud.requests_to("/plugin/mars"), 0, "the cloud is away");
}

#[tokio::test]
async fn row_16_broken_devices_between_the_others_cost_none_of_them() {
    let place = Place::open().await;
    place.fault_at(Fault::BrokenDevice, "/app");
    let house = place.house();
    house.ready().await;
    assert_eq!(house.names().len(), 9, "{:?}", house.names());
}

#[tokio::test]
async fn row_16_a_listing_that_is_garbled_takes_no_doorbell_away() {
    let place = Place::open().await;
    let house = place.house();
    house.ready().await;
    let before = house.names();
    for fault in [
        Fault::WrongTypes,
        Fault::MissingFields,
        Fault::UnknownEnums,
        Fault::Html,
        Fault::Truncated,
        Fault::ServerError,
        Fault::Reset,
    ] {
        place.fault_at(fault, LIST);
        // Twice missing would be gone.
        for _ in 0..3 {
            let asked = place.cloud.requests_to(LIST);
            house.accounts.rediscover();
            house.until("asked", |_| place.cloud.requests_to(LIST) > asked).await;
        }
        place.obey(CloudCommand::Trouble(None));
        house.relisted(&place).await;
        house.ready().await;
        assert_eq!(house.names(), before, "{fault:?}");
    }
}

#[tokio::test]
async fn a_ring_is_told_once_and_in_time() {
    let place = Place::open().await;
    let house = place.house();
    house.ready().await;
    let door = place.device("WYZEDB3");
    let mut events = house.doorbell(&door).await.events();
    polled(&place, 1).await;
    for fault in [None, Some(Fault::DuplicateEvents), Some(Fault::UnorderedEvents)] {
        place.obey(CloudCommand::Trouble(fault.map(Trouble::from)));
        let pressed = clock::now();
        place.obey(CloudCommand::Happen(Scripted::ring().at(&door.mac)));
        let ring = ring(&mut events).await;
        let took = pressed.elapsed();
        println!("from the cloud to the doorbell: {took:?}, and it says {:?}", ring.latency);
        // On an idle machine within 100 ms behind the poll; the tests around this one take their share.
        assert!(took < POLL + Duration::from_millis(900), "{took:?}");
        assert_eq!(ring.source, "cloud");
        assert!(ring.latency.is_some_and(|latency| latency <= took + Duration::from_millis(10)), "{ring:?}");
        polled(&place, 2).await;
        assert!(events.try_recv().is_err(), "it rang again");
    }
}

#[tokio::test]
async fn nothing_that_is_older_than_half_a_minute_rings_at_the_start() {
    let place = Place::open().await;
    let door = place.device("WYZEDB3");
    for ago in [900, 40, 31, 3] {
        let ago = Duration::from_secs(ago);
        place.obey(CloudCommand::Happen(Scripted { ago, ..Scripted::ring().at(&door.mac) }));
    }
    let house = place.house();
    let doorbell = house.doorbell(&door).await;
    polled(&place, 2).await;
    house.until("it rang", |_| doorbell.rings_total() > 0).await;
    polled(&place, 1).await;
    assert_eq!(doorbell.rings_total(), 1, "only the one of 3 s ago");
}

#[tokio::test]
async fn motion_and_what_was_recognised_is_told_of_cameras_too() {
    let place = Place::open().await;
    let house = place.house();
    let camera = place.device("HL_CAM4");
    let mut events = house.doorbell(&camera).await.events();
    for (tags, kind) in [(&[][..], MotionKind::Motion), (&[101], MotionKind::Person), (&[104], MotionKind::Package)] {
        place.obey(CloudCommand::Happen(Scripted::motion(tags).at(&camera.mac)));
        let told = event(&mut events).await;
        assert!(matches!(told, Event::Motion(Motion { kind: told, .. }) if told == kind), "{told:?}");
    }
    // A camera has no button.
    place.obey(CloudCommand::Happen(Scripted::ring().at(&camera.mac)));
    polled(&place, 2).await;
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn rings_are_read_from_the_older_list_while_the_newer_is_not_understood() {
    for fault in [Fault::WrongTypes, Fault::MissingFields, Fault::Html, Fault::ServerError] {
        let place = Place::open().await;
        let door = place.device("WYZEDB3");
        place.fault_at(fault, EVENTS_4);
        let house = place.house();
        let mut events = house.doorbell(&door).await.events();
        place.obey(CloudCommand::Happen(Scripted::ring().at(&door.mac)));
        assert_eq!(ring(&mut events).await.source, "cloud", "{fault:?}");
        polled(&place, 2).await;
        assert!(place.cloud.requests_to(EVENTS_4) <= 2, "{fault:?}: the newer list is asked for again and again");
        assert!(place.cloud.requests_to(EVENTS_2) >= 2, "{fault:?}");
    }
}

#[tokio::test]
async fn row_39_a_clock_that_is_a_day_wrong_loses_no_ring() {
    let place = Place::with(|settings| settings.trouble = Some(Fault::ClockSkew.into())).await;
    let door = place.device("WYZEDB3");
    let house = place.house();
    let mut events = house.doorbell(&door).await.events();
    polled(&place, 1).await;
    place.obey(CloudCommand::Happen(Scripted::ring().at(&door.mac)));
    let ring = ring(&mut events).await;
    assert!(ring.latency.is_some_and(|latency| latency < Duration::from_secs(60)), "{ring:?}");
}

#[tokio::test]
async fn without_a_doorbell_no_events_are_read() {
    let place = Place::with(|settings| settings.devices.retain(|device| !device.is_doorbell())).await;
    let house = place.house();
    house.ready().await;
    for _ in 0..3 {
        house.relisted(&place).await;
    }
    assert_eq!(place.cloud.requests_to(EVENTS_4) + place.cloud.requests_to(EVENTS_2), 0);
    // The first doorbell begins it.
    place.obey(CloudCommand::Add(Box::new(Device::generate("HL_DB2", "Door", 5))));
    house.relisted(&place).await;
    polled(&place, 1).await;
}

#[tokio::test]
async fn row_15_a_cloud_that_wants_to_be_left_alone_is() {
    let place = Place::open().await;
    let house = place.house();
    house.ready().await;
    place.fault_at(Fault::TooManySeconds, "/app");
    let mut happened = place.cloud.events();
    told::first(&mut happened, "a refusal", |event| match event {
        CloudEvent::Refused { why: "HTTP 429", .. } => Some(()),
        _ => None,
    })
    .await;
    let link = house.account_is("failing", |link| matches!(link, AccountLink::Failing { .. })).await;
    assert!(link.why().unwrap().contains("limit"), "{link:?}");
    // Each of these would be a listing; the first of them finds out that this host, too, wants to be left alone.
    for _ in 0..30 {
        house.accounts.rediscover();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = place.cloud.requests_to("/app");
    assert!(place.cloud.requests_to(LIST) <= 2 && asked <= 8, "{asked} requests");
    assert_eq!(house.names().len(), 9, "its doorbells stay");
}

#[tokio::test]
async fn the_doorbells_of_the_last_listing_are_there_while_the_cloud_is_away() {
    let place = Place::open().await;
    let house = place.house();
    house.ready().await;
    let before = house.names();
    house.end().await;

    place.obey(CloudCommand::Online { device: None, online: false });
    let started = clock::now();
    let house = place.house();
    house.until("all doorbells are there", |doorbells| doorbells.all().len() == before.len()).await;
    println!("doorbells without a cloud after {:?}", started.elapsed());
    house.account_is("failing", |link| matches!(link, AccountLink::Failing { .. })).await;
    assert_eq!(house.names(), before);

    place.obey(CloudCommand::Online { device: None, online: true });
    house.accounts.rediscover();
    house.ready().await;
    assert_eq!(place.cloud.counts().logins, 1, "a stored token makes a login needless");
}

#[tokio::test]
async fn a_restart_lists_eight_devices_at_once_and_without_a_login() {
    let place = Place::with(|settings| settings.devices.truncate(8)).await;
    let house = place.house();
    house.ready().await;
    let all = house.names().len();
    house.end().await;
    // Its tokens stay, its list does not: what counts is the cloud's answer.
    let started = clock::now();
    let house = place.house();
    house.until("all doorbells are there", |doorbells| doorbells.all().len() == all).await;
    let known = started.elapsed();
    house.relisted(&place).await;
    house.ready().await;
    println!("{all} of 8 devices: {known:?} after the start, listed by the cloud after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(place.cloud.counts().logins, 1);
}

#[tokio::test]
async fn row_14_a_code_that_wyze_sends_is_asked_of_the_owner_and_taken() {
    let place = Place::with(|settings| settings.second_factor = SecondFactor::Sms).await;
    let mut happened = place.cloud.events();
    let house = place.house();
    let code = told::first(&mut happened, "a code by SMS", |event| match event {
        CloudEvent::SmsSent { code } => Some(code.clone()),
        _ => None,
    })
    .await;
    let needs_code = |link: &AccountLink| matches!(link, AccountLink::NeedsCode { .. });
    let asked = house.account_is("waiting for a code", needs_code).await;
    assert!(asked.why().unwrap().contains("SMS"), "{asked:?}");
    house.accounts.answer(0, Password::new("000"));
    let refused = |link: &AccountLink| link.why().is_some_and(|why| why.contains("refused that code"));
    house.account_is("refusing a code", refused).await;
    house.accounts.answer(0, Password::new(code));
    house.ready().await;
    assert_eq!(house.names().len(), 9);
}

#[tokio::test]
async fn row_14_a_refused_login_is_left_to_the_owner_and_tried_once() {
    let place = Place::open().await;
    place.obey(CloudCommand::Password(Password::new("changed since")));
    let house = place.house();
    let link = house.account_is("left to its owner", |link| matches!(link, AccountLink::NeedsAttention { .. })).await;
    assert!(link.why().unwrap().contains("password"), "{link:?}");
    house.accounts.rediscover();
    house.end().await;
    assert_eq!(place.cloud.requests_to("/api/user/login"), 1);
}

#[tokio::test]
async fn the_clouds_picture_of_a_ring_is_shown_with_it_and_no_camera_is_woken() {
    const PORCH: &[u8] = include_bytes!("../../src/sim/assets/porch.jpg");
    let place = Place::with(|settings| settings.upload = Duration::from_secs(2)).await;
    let house = place.house();
    house.ready().await;
    // It lives on a battery.
    let device = place.device("GW_BE1");
    let doorbell = house.doorbell(&device).await;
    let (mut events, mut pictures) = (doorbell.events(), doorbell.pictures());
    polled(&place, 1).await;
    place.obey(CloudCommand::Happen(Scripted::ring().at(&device.mac)));
    let ring = told::first(&mut events, "the ring", |event| match event {
        Event::Ring(ring) => Some(ring.clone()),
        Event::Motion(_) => None,
    });
    let ring = ring.await;
    assert_eq!(doorbell.ring_picture(&ring.event_id), None, "it is not uploaded yet");
    let shown = tokio::time::timeout(PATIENCE, pictures.wait_for(Option::is_some)).await.expect("no picture came");
    let shown = shown.unwrap().clone().unwrap();
    assert_eq!((shown.ring.as_ref(), &shown.jpeg[..], shown.at), (Some(&ring.event_id), PORCH, ring.at));
    assert_eq!(doorbell.ring_picture(&ring.event_id), Some(shown));
    let counts = place.cloud.counts();
    assert_eq!((counts.wakes, counts.streams, counts.gwell_tokens), (0, 0, 0), "the camera was woken for its ring");
    assert_eq!(place.cloud.requests_to("/event-files/"), 1);
    house.end().await;
}
