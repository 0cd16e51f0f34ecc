//! Where the P2P servers are, and where we are as seen from there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::config::HostPort;

/// For one name.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(5);
/// Of one name.
const MOST: usize = 8;

/// The addresses of these, in this order; a name that is not found is left out. IPv4 alone, since the protocol's
/// messages have room for nothing else.
pub(super) async fn look_up(hosts: &[HostPort]) -> Vec<SocketAddr> {
    join_all(hosts.iter().map(addresses)).await.concat()
}

async fn addresses(HostPort { host, port }: &HostPort) -> Vec<SocketAddr> {
    if let Ok(literal) = host.parse::<IpAddr>() {
        return if literal.is_ipv4() { vec![(literal, *port).into()] } else { vec![] };
    }
    match timeout(LOOKED_UP_WITHIN, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(found)) => found.filter(SocketAddr::is_ipv4).take(MOST).collect(),
        Ok(Err(error)) => {
            tracing::debug!(host, %error, "a P2P server's name is not found");
            vec![]
        }
        Err(_) => {
            tracing::debug!(host, "nobody says in time where a P2P server is");
            vec![]
        }
    }
}

/// Our address on the network that leads to `peer`. Sends nothing.
///
/// # Errors
/// When no network leads there.
pub(super) async fn towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(peer).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPort {
        HostPort { host: text.to_owned(), port: 51_701 }
    }

    #[tokio::test]
    async fn addresses_stand_for_themselves_and_the_order_stays() {
        let found = look_up(&[host("127.0.0.9"), host("::1"), host("localhost"), host("127.0.0.1")]).await;
        let at = |ip: [u8; 4]| SocketAddr::from((ip, 51_701));
        assert_eq!(found.first(), Some(&at([127, 0, 0, 9])));
        assert_eq!(found.last(), Some(&at([127, 0, 0, 1])));
        assert!(found.iter().all(SocketAddr::is_ipv4), "{found:?}");
    }

    #[tokio::test]
    async fn a_peer_on_this_machine_sees_us_on_this_machine() {
        assert!(towards(([127, 0, 0, 1], 9).into()).await.unwrap().is_loopback());
    }
}
