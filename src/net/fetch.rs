//! A file from an address that somebody else has named, who may wish to reach what only we can: requirement S18.
//!
//! Each name is looked up once, and the connection goes to the very addresses that were looked at then, so that no
//! second answer leads elsewhere. What is in the file is for the caller to find out; no error shows any of it, nor
//! more of an address than its host.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::{Host, Origin, Url};

use super::http::{self, HttpError};
use super::tls::Trust;

/// From the first look at the address to the last byte of the file, redirects and all.
const DEADLINE: Duration = Duration::from_secs(15);
const LARGEST: usize = 10 << 20;
const REDIRECTS: usize = 3;
/// The network of Home Assistant's apps, inside the host: `172.30.32.0/23`, and the same in IPv6.
const APPS: Ipv4Addr = Ipv4Addr::new(172, 30, 32, 0);
const APPS_V6: [u16; 3] = [0xfd0c, 0xac1e, 0x2100];

/// Why there is no file, in a sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("only addresses that begin with `http://` or `https://` can be fetched")]
    Scheme,
    #[error("`{host}` leads to this machine itself, or to where only this machine can reach")]
    Refused { host: String },
    #[error("`{host}` redirects to nowhere, or there are more than {REDIRECTS} redirects")]
    Redirects { host: String },
    #[error("`{host}` answered {status}")]
    Status { host: String, status: u16 },
    #[error("`{host}` sent more than {} MiB", LARGEST >> 20)]
    TooLarge { host: String },
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Looks up a name. The port is passed on.
pub type LookUp = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Fetches files.
pub struct Fetcher {
    tls: rustls::ClientConfig,
    look_up: LookUp,
    allow: BTreeSet<String>,
    own_ports: Vec<u16>,
    deadline: Duration,
}

impl Fetcher {
    /// `allow` may be fetched from whatever it is: `host` or `host:port`, names in lower case, IPv6 in brackets. Nobody
    /// is fetched from at `own_ports` of this machine, which are ours.
    pub fn new(allow: BTreeSet<String>, own_ports: Vec<u16>) -> Self {
        let look_up: LookUp =
            Arc::new(|name, port| Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) }));
        Self { tls: Trust::default().client_config(), look_up, allow, own_ports, deadline: DEADLINE }
    }

    /// With another way of looking up names.
    #[must_use]
    pub fn looking_up(self, look_up: LookUp) -> Self {
        Self { look_up, ..self }
    }

    /// In less time than 15 s.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline: deadline.min(DEADLINE), ..self }
    }

    /// The file at `url`: at most 10 MiB, within 15 s, over at most three redirects. User and password in `url` are sent
    /// to its own host only.
    ///
    /// # Errors
    /// `FetchError`.
    pub async fn fetch(&self, url: Url) -> Result<Bytes, FetchError> {
        let host = http::host(&url);
        let fetched = tokio::time::timeout(self.deadline, self.follow(url)).await;
        fetched.unwrap_or_else(|_| Err(HttpError::TimedOut { host }.into()))
    }

    async fn follow(&self, mut url: Url) -> Result<Bytes, FetchError> {
        let login = Login::of(&url);
        for _ in 0..=REDIRECTS {
            match self.ask(&url, &login).await? {
                Answer::File(file) => return Ok(file),
                Answer::Elsewhere(there) => url = there,
            }
        }
        Err(FetchError::Redirects { host: http::host(&url) })
    }

    async fn ask(&self, url: &Url, login: &Login) -> Result<Answer, FetchError> {
        let host = http::host(url);
        let addresses = self.addresses(url).await?;
        let broken = |error: reqwest::Error| FetchError::Http(http::failure(&host, &error));
        let response = self.client(addresses).map_err(broken)?.execute(request(url, login)).await.map_err(broken)?;
        if response.status().is_redirection() {
            let there = response.headers().get(LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
            return there.map(Answer::Elsewhere).ok_or(FetchError::Redirects { host });
        }
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { host, status: response.status().as_u16() });
        }
        let encoding = response.headers().get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(HttpError::Compressed { host }.into());
        }
        read(&host, response).await.map(Answer::File)
    }

    /// Where the host of `url` is, as far as we may go there.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Scheme);
        }
        let (Some(named), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(FetchError::Scheme);
        };
        let host = http::host(url);
        let mut found = match named {
            Host::Ipv4(ip) => vec![(ip, port).into()],
            Host::Ipv6(ip) => vec![(ip, port).into()],
            Host::Domain(name) => {
                let looked_up = (self.look_up)(name.to_owned(), port).await;
                let why = |error: io::Error| HttpError::Unreachable { host: host.clone(), why: error.to_string() };
                looked_up.map_err(why)?
            }
        };
        if found.is_empty() {
            return Err(HttpError::Unreachable { host, why: "its name has no address".to_owned() }.into());
        }
        if !self.allows(&named.to_string(), port) {
            found.retain(|address| self.may_go_to(*address));
        }
        if found.is_empty() { Err(FetchError::Refused { host }) } else { Ok(found) }
    }

    fn may_go_to(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let named = match ip {
            IpAddr::V4(ip) => Host::<String>::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        let is_ours = || self.own_ports.contains(&address.port()) && is_of_this_machine(ip);
        self.allows(&named.to_string(), address.port()) || !(leads_inside(ip) || is_ours())
    }

    fn allows(&self, host: &str, port: u16) -> bool {
        self.allow.contains(host) || self.allow.contains(&format!("{host}:{port}"))
    }

    /// One that connects to these addresses and to no others, whatever name it is asked for. An address in place of a
    /// name is not looked up by it, and has been looked at.
    fn client(&self, addresses: Vec<SocketAddr>) -> reqwest::Result<reqwest::Client> {
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Pinned(addresses))
            .user_agent(concat!("doorstep/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .build()
    }
}

enum Answer {
    File(Bytes),
    Elsewhere(Url),
}

struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// User and password, and for whom they are.
struct Login(Option<(Origin, HeaderValue)>);

impl Login {
    fn of(url: &Url) -> Self {
        if url.username().is_empty() && url.password().is_none() {
            return Self(None);
        }
        let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let password = decoded(url.password().unwrap_or_default());
        let both = [decoded(url.username()), password].join(&b':');
        let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both)));
        Self(value.ok().map(|mut value| {
            value.set_sensitive(true);
            (url.origin(), value)
        }))
    }
}

