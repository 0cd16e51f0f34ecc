//! Row 35 of the fault matrix: whatever the vendor, a doorbell hears that a talk is over before the process that held
//! it is gone; and a second signal is obeyed at once.

use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::model::DeviceId;
use doorstep::sim::aws::{AccessKey, ChannelSettings};
use doorstep::sim::tutk_camera::CameraEvent;
use doorstep::sim::wyze_cloud::{self, Device, Stream};
use doorstep::sim::{aws, kvs_camera, kvs_doorbell, vivint};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::impair::{self, Line, Mode};
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::score::{Figure, tally};
use crate::support::service::{Camera, PATIENCE, Page, configuration};
use crate::support::viewer::Manners;

/// A doorbell somewhere, and everything that it has told, with when.
struct Resident {
    id: String,
    told: watch::Receiver<Vec<(clock::Instant, Value)>>,
}

impl Resident {
    fn new<E: Serialize + Clone + Send + 'static>(id: String, mut events: broadcast::Receiver<E>) -> Self {
        let (notebook, told) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                let event = serde_json::to_value(&event).unwrap();
                notebook.send_modify(|all| all.push((clock::now(), event)));
            }
        });
        Self { id, told }
    }

    /// When it first told this, if it does in time.
    async fn tells(&self, event: &str) -> Option<clock::Instant> {
        let mut told = self.told.clone();
        let is_it = |told: &Vec<(clock::Instant, Value)>| told.iter().any(|(_, told)| told["event"] == event);
        let told = timeout(PATIENCE, told.wait_for(is_it)).await.ok()?.ok()?;
        told.iter().find(|(_, told)| told["event"] == event).map(|(at, _)| *at)
    }

    fn count(&self, event: &str) -> usize {
        self.told.borrow().iter().filter(|(_, told)| told["event"] == event).count()
    }
}

/// A doorbell of each vendor that can be talked to over a cloud, in a configuration without TUTK's.
struct Street {
    residents: Vec<Resident>,
    yaml: String,
    _clouds: Vec<Box<dyn std::any::Any>>,
    _stop: DropGuard,
}

impl Street {
    async fn new() -> Self {
        let stop = CancellationToken::new();
        let mut street =
            Self { residents: vec![], yaml: String::new(), _clouds: vec![], _stop: stop.clone().drop_guard() };
        street.wyze(&stop).await;
        street.vivint(&stop).await;
        street.kvs(&stop).await;
        street
    }

    /// A Wyze camera that is called by WebRTC.
    async fn wyze(&mut self, stop: &CancellationToken) {
        const MAC: &str = "GW_BE1_D03F27778899";
        let settings = kvs_camera::Settings { channel: MAC.to_owned(), ..Default::default() };
        let camera = Arc::new(kvs_camera::start(settings, stop.clone()).await.unwrap());
        self.residents.push(Resident::new(format!("wyze_{}", MAC.to_ascii_lowercase()), camera.events()));
        let mut settings = wyze_cloud::Settings::generate(35);
        settings.devices = vec![Device { mac: MAC.to_owned(), ..Device::generate("GW_BE1", "Side Entrance", 0) }];
        settings.streams = Arc::new(move |_| {
            let viewer = format!("viewer-{:016x}", getrandom::u64().unwrap());
            Some(Stream { signaling_url: camera.url_for(&viewer).expose().to_owned(), ice_servers: vec![] })
        });
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        let (url, wyze_cloud::Settings { email, password, key_id, api_key, .. }) = (cloud.url(), &cloud.settings);
        self.yaml += &format!(
            "wyze:\n  - {{email: {}, password: \"{}\", key_id: \"{}\", api_key: \"{}\", poll_s: 1, endpoints: \
             {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", mars: \"{url}\", \
             device_management: \"{url}\"}}}}\n",
            email.expose(),
            password.expose(),
            key_id.expose(),
            api_key.expose(),
        );
        self._clouds.push(Box::new(cloud));
    }

    async fn vivint(&mut self, stop: &CancellationToken) {
        let mut settings = vivint::Settings::generate(35);
        settings.second_factor = vivint::SecondFactor::totp(35);
        settings.devices.retain(|device| device.camera().is_some_and(|camera| camera.speaks));
        let hardware = format!("{}_{}", settings.panel, settings.devices[0].id);
        let house = vivint::start(settings, stop.clone()).await.unwrap();
        self.residents.push(Resident::new(DeviceId::from_hardware("vivint", &hardware).to_string(), house.events()));
        let (url, settings) = (house.url(), &house.settings);
        let vivint::SecondFactor::Totp(secret) = &settings.second_factor else { unreachable!() };
        self.yaml += &format!(
            "vivint:\n  - {{username: {}, password: \"{}\", totp_secret: \"{}\", firebase_api_key: \"{}\", endpoints: \
             {{identity: \"{url}\", api: \"{url}\", pubnub: \"{url}\", pubnub_key: {}, exchange: \"{url}\", \
             identity_toolkit: \"{url}\", secure_token: \"{url}\", ice_servers: []}}}}\n",
            settings.username.expose(),
            settings.password.expose(),
            secret.expose(),
            settings.firebase_api_key.expose(),
            settings.pubnub_key,
        );
        self._clouds.push(Box::new(house));
    }

