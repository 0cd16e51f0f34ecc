//! GWell cameras: how soon there is a picture, from the session alone and through the whole service, and what eight of
//! them cost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::net::drive::drive;
use doorstep::net::lanes::{Lanes, Streams};
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::mtp::Mtp;
use doorstep::proto::gwell::session::{ClientSession, Event, Media, Setup};
use doorstep::proto::gwell::token::AccessToken;
use doorstep::secret::Token;
use doorstep::sim::wyze_cloud::{self, Device, GwellUser, RunningCloud};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::audience::Watcher;
use crate::doorbell::{self, Before};
use crate::figures::{Figures, Goal, Unit};
use crate::house::House;
use crate::process::Process;
use crate::viewer::Manners;

const KBIT_PER_SECOND: &str = "2000";
const CAMERAS: usize = 8;
const SESSIONS: usize = 20;
const PICTURES: usize = 20;
const SETTLING: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(20);
/// Of Wyze's models one that nothing but GWell leads to, and that does not sleep.
const MODEL: &str = "GW_WC";

pub(crate) async fn measure(figures: &mut Figures) {
    let street = Street::open(&[&["--bitrate", KBIT_PER_SECOND][..]; CAMERAS]).await;
    let mut times = Vec::with_capacity(SESSIONS);
    for nth in 0..SESSIONS {
        times.push(street.first_picture(nth % CAMERAS).await);
    }
    let name = "GWell: session to the first picture, cold";
    figures.add_times(name, &mut times, Goal::AtMost(2_000.0), Goal::None);

    let Street { mut house, ids, .. } = street;
    let before = Before::of(&house);
    let mut times = doorbell::pictures(&house, PICTURES).await;
    let name = "GWell: offer to the first picture's first packet, cold";
    figures.add_times(name, &mut times, Goal::AtMost(2_000.0), Goal::None);
    before.after(figures, &house, ("GWell", "20 pictures")).await;

    let mut watchers = Vec::with_capacity(CAMERAS);
    for id in &ids {
        house.id.clone_from(id);
        let mut watcher = Watcher::join(&house, Manners::default()).await;
        watcher.see("a picture", |seen| seen.tally.packets > 0).await;
        watchers.push(watcher);
    }
    tokio::time::sleep(SETTLING).await;
    let sent_before = house.metric("bytes_sent_total").await;
    let percent = house.service.processor_over(MEASURED).await;
    let sent = house.metric("bytes_sent_total").await - sent_before;
    let name = "GWell: processor, 8 cameras of 2 Mbit/s, a viewer each";
    figures.add(name, percent, Unit::Percent, Goal::AtMost(60.0));
    let mbit = sent * 8.0 / 1e6 / MEASURED.as_secs_f64();
    figures.add("GWell: sent meanwhile", mbit, Unit::MbitPerSecond, Goal::None);
    figures.add("GWell: memory, 8 cameras", house.service.resident_mib(), Unit::MiB, Goal::None);
    for watcher in watchers {
        watcher.leave().await;
    }
}

/// A house with GWell cameras, their P2P server and their cloud.
pub(crate) struct Street {
    pub(crate) house: House,
    pub(crate) cameras: Vec<Process>,
    /// The doorbells' ids at the service.
    pub(crate) ids: Vec<String>,
    server: Value,
    _cloud: RunningCloud,
    _cloud_stops: DropGuard,
}

impl Street {
    /// A camera for each of these options. Resolves when all are known to their server and to the service.
    pub(crate) async fn open(options: &[&[&str]]) -> Self {
        let count = options.len().to_string();
        let sim = ["sim", "gwell-server", "--cameras", &count, "--relays", "both"];
        let stop = CancellationToken::new();
        let mut cloud = None;
        let (mut house, server) = House::with(&sim, "\"gwell-server\"", async |server: &Value| {
            let running = wyze_cloud::start(cloud_of(server), stop.clone()).await.unwrap();
            let account = account(&running, server);
            cloud = Some(running);
            account
        })
        .await;
        let cameras = start_cameras(&server, options).await;
        let mut ids = Vec::with_capacity(cameras.len());
        for nth in 0..cameras.len() {
            house.doorbell(|doorbell| doorbell["name"] == name(nth) && doorbell["link"] == "ready").await;
            ids.push(house.id.clone());
        }
        Self { house, cameras, ids, server, _cloud: cloud.unwrap(), _cloud_stops: stop.drop_guard() }
    }

