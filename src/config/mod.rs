//! The whole user surface: what a configuration file may say (docs/interfaces.md §2).
//!
//! YAML and the add-on's options in JSON go through the same reader. It goes on after a mistake, so
//! that an owner sees all of them at once, each with its place.

mod account;
mod go2rtc;
mod kvs;
mod mistake;
mod mqtt_url;
mod say;
mod section;
mod tree;
mod values;
mod vivint;
mod wyze;

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use account::Taken;
pub use account::{Account, VENDORS, account};
pub use go2rtc::{Enabled, Go2rtc, Go2rtcMode, is_loopback};
pub use kvs::{AwsKeys, DoorCommand, IotEndpoint, Kvs, KvsEndpoints, KvsIdentity, KvsLogin};
pub use mistake::{ConfigErrors, Mistake, Position};
pub use mqtt_url::MqttUrl;
pub use say::Say;
use section::Section;
pub use vivint::{Vivint, VivintEndpoints};
pub use wyze::{Gwell, HostPort, Wyze, WyzeCamera, WyzeEndpoints, WyzeLogin};

use crate::model::{DeviceId, OpenerEntity};
use crate::secret::{Password, Token};

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub mqtt: Option<Mqtt>,
    pub http: Http,
    pub media: Media,
    pub go2rtc: Go2rtc,
    pub say: Say,
    pub wyze: Vec<Wyze>,
    pub vivint: Vec<Vivint>,
    pub kvs: Vec<Kvs>,
    pub doorbells: Vec<DoorbellOverride>,
    pub log_level: Option<LogLevel>,
}

/// Where Doorstep runs, which decides what a configuration may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Standalone,
    /// In Home Assistant, whose Supervisor knows the MQTT broker.
    App,
}

#[derive(Debug, Clone)]
pub struct Mqtt {
    /// `mqtt://` or `mqtts://`, with user and password where the broker wants them. `None` in the app only: the
    /// Supervisor's broker.
    pub url: Option<MqttUrl>,
    /// A topic without wildcards and without a slash at its ends.
    pub discovery_prefix: String,
    /// A topic without wildcards and without a slash at its ends.
    pub base_topic: String,
}

impl Mqtt {
    const DISCOVERY_PREFIX: &str = "homeassistant";
    const BASE_TOPIC: &str = "doorstep";

    /// The Supervisor's broker, with the usual topics.
    fn of_supervisor() -> Self {
        Self { url: None, discovery_prefix: Self::DISCOVERY_PREFIX.to_owned(), base_topic: Self::BASE_TOPIC.to_owned() }
    }
}

#[derive(Debug, Clone)]
pub struct Http {
    /// The direct listener. An address beyond loopback needs a token, here or made on the page.
    pub listen: SocketAddr,
    pub token: Option<Token>,
    /// Host names of a reverse proxy in front, besides the machine's own name and its addresses.
    pub names: Vec<String>,
    /// Other sites whose pages may call the API, as browsers write them: `scheme://host[:port]`.
    pub origins: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Media {
    /// UDP and TCP port of every viewer.
    pub port: u16,
    /// Addresses to advertise besides the interfaces' own.
    pub addresses: Vec<IpAddr>,
}

/// The MAC address of a camera: 12 upper-case hexadecimal digits. Not shown in logs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mac(String);

/// The ThroughTek identity of a camera: 20 upper-case letters and digits. Not shown in logs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uid(String);

/// What the owner wants otherwise for one doorbell.
#[derive(Debug, Clone)]
pub struct DoorbellOverride {
    pub id: DeviceId,
    pub name: Option<String>,
    /// Where the camera is, in place of the address that is known otherwise.
    pub address: Option<SocketAddr>,
    pub transport: Transport,
    pub quality: Quality,
    pub talk_limit_s: Option<u64>,
    pub ring_picture: RingPicture,
    /// An MQTT topic on which a message means that the button was pressed (a wired or radio button).
    pub ring_topic: Option<String>,
    /// The one payload on `ring_topic` that counts; without it every payload does.
    pub ring_payload: Option<String>,
    /// What opens the door beside it, which may then be worked. Without it no unlock exists anywhere.
    pub unlock: Option<Unlock>,
    /// The garage door beside it, which may then be worked. Without it no garage door is, by anybody.
    pub garage: Option<DeviceId>,
    /// Signs commands to both over MQTT.
    pub unlock_secret: Option<Password>,
}

/// What opens the door beside a doorbell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlock {
    /// The lock of this id.
    Lock(DeviceId),
    /// An opener in the doorbell itself (`self`).
    Own(OpenerEntity),
}

/// The way to a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The one that is known to work for its model; another when that fails again and again.
    Auto,
    /// ThroughTek's, over the LAN.
    Tutk(TutkProtocol),
    /// WebRTC, arranged by the vendor's cloud.
    Webrtc,
    /// GWell's peer-to-peer protocol.
    Gwell,
}

/// Which of the two TUTK protocols a camera is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TutkProtocol {
    /// Both are tried; the one that answers first is taken.
    #[default]
    Auto,
    Old,
    New,
}

