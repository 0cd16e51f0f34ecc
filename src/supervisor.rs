//! Home Assistant's Supervisor, as an app asks it: the broker's login, our own ports, the host's addresses, and the
//! companion integration's discovery (docs/interfaces.md §2).
//!
//! It answers `{"result":"ok","data":{…}}`, or `{"result":"error","message":"…"}` with 400 or 403 (its API; what each
//! call needs in the app's `config.yaml` stands beside it). What it says is bounded like any other answer, and no error
//! repeats it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use crate::config::MqttUrl;
use crate::net::http::{Answer, Client, HttpError, Method, Request};
use crate::secret::{Password, Token};

/// It is on the same machine. Right after a boot it is slow.
const WITHIN: Duration = Duration::from_secs(10);
/// Of a host's name or a user's; the longest that anything takes.
const MAX_TEXT: usize = 255;
/// The network that apps, Home Assistant and the Supervisor share inside the host.
const APPS: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 30, 32, 0), 23);
/// Interfaces of the host that lead to containers and to nobody's browser.
const CONTAINERS: [&str; 4] = ["docker", "hassio", "veth", "br-"];

/// Why the Supervisor's answer is of no use, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    #[error("Home Assistant's Supervisor could not be asked {what}: {why}.")]
    Unanswered { what: &'static str, why: HttpError },
    #[error("Home Assistant's Supervisor does not know this app's token any more. Restart the app.")]
    UnknownToken,
    #[error(
        "Home Assistant's Supervisor does not let this app ask {what}: its `config.yaml` lacks `{needs}`. Reinstall the \
         app from its repository."
    )]
    Forbidden { what: &'static str, needs: &'static str },
    #[error("Home Assistant's Supervisor answered {status} when it was asked {what}.")]
    Status { what: &'static str, status: u16 },
    #[error("Home Assistant's Supervisor was asked {what}, and its answer cannot be used: {why}.")]
    Unusable { what: &'static str, why: &'static str },
}

impl SupervisorError {
    /// Whether the same question will get the same answer until somebody changes the app.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::UnknownToken | Self::Forbidden { .. })
    }
}

/// What can be asked.
struct Question {
    path: &'static str,
    what: &'static str,
    /// The key of the app's `config.yaml` without which the answer is 403.
    needs: &'static str,
}

const BROKER: Question =
    Question { path: "/services/mqtt", what: "where the MQTT broker is", needs: "services: [\"mqtt:want\"]" };
const OWN: Question = Question { path: "/addons/self/info", what: "which app this is", needs: "hassio_api: true" };
const NETWORK: Question =
    Question { path: "/network/info", what: "which addresses this machine has", needs: "hassio_api: true" };
const DISCOVERY: Question =
    Question { path: "/discovery", what: "to tell Home Assistant of Doorstep", needs: "discovery: [\"doorstep\"]" };

/// What this app is to the Supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// With the repository in front: `1a2b3c4d_doorstep`.
    pub slug: String,
    /// Under which other containers reach this one: `1a2b3c4d-doorstep`.
    pub hostname: String,
    pub version: Option<String>,
    /// Where ingress connects to.
    pub ingress_port: Option<u16>,
    /// The path of ingress in Home Assistant: `/api/hassio_ingress/…`.
    pub ingress_entry: Option<String>,
    /// By port and protocol in the container (`8555/udp`), the port of the host; `None` where the owner switched it off.
    ports: BTreeMap<String, Option<u16>>,
}

impl Own {
    /// The UDP port of the host that leads to `port` of this container. `None` where the owner has switched it off.
    pub fn published(&self, port: u16) -> Option<u16> {
        self.ports.get(&format!("{port}/udp")).copied().unwrap_or(Some(port))
    }
}

/// Asks. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    http: Client,
    base: Url,
    token: Token,
}

impl Supervisor {
    /// `base` is `http://supervisor` but in tests; its path does not count.
    pub fn new(base: Url, token: Token) -> Self {
        Self { http: Client::new(), base, token }
    }

    /// The one of whose apps this process is one; `None` elsewhere. `SUPERVISOR_API` replaces its address.
    ///
    /// # Errors
    /// When `SUPERVISOR_API` is not an address.
    pub fn from_env() -> Result<Option<Self>, url::ParseError> {
        let Some(token) = std::env::var("SUPERVISOR_TOKEN").ok().filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let base = std::env::var("SUPERVISOR_API").unwrap_or_else(|_| "http://supervisor".to_owned());
        Ok(Some(Self::new(Url::parse(&base)?, Token::new(token))))
    }

    /// Home Assistant itself, up to `/api`, and what opens it (`homeassistant_api: true`).
    pub fn home_assistant(&self) -> (Url, Token) {
        let mut core = self.base.clone();
        core.set_path("/core");
        (core, self.token.clone())
    }

    /// Where the broker is and how to log in. `None` while no broker has been announced: none is installed, or it
    /// starts later than we.
    ///
    /// # Errors
    /// `SupervisorError`, as every question here.
    pub async fn mqtt(&self) -> Result<Option<MqttUrl>, SupervisorError> {
        match self.get(&BROKER).await {
            // "Service not enabled".
            Err(SupervisorError::Status { status: 400, .. }) => Ok(None),
            data => broker(&data?).map(Some).map_err(|why| SupervisorError::Unusable { what: BROKER.what, why }),
        }
    }

