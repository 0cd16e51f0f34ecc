//! Wiring: configuration → vendors → doorbells → faces; what starts first, and what stops first.

mod broker;
mod check;
pub mod demo;
mod home;
mod listeners;
mod setup;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, DoorbellOverride, Unlock};
use crate::doorbell::accounts::Wishes;
use crate::doorbell::audit::Audit;
use crate::doorbell::{self, Accounts, Door, Doorbell, OpenTalks, Registry, Voice, door};
use crate::go2rtc::{self, Go2rtc};
use crate::http::{self, whep};
use crate::model::{Capability, DeviceId, Found, Mechanism, MqttLink, Role};
use crate::mqtt::Mqtt;
use crate::rtc::{self, Viewers};
use crate::speech::{self, Speech};
use crate::store::Store;
use crate::vendor;
use home::Attendant;
use listeners::Listeners;
use setup::Setup;

pub use broker::forget;
pub use check::check;
pub use home::Home;

/// How long ending talks and camera sessions may take; then whoever has not ended is left.
const DEVICES_END_WITHIN: Duration = Duration::from_secs(2);
/// What the MQTT face needs to publish `offline` and be told that it arrived.
const MQTT_ENDS_WITHIN: Duration = Duration::from_millis(1_500);
/// Viewers are told at once.
const VIEWERS_END_WITHIN: Duration = Duration::from_millis(500);
/// How long the start waits for accounts; those that take longer bring their doorbells later.
const ACCOUNTS_SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// The folder of clips in the data folder.
const CLIPS: &str = "clips";

/// Where in the store things are.
mod key {
    pub(super) const CERTIFICATE: &str = "webrtc_certificate_pem";
    pub(super) const HTTP_TOKEN: &str = "http_token";
}

/// What the service is started with.
pub struct Settings {
    pub config: Config,
    /// The folder for what must survive a restart.
    pub data: PathBuf,
    /// Whether the doorbells are virtual; the page says so.
    pub demo: bool,
    /// `None` but in an app of Home Assistant.
    pub home: Option<Home>,
}

/// The service, running.
pub struct Running {
    /// In an app this is ingress.
    pub page: SocketAddr,
    /// The listener that a token opens: the page's but in an app.
    pub direct: SocketAddr,
    pub media_port: u16,
    pub doorbells: Registry,
    pub accounts: Accounts,
    /// What lets others fetch one stream without the token.
    pub keys: http::MediaKeys,
    faces: CancellationToken,
    devices: CancellationToken,
    broker: CancellationToken,
    media: CancellationToken,
    viewers: Viewers,
    mqtt: Option<Mqtt>,
    http: JoinHandle<()>,
    _go2rtc: Go2rtc,
}

