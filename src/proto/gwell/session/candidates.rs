//! Where a camera may be, from what its owner and the P2P server say (gwell reference §6).

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use super::Path;
use super::paths::Route;
use crate::proto::gwell::calling::MtpReply;
use crate::proto::gwell::directory::Reachable;

/// On which cameras have been seen to wait, whatever the server says.
const WELL_KNOWN_PORTS: [u16; 3] = [6_789, 32_761, 32_100];
/// Streams are not opened by the dozen: only where the server says that the camera is, and to few relays.
const MAX_STREAMS: usize = 4;
/// Addresses that prove themselves, beyond those that were named.
const MAX_LEARNT: usize = 8;

/// Who has named what.
pub(super) struct Candidates {
    server: SocketAddr,
    owner: Option<IpAddr>,
    ack: Option<SocketAddrV4>,
    reply: Option<MtpReply>,
    learnt: Vec<SocketAddr>,
}

impl Candidates {
    pub(super) fn new(server: SocketAddr, owner: Option<IpAddr>) -> Self {
        Self { server, owner, ack: None, reply: None, learnt: Vec::new() }
    }

    pub(super) fn on_ack(&mut self, peer: SocketAddrV4) {
        self.ack = Some(peer);
    }

    /// False when it says nothing new.
    pub(super) fn on_reply(&mut self, reply: MtpReply) -> bool {
        let is_new = self.reply.as_ref() != Some(&reply);
        self.reply = Some(reply);
        is_new
    }

    pub(super) fn has_owner(&self) -> bool {
        self.owner.is_some()
    }

    pub(super) fn has_relays(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.relays.is_empty())
    }

    /// Ports of relays, for port status: the first four.
    pub(super) fn relay_ports(&self) -> [u16; 4] {
        let relays = self.reply.iter().flat_map(|reply| &reply.relays);
        let mut ports = [0; 4];
        ports.iter_mut().zip(relays).for_each(|(port, relay)| *port = relay.address.port());
        ports
    }

    /// An address that has proven to be the camera's, if it can be: on the LAN or on this machine.
    pub(super) fn learn(&mut self, address: SocketAddr) -> Option<Route> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        if !Reachable::is_local(ip) || address == self.server || self.learnt.len() >= MAX_LEARNT {
            return None;
        }
        self.learnt.push(address);
        Some(Route { path: Path::LanUdp, at: address })
    }

    /// Every way that is known of now, the likelier ones of a path first.
    pub(super) fn routes(&self) -> Vec<Route> {
        let route = |path| move |at| Route { path, at };
        let lan_udp = self.lan(&[&self.named_ports()[..], &WELL_KNOWN_PORTS].concat());
        let lan_tcp = self.lan(&self.named_ports()).into_iter().take(MAX_STREAMS);
        let routes = lan_tcp.map(route(Path::LanTcp)).chain(lan_udp.into_iter().map(route(Path::LanUdp)));
        let routes = routes.chain(self.relays(|tcp| tcp).into_iter().take(MAX_STREAMS).map(route(Path::RelayTcp)));
        // Relays marked for TCP may take UDP too, and the reference client tries.
        let udp_relays = self.relays(|tcp| !tcp).into_iter().chain(self.relays(|tcp| tcp));
        let passthrough = Route { path: Path::Passthrough, at: self.server };
        // MTP at the server's own port ends the session after some minutes (seed, rule 1).
        let is_not_server = |route: &Route| route.at != self.server;
        routes.chain(udp_relays.map(route(Path::RelayUdp))).filter(is_not_server).chain([passthrough]).collect()
    }

    fn lan(&self, ports: &[u16]) -> Vec<SocketAddr> {
        let addresses = self.addresses();
        addresses.iter().flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port))).collect()
    }

    /// What the server says of the LAN is fresher than what the owner once said.
    fn addresses(&self) -> Vec<IpAddr> {
        // A server of the Internet knows no camera on this machine.
        let is_far = Reachable::from(self.server.ip()) == Reachable::Public;
        let on_lan = |address: SocketAddrV4| {
            let ip = Some(*address.ip()).filter(|ip| Reachable::is_local(*ip) && !(is_far && ip.is_loopback()));
            ip.map(IpAddr::V4)
        };
        let reply = self.reply.as_ref();
        let named = [
            reply.and_then(|reply| on_lan(reply.lan)),
            self.owner.filter(|ip| !ip.is_unspecified()),
            self.ack.and_then(on_lan),
            reply.and_then(|reply| on_lan(reply.outer)),
        ];
        unique(named.into_iter().flatten())
    }

    fn named_ports(&self) -> Vec<u16> {
        let reply = self.reply.as_ref();
        let named = [
            reply.map(|reply| reply.session_port),
            reply.map(|reply| reply.lan.port()),
            self.ack.map(|ack| ack.port()),
            reply.map(|reply| reply.outer.port()),
        ];
        unique(named.into_iter().flatten().filter(|port| *port != 0))
    }

    fn relays(&self, is_wanted: impl Fn(bool) -> bool) -> Vec<SocketAddr> {
        let relays = self.reply.iter().flat_map(|reply| &reply.relays).filter(|relay| is_wanted(relay.tcp));
        let addresses = relays.map(|relay| relay.address);
        // No server of the Internet has us knock at doors of the LAN by calling them relays.
        let reachable = Reachable::from(self.server.ip());
        let addresses = addresses.filter(|address| address.port() != 0 && reachable.allows(*address.ip()));
        unique(addresses.map(SocketAddr::V4))
    }
}