    async fn kvs(&mut self, stop: &CancellationToken) {
        const CHANNEL: &str = "courtyard";
        let mut settings = aws::Settings::generate(35);
        settings.channels = vec![ChannelSettings::named(CHANNEL)];
        let cloud = aws::start(settings, stop.clone()).await.unwrap();
        let settings = kvs_doorbell::Settings::at(cloud.client().unwrap(), CHANNEL);
        let doorbell = kvs_doorbell::start(settings, stop.clone()).unwrap();
        self.residents.push(Resident::new(DeviceId::from_hardware("kvs", CHANNEL).to_string(), doorbell.events()));
        let AccessKey { id, secret, .. } = &cloud.settings.keys[0];
        let (region, plain) = (&cloud.settings.region, cloud.plain);
        self.yaml += &format!(
            "kvs:\n  - {{region: {region}, channels: [{CHANNEL}], access_key_id: {id}, secret_access_key: \"{}\", \
             iot_endpoint: \"ws://{plain}\", endpoints: {{kinesisvideo: \"http://{plain}\", ice_servers: []}}}}\n",
            secret.expose(),
        );
        self._clouds.push(Box::new(cloud));
        self._clouds.push(Box::new(doorbell));
    }
}

fn is_ended(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::TalkEnded { .. })
}

/// Runs with this configuration, in a folder that outlasts it.
async fn run(yaml: &str) -> (TempDir, Program, Page) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorstep.yaml");
    std::fs::write(&file, yaml).unwrap();
    let data = folder.path().join("data");
    let arguments = ["run", "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let mut program = Program::start(arguments);
    let page = Page::at(program.page().await);
    (folder, program, page)
}

#[tokio::test]
async fn row_35_sigterm_ends_the_talk_at_the_doorbell_of_every_vendor() {
    let street = Street::new().await;
    let port = free_port();
    let faces = format!("http: {{listen: \"127.0.0.1:0\"}}\nmedia: {{port: {port}}}\ngo2rtc: {{enabled: false}}\n");
    let (_folder, program, page) = run(&(faces + &street.yaml)).await;
    let mut viewers = Vec::new();
    for Resident { id, .. } in &street.residents {
        let known = async {
            while page.get(&format!("/api/doorbells/{id}")).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, known).await.is_ok(), "{id} is not listed: {}", program.log());
        page.is(id, "ready").await;
        viewers.push(page.watch(id, Manners { speaks: true, ..Manners::default() }).await);
    }
    for resident in &street.residents {
        assert!(resident.tells("talk_audio").await.is_some(), "{} hears nothing: {}", resident.id, program.log());
        assert_eq!(resident.count("talk_ended"), 0, "{}", resident.id);
    }
    let asked = clock::now();
    program.terminate();
    let ended = program.ends().await;
    let (exit, took) = (clock::now(), asked.elapsed());
    let mut told = 0;
    for resident in &street.residents {
        // What was sent before the exit is in the doorbell's socket by then.
        let heard = timeout(Duration::from_secs(2), resident.tells("talk_ended")).await.ok().flatten();
        let late = heard.map(|heard| heard.saturating_duration_since(exit));
        println!("{} was told {late:?} after the exit, {:?} after the signal", resident.id, heard.map(|at| at - asked));
        told += usize::from(late.is_some_and(|late| late < Duration::from_millis(500)));
    }
    tally(Figure::TalksEnded, told, street.residents.len());
    assert_eq!(told, street.residents.len(), "a speaker was left open: {}", ended.log);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop(viewers);
}

#[tokio::test]
async fn row_35_a_second_sigterm_is_obeyed_within_a_second() {
    let broker = Mosquitto::start().await;
    let line = impair::Tcp::to(broker.port, Line::default(), 35).await;
    let camera = Camera::start(1, |_| {}).await;
    let (_folder, mut program, page) =
        run(&configuration(Some(line.port), "127.0.0.1:0", free_port(), &[&camera])).await;
    camera.is_left_alone().await;
    let mut status = broker.listen("doorstep/status").await;
    while status.next().await.payload != "online" {}
    let begun = page.post(&format!("/api/doorbells/{}/talk", camera.id()), r#"{"on":true}"#).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    // From now on the broker confirms nothing, for which the first signal would wait.
    line.mode(Mode::Silent);
    program.terminate();
    camera.tells("the end of the talk", |events| events.iter().any(is_ended)).await;
    let asked = clock::now();
    program.terminate();
    let said = program.logs("stopped at once by a second signal").await;
    let ended = program.ends().await;
    let took = asked.elapsed();
    println!("it ended {took:?} after the second signal");
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert_eq!(ended.status.code(), Some(1), "{said}");
}