/// How much Doorstep logs of what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Which of its pictures a camera is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// The best of the model.
    #[default]
    Hd,
    Sd,
}

/// Which rings a picture is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RingPicture {
    /// Those that can be had from the stream or from the vendor's cloud; a camera on mains is looked at for a moment.
    #[default]
    Auto,
    /// One that lives on a battery is looked at as well, which drains it.
    Always,
    Never,
}

impl RingPicture {
    /// Whether a camera that does not stream is looked at for a ring.
    pub fn looks(self, on_battery: bool) -> bool {
        match self {
            Self::Auto => !on_battery,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8480)), token: None, names: Vec::new(), origins: Vec::new() }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self { port: 8555, addresses: Vec::new() }
    }
}

/// Reads the file at `path`, YAML or JSON.
///
/// # Errors
/// With every mistake in it, or the one reason why it could not be read.
pub fn load(path: &Path, place: Place) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    let unreadable = |at, what| ConfigErrors::new(&file, vec![Mistake { at, path: String::new(), what }]);
    let bytes = fs::read(path).map_err(|error| unreadable(None, format!("cannot be read: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let good = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        unreadable(Some(Position::behind(&good)), "this is not text in UTF-8".to_owned())
    })?;
    parse_at(text, &file, place)
}

/// Reads the configuration of a Doorstep that stands alone out of `text`; `file` is what errors call it.
///
/// # Errors
/// With every mistake in it. Where the text stops being YAML, only the mistakes up to there.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    parse_at(text, file, Place::Standalone)
}

/// [`parse`], for one that runs in `place`.
///
/// # Errors
/// As [`parse`]; in the app without places in the text, which its owner never saw.
pub fn parse_at(text: &str, file: &str, place: Place) -> Result<Config, ConfigErrors> {
    let mut mistakes = Vec::new();
    let config = match tree::parse(text, &mut mistakes) {
        Ok(root) => {
            let root = if place == Place::App { root.of_form() } else { root };
            section::read_section(&root, String::new(), &mut mistakes, |file| read_config(file, place))
        }
        Err(mistake) => {
            mistakes.push(mistake);
            None
        }
    };
    match (config, place) {
        (Some(config), _) if mistakes.is_empty() => Ok(config),
        (_, Place::Standalone) => Err(ConfigErrors::new(file, mistakes)),
        (_, Place::App) => Err(ConfigErrors::new(file, mistakes).of_form()),
    }
}

fn read_config(file: &mut Section<'_>, place: Place) -> Option<Config> {
    let mut taken = Taken::default();
    let mut mqtt = file.section("mqtt", |mqtt| read_mqtt(mqtt, place));
    if place == Place::App && mqtt.is_none() {
        mqtt = Some(Mqtt::of_supervisor());
    }
    let own_topics = format!("{}/", mqtt.as_ref().map_or(Mqtt::BASE_TOPIC, |mqtt| &mqtt.base_topic));
    let http = file.section("http", read_http).unwrap_or_default();
    let media = file.section("media", read_media).unwrap_or_default();
    let go2rtc = file.section("go2rtc", go2rtc::read).unwrap_or_default();
    let say = file.section("say", say::read).unwrap_or_default();
    let wyze = file.sections("wyze", |account| wyze::read(account, &mut taken));
    let vivint = file.sections("vivint", |account| vivint::read(account, &mut taken));
    let kvs = file.sections("kvs", |account| kvs::read(account, &mut taken));
    let is_ambiguous = kvs.len() > 1 && kvs.iter().any(|account| account.channels.is_empty());
    let mut named = Named { openers_are_ambiguous: is_ambiguous, ..Named::default() };
    Some(Config {
        log_level: file.optional("log_level", &values::LOG_LEVEL),
        mqtt,
        http,
        media,
        go2rtc,
        say,
        wyze,
        vivint,
        kvs,
        doorbells: file.sections("doorbells", |doorbell| read_doorbell(doorbell, &mut named, &own_topics)),
    })
}

fn read_mqtt(mqtt: &mut Section<'_>, place: Place) -> Option<Mqtt> {
    let url = match place {
        Place::Standalone => mqtt.required("url", &values::BROKER),
        Place::App => mqtt.optional("url", &values::BROKER),
    };
    let discovery_prefix = mqtt.optional("discovery_prefix", &values::TOPIC);
    let base_topic = mqtt.optional("base_topic", &values::TOPIC);
    let discovery_prefix = discovery_prefix.unwrap_or_else(|| Mqtt::DISCOVERY_PREFIX.to_owned());
    let base_topic = base_topic.unwrap_or_else(|| Mqtt::BASE_TOPIC.to_owned());
    if base_topic == discovery_prefix {
        // Its `status` would be Home Assistant's own, which is answered with everything there is, itself included.
        let written = if mqtt.has("base_topic") { "base_topic" } else { "discovery_prefix" };
        mqtt.report_value(written, "`base_topic` and `discovery_prefix` are the same; expected two topics");
    }
    let has_broker = url.is_some() || place == Place::App;
    has_broker.then_some(Mqtt { url, discovery_prefix, base_topic })
}

