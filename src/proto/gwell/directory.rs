//! Finding a P2P server: the list and the detection (gwell reference §3.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const FLAGS: Flags = Flags::new(Mode::Header, Delivery::Forgotten);

/// "Which P2P servers are there?" Everything in it is random; nobody is logged in yet.
///
/// The reference client sends it in the clear though its flags say mode 1 ([`Frame::to_plain`]). Try it sealed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    pub id: u64,
    pub sqnum: u32,
    pub noise: [u8; 16],
}

impl ListRequest {
    pub fn encode(&self) -> Frame {
        Frame::new(Kind::List, Identity::Terminal(self.id), self.sqnum, FLAGS, self.noise.to_vec())
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::List, "list request")?;
        Ok(Self { id: frame.id, sqnum: frame.sqnum, noise: reader.array()? })
    }
}

/// The P2P servers that a list server knows.
///
/// Payload as the reference client understands it, which nobody has checked against a real one: somewhere at a
/// multiple of 4 a count as u32, followed by as many entries. We write `[0..2] flags · [2..4] result code · [4..8]
/// count · [8..] entries`, which makes the 176 bytes of a real reply with four of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReply {
    pub servers: Vec<Server>,
}

/// `[0..4] IPv4 · [4..20] IPv6 · [20..22] IP version, 1 for v4 · [22..24] server id · [24..26] port, big-endian ·
/// [26..28] second port, big-endian · [28..36] not known`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub address: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    pub ip_version: u16,
    pub id: u16,
    pub port: u16,
    pub second_port: u16,
}

/// Which addresses a server may name: of P2P servers, and of relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// Those on the Internet. A list of private addresses alone is no list but other bytes (§3.2).
    Public,
    /// Those of a LAN and of this machine as well: the owner named a server that is there.
    Everywhere,
}

impl Reachable {
    /// What may be named by whoever is at `address`.
    pub fn from(address: IpAddr) -> Self {
        let is_near = matches!(address, IpAddr::V4(ip) if Self::is_local(ip));
        if is_near { Self::Everywhere } else { Self::Public }
    }

    /// Addresses of a LAN, and of this machine.
    pub fn is_local(address: Ipv4Addr) -> bool {
        address.is_private() || address.is_loopback() || address.is_link_local()
    }

    pub fn allows(self, address: Ipv4Addr) -> bool {
        let nobody = address.octets()[0] == 0 || address.is_multicast() || address.is_broadcast();
        !nobody && (self == Self::Everywhere || !Self::is_local(address))
    }
}

impl Server {
    const LEN: usize = 36;

    /// A server as lists name it.
    pub fn new(id: u16, address: Ipv4Addr, port: u16) -> Self {
        Self { address, ipv6: Ipv6Addr::UNSPECIFIED, ip_version: 1, id, port, second_port: port }
    }

    pub fn socket_address(&self) -> SocketAddr {
        (IpAddr::V4(self.address), self.port).into()
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.bytes(&self.address.octets());
        bytes.bytes(&self.ipv6.octets());
        bytes.u16_le(self.ip_version);
        bytes.u16_le(self.id);
        bytes.bytes(&self.port.to_be_bytes());
        bytes.bytes(&self.second_port.to_be_bytes());
        bytes.zeros(8);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let server = Self {
            address: reader.array::<4>()?.into(),
            ipv6: reader.array::<16>()?.into(),
            ip_version: reader.u16_le()?,
            id: reader.u16_le()?,
            port: u16::from_be_bytes(reader.array()?),
            second_port: u16::from_be_bytes(reader.array()?),
        };
        reader.skip(8)?;
        Ok(server)
    }
}

impl ListReply {
    const STRUCTURE: &str = "list reply";
    const MAX_SERVERS: u32 = 20;

    pub fn encode(&self, id: u64, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(8 + self.servers.len() * Server::LEN);
        payload.zeros(4);
        payload.u32_le(self.servers.len() as u32);
        self.servers.iter().for_each(|server| server.encode(&mut payload));
        Frame::new(Kind::ListReply, Identity::Terminal(id), sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame, reachable: Reachable) -> Result<Self, DecodeError> {
        frame.reader(Kind::ListReply, Self::STRUCTURE)?;
        Self::find(&frame.payload, reachable)
    }

    /// The first place where bytes can be a list. Servers that cannot be reached are left out.
    pub fn find(payload: &[u8], reachable: Reachable) -> Result<Self, DecodeError> {
        let found = (0..payload.len()).step_by(4).find_map(|at| Self::read_at(payload.get(at..)?, reachable));
        found.ok_or_else(|| Reader::new(Self::STRUCTURE, payload).invalid("list of servers", payload.len() as u64))
    }

    fn read_at(bytes: &[u8], reachable: Reachable) -> Option<Self> {
        let mut reader = Reader::new(Self::STRUCTURE, bytes);
        let count = reader.u32_le().ok().filter(|count| (1..=Self::MAX_SERVERS).contains(count))?;
        let servers: Result<Vec<Server>, _> = (0..count).map(|_| Server::decode(&mut reader)).collect();
        let mut servers = servers.ok()?;
        servers.retain(|server| reachable.allows(server.address) && server.port != 0);
        (!servers.is_empty()).then_some(Self { servers })
    }
}

/// "Are you there?", to a P2P server or a camera. Random like [`ListRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectRequest {
    pub id: u64,
    pub sqnum: u32,
    pub noise: [u8; 40],
}

impl DetectRequest {
    pub fn encode(&self) -> Frame {
        let mut payload = self.noise.to_vec();
        payload.zeros(4);
        Frame::new(Kind::Detect, Identity::Terminal(self.id), self.sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Detect, "detect request")?;
        let noise = reader.array()?;
        reader.skip(4)?;
        Ok(Self { id: frame.id, sqnum: frame.sqnum, noise })
    }
}

/// "I am", to the request with this sqnum. What its 32 bytes of payload say is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectReply {
    pub id: u64,
    pub request: u32,
}

impl DetectReply {
    pub fn encode(&self) -> Frame {
        let from = Identity::Terminal(self.id);
        Frame::new(Kind::DetectReply, from, 0, FLAGS, vec![0; 32]).answering(self.request)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let reader = frame.reader(Kind::DetectReply, "detect reply")?;
        let request = frame.acked.ok_or_else(|| reader.invalid("flags", frame.flags.0))?;
        Ok(Self { id: frame.id, request })
    }
}
