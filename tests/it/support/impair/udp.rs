//! A relay for datagrams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorstep::clock::{self, Instant};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Fates, Line, Mode};

/// Relays whatever comes to [`Udp::address`], and what is answered, as the line allows. Each address that sends has a
/// socket of its own towards the peer, as behind a router.
pub(crate) struct Udp {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    relayed: Arc<AtomicU64>,
    _relaying: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct Way {
    peer: SocketAddr,
    line: Line,
    mode: Mode,
}

impl Udp {
    /// Binds at once; to be called within a runtime.
    pub(crate) fn to(peer: SocketAddr, line: Line, seed: u64) -> Self {
        println!("impair: udp to {peer}, seed {seed}");
        let front = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_nonblocking(true).unwrap();
        let front = Arc::new(UdpSocket::from_std(front).unwrap());
        let address = front.local_addr().unwrap();
        let (way, ways) = watch::channel(Way { peer, line, mode: Mode::Passes });
        let relayed = Arc::new(AtomicU64::new(0));
        let _relaying = AbortOnDropHandle::new(tokio::spawn(relay(front, ways, relayed.clone(), seed)));
        Self { address, way, relayed, _relaying }
    }

    pub(crate) fn set(&self, line: Line) {
        self.way.send_modify(|way| way.line = line);
    }

    pub(crate) fn mode(&self, mode: Mode) {
        self.way.send_modify(|way| way.mode = mode);
    }

    /// The peer is elsewhere now. Whoever has sent already keeps its way to the old one.
    pub(crate) fn retarget(&self, peer: SocketAddr) {
        self.way.send_modify(|way| way.peer = peer);
    }

    /// Datagrams that have arrived, both ways together.
    pub(crate) fn relayed(&self) -> u64 {
        self.relayed.load(Ordering::Relaxed)
    }
}

async fn relay(front: Arc<UdpSocket>, ways: watch::Receiver<Way>, relayed: Arc<AtomicU64>, seed: u64) {
    let mut mapped: HashMap<SocketAddr, (Direction, AbortOnDropHandle<()>)> = HashMap::new();
    let mut datagram = [0; 65_536];
    while let Ok((len, from)) = front.recv_from(&mut datagram).await {
        if !mapped.contains_key(&from) {
            // Two seeds for each, so that the fates of one do not hang on the others.
            let seed = seed.wrapping_add(2 * mapped.len() as u64);
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            let peer = ways.borrow().peer;
            let _refused_later = back.connect(peer).await;
            let there = Direction::new(back.clone(), None, ways.clone(), relayed.clone(), seed);
            let home = Direction::new(front.clone(), Some(from), ways.clone(), relayed.clone(), seed.wrapping_add(1));
            mapped.insert(from, (there, AbortOnDropHandle::new(tokio::spawn(way_back(back, home)))));
        }
        mapped.get_mut(&from).unwrap().0.send(&datagram[..len]).await;
    }
}

async fn way_back(back: Arc<UdpSocket>, mut home: Direction) {
    let mut datagram = [0; 65_536];
    loop {
        // An error is that of an earlier send: nobody listens there now.
        if let Ok(len) = back.recv(&mut datagram).await {
            home.send(&datagram[..len]).await;
        }
    }
}

/// One way of one pair of addresses.
struct Direction {
    ways: watch::Receiver<Way>,
    fates: Fates,
    socket: Arc<UdpSocket>,
    /// `None` for a connected socket.
    to: Option<SocketAddr>,
    relayed: Arc<AtomicU64>,
}

impl Direction {
    fn new(
        socket: Arc<UdpSocket>,
        to: Option<SocketAddr>,
        ways: watch::Receiver<Way>,
        relayed: Arc<AtomicU64>,
        seed: u64,
    ) -> Self {
        let fates = Fates::new(ways.borrow().line, seed);
        Self { ways, fates, socket, to, relayed }
    }

    async fn send(&mut self, datagram: &[u8]) {
        let Way { line, mode, .. } = *self.ways.borrow_and_update();
        self.fates.set(line);
        let now = clock::now();
        let arrivals = self.fates.next(now, datagram.len());
        if mode != Mode::Passes {
            return;
        }
        for arrival in arrivals {
            let mut datagram = datagram.to_vec();
            arrival.spoil(&mut datagram);
            match arrival.after.is_zero() {
                true => arrive(&self.socket, self.to, &datagram, &self.relayed).await,
                false => self.later(now + arrival.after, datagram),
            }
        }
    }

    fn later(&self, due: Instant, datagram: Vec<u8>) {
        let (socket, to, relayed) = (self.socket.clone(), self.to, self.relayed.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            arrive(&socket, to, &datagram, &relayed).await;
        });
    }
}

async fn arrive(socket: &UdpSocket, to: Option<SocketAddr>, datagram: &[u8], relayed: &AtomicU64) {
    let sent = match to {
        Some(to) => socket.send_to(datagram, to).await,
        None => socket.send(datagram).await,
    };
    // One that cannot be sent is lost, as on a wire.
    relayed.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
}