fn read_http(http: &mut Section<'_>) -> Option<Http> {
    let listen = http.optional("listen", &values::LISTEN).unwrap_or(Http::default().listen);
    let token = http.optional("token", &values::TOKEN);
    Some(Http {
        listen,
        token: token.flatten(),
        names: http.texts("names", &values::HOST_NAME),
        origins: http.texts("origins", &values::ORIGIN),
    })
}

fn read_media(media: &mut Section<'_>) -> Option<Media> {
    let port = media.optional("port", &values::PORT).map_or(Media::default().port, u16::from);
    Some(Media { port, addresses: media.texts("addresses", &values::ADDRESS) })
}

/// What the entries of `doorbells` so far have named.
#[derive(Default)]
struct Named {
    ids: HashSet<DeviceId>,
    /// Locks and garage doors.
    doors: HashSet<DeviceId>,
    /// Whether two accounts might have channels of one name, of which the one that is listed first would be the door.
    openers_are_ambiguous: bool,
}

/// `own_topics` is how every topic of ours begins.
fn read_doorbell(doorbell: &mut Section<'_>, named: &mut Named, own_topics: &str) -> Option<DoorbellOverride> {
    let id = doorbell.required("id", &values::DEVICE_ID);
    if id.as_ref().is_some_and(|id| !named.ids.insert(id.clone())) {
        doorbell.report_value("id", "an entry before this one has the same; expected each doorbell once");
    }
    let unlock = read_unlock(doorbell, id.as_ref(), named);
    let garage = doorbell.optional("garage", &values::GARAGE_ID);
    if garage.as_ref().is_some_and(|garage| !named.doors.insert(garage.clone())) {
        doorbell
            .report_value("garage", "another `garage` or `unlock` opens the same door; expected each garage door once");
    }
    let unlock_secret = doorbell.optional("unlock_secret", &values::UNLOCK_SECRET);
    if unlock_secret.is_some() && !doorbell.has("unlock") && !doorbell.has("garage") {
        doorbell.report_value(
            "unlock_secret",
            "there is no `unlock` or `garage` beside it; expected the door that it guards",
        );
    }
    Some(DoorbellOverride {
        name: doorbell.optional("name", &values::NAME),
        address: doorbell.optional("address", &values::CAMERA_ADDRESS),
        transport: doorbell.optional("transport", &values::TRANSPORT).unwrap_or(Transport::Auto),
        quality: doorbell.optional("quality", &values::QUALITY).unwrap_or_default(),
        talk_limit_s: doorbell.optional("talk_limit_s", &values::TALK_LIMIT_S),
        ring_picture: doorbell.optional("ring_picture", &values::RING_PICTURE).unwrap_or_default(),
        ring_topic: read_ring_topic(doorbell, own_topics),
        ring_payload: doorbell.optional("ring_payload", &values::PAYLOAD),
        unlock,
        garage,
        unlock_secret,
        // Last, so that the mistakes of an entry without an id are found as well.
        id: id?,
    })
}

fn read_unlock(doorbell: &mut Section<'_>, id: Option<&DeviceId>, named: &mut Named) -> Option<Unlock> {
    let entity = doorbell.optional("opener", &values::OPENER);
    let unlock = doorbell.optional("unlock", &values::UNLOCK);
    let lock = unlock.as_ref().map(|unlock| match unlock {
        Unlock::Lock(lock) => Some(lock),
        Unlock::Own(_) => id,
    });
    if lock.flatten().is_some_and(|lock| !named.doors.insert(lock.clone())) {
        // The one door's limits and secret would not hold for the other.
        doorbell.report_value("unlock", "an entry before this one opens the same lock; expected each lock once");
    }
    let own = matches!(unlock, Some(Unlock::Own(_)));
    if own && id.is_some_and(|id| !id.as_str().starts_with("kvs_")) {
        doorbell.report_value(
            "unlock",
            "only a doorbell on AWS KVS (`kvs_…`) opens a door by itself; expected the id of a lock, as `doorstep \
             devices` shows it",
        );
    }
    if own && named.openers_are_ambiguous {
        doorbell.report_value(
            "unlock",
            "there is more than one account under `kvs`, and not all of them name their `channels`, so that this id \
             might come to mean another door; expected `channels` in each of them",
        );
    }
    // One that cannot be read has been reported and might have been `self`.
    if doorbell.has("opener") && !own && (unlock.is_some() || !doorbell.has("unlock")) {
        doorbell.report_value("opener", "there is no `unlock: self` beside it; expected the opener that it shows");
    }
    Some(match unlock? {
        Unlock::Own(usual) => Unlock::Own(entity.unwrap_or(usual)),
        lock @ Unlock::Lock(_) => lock,
    })
}

fn read_ring_topic(doorbell: &mut Section<'_>, own_topics: &str) -> Option<String> {
    let topic = doorbell.optional("ring_topic", &values::TOPIC)?;
    if topic.starts_with(own_topics) {
        doorbell.report_value("ring_topic", "Doorstep's own topic; expected the one that the button publishes to");
    }
    Some(topic)
}
