//! A relay for datagrams.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorstep::clock::{self, Instant};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Counted, Done, Fates, Line, Mode};

/// Relays whatever comes to [`Udp::address`], and what is answered, as the line allows. Each address that sends has a
/// socket of its own towards the peer, as behind a router.
pub(crate) struct Udp {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    counted: Counted,
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
        let front = bound("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = front.local_addr().unwrap();
        let (way, ways) = watch::channel(Way { peer, line, mode: Mode::Passes });
        let counted = Counted::default();
        let relay = Relay { address, ways, counted: counted.clone(), seed };
        let _relaying = AbortOnDropHandle::new(tokio::spawn(relay.run(front)));
        Self { address, way, counted, _relaying }
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

    /// Datagrams that were let through, both ways together.
    pub(crate) fn relayed(&self) -> u64 {
        self.done().passed
    }

    /// What has become of all datagrams, both ways together.
    pub(crate) fn done(&self) -> Done {
        self.counted.so_far()
    }
}

fn bound(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

struct Relay {
    address: SocketAddr,
    ways: watch::Receiver<Way>,
    counted: Counted,
    seed: u64,
}

impl Relay {
    async fn run(mut self, mut front: UdpSocket) {
        let mut refused = self.ways.clone();
        loop {
            tokio::select! {
                () = self.serve(front) => {}
                _ = refused.wait_for(|way| way.mode == Mode::Refuses) => {}
            }
            // Without a socket the kernel itself refuses.
            let _ = refused.wait_for(|way| way.mode != Mode::Refuses).await;
            front = loop {
                match bound(self.address) {
                    Ok(front) => break front,
                    Err(_taken) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
        }
    }

    async fn serve(&mut self, front: UdpSocket) {
        let front = Arc::new(front);
        let mut routes = Routes::default();
        let mut on_the_way = OnTheWay::default();
        let mut datagram = vec![0; 65_536];
        loop {
            tokio::select! {
                (client, due) = on_the_way.next() => routes.send(client, &due).await,
                // An error is that of an earlier send: who was answered is gone.
                Ok((len, from)) = front.recv_from(&mut datagram) => {
                    let route = match routes.position(from) {
                        Some(_) => routes.to(from),
                        None => routes.add(self.route(from, &front).await),
                    };
                    on_the_way.take(from, &datagram[..len], &self.ways, &mut route.fates, &self.counted);
                }
            }
        }
    }

    async fn route(&mut self, client: SocketAddr, front: &Arc<UdpSocket>) -> Route {
        let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let Way { peer, line, .. } = *self.ways.borrow();
        back.connect(peer).await.unwrap();
        // Two seeds for each, so that the fates of one do not hang on the others.
        let [there, home] =
            [self.seed, self.seed.wrapping_add(1)].map(|seed| Fates::new(line, seed, self.counted.clone()));
        self.seed = self.seed.wrapping_add(2);
        let way_back =
            WayBack { client, front: front.clone(), back: back.clone(), ways: self.ways.clone(), fates: home };
        let _way_back = AbortOnDropHandle::new(tokio::spawn(way_back.run(self.counted.clone())));
        Route { client, back, fates: there, _way_back }
    }
}

/// From one client towards the peer.
struct Route {
    client: SocketAddr,
    back: Arc<UdpSocket>,
    fates: Fates,
    _way_back: AbortOnDropHandle<()>,
}

/// Those in use; the one that was used last is at the end.
#[derive(Default)]
struct Routes(Vec<Route>);

impl Routes {
    /// More, and a router forgets the one that was quiet for the longest time.
    const MOST: usize = 256;

    fn position(&self, client: SocketAddr) -> Option<usize> {
        self.0.iter().position(|route| route.client == client)
    }

    /// The one of a client who has one.
    fn to(&mut self, client: SocketAddr) -> &mut Route {
        let at = self.position(client).unwrap();
        let route = self.0.remove(at);
        self.add(route)
    }

    fn add(&mut self, route: Route) -> &mut Route {
        if self.0.len() == Self::MOST {
            self.0.remove(0);
        }
        self.0.push(route);
        self.0.last_mut().unwrap()
    }

    async fn send(&self, client: SocketAddr, datagram: &[u8]) {
        if let Some(at) = self.position(client) {
            // One that cannot be sent is lost, as on a wire.
            let _nobody_there = self.0[at].back.send(datagram).await;
        }
    }
}

struct WayBack {
    client: SocketAddr,
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    ways: watch::Receiver<Way>,
    fates: Fates,
}

impl WayBack {
    async fn run(mut self, counted: Counted) {
        let mut on_the_way = OnTheWay::default();
        let mut datagram = vec![0; 65_536];
        loop {
            tokio::select! {
                (client, due) = on_the_way.next() => {
                    let _lost = self.front.send_to(&due, client).await;
                }
                // An error is that of an earlier send: nobody listens there now.
                Ok(len) = self.back.recv(&mut datagram) => {
                    on_the_way.take(self.client, &datagram[..len], &self.ways, &mut self.fates, &counted);
                }
            }
        }
    }
}

/// When it is due, which one it is, whose, and what it holds.
type Late = (Instant, u64, SocketAddr, Vec<u8>);

/// The earliest first, and of those due at once the one that was sent first.
#[derive(Default)]
struct OnTheWay {
    late: BinaryHeap<Reverse<Late>>,
    nth: u64,
}

impl OnTheWay {
    /// More are lost.
    const MOST: usize = 4_096;

    fn take(
        &mut self,
        client: SocketAddr,
        datagram: &[u8],
        ways: &watch::Receiver<Way>,
        fates: &mut Fates,
        counted: &Counted,
    ) {
        let Way { line, mode, .. } = *ways.borrow();
        fates.set(line);
        if mode != Mode::Passes {
            return fates.silence();
        }
        let now = clock::now();
        for arrival in fates.next(now.into_std(), datagram.len()) {
            if self.late.len() == Self::MOST {
                counted.add(|done| done.crowded_out += 1);
                continue;
            }
            let mut datagram = datagram.to_vec();
            arrival.spoil(&mut datagram);
            self.late.push(Reverse((now + arrival.after, self.nth, client, datagram)));
            self.nth += 1;
        }
    }

    /// What is due, and whose it is. May be cancelled without losing one.
    async fn next(&mut self) -> (SocketAddr, Vec<u8>) {
        match self.late.peek() {
            Some(Reverse((due, ..))) => tokio::time::sleep_until(*due).await,
            None => std::future::pending().await,
        }
        let Reverse((_, _, client, datagram)) = self.late.pop().unwrap();
        (client, datagram)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// Longer than what is sent on loopback takes, unless it was lost.
    const NEVER: Duration = Duration::from_millis(300);

    async fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.unwrap()
    }

    /// Through the relay to nobody yet.
    async fn client_of(relay: &Udp) -> UdpSocket {
        let client = socket().await;
        client.connect(relay.address).await.unwrap();
        client
    }

    async fn hears(at: &UdpSocket) -> Option<Vec<u8>> {
        let mut datagram = vec![0; 2_048];
        let len = timeout(NEVER, at.recv(&mut datagram)).await.ok()?.unwrap();
        Some(datagram[..len].to_vec())
    }

    /// What the peer hears of so many datagrams, sent one after the other's fate.
    async fn heard(line: Line, seed: u64, count: u16) -> (Vec<Vec<u8>>, Done) {
        let peer = socket().await;
        let relay = Udp::to(peer.local_addr().unwrap(), line, seed);
        let client = client_of(&relay).await;
        let sends = async {
            for n in 0..count {
                client.send(&n.to_be_bytes().repeat(50)).await.unwrap();
                while decided(relay.done()) <= u64::from(n) {
                    tokio::task::yield_now().await;
                }
            }
            relay.done()
        };
        // All the while: a socket's buffer does not hold 300.
        let (all, sent) = (RefCell::new(Vec::new()), Cell::new(None));
        let hears = async {
            while sent.get() != Some(all.borrow().len() as u64) {
                let Some(datagram) = hears(&peer).await else { continue };
                all.borrow_mut().push(datagram);
            }
        };
        let both = async { tokio::join!(async { sent.set(Some(sends.await.passed)) }, hears) };
        timeout(PATIENCE, both).await.expect("what was let through does not arrive");
        (all.into_inner(), relay.done())
    }

    fn decided(done: Done) -> u64 {
        done.passed - done.doubled + done.lost + done.crowded_out + done.silenced
    }

    #[tokio::test]
    async fn the_same_seed_has_the_same_fates_on_sockets() {
        let line = Line { loss: 0.2, duplicate: 0.1, flip: 0.1, ..Line::default() };
        let (first, done) = heard(line, 11, 300).await;
        assert!(done.lost > 0 && done.doubled > 0 && done.flipped > 0, "{done:?}");
        assert_eq!(first.len() as u64, done.passed);
        assert!(first == heard(line, 11, 300).await.0);
        assert!(first != heard(line, 12, 300).await.0);
    }

    #[tokio::test]
    async fn what_is_only_late_keeps_its_order_and_what_is_overtaken_does_not() {
        let sent: Vec<Vec<u8>> = (0..300_u16).map(|n| n.to_be_bytes().repeat(50)).collect();
        assert!(heard(Line::late(Duration::from_millis(20)), 13, 300).await.0 == sent);
        let (mut shuffled, done) = heard(Line { reorder: 0.1, ..Line::default() }, 13, 300).await;
        assert!(done.overtaken > 0 && shuffled != sent);
        shuffled.sort();
        assert!(shuffled == sent);
    }

    #[tokio::test]
    async fn a_narrow_line_takes_its_time_and_forgets_what_does_not_fit() {
        // 200 kbit/s: a datagram of 100 bytes each 4 ms, 125 of them in the queue.
        let begun = clock::now();
        let (heard, done) = heard(Line { rate: Some(200_000), ..Line::default() }, 14, 600).await;
        assert!(begun.elapsed() >= Line::QUEUE, "all of it came within {:?}", begun.elapsed());
        assert_eq!((done.passed, done.passed + done.crowded_out), (heard.len() as u64, 600));
        assert!(done.crowded_out > 100, "{done:?}");
    }

    #[tokio::test]
    async fn more_than_can_be_on_the_way_is_lost() {
        let peer = socket().await;
        let relay = Udp::to(peer.local_addr().unwrap(), Line::late(Duration::from_secs(60)), 15);
        let client = client_of(&relay).await;
        for n in 0..OnTheWay::MOST as u64 + 10 {
            client.send(b"late").await.unwrap();
            while relay.done().passed <= n {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(relay.done().crowded_out, 10);
    }

    #[tokio::test]
    async fn silence_and_refusal_end_when_they_are_told_to() {
        let peer = socket().await;
        let relay = Udp::to(peer.local_addr().unwrap(), Line::default(), 16);
        let client = client_of(&relay).await;
        client.send(b"first").await.unwrap();
        assert_eq!(hears(&peer).await.as_deref(), Some(&b"first"[..]));

        relay.mode(Mode::Silent);
        client.send(b"silenced").await.unwrap();
        assert_eq!(hears(&peer).await, None);
        assert_eq!(relay.done().silenced, 1);

        relay.mode(Mode::Refuses);
        let refused = async {
            // The first one may still meet the socket.
            loop {
                if let Err(error) = client.send(b"refused").await {
                    return error.kind();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert_eq!(timeout(PATIENCE, refused).await.unwrap(), ErrorKind::ConnectionRefused);

        relay.mode(Mode::Passes);
        let passes = async {
            loop {
                let _refused = client.send(b"again").await;
                if hears(&peer).await.as_deref() == Some(&b"again"[..]) {
                    return;
                }
            }
        };
        timeout(PATIENCE, passes).await.expect("nothing passes any more");
    }

    #[tokio::test]
    async fn answers_go_to_who_was_answered_and_a_new_client_to_the_new_peer() {
        let (old, new) = (socket().await, socket().await);
        let relay = Udp::to(old.local_addr().unwrap(), Line::default(), 17);
        let (first, second) = (client_of(&relay).await, client_of(&relay).await);
        let mut datagram = [0; 16];
        first.send(b"one").await.unwrap();
        let (_, of_first) = timeout(PATIENCE, old.recv_from(&mut datagram)).await.unwrap().unwrap();
        relay.retarget(new.local_addr().unwrap());
        second.send(b"two").await.unwrap();
        let (_, of_second) = timeout(PATIENCE, new.recv_from(&mut datagram)).await.unwrap().unwrap();
        old.send_to(b"to one", of_first).await.unwrap();
        new.send_to(b"to two", of_second).await.unwrap();
        assert_eq!(hears(&first).await.as_deref(), Some(&b"to one"[..]));
        assert_eq!(hears(&second).await.as_deref(), Some(&b"to two"[..]));
        first.send(b"still to the old one").await.unwrap();
        assert_eq!(hears(&old).await.as_deref(), Some(&b"still to the old one"[..]));
    }

    #[tokio::test]
    async fn clients_without_number_take_no_sockets_without_number() {
        let peer = socket().await;
        let relay = Udp::to(peer.local_addr().unwrap(), Line::default(), 18);
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..Routes::MOST + 50 {
            let client = client_of(&relay).await;
            client.send(b"hello").await.unwrap();
            assert!(hears(&peer).await.is_some());
        }
        let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(after <= before + Routes::MOST + 5, "{before} descriptors became {after}");
    }
}
