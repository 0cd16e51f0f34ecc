//! What go2rtc is given for a stream: the address at which it fetches it from us.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use url::Url;

use super::api::Trouble;
use crate::config::{Go2rtcMode, is_loopback};
use crate::model::DeviceId;
use crate::secret::Token;

/// What stands in front of the address (go2rtc, `internal/webrtc/client.go`).
const SCHEME: &str = "webrtc:";
/// The query's part that changes while the stream stays the same.
const KEY: &str = "key";

/// Where a stream is fetched: `webrtc:ws://HOST/api/ws?src=ID&key=…` or `webrtc:http://HOST/whep/ID`.
#[derive(Clone)]
pub(super) struct Source {
    /// Without the key.
    place: Url,
    /// Where we ask for one; WHEP takes none.
    key: Option<Token>,
}

/// How what go2rtc has compares to what it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    /// The same stream by a key of another time.
    OtherKey,
    Other,
}

impl Source {
    /// `base` is where go2rtc reaches us.
    pub(super) fn new(base: &Url, mode: Go2rtcMode, doorbell: &DeviceId, key: Option<Token>) -> Self {
        let mut place = base.clone();
        let tls = base.scheme() == "https";
        let (scheme, path): (_, &[&str]) = match mode {
            Go2rtcMode::Ws => (if tls { "wss" } else { "ws" }, &["api", "ws"]),
            Go2rtcMode::Whep => (base.scheme(), &["whep", doorbell.as_str()]),
        };
        // A base has a host, so it has segments and may change between these schemes.
        if let Ok(mut segments) = place.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let _changed = place.set_scheme(scheme);
        if mode == Go2rtcMode::Ws {
            place.query_pairs_mut().append_pair("src", doorbell.as_str());
        }
        Self { place, key }
    }

    /// The text for go2rtc. Whoever knows it may watch for as long as the key lives.
    pub(super) fn expose(&self) -> String {
        let mut url = self.place.clone();
        if let Some(key) = &self.key {
            url.query_pairs_mut().append_pair(KEY, key.expose());
        }
        format!("{SCHEME}{url}")
    }

    /// `told` is an address as go2rtc tells it: as it was given, and without `webrtc:` while it is in use.
    pub(super) fn compare(&self, told: &str) -> Likeness {
        let Ok(mut place) = Url::parse(told.strip_prefix(SCHEME).unwrap_or(told)) else { return Likeness::Other };
        let pairs: Vec<(String, String)> = place.query_pairs().into_owned().collect();
        let (keys, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == KEY);
        place.set_query(None);
        if !rest.is_empty() {
            place.query_pairs_mut().extend_pairs(rest);
        }
        if place != self.place {
            return Likeness::Other;
        }
        let same = match (&self.key, &keys[..]) {
            (None, []) => true,
            (Some(ours), [(_, theirs)]) => ours.expose() == theirs,
            _ => false,
        };
        if same { Likeness::Same } else { Likeness::OtherKey }
    }
}

/// Without the key.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.place)
    }
}

/// Where the go2rtc at `go2rtc` reaches our `listener`: by loopback when it is on this machine, otherwise at the
/// address from which packets to it leave.
///
/// # Errors
/// `Unreachable` when the listener is for this machine alone and go2rtc is elsewhere; `Lost` when there is no way to
/// go2rtc.
pub(super) async fn base(listener: SocketAddr, go2rtc: &Url) -> Result<Url, Trouble> {
    let ip = listener.ip();
    let ip = match (ip.is_unspecified(), is_loopback(go2rtc)) {
        (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, false) => way_to(go2rtc).await.ok_or(Trouble::Lost)?,
        (false, here) if here || !ip.is_loopback() => ip,
        (false, _) => match way_to(go2rtc).await {
            // A name of this machine's.
            Some(way) if way.is_loopback() => ip,
            _ => return Err(Trouble::Unreachable),
        },
    };
    let url = format!("http://{}", SocketAddr::new(ip, listener.port()));
    Ok(Url::parse(&url).unwrap_or_else(|_| unreachable!("{url} is an address")))
}