fn unique<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut unique, one| {
        if !unique.contains(&one) {
            unique.push(one);
        }
        unique
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::proto::gwell::calling::Relay;

    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(3, 13, 212, 24), 28_800);

    fn v4(ip: [u8; 4], port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(ip.into(), port)
    }

    fn reply() -> MtpReply {
        MtpReply {
            link_id: 1,
            outer: v4([93, 184, 216, 34], 50_000),
            lan: v4([172, 16, 3, 4], 40_000),
            session_port: 40_001,
            relays: vec![
                Relay { session: 1, tcp: true, address: v4([3, 3, 3, 3], 443) },
                Relay { session: 1, tcp: false, address: v4([4, 4, 4, 4], 500) },
                Relay { session: 1, tcp: true, address: SERVER },
            ],
        }
    }

    fn all(candidates: &Candidates, path: Path) -> Vec<String> {
        candidates.routes().iter().filter(|route| route.path == path).map(|route| route.at.to_string()).collect()
    }

    #[test]
    fn the_servers_word_comes_before_the_owners_and_its_ports_before_the_usual_ones() {
        let mut candidates = Candidates::new(SERVER.into(), Some("192.168.1.9".parse().unwrap()));
        assert_eq!(all(&candidates, Path::LanUdp), ["192.168.1.9:6789", "192.168.1.9:32761", "192.168.1.9:32100"]);
        assert!(all(&candidates, Path::LanTcp).is_empty(), "streams were opened to guessed ports");
        candidates.on_ack(v4([93, 184, 216, 34], 40_002));
        candidates.on_reply(reply());
        let ports = [40_001, 40_000, 40_002, 50_000];
        let tcp: Vec<_> = ports.iter().map(|port| format!("172.16.3.4:{port}")).collect();
        assert_eq!(all(&candidates, Path::LanTcp), tcp);
        let udp = all(&candidates, Path::LanUdp);
        assert_eq!(udp[..4], tcp);
        assert_eq!(udp[7], "192.168.1.9:40001");
        assert_eq!(udp.len(), 14, "{udp:?}");
    }

    #[test]
    fn no_media_go_to_the_server_but_by_passthrough() {
        let mut candidates = Candidates::new(SERVER.into(), None);
        candidates.on_reply(reply());
        assert_eq!(all(&candidates, Path::RelayTcp), ["3.3.3.3:443"]);
        assert_eq!(all(&candidates, Path::RelayUdp), ["4.4.4.4:500", "3.3.3.3:443"]);
        assert_eq!(all(&candidates, Path::Passthrough), [SERVER.to_string()]);
        assert_eq!(candidates.relay_ports(), [443, 500, 28_800, 0]);
    }

    #[test]
    fn only_near_addresses_are_learnt_and_not_without_end() {
        let mut candidates = Candidates::new(SERVER.into(), None);
        assert_eq!(candidates.learn("93.184.216.34:1".parse().unwrap()), None);
        let learnt = (0..20).filter_map(|n| candidates.learn(SocketAddr::from(([10, 0, 0, n], 1)))).count();
        assert_eq!(learnt, MAX_LEARNT);
    }

    #[test]
    fn a_server_of_the_internet_names_no_relay_on_the_lan_and_no_camera_on_this_machine() {
        let relays = [[127, 0, 0, 1], [192, 168, 1, 1], [169, 254, 169, 254], [224, 0, 0, 1], [255, 255, 255, 255]];
        let relays = relays.map(|ip| Relay { session: 1, tcp: true, address: v4(ip, 22) }).to_vec();
        let loopback = v4([127, 0, 0, 1], 8_123);
        let hostile = MtpReply { lan: loopback, outer: loopback, relays, ..reply() };
        let mut candidates = Candidates::new(SERVER.into(), None);
        candidates.on_ack(loopback);
        candidates.on_reply(hostile.clone());
        assert_eq!(candidates.routes(), [Route { path: Path::Passthrough, at: SERVER.into() }]);
        let mut near = Candidates::new(SocketAddr::from(([127, 0, 0, 1], 1)), None);
        near.on_reply(hostile);
        assert_eq!(all(&near, Path::RelayTcp), ["127.0.0.1:22", "192.168.1.1:22", "169.254.169.254:22"]);
        assert!(all(&near, Path::LanUdp).contains(&"127.0.0.1:8123".to_owned()));
    }
}
