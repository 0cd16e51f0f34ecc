//! A way to a WebRTC peer that loses datagrams, for engines that bind their own sockets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;

use doorstep::sim::lossy_link::Dice;
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// Relays whatever comes to [`LossyWay::address`], and what is answered, but for what is lost.
pub(crate) struct LossyWay {
    pub(crate) address: SocketAddr,
    _relaying: AbortOnDropHandle<()>,
}

impl LossyWay {
    /// `loss` of each datagram in either direction, 0 to 1.
    pub(crate) async fn to(peer: SocketAddr, loss: f64, seed: u64) -> Self {
        Self::at_once(peer, loss, seed)
    }

    /// The same for whoever cannot wait, within a runtime.
    pub(crate) fn at_once(peer: SocketAddr, loss: f64, seed: u64) -> Self {
        let front = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_nonblocking(true).unwrap();
        let front = Arc::new(UdpSocket::from_std(front).unwrap());
        let address = front.local_addr().unwrap();
        let _relaying = AbortOnDropHandle::new(tokio::spawn(relay(front, peer, loss, seed)));
        Self { address, _relaying }
    }
}

/// Each address that sends has a socket of its own towards the peer, as behind a router.
async fn relay(front: Arc<UdpSocket>, peer: SocketAddr, loss: f64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut mapped: HashMap<SocketAddr, Mapped> = HashMap::new();
    let mut datagram = [0; 2_048];
    while let Ok((len, from)) = front.recv_from(&mut datagram).await {
        let nth = mapped.len() as u64 + 1;
        let back = match mapped.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let seed = seed.wrapping_add(nth);
                new.insert(Mapped::new(|back| relay_back(front.clone(), back, from, loss, seed)).await)
            }
        };
        if !dice.roll(loss) {
            let _lost_too = back.socket.send_to(&datagram[..len], peer).await;
        }
    }
}

struct Mapped {
    socket: Arc<UdpSocket>,
    _way_back: AbortOnDropHandle<()>,
}

impl Mapped {
    async fn new<F: Future<Output = ()> + Send + 'static>(way_back: impl FnOnce(Arc<UdpSocket>) -> F) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let _way_back = AbortOnDropHandle::new(tokio::spawn(way_back(socket.clone())));
        Self { socket, _way_back }
    }
}

async fn relay_back(front: Arc<UdpSocket>, back: Arc<UdpSocket>, to: SocketAddr, loss: f64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut datagram = [0; 2_048];
    while let Ok(len) = back.recv(&mut datagram).await {
        if !dice.roll(loss) {
            let _lost_too = front.send_to(&datagram[..len], to).await;
        }
    }
}
