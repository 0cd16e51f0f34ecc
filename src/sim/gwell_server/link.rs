//! The server's sockets.

use std::io;
use std::net::SocketAddr;

use crate::net::lanes::{Lanes, Streams};
use crate::net::link::{Datagram, Datagrams, UdpLink};
use crate::proto::Lane;
use crate::proto::gwell::TCP;
use crate::proto::gwell::mtp::Mtp;

/// [`Lane::MAIN`] is the P2P port, [`TCP`] the TCP relay; the other two are below.
pub(super) struct ServerLink {
    signalling: UdpLink,
    list: UdpLink,
    /// UDP and TCP on the same port number.
    relay: Lanes,
}

/// Where a server's sockets are, as others reach them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub signalling: SocketAddr,
    pub list: SocketAddr,
    pub udp_relay: SocketAddr,
    pub tcp_relay: SocketAddr,
}

/// The list server.
pub const LIST: Lane = Lane(2);
/// The UDP relay.
pub const UDP_RELAY: Lane = Lane(3);

impl ServerLink {
    /// All sockets at the address of `listen`; the P2P port is its port.
    pub(super) async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let any = SocketAddr::new(listen.ip(), 0);
        Ok(Self {
            signalling: UdpLink::bind(listen).await?,
            list: UdpLink::bind(any).await?,
            relay: Lanes::bind(any, Some(any), Streams { lane: TCP, frame_len: Mtp::frame_len }).await?,
        })
    }

    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        let udp_relay = self.relay.local_addr()?;
        Ok(Addresses {
            signalling: self.signalling.local_addr()?,
            list: self.list.local_addr()?,
            udp_relay,
            tcp_relay: self.relay.listening_at().unwrap_or(udp_relay),
        })
    }
}

impl Datagrams for ServerLink {
    fn send(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        match lane {
            LIST => self.list.send(Lane::MAIN, to, payload),
            UDP_RELAY => self.relay.send(Lane::MAIN, to, payload),
            TCP => self.relay.send(TCP, to, payload),
            _ => self.signalling.send(Lane::MAIN, to, payload),
        }
    }

    async fn recv(&mut self) -> io::Result<Datagram> {
        tokio::select! {
            datagram = self.signalling.recv() => datagram,
            datagram = self.list.recv() => datagram.map(|datagram| Datagram { lane: LIST, ..datagram }),
            datagram = self.relay.recv() => datagram.map(|datagram| match datagram.lane {
                Lane::MAIN => Datagram { lane: UDP_RELAY, ..datagram },
                _ => datagram,
            }),
        }
    }
}
