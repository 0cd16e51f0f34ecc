//! Sockets that carry datagrams, real or in memory.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::proto::Lane;

/// A datagram that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    pub lane: Lane,
    pub from: SocketAddr,
    pub payload: Vec<u8>,
}

/// The sockets of one session. The seam by which tests put in loss and virtual time.
pub trait Datagrams: Send {
    /// Sends without waiting; a datagram that the socket cannot take now is lost, as on a wire.
    ///
    /// # Errors
    /// Only what makes the socket useless. A full buffer or an unreachable peer is not an error.
    fn send(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()>;

    /// The next datagram. May be cancelled without losing one.
    fn recv(&mut self) -> impl Future<Output = io::Result<Datagram>> + Send;
}

/// One UDP socket, for protocols with the single lane [`Lane::MAIN`].
pub struct UdpLink {
    socket: UdpSocket,
    buffer: Box<[u8]>,
}

impl UdpLink {
    /// The largest datagram UDP can carry.
    const MAX_DATAGRAM: usize = 65_535;

    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        // Until the runtime has heard so, a send would find the socket full, and lose its datagram.
        socket.writable().await?;
        Ok(Self { socket, buffer: vec![0; Self::MAX_DATAGRAM].into() })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Datagrams for UdpLink {
    fn send(&mut self, _: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        match self.socket.try_send_to(payload, to) {
            Ok(_) => Ok(()),
            Err(error) if is_lost_datagram(&error) => {
                tracing::debug!(%to, %error, "datagram not sent");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn recv(&mut self) -> io::Result<Datagram> {
        loop {
            match self.socket.recv_from(&mut self.buffer).await {
                Ok((len, from)) => {
                    let payload = self.buffer.get(..len).unwrap_or_default().to_vec();
                    return Ok(Datagram { lane: Lane::MAIN, from, payload });
                }
                Err(error) if is_lost_datagram(&error) => continue,
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a datagram socket reports although it goes on working: no room, or an ICMP answer to an earlier send.
fn is_lost_datagram(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