    /// A session of our own with a camera: from the sockets to the first picture. Nothing is known but the server.
    async fn first_picture(&self, camera: usize) -> Duration {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let began = clock::now();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let streams = Streams { lane: TCP, frame_len: Mtp::frame_len };
        let mut lanes = Lanes::bind(any, None, streams).await.unwrap();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let setup = Setup {
            token: AccessToken::parse(&word(&self.server["access_id"]), &word(&self.server["access_token"])).unwrap(),
            device: word(&self.server["cameras"][camera]["name"]),
            known: Vec::new(),
            servers: vec![word(&self.server["listen"]).parse().unwrap()],
            list_servers: Vec::new(),
            camera: None,
            local: lanes.local_addr().unwrap(),
            seed,
            unix_ms: clock::unix_seconds() * 1_000,
        };
        let session = ClientSession::new(setup, began.into_std());
        let (_commands, mut inbox) = mpsc::channel(1);
        let (stop, mut took) = (CancellationToken::new(), None);
        let on_event = |event| {
            if matches!(&event, Event::Frame(frame) if frame.media == Media::Video) {
                took.get_or_insert_with(|| began.elapsed());
                stop.cancel();
            }
        };
        drive(session, &mut lanes, &mut inbox, &stop, on_event).await.unwrap();
        lanes.close().await;
        took.unwrap()
    }
}

async fn start_cameras(server: &Value, options: &[&[&str]]) -> Vec<Process> {
    let mut cameras = Vec::new();
    for (camera, options) in server["cameras"].as_array().unwrap().iter().zip(options) {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let [listen, name, tid, token] =
            [&server["listen"], &camera["name"], &camera["tid"], &camera["token"]].map(word);
        let who = ["sim", "gwell-camera", "--server", &listen, "--name", &name, "--tid", &tid, "--token", &token];
        let mut camera = Process::start(&[&who[..], options].concat());
        camera.line("logged_in").await;
        cameras.push(camera);
    }
    cameras
}

fn name(nth: usize) -> String {
    format!("Camera {nth}")
}

/// The account of these cameras at Wyze.
fn cloud_of(server: &Value) -> wyze_cloud::Settings {
    let names = server["cameras"].as_array().unwrap().iter().map(|camera| camera["name"].as_str().unwrap().to_owned());
    let device = |(nth, mac)| Device { mac, ..Device::generate(MODEL, &name(nth), nth as u64) };
    let (id, token) = (server["access_id"].as_str().unwrap(), server["access_token"].as_str().unwrap());
    let user = GwellUser { access_id: id.to_owned(), access_token: Token::new(token), expire: None };
    wyze_cloud::Settings {
        devices: names.enumerate().map(device).collect(),
        gwell: Arc::new(move |_| Some(user.clone())),
        ..wyze_cloud::Settings::generate(1)
    }
}

fn account(cloud: &RunningCloud, server: &Value) -> String {
    let wyze_cloud::Settings { email, password, key_id, api_key, .. } = &cloud.settings;
    let url = cloud.url();
    let hosts = ["auth", "api", "core", "lock", "mars", "device_management"];
    let hosts = hosts.map(|host| format!("{host}: \"{url}\"")).join(", ");
    format!(
        "wyze:\n  - {{email: {}, password: \"{}\", key_id: \"{}\", api_key: \"{}\", endpoints: {{{hosts}}}, \
         gwell: {{servers: [{}], stagger_s: 0}}}}\n",
        email.expose(),
        password.expose(),
        key_id.expose(),
        api_key.expose(),
        server["listen"],
    )
}