    pub async fn own(&self) -> Result<Own, SupervisorError> {
        own(&self.get(&OWN).await?).map_err(|why| SupervisorError::Unusable { what: OWN.what, why })
    }

    /// The IPv4 addresses of the host in its networks, those of its primary interface first.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, SupervisorError> {
        Ok(addresses(&self.get(&NETWORK).await?))
    }

    /// Lets Home Assistant offer the companion integration, which then reaches us at `host` and `port` with `token`.
    /// The announcement's id. What was announced before is replaced.
    pub async fn announce(&self, host: &str, port: u16, token: &Token) -> Result<String, SupervisorError> {
        let config = json!({"host": host, "port": port, "token": token.expose()});
        let body = json!({"service": "doorstep", "config": config}).to_string();
        let data = self.ask(&DISCOVERY, Request::post_json(self.url(&DISCOVERY), body)).await?;
        let id = text(&data, "uuid").ok_or("it names no id of the announcement");
        id.map(str::to_owned).map_err(|why| SupervisorError::Unusable { what: DISCOVERY.what, why })
    }

    async fn get(&self, question: &Question) -> Result<Value, SupervisorError> {
        self.ask(question, Request::new(Method::GET, self.url(question))).await
    }

    fn url(&self, question: &Question) -> Url {
        let mut url = self.base.clone();
        url.set_path(question.path);
        url
    }

    /// The `data` of the answer.
    async fn ask(&self, question: &Question, request: Request) -> Result<Value, SupervisorError> {
        let what = question.what;
        let unanswered = |why| SupervisorError::Unanswered { what, why };
        let request = request.header("authorization", &format!("Bearer {}", self.token.expose())).within(WITHIN);
        let answer = self.http.send(request).await.map_err(unanswered)?;
        refusal(question, &answer).map_or(Ok(()), Err)?;
        let mut envelope = answer.json().map_err(unanswered)?;
        match (envelope["result"] == "ok", envelope.get_mut("data").map(Value::take)) {
            (true, Some(data @ Value::Object(_))) => Ok(data),
            (true, _) => Err(SupervisorError::Unusable { what, why: "it holds no data" }),
            (false, _) => Err(SupervisorError::Unusable { what, why: "it does not say that all is well" }),
        }
    }
}

fn refusal(question: &Question, answer: &Answer) -> Option<SupervisorError> {
    let Question { what, needs, .. } = *question;
    match answer.status() {
        200..300 => None,
        401 => Some(SupervisorError::UnknownToken),
        403 => Some(SupervisorError::Forbidden { what, needs }),
        status => Some(SupervisorError::Status { what, status }),
    }
}

pub fn broker(data: &Value) -> Result<MqttUrl, &'static str> {
    let host = text(data, "host").filter(|host| is_host(host)).ok_or("it names no host")?;
    let port = port(&data["port"]).ok_or("it names no port")?;
    let login = text(data, "username").map(|user| (user.to_owned(), secret(&data["password"])));
    Ok(MqttUrl { host: host.to_owned(), port, tls: data["ssl"] == true, login })
}

/// Whatever there is: a password may be of any length and hold anything.
fn secret(value: &Value) -> Password {
    Password::new(value.as_str().unwrap_or_default())
}

pub fn own(data: &Value) -> Result<Own, &'static str> {
    let slug = text(data, "slug").filter(|slug| is_name(slug)).ok_or("it names no slug")?;
    let hostname = text(data, "hostname").filter(|name| is_host(name)).ok_or("it names no host name")?;
    let published = data["network"].as_object().into_iter().flatten();
    Ok(Own {
        slug: slug.to_owned(),
        hostname: hostname.to_owned(),
        version: text(data, "version").map(str::to_owned),
        ingress_port: port(&data["ingress_port"]),
        ingress_entry: text(data, "ingress_entry").map(str::to_owned),
        ports: published.map(|(name, at)| (name.clone(), port(at))).collect(),
    })
}

pub fn addresses(data: &Value) -> Vec<IpAddr> {
    let docker = data["docker"]["address"].as_str().and_then(network);
    let inside: Vec<(Ipv4Addr, u8)> = docker.into_iter().chain([APPS]).collect();
    let is_lan = |ip: &Ipv4Addr| {
        let nowhere = ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast();
        !nowhere && !inside.iter().any(|network| contains(*network, *ip))
    };
    let mut interfaces: Vec<&Value> = data["interfaces"].as_array().into_iter().flatten().collect();
    interfaces.retain(|interface| leads_to_people(interface));
    interfaces.sort_by_key(|interface| interface["primary"] != true);
    let mut found: Vec<IpAddr> = Vec::new();
    for written in interfaces.iter().filter_map(|interface| interface["ipv4"]["address"].as_array()).flatten() {
        let ip = written.as_str().and_then(network).map(|(ip, _)| ip).filter(is_lan).map(IpAddr::V4);
        found.extend(ip.filter(|ip| !found.contains(ip)));
    }
    found
}

