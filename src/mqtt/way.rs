//! Which of the broker's addresses is connected to. A name may have several, and one that nobody answers at would
//! otherwise be waited for until the attempt is over, each time (RFC 8305; row 41 of the fault matrix).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::config::MqttUrl;

/// How long one address is left alone before the next is tried as well (RFC 8305 §5).
const APART: Duration = Duration::from_millis(250);
/// For all of them together.
const WITHIN: Duration = Duration::from_secs(4);

/// The broker as the library is to be told it, which puts a colon and the port behind it: of several addresses the
/// first that answers, the very first where none does. Over TLS it is the name, which the certificate is held to; the
/// library then takes the addresses in their order.
///
/// # Errors
/// When the name has no address, or nobody says.
pub(super) async fn to(url: &MqttUrl) -> io::Result<String> {
    let named = url.host.trim_matches(['[', ']']);
    if let Ok(ip) = named.parse::<IpAddr>() {
        return Ok(host(SocketAddr::new(ip, url.port)));
    }
    let found: Vec<SocketAddr> = lookup_host((named, url.port)).await?.collect();
    let Some(first) = found.first() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the broker's name has no address"));
    };
    if url.tls {
        return Ok(url.host.clone());
    }
    Ok(host(if found.len() == 1 { *first } else { answering(&found).await.unwrap_or(*first) }))
}

/// The first that takes a connection, which is closed again.
async fn answering(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let attempt = async |(wait, address): (Duration, SocketAddr)| {
        sleep(wait).await;
        TcpStream::connect(address).await.map(|_| address)
    };
    let waits = (0..).map(|n| APART * n);
    let mut attempts: FuturesUnordered<_> = waits.zip(addresses.iter().copied()).map(attempt).collect();
    let first = async {
        while let Some(tried) = attempts.next().await {
            if tried.is_ok() {
                return tried.ok();
            }
        }
        None
    };
    timeout(WITHIN, first).await.ok().flatten()
}

/// An IPv6 address in brackets, with the number of its interface where it is of one link.
fn host(address: SocketAddr) -> String {
    let text = address.to_string();
    text.rsplit_once(':').map_or_else(|| text.clone(), |(host, _)| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV6;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_address_is_as_it_was_written_but_for_the_brackets_that_a_port_needs() {
        for (written, told) in
            [("mqtt://[::1]", "[::1]"), ("mqtt://10.0.0.1:9", "10.0.0.1"), ("mqtts://[fd00::2]", "[fd00::2]")]
        {
            assert_eq!(to(&MqttUrl::parse(written).unwrap()).await.unwrap(), told);
        }
        let of_a_link = SocketAddrV6::new("fe80::1".parse().unwrap(), 1883, 0, 7);
        assert_eq!(host(of_a_link.into()), "[fe80::1%7]");
    }

    #[tokio::test]
    async fn of_several_addresses_the_one_that_answers_is_taken() {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let _listening = TcpListener::bind(there).await.unwrap();
        // Nobody listens at the first two.
        let nowhere = [2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], there.port())));
        assert_eq!(answering(&[nowhere[0], nowhere[1], there]).await, Some(there));
        assert_eq!(answering(&nowhere).await, None);
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_has_no_way() {
        let url = MqttUrl::parse("mqtt://no-such-broker.invalid").unwrap();
        assert!(to(&url).await.is_err());
    }
}