fn request(url: &Url, login: &Login) -> reqwest::Request {
    let mut bare = url.clone();
    // They fail for addresses that have no place for a login, and so have none.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let mut request = reqwest::Request::new(Method::GET, bare);
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("audio/*, */*;q=0.5"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some((origin, value)) = &login.0
        && *origin == url.origin()
    {
        headers.insert(AUTHORIZATION, value.clone());
    }
    request
}

/// The limit is kept while reading: what a server announces proves nothing.
async fn read(host: &str, mut response: reqwest::Response) -> Result<Bytes, FetchError> {
    let mut file = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| http::failure(host, &error))? {
        if file.len() + piece.len() > LARGEST {
            return Err(FetchError::TooLarge { host: host.to_owned() });
        }
        file.extend_from_slice(&piece);
    }
    Ok(file.into())
}

fn is_of_this_machine(ip: IpAddr) -> bool {
    // When nobody can say, it might be.
    if_addrs::get_if_addrs().map_or(true, |own| own.iter().any(|interface| interface.ip() == ip))
}

/// Whether only this machine means it, or those that stand nearest to it: the machine itself, its link, the metadata of
/// a cloud's machine, Home Assistant's Supervisor and apps. The household's own network is what sound is mostly fetched
/// from, and is not among them.
pub fn leads_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => leads_inside_v4(ip),
        IpAddr::V6(ip) => leads_inside_v6(ip) || within(ip).is_some_and(leads_inside_v4),
    }
}

fn leads_inside_v4(ip: Ipv4Addr) -> bool {
    let apps = (u32::from(ip) ^ u32::from(APPS)) >> 9 == 0;
    let [first, ..] = ip.octets();
    // 0.0.0.0/8 is this machine on any network, 240.0.0.0/4 is nobody's, the broadcast address is in it.
    apps || first == 0 || first >= 240 || ip.is_loopback() || ip.is_link_local() || ip.is_multicast()
}

fn leads_inside_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let site_local = parts[0] & 0xffc0 == 0xfec0;
    let amazon_metadata = parts[..2] == [0xfd00, 0x0ec2];
    // Both hide an IPv4 address, and neither is where anybody keeps sound: Teredo, and translators of one site.
    let teredo = parts[..2] == [0x2001, 0];
    let local_nat64 = parts[..3] == [0x0064, 0xff9b, 1];
    let named = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local();
    named || site_local || amazon_metadata || teredo || local_nat64 || parts[..3] == APPS_V6
}

/// The IPv4 address that an IPv6 address stands for.
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let both = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        // Compatible, mapped, translated (RFC 4291 §2.5.5, RFC 2765).
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Some(both(high, low))
        }
        // NAT64 (RFC 6052).
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(both(high, low)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(both(high, low)),
        // ISATAP (RFC 5214).
        [.., 0 | 0x0200, 0x5efe, high, low] => Some(both(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_machine_can_reach_is_refused_however_it_is_written() {
        let inside = [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "172.30.32.1",
            "172.30.32.2",
            "172.30.33.255",
            "224.0.0.251",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::fb",
            "fd00:ec2::254",
            "fd0c:ac1e:2100::2",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:172.30.32.2",
            "::127.0.0.1",
            "::172.30.32.2",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::192.168.1.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:ac1e:2002::",
            "2001:0:7f00:1::",
            "fd00::5efe:127.0.0.1",
            "2001:db8::200:5efe:172.30.32.2",
        ];
        for ip in inside {
            assert!(leads_inside(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_household_and_the_world_are_not_refused() {
        let outside = [
            "192.168.1.10",
            "10.0.0.1",
            "172.16.0.1",
            "172.30.31.255",
            "172.30.34.0",
            "100.64.0.1",
            "93.184.215.14",
            "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
            "fd12:3456::1",
            "fd0c:ac1e:2101::1",
            "::ffff:192.168.1.10",
            "64:ff9b::93.184.215.14",
            "2002:5db8:d70e::1",
        ];
        for ip in outside {
            assert!(!leads_inside(ip.parse().unwrap()), "{ip}");
        }
    }
}
