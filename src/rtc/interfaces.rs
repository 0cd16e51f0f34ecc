//! Which addresses this machine has: those that viewers are told, and those that lead back to it.

use std::io;
use std::net::IpAddr;

use url::{Host, Url};

/// Each address costs two candidates in every answer, and a check to each of the viewer's.
pub(super) const MAX_ADDRESSES: usize = 16;

/// The addresses to advertise, the most promising first: configured ones (NAT 1:1), then the interfaces' own.
pub(super) fn advertised(bind: IpAddr, configured: &[IpAddr], loopback: bool) -> io::Result<Vec<IpAddr>> {
    let own = if bind.is_unspecified() { interfaces()? } else { vec![bind] };
    let fits = |ip: &IpAddr| bind.is_ipv6() || ip.is_ipv4();
    let mut all: Vec<IpAddr> = configured.to_vec();
    all.extend(own.into_iter().filter(|ip| fits(ip) && (loopback || !ip.is_loopback() || *ip == bind)));
    let mut unique: Vec<IpAddr> = Vec::new();
    for ip in all {
        if !unique.contains(&ip) {
            unique.push(ip);
        }
    }
    unique.truncate(MAX_ADDRESSES);
    Ok(unique)
}

/// IPv4 before IPv6, as most homes have it; link-local addresses mean nothing without their interface.
fn interfaces() -> io::Result<Vec<IpAddr>> {
    let up = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip());
    let mut ips: Vec<IpAddr> = up.filter(|ip| !is_link_local(ip)).collect();
    ips.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback()));
    Ok(ips)
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether the service at `url` is on this machine. It has its cameras there then: both are virtual.
pub fn is_this_machine(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn configured_addresses_come_first_and_once() {
        let configured = [ip("203.0.113.7"), ip("192.0.2.1"), ip("203.0.113.7")];
        let all = advertised(ip("192.0.2.1"), &configured, false).unwrap();
        assert_eq!(all, [ip("203.0.113.7"), ip("192.0.2.1")]);
    }

    #[test]
    fn loopback_is_told_only_where_it_is_wanted() {
        let wild = ip("0.0.0.0");
        assert!(!advertised(wild, &[], false).unwrap().contains(&ip("127.0.0.1")));
        assert!(advertised(wild, &[], true).unwrap().contains(&ip("127.0.0.1")));
        assert_eq!(advertised(ip("127.0.0.1"), &[], false).unwrap(), [ip("127.0.0.1")]);
    }

    #[test]
    fn an_ipv4_socket_tells_no_ipv6_address() {
        assert!(advertised(ip("0.0.0.0"), &[], true).unwrap().iter().all(IpAddr::is_ipv4));
    }

    #[test]
    fn a_service_on_this_machine_is_known_by_its_address() {
        for url in ["ws://127.0.0.1:8080/?x", "ws://localhost/", "wss://[::1]:1/"] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in ["wss://v-1.kinesisvideo.us-east-1.amazonaws.com/?x", "ws://192.168.1.2/", "", "localhost"] {
            assert!(!is_this_machine(url), "{url}");
        }
    }
}