/// Starts everything. What can fail for good (a taken port, a broken store) fails here.
pub async fn start(settings: Settings) -> anyhow::Result<Running> {
    let Settings { config, data, demo, home } = settings;
    let store = Store::open(&data).context("opening the data folder")?;
    let (faces, devices) = (CancellationToken::new(), CancellationToken::new());
    let (broker, media) = (CancellationToken::new(), CancellationToken::new());

    let tokens = tokens(&config, &store);
    let listeners = Listeners::open(&config, home.as_ref(), tokens.clone()).await?;
    let (page, direct) = (listeners.page(), listeners.direct());
    let viewers = start_viewers(&config, &store, is_private(page, home.as_ref()), media.clone()).await?;

    let doorbells = Registry::default();
    let speech = speech::Settings {
        own_ports: vec![page.port(), direct.port(), viewers.port()],
        ..speech_settings(&config, &data, home.as_ref())
    };
    let voice: Arc<dyn Voice> = Arc::new(Speech::start(speech, faces.clone()));
    let accounts = start_accounts(&config, &store, &data, &doorbells, voice.clone(), &devices);
    let setup = Setup::open(&config, &store, &accounts, &devices);
    // Before go2rtc is told anything: from then on it has to bring a key.
    let integration = home.as_ref().map(|_| listeners::companion_token(&tokens)).transpose()?;
    let keys = http::MediaKeys::default();
    let to_go2rtc = http::Direct { listen: direct, tokens };
    let go2rtc = start_go2rtc(&config, home.as_ref(), &to_go2rtc, &keys, &doorbells, &accounts, &faces);
    let (tell_page_url, page_url) = watch::channel(None);
    let wiring = broker::Wiring {
        config: &config,
        home: home.as_ref(),
        store: &store,
        doorbells: &doorbells,
        accounts: &accounts,
        page_url,
        companion: go2rtc.state(),
    };
    let mqtt = wiring.start(&broker)?;

    let face = http::Face {
        doorbells: doorbells.clone(),
        accounts: accounts.clone(),
        voice,
        setup: Arc::new(setup),
        mqtt: mqtt.as_ref().map_or_else(|| watch::channel(MqttLink::Off).1, Mqtt::link),
        whep: whep::Routes::new(doorbells.clone(), viewers.clone()),
        go2rtc: http::go2rtc::Routes::new(doorbells.clone(), viewers.clone(), &config.go2rtc.prefix),
        counters: counters(&viewers, mqtt.as_ref()),
        version: env!("CARGO_PKG_VERSION"),
        direct: Some(to_go2rtc),
        tickets: http::Tickets::default(),
        keys: keys.clone(),
        names: config.http.names.clone(),
        origins: config.http.origins.clone(),
        demo,
    };
    if let Some((home, token)) = home.zip(integration) {
        let attendant = Attendant { home, viewers: viewers.clone(), page_url: tell_page_url, direct, token };
        attendant.begin(config.media.addresses.clone(), faces.clone());
    }
    let http = listeners.serve(&face, &faces)?;
    if tokio::time::timeout(ACCOUNTS_SETTLE_WITHIN, accounts.settled()).await.is_err() {
        info!("the accounts have not answered yet");
    }
    tokio::spawn(warn_of_strangers(config, accounts.clone(), doorbells.clone()));
    info!(%page, media_port = viewers.port(), doorbells = doorbells.all().len(), "ready");
    Ok(Running {
        page,
        direct,
        media_port: viewers.port(),
        doorbells,
        accounts,
        keys,
        faces,
        devices,
        broker,
        media,
        viewers,
        mqtt,
        http,
        _go2rtc: go2rtc,
    })
}

impl Running {
    /// Stops in the order that leaves nothing open: no new work, talks and camera sessions ended,
    /// `offline` published and acknowledged, viewers closed.
    pub async fn stop(self) {
        self.faces.cancel();
        self.devices.cancel();
        if tokio::time::timeout(DEVICES_END_WITHIN, ended(&self.accounts, &self.doorbells)).await.is_err() {
            warn!("a camera session did not end in time");
        }
        self.broker.cancel();
        if let Some(mqtt) = self.mqtt
            && tokio::time::timeout(MQTT_ENDS_WITHIN, mqtt.closed()).await.is_err()
        {
            warn!("the broker did not confirm that Doorstep is offline");
        }
        self.media.cancel();
        if tokio::time::timeout(VIEWERS_END_WITHIN, self.viewers.ended()).await.is_err() {
            warn!("some viewers were left without a word");
        }
        info!("stopped");
    }

    /// Resolves when the broker has confirmed the subscriptions; at once without a broker.
    async fn listens_to_broker(&self) {
        let Some(mqtt) = &self.mqtt else { return };
        let mut link = mqtt.link();
        let _face_gone = link.wait_for(|link| *link == MqttLink::Connected).await;
    }

    /// Resolves when the service cannot go on by itself.
    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            served = &mut self.http => match served {
                Ok(()) => anyhow!("the page's listener ended"),
                Err(error) => anyhow::Error::from(error).context("serving the page"),
            },
            () = self.viewers.ended() => anyhow!("the task that serves all viewers ended; this is a bug"),
        }
    }
}

/// `doorstep run`: until a signal asks to stop.
pub async fn run(config: Config, data: PathBuf, home: Option<Home>) -> anyhow::Result<()> {
    let signals = Signals::heard()?;
    let running = start(Settings { config, data, demo: false, home }).await?;
    until_stopped(running, signals, std::future::pending()).await
}

