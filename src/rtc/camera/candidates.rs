//! Addresses on their way to the engine, without what it would stumble over.

use std::net::IpAddr;

use webrtc::peer_connection::RTCIceServer;

use super::IceServer;
use crate::rtc::sdp::usable_candidate;

/// More servers than this are not asked: each costs a request from every address of ours.
const MOST_SERVERS: usize = 8;

/// A camera's candidate in the form that the engine's parser takes; `None` when it leads nowhere.
///
/// Cameras send line ends, trailing pairs of their own (`generation 0 network-cost 999`), a `raddr` of `0.0.0.0` or
/// `::/0`, and browsers names that only mDNS resolves (kvs reference §4). TCP is left out: cameras skip it too.
pub(super) fn cleaned(candidate: &str) -> Option<String> {
    let line = candidate.trim();
    let address = usable_candidate(line)?;
    let mut words = line.split_ascii_whitespace();
    let foundation = words.next()?.trim_start_matches("a=").strip_prefix("candidate:")?;
    let (protocol, priority) = (words.nth(1)?, words.next()?.parse::<u32>().ok()?);
    let port: u16 = words.nth(1)?.parse().ok()?;
    let kind = words.nth(1).filter(|kind| matches!(*kind, "host" | "srflx" | "prflx" | "relay"))?;
    if !protocol.eq_ignore_ascii_case("udp") || foundation.is_empty() || foundation.len() > 64 {
        return None;
    }
    let base = format!("candidate:{foundation} 1 udp {priority} {address} {port} typ {kind}");
    match related(words) {
        Some((ip, port)) if kind != "host" => Some(format!("{base} raddr {ip} rport {port}")),
        _ => Some(base),
    }
}

fn related<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(IpAddr, u16)> {
    let ("raddr", ip, "rport", port) = (words.next()?, words.next()?, words.next()?, words.next()?) else {
        return None;
    };
    Some((ip.parse().ok()?, port.parse().ok()?))
}

/// The servers that the engine can speak to: STUN, and TURN over UDP. It has no TLS towards TURN servers and no TCP.
pub(super) fn usable_servers(servers: &[IceServer]) -> Vec<RTCIceServer> {
    servers.iter().filter_map(usable_server).take(MOST_SERVERS).collect()
}

fn usable_server(server: &IceServer) -> Option<RTCIceServer> {
    let has_account = !server.username.is_empty() && !server.credential.expose().is_empty();
    let urls: Vec<String> = server.urls.iter().filter(|url| is_usable(url, has_account)).cloned().collect();
    let credential = server.credential.expose().to_owned();
    (!urls.is_empty()).then(|| RTCIceServer { urls, username: server.username.clone(), credential })
}

fn is_usable(url: &str, has_account: bool) -> bool {
    let url = url.to_ascii_lowercase();
    let is_udp = !url.contains("transport=") || url.ends_with("transport=udp");
    url.starts_with("stun:") || url.starts_with("turn:") && is_udp && has_account
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Password;

    #[test]
    fn a_cameras_spelling_becomes_the_parsers() {
        let spellings = [
            (
                "candidate:1 1 udp 2130706431 192.168.1.5 50000 typ host\r\n",
                "candidate:1 1 udp 2130706431 192.168.1.5 50000 typ host",
            ),
            (
                "candidate:1 1 UDP 5 10.0.0.9 1024 typ host raddr 0.0.0.0 rport 0 generation 0 network-cost 999",
                "candidate:1 1 udp 5 10.0.0.9 1024 typ host",
            ),
            (
                "candidate:1 1 udp 5 2001:0DB8:0000:0000:0000:0000:0000:0001 9 typ srflx raddr ::/0 rport 0",
                "candidate:1 1 udp 5 2001:db8::1 9 typ srflx",
            ),
            (
                "a=candidate:x 1 udp 5 203.0.113.1 9 typ relay raddr 10.0.0.1 rport 7 generation 0",
                "candidate:x 1 udp 5 203.0.113.1 9 typ relay raddr 10.0.0.1 rport 7",
            ),
        ];
        for (sent, taken) in spellings {
            assert_eq!(cleaned(sent).as_deref(), Some(taken), "{sent:?}");
            let for_the_parser = taken.strip_prefix("candidate:").unwrap();
            assert!(rtc::ice::candidate::unmarshal_candidate(for_the_parser).is_ok(), "{taken}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_dropped() {
        let nowhere = [
            "",
            "candidate:",
            "candidate:1 1 udp 5 1c7a.local 9 typ host",
            "candidate:1 1 tcp 5 10.0.0.1 9 typ host tcptype active",
            "candidate:1 2 udp 5 10.0.0.1 9 typ host",
            "candidate:1 1 udp 5 0.0.0.0 9 typ host",
            "candidate:1 1 udp 5 10.0.0.1 0 typ host",
            "candidate:1 1 udp 5 10.0.0.1 9 typ unheard-of",
            "candidate:1 1 udp minus 10.0.0.1 9 typ host",
            "candidate:1 1 udp 5 10.0.0.1 9 typ",
        ];
        for candidate in nowhere {
            assert_eq!(cleaned(candidate), None, "{candidate:?}");
        }
    }

    #[test]
    fn only_servers_that_can_be_spoken_to_are_kept() {
        let server = |urls: &[&str], username: &str| IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: username.to_owned(),
            credential: Password::new("secret"),
        };
        let servers = [
            server(&["stun:stun.example:443"], ""),
            server(&["turn:t.example:443?transport=udp", "turns:t.example:443?transport=udp"], "user"),
            server(&["turns:t.example:443?transport=tcp", "turn:t.example:443?transport=tcp"], "user"),
            server(&["turn:no-account.example"], ""),
        ];
        let usable: Vec<String> = usable_servers(&servers).into_iter().flat_map(|server| server.urls).collect();
        assert_eq!(usable, ["stun:stun.example:443", "turn:t.example:443?transport=udp"]);
    }
}
