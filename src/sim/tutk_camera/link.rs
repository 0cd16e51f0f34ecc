//! The camera's socket, and a second one for when it is told to move (`fault port-change`).

use std::io;
use std::net::SocketAddr;

use crate::net::link::{Datagram, Datagrams, UdpLink};
use crate::proto::Lane;

/// Two UDP sockets on one address: [`Lane::MAIN`] and [`TwoPortLink::MOVED`].
pub(super) struct TwoPortLink {
    main: UdpLink,
    moved: UdpLink,
}

impl TwoPortLink {
    pub(super) const MOVED: Lane = Lane(1);

    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let main = UdpLink::bind(address).await?;
        let moved = UdpLink::bind(SocketAddr::new(address.ip(), 0)).await?;
        Ok(Self { main, moved })
    }

    /// Where clients find the camera.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.main.local_addr()
    }
}

impl Datagrams for TwoPortLink {
    fn send(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let link = if lane == Self::MOVED { &mut self.moved } else { &mut self.main };
        link.send(lane, to, payload)
    }

    async fn recv(&mut self) -> io::Result<Datagram> {
        tokio::select! {
            datagram = self.main.recv() => datagram,
            datagram = self.moved.recv() => datagram.map(|datagram| Datagram { lane: Self::MOVED, ..datagram }),
        }
    }
}