fn leads_to_people(interface: &Value) -> bool {
    let is_containers = |name: &str| CONTAINERS.iter().any(|begin| name.starts_with(begin));
    let off = interface["enabled"] == false || interface["connected"] == false;
    !off && !interface["interface"].as_str().is_some_and(is_containers)
}

/// `192.168.1.10/24`, or without its length.
fn network(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (ip, length) = text.split_once('/').unwrap_or((text, "32"));
    Some((ip.parse().ok()?, length.parse().ok().filter(|length| *length <= 32)?))
}

fn contains((network, length): (Ipv4Addr, u8), ip: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or_default();
    (u32::from(network) ^ u32::from(ip)) & mask == 0
}

fn text<'a>(data: &'a Value, key: &str) -> Option<&'a str> {
    data[key].as_str().filter(|text| !text.is_empty() && text.len() <= MAX_TEXT)
}

/// A number in practice, a text in the documentation.
fn port(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    u16::try_from(number).ok().filter(|port| *port > 0)
}

fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_understood_with_its_port_as_number_and_as_text() {
        for port in [json!(1883), json!("1883")] {
            let said = json!({"host": "core-mosquitto", "port": port, "username": "addons", "password": "p@ss/word?",
                "ssl": false, "protocol": "3.1.1", "addon": "core_mosquitto"});
            let url = broker(&said).unwrap();
            assert_eq!(url.to_string(), "mqtt://core-mosquitto:1883");
            let (user, password) = url.login.unwrap();
            assert_eq!((user.as_str(), password.expose()), ("addons", "p@ss/word?"));
        }
        let open = broker(&json!({"host": "fd00::2", "port": 8883, "ssl": true, "username": null})).unwrap();
        assert_eq!((open.to_string().as_str(), open.login.is_none()), ("mqtts://[fd00::2]:8883", true));
    }

    #[test]
    fn what_is_no_broker_is_none() {
        let long = "a".repeat(256);
        for host in [json!(null), json!(""), json!("a b"), json!("user@host"), json!(7), json!(long)] {
            assert_eq!(broker(&json!({"host": host, "port": 1883})).err(), Some("it names no host"), "{host}");
        }
        for port in [json!(null), json!(0), json!("0"), json!(65_536), json!("mqtt"), json!(-1), json!(1.5)] {
            assert_eq!(broker(&json!({"host": "a", "port": port})).err(), Some("it names no port"), "{port}");
        }
    }

    #[test]
    fn an_app_knows_where_it_is_published() {
        let said = json!({"slug": "1a2b_doorstep", "hostname": "1a2b-doorstep", "version": "1.2.3", "ingress_port": 8099,
            "ingress_entry": "/api/hassio_ingress/x", "network": {"8555/udp": 18_555, "8555/tcp": 8555, "8480/udp": null}});
        let own = own(&said).unwrap();
        assert_eq!((own.slug.as_str(), own.hostname.as_str()), ("1a2b_doorstep", "1a2b-doorstep"));
        assert_eq!((own.ingress_port, own.published(8555)), (Some(8099), Some(18_555)));
        assert_eq!((own.published(8480), own.published(1)), (None, Some(1)));
        let bare = super::own(&json!({"slug": "a", "hostname": "a", "network": null, "ingress_port": null})).unwrap();
        assert_eq!((bare.ingress_port, bare.published(8555)), (None, Some(8555)));
        assert!(super::own(&json!({"slug": "<a>", "hostname": "a"})).is_err());
    }

    #[test]
    fn the_primary_interface_comes_first_and_containers_never() {
        let ipv4 = |addresses: &[&str]| json!({"method": "auto", "address": addresses, "gateway": "192.168.1.1"});
        let said = json!({
            "interfaces": [
                {"interface": "wlan0", "primary": false, "enabled": true, "connected": true, "ipv4": ipv4(&["192.168.2.5/24"])},
                {"interface": "wlan1", "primary": false, "enabled": false, "ipv4": ipv4(&["192.168.3.5/24"])},
                {"interface": "wlan2", "primary": false, "connected": false, "ipv4": ipv4(&["192.168.4.5/24"])},
                {"interface": "docker0", "primary": false, "ipv4": ipv4(&["172.17.0.1/16"])},
                {"interface": "eth9", "primary": false, "ipv4": ipv4(&["172.30.32.1/23", "172.31.0.7/24", "127.0.0.1", "169.254.3.4/16"])},
                {"interface": "eth0", "primary": true, "enabled": true, "connected": true, "ipv4": ipv4(&["192.168.1.10/24", "192.168.1.10/24"]),
                 "ipv6": {"address": ["fe80::1/64", "2001:db8::5/64"]}},
                {"interface": "odd", "ipv4": {"address": ["", "nonsense", 7, "10.0.0.1/99"]}},
                {"interface": "none", "ipv4": null}, "nothing"
            ],
            "docker": {"interface": "hassio", "address": "172.31.0.0/23"}
        });
        assert_eq!(addresses(&said), ["192.168.1.10", "192.168.2.5"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert!(addresses(&json!({})).is_empty());
    }
}