/// Our address on the way to a host. Nothing is sent.
async fn way_to(go2rtc: &Url) -> Option<IpAddr> {
    let to = (go2rtc.host_str()?.trim_matches(['[', ']']), go2rtc.port_or_known_default()?);
    for address in tokio::net::lookup_host(to).await.ok()? {
        let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let Ok(socket) = UdpSocket::bind(any).await else { continue };
        if socket.connect(address).await.is_ok()
            && let Ok(ours) = socket.local_addr()
        {
            return Some(ours.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(base: &str, mode: Go2rtcMode, key: Option<&str>) -> Source {
        let id = DeviceId::parse("wyze_1").unwrap();
        Source::new(&Url::parse(base).unwrap(), mode, &id, key.map(Token::new))
    }

    #[test]
    fn each_mode_has_its_address() {
        let table = [
            ("http://192.168.1.2:8480", Go2rtcMode::Ws, None, "webrtc:ws://192.168.1.2:8480/api/ws?src=wyze_1"),
            (
                "https://door.example/at/home/",
                Go2rtcMode::Ws,
                Some("k&1"),
                "webrtc:wss://door.example/at/home/api/ws?src=wyze_1&key=k%261",
            ),
            ("http://[fd00::1]:8480", Go2rtcMode::Whep, None, "webrtc:http://[fd00::1]:8480/whep/wyze_1"),
            ("https://door.example", Go2rtcMode::Whep, None, "webrtc:https://door.example/whep/wyze_1"),
        ];
        for (base, mode, key, expected) in table {
            assert_eq!(source(base, mode, key).expose(), expected);
        }
    }

    #[test]
    fn a_source_is_known_again_idle_and_in_use() {
        let keyed = source("http://h:1", Go2rtcMode::Ws, Some("new"));
        for (told, likeness) in [
            ("webrtc:ws://h:1/api/ws?src=wyze_1&key=new", Likeness::Same),
            ("ws://h:1/api/ws?src=wyze_1&key=new", Likeness::Same),
            ("ws://h:1/api/ws?src=wyze_1&key=old", Likeness::OtherKey),
            ("webrtc:ws://h:1/api/ws?src=wyze_1", Likeness::OtherKey),
            ("webrtc:ws://h:2/api/ws?src=wyze_1&key=new", Likeness::Other),
            ("webrtc:ws://h:1/api/ws?src=wyze_2&key=new", Likeness::Other),
            ("webrtc:http://h:1/whep/wyze_1", Likeness::Other),
            ("rtsp://camera/stream", Likeness::Other),
            ("external", Likeness::Other),
            ("", Likeness::Other),
        ] {
            assert_eq!(keyed.compare(told), likeness, "{told}");
        }
        let open = source("http://h:1", Go2rtcMode::Ws, None);
        assert_eq!(open.compare("webrtc:ws://h:1/api/ws?src=wyze_1"), Likeness::Same);
        assert_eq!(open.compare("webrtc:ws://h:1/api/ws?src=wyze_1&key=old"), Likeness::OtherKey);
    }

    #[test]
    fn a_source_prints_no_key() {
        assert!(!format!("{:?}", source("http://h:1", Go2rtcMode::Ws, Some("hunter2"))).contains("hunter2"));
    }

    #[tokio::test]
    async fn go2rtc_is_told_an_address_that_it_can_reach() {
        let here = "http://127.0.0.1:1984";
        for (listener, go2rtc, expected) in [
            ("127.0.0.1:8480", here, "http://127.0.0.1:8480/"),
            ("[::1]:8480", "http://localhost:1984", "http://[::1]:8480/"),
            ("0.0.0.0:8480", here, "http://127.0.0.1:8480/"),
            ("[::]:8480", "http://[::1]:1984", "http://127.0.0.1:8480/"),
            ("192.0.2.7:8480", here, "http://192.0.2.7:8480/"),
            ("192.0.2.7:8480", "http://192.0.2.9:1984", "http://192.0.2.7:8480/"),
        ] {
            let url = base(listener.parse().unwrap(), &Url::parse(go2rtc).unwrap()).await;
            assert_eq!(url.unwrap().as_str(), expected, "{listener} for {go2rtc}");
        }
        let elsewhere = Url::parse("http://192.0.2.9:1984").unwrap();
        let refused = base("127.0.0.1:8480".parse().unwrap(), &elsewhere).await.unwrap_err();
        assert!(matches!(refused, Trouble::Unreachable), "{refused:?}");
    }
}
