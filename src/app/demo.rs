//! `doorstep demo`: virtual doorbells on virtual accounts, a broker and the service against them, on loopback only.

mod cast;
mod clips;
mod console;
mod gwell;
mod houses;
mod kvs;
mod vivint;
mod wyze;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::{CLIPS, Settings, report, start, until_stopped};
use crate::config;
use crate::model::DeviceId;
use console::Console;
use houses::Houses;

/// How long the demo waits for its account's first listing.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(2);
/// How long the demo waits for its broker before it says that it is ready; it has 5 s for all.
const BROKER_WITHIN: Duration = Duration::from_secs(2);

/// Options of `doorstep demo`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the page is served; the next free port when this one is taken
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8480", value_parser = loopback)]
    http: SocketAddr,
    /// An MQTT broker to use instead of the embedded one
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    /// UDP and TCP port of the viewers; the next free one when it is taken
    #[arg(long, value_name = "N", default_value_t = 8555)]
    media_port: u16,
    /// The folder for what must survive a restart [default: one that is deleted at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Writes down the configuration that finds these doorbells, for `doorstep devices` and the like while the demo runs
    #[arg(long, value_name = "FILE")]
    save_config: Option<PathBuf>,
    /// Only doorbells of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<Kind>,
}

/// The virtual doorbells a demo can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A Wyze doorbell with the older LAN protocol
    TutkOld,
    /// A Wyze doorbell with the newer LAN protocol
    TutkNew,
    /// A Wyze doorbell that is called through Wyze's cloud
    WyzeWebrtc,
    /// A Wyze doorbell that speaks GWell's peer-to-peer protocol
    Gwell,
    /// A Vivint doorbell, with a lock and a garage door
    Vivint,
    /// A doorbell on AWS KVS that opens its door by itself
    Kvs,
}

/// Runs the demo until a signal or `quit`.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let _stop_with_us = stop.clone().drop_guard();
    let (broker, _embedded) = broker(options.mqtt)?;
    let kinds = if options.only.is_empty() { Kind::value_variants() } else { &options.only };
    let mut houses = Houses::start(kinds, &stop).await.context("starting the virtual doorbells")?;
    let text = configuration(&broker, free_page(options.http)?, free_media(options.media_port)?, &houses);
    let config = config::parse(&text, "demo")?;
    if let Some(file) = options.save_config {
        save(&file, &text).with_context(|| format!("writing the configuration to {}", file.display()))?;
    }
    let data = DataFolder::new(options.data)?;
    clips::put(&data.path().join(CLIPS)).context("making the demo's clips")?;

    let url = config.mqtt.as_ref().and_then(|mqtt| mqtt.url.as_ref()).context("the demo has a broker")?;
    // Without the password that it may have.
    let broker = url.to_string();
    houses.wire(url);
    let ids = houses.ids().iter().map(DeviceId::as_str).collect::<Vec<_>>().join(" ");
    let console = Console::new(houses);
    let settings = Settings { config, data: data.path().to_owned(), demo: true, home: None };
    let running = start(settings).await?;
    if tokio::time::timeout(ACCOUNT_WITHIN, running.accounts.listed()).await.is_err() {
        tracing::warn!("an account has not listed its doorbells yet");
    }
    // So that the first `ring` is not lost; a broker of the owner's own may be away, and the page works without.
    if tokio::time::timeout(BROKER_WITHIN, running.listens_to_broker()).await.is_err() {
        tracing::warn!(broker, "the broker does not answer yet");
    }
    report(&format!("demo ready: page http://{}/ · broker {broker} · doorbells {ids}", running.page));
    until_stopped(running, console.run(stop.clone())).await
}

/// The broker's URL, and the embedded one when it is that.
fn broker(url: Option<String>) -> anyhow::Result<(String, Option<embedded::Broker>)> {
    match url {
        Some(url) => Ok((url, None)),
        None => embedded::start().map(|(url, broker)| (url, Some(broker))),
    }
}

#[cfg(feature = "demo-broker")]
mod embedded {
    use anyhow::Context;

    use crate::sim::broker::{self, RunningBroker};

    pub(super) type Broker = RunningBroker;

    pub(super) fn start() -> anyhow::Result<(String, Broker)> {
        let broker = broker::start(([127, 0, 0, 1], 1883).into()).context("starting the embedded broker")?;
        if broker.address.port() != 1883 {
            tracing::warn!(address = %broker.address, "port 1883 is taken, the broker is elsewhere");
        }
        Ok((format!("mqtt://{}", broker.address), broker))
    }
}

#[cfg(not(feature = "demo-broker"))]
mod embedded {
    pub(super) enum Broker {}

    pub(super) fn start() -> anyhow::Result<(String, Broker)> {
        anyhow::bail!("this build has no broker of its own; name one with `--mqtt mqtt://HOST:PORT`")
    }
}

/// The configuration that somebody with these doorbells would have written.
fn configuration(broker: &str, page: SocketAddr, media_port: u16, houses: &Houses) -> String {
    // A JSON string, so that whatever stands in the URL stays in it.
    let broker = serde_json::Value::from(broker);
    let houses = houses.yaml();
    // Virtual doorbells have no business in the household's go2rtc.
    format!(
        "mqtt: {{url: {broker}}}\nhttp: {{listen: \"{page}\"}}\nmedia: {{port: {media_port}}}\n\
         go2rtc: {{enabled: false}}\n{houses}"
    )
}

/// Puts the configuration, which holds passwords, where its owner alone can read it; nothing is overwritten.
fn save(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}

/// The demo has no token, so nobody else may reach it.
fn loopback(text: &str) -> Result<SocketAddr, &'static str> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    address.ok_or("the demo serves loopback only; expected an address like 127.0.0.1:8480")
}

/// `wanted` or the next port that is free.
fn free_page(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let port = free_port(wanted.port(), |port| TcpListener::bind((wanted.ip(), port)).is_ok())?;
    Ok((wanted.ip(), port).into())
}

fn free_media(wanted: u16) -> anyhow::Result<u16> {
    let ip = Ipv4Addr::LOCALHOST;
    free_port(wanted, |port| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok())
}

fn free_port(wanted: u16, is_free: impl Fn(u16) -> bool) -> anyhow::Result<u16> {
    let mut candidates = (0..100).map(|step| wanted.saturating_add(step));
    let port = candidates.find(|port| is_free(*port)).with_context(|| format!("no free port from {wanted} on"))?;
    if port != wanted {
        tracing::warn!(wanted, port, "the port is taken, using the next free one");
    }
    Ok(port)
}

/// Where the service keeps its things; deleted with this value unless the owner named it.
struct DataFolder {
    path: PathBuf,
    ours: bool,
}

impl DataFolder {
    fn new(named: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Ok(Self { path, ours: false });
        }
        let random = getrandom::u64().context("reading randomness")?;
        Ok(Self { path: std::env::temp_dir().join(format!("doorstep-demo-{random:016x}")), ours: true })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if self.ours {
            // Nothing in it is of use to anybody; failing to delete it is not worth a word.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