/// Runs until a signal or `asked`, then stops in order; a second signal stops at once.
async fn until_stopped(
    mut running: Running,
    mut signals: Signals,
    asked: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let outcome = tokio::select! {
        () = signals.one() => Ok(()),
        () = asked => Ok(()),
        error = running.failed() => Err(error),
    };
    tokio::select! {
        () = running.stop() => outcome,
        () = signals.one() => Err(anyhow!("stopped at once by a second signal")),
    }
}

/// SIGTERM and SIGINT. Heard before anything is said to be ready: whoever stops us right then is owed an orderly end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    fn heard() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")? })
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Resolves when SIGTERM or SIGINT arrives.
pub async fn asked_to_stop() -> anyhow::Result<()> {
    Signals::heard()?.one().await;
    Ok(())
}

/// The tokens that open the direct entrance: the configured one, and the one that was made in the page.
fn tokens(config: &Config, store: &Store) -> http::Tokens {
    let tokens = http::Tokens::of_config(config.http.token.as_ref());
    let kept = store.clone();
    tokens.keeping(store.get(key::HTTP_TOKEN), move |made| kept.put_synced(key::HTTP_TOKEN, made).is_ok());
    tokens
}

/// Whether viewers are on this machine only, but for those that `media.addresses` brings. In an app they never are: the
/// page's listener is the container's.
fn is_private(page: SocketAddr, home: Option<&Home>) -> bool {
    home.is_none() && page.ip().is_loopback()
}

async fn start_viewers(
    config: &Config,
    store: &Store,
    loopback: bool,
    stop: CancellationToken,
) -> anyhow::Result<Viewers> {
    let certificate = certificate(store)?;
    let bind = if loopback && config.media.addresses.is_empty() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let settings = rtc::Settings {
        bind: bind.into(),
        port: config.media.port,
        addresses: config.media.addresses.clone(),
        loopback,
        certificate,
    };
    let port = config.media.port;
    Viewers::start(settings, stop).await.with_context(|| format!("opening port {port} for viewers (`media.port`)"))
}

/// The certificate that viewers see, the same in every run.
fn certificate(store: &Store) -> anyhow::Result<rtc::Certificate> {
    if let Some(pem) = store.get::<String>(key::CERTIFICATE) {
        match rtc::Certificate::from_pem(&pem) {
            Ok(certificate) => return Ok(certificate),
            Err(error) => warn!(%error, "the stored certificate is unusable, making a new one"),
        }
    }
    let certificate = rtc::Certificate::generate().context("making a certificate for viewers")?;
    store.put(key::CERTIFICATE, &certificate.to_pem()?).context("keeping the certificate for viewers")?;
    Ok(certificate)
}

/// Whom doorbells ask for what they say. An owner's own Home Assistant comes before the Supervisor's.
fn speech_settings(config: &Config, data: &Path, home: Option<&Home>) -> speech::Settings {
    let say = config.say.clone();
    let usual_clips = home.and_then(|home| home.clips.clone()).unwrap_or_else(|| data.join(CLIPS));
    speech::Settings {
        assistant: say.assistant.or_else(|| Some(home?.supervisor.home_assistant())),
        engine: say.engine,
        language: say.language,
        clips: say.clips.unwrap_or(usual_clips),
        allow: say.allow,
        own_ports: Vec::new(),
    }
}

/// Every account, with the doors that the owner has enabled.
fn start_accounts(
    config: &Config,
    store: &Store,
    data: &Path,
    doorbells: &Registry,
    voice: Arc<dyn Voice>,
    stop: &CancellationToken,
) -> Accounts {
    let locks = Registry::default();
    let audit = Arc::new(Audit::open(data));
    let wanted = config.doorbells.iter();
    let options = wanted.map(|wanted| (wanted.id.clone(), options(wanted, &locks, &audit, store)));
    let mechanisms = config.doorbells.iter().flat_map(mechanisms);
    let named: BTreeSet<DeviceId> = mechanisms.filter_map(|mechanism| mechanism.device().cloned()).collect();
    let wishes =
        Wishes { options: options.collect(), locks: named, voice, open_talks: OpenTalks::kept_in(store.clone()) };
    Accounts::start(vendor::all(config, store), wishes, doorbells.clone(), locks, stop)
}

fn options(wanted: &DoorbellOverride, locks: &Registry, audit: &Arc<Audit>, store: &Store) -> doorbell::Options {
    let door = |mechanism: Mechanism| {
        let (kind, doorbell, secret) = (mechanism.kind(), wanted.id.clone(), wanted.unlock_secret.clone());
        let settings = door::Settings { doorbell, mechanism, secret };
        (kind, Door::new(settings, locks.clone(), audit.clone(), store.clone()))
    };
    let doors = mechanisms(wanted).map(door).collect();
    let mut options =
        doorbell::Options { name: wanted.name.clone(), doors, ring_picture: wanted.ring_picture, ..Default::default() };
    if let Some(seconds) = wanted.talk_limit_s {
        options.talk_limit = Duration::from_secs(seconds);
    }
    options
}

/// What works the doors that the owner has enabled.
fn mechanisms(wanted: &DoorbellOverride) -> impl Iterator<Item = Mechanism> + use<> {
    let unlock = wanted.unlock.clone().map(|unlock| match unlock {
        Unlock::Lock(lock) => Mechanism::Lock(lock),
        Unlock::Own(entity) => Mechanism::Opener(entity),
    });
    unlock.into_iter().chain(wanted.garage.clone().map(Mechanism::Garage))
}

/// Says which entries of `doorbells` speak of nothing, once all accounts have listed what there is.
async fn warn_of_strangers(config: Config, accounts: Accounts, doorbells: Registry) {
    accounts.listed().await;
    for wanted in config.doorbells.iter().filter(|wanted| doorbells.get(&wanted.id).is_none()) {
        warn!(id = %wanted.id, "`doorbells` speaks of a doorbell that there is not; check its `id`");
    }
}

/// Resolves when every account and every doorbell has stopped.
async fn ended(accounts: &Accounts, doorbells: &Registry) {
    let all = doorbells.all();
    futures_util::future::join_all(all.iter().map(Doorbell::stopped)).await;
    accounts.stopped().await;
}

/// Registers every stream in go2rtc, where the owner wants that. It comes by the direct entrance, and where that wants
/// a token it brings a key for the one stream.
fn start_go2rtc(
    config: &Config,
    home: Option<&Home>,
    direct: &http::Direct,
    keys: &http::MediaKeys,
    doorbells: &Registry,
    accounts: &Accounts,
    stop: &CancellationToken,
) -> Go2rtc {
    let settings = go2rtc::Settings {
        companion: config.go2rtc.clone(),
        usual_url: home.and_then(|home| home.go2rtc.clone()).unwrap_or_else(go2rtc::usual_url),
        listener: direct.listen,
        pace: go2rtc::Pace::default(),
    };
    let accounts = accounts.clone();
    let listed = async move { accounts.listed().await };
    let (tokens, keys) = (direct.tokens.clone(), keys.clone());
    // Without randomness go2rtc is not let in, and says so.
    let key = move |id: &DeviceId| if tokens.is_empty() { None } else { keys.issue(id).ok() };
    go2rtc::start(settings, doorbells.clone(), key, listed, stop.clone())
}

/// `doorstep devices`: what the accounts hold.
pub async fn devices(config: &Config, data: &Path, json: bool) -> anyhow::Result<()> {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    let store = Store::visit(data);
    for vendor in vendor::all(config, &store).into_iter().chain(setup::kept(config, &store)) {
        match vendor.discover().await {
            Ok(devices) => found.extend(devices),
            Err(error) => failed.push(format!("{} account: {error}", vendor.name())),
        }
    }
    if json {
        report(&serde_json::to_string_pretty(&found).context("writing JSON")?);
    } else {
        found.iter().for_each(|found| report(&line(found)));
    }
    ensure!(failed.is_empty(), "{}\nWhere a code is wanted, `doorstep check` takes it.", failed.join("\n"));
    Ok(())
}

/// A device on one line, with what stands in its way on the next.
fn line(found: &Found) -> String {
    let Found { info, role, address, transport, obstacle, talk_obstacle } = found;
    let mut can: Vec<&str> = info.capabilities.iter().map(|capability| word(*role, *capability)).collect();
    match role {
        Role::Lock => can.push("lock"),
        Role::Garage => can.push("garage door"),
        Role::Doorbell | Role::Camera | Role::Other => {}
    }
    let address = address.map_or("-".to_owned(), |address| address.to_string());
    let transport = transport.unwrap_or("-");
    let mut line = format!(
        "{}  {}  {} {}  {address}  {transport}  {}",
        info.id,
        info.shown_name(),
        info.vendor,
        info.model,
        can.join(" ")
    );
    for obstacle in [obstacle, talk_obstacle].into_iter().flatten() {
        line.push_str(&format!("\n    {obstacle}"));
    }
    line
}

/// What a doorbell can do about a door it does by itself: other locks are devices of their own.
fn word(role: Role, capability: Capability) -> &'static str {
    match (role, capability) {
        (Role::Doorbell | Role::Camera, Capability::Unlock) => "opener (`unlock: self`)",
        (_, capability) => capability.word(),
    }
}

/// A line of results, for standard output. Whoever read it may have had enough and closed it (`| head -1`),
/// which ends nothing.
pub fn report(line: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}

fn counters(viewers: &Viewers, mqtt: Option<&Mqtt>) -> Arc<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync> {
    let viewers = viewers.clone();
    let mqtt = mqtt.map(Mqtt::counters);
    Arc::new(move || {
        let mqtt = mqtt.iter().flat_map(|counters| counters().named());
        viewers.counters().named().into_iter().chain(mqtt).map(|(name, value)| (name, value as f64)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::{DeviceInfo, OpenerEntity};

    #[test]
    fn a_door_is_worked_by_what_its_owner_has_named() {
        let text = "doorbells:
  - {id: wyze_a, unlock: wyze_l, garage: vivint_1_2}
  - {id: kvs_a, unlock: self, opener: lock}
  - {id: kvs_b}";
        let config = config::parse(text, "test").unwrap();
        let id = |id| DeviceId::parse(id).unwrap();
        let named: Vec<_> = config.doorbells.iter().map(|wanted| mechanisms(wanted).collect::<Vec<_>>()).collect();
        let lock_and_garage = vec![Mechanism::Lock(id("wyze_l")), Mechanism::Garage(id("vivint_1_2"))];
        assert_eq!(named, [lock_and_garage, vec![Mechanism::Opener(OpenerEntity::Lock)], vec![]]);
    }

    #[test]
    fn a_doorbell_with_an_opener_is_listed_with_what_enables_it() {
        let info = DeviceInfo {
            id: DeviceId::parse("kvs_a").unwrap(),
            name: "Front Door".to_owned(),
            vendor: "kvs",
            model: "channel".to_owned(),
            firmware: None,
            capabilities: [Capability::Ring, Capability::Unlock].into(),
        };
        let found = Found {
            info,
            role: Role::Doorbell,
            address: None,
            transport: Some("webrtc"),
            obstacle: None,
            talk_obstacle: None,
        };
        assert!(line(&found).ends_with("  ring opener (`unlock: self`)"), "{}", line(&found));
    }

    #[tokio::test]
    async fn a_service_that_can_serve_no_viewer_any_more_has_failed() {
        let data = tempfile::tempdir().unwrap();
        let mut config = config::parse("http: {listen: \"127.0.0.1:0\"}", "test").unwrap();
        config.media.port = 0;
        let mut running =
            start(Settings { config, data: data.path().to_owned(), demo: false, home: None }).await.unwrap();
        running.media.cancel();
        let failed = tokio::time::timeout(Duration::from_secs(20), running.failed()).await;
        assert!(failed.expect("it goes on without them").to_string().contains("viewers"));
        running.stop().await;
    }
}
