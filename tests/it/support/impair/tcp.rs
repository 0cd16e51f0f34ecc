//! A relay for connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorstep::clock::{self, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::{Arrival, Counted, Done, Fates, Line, Mode};

/// What of a connection has one fate: a segment, about.
const BLOCK: usize = 1_500;

/// Relays to one port on loopback; closes everything when dropped.
pub(crate) struct Tcp {
    pub(crate) port: u16,
    way: watch::Sender<Way>,
    counted: Counted,
    taken: Arc<AtomicUsize>,
    _relaying: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct Way {
    line: Line,
    mode: Mode,
    /// How often it has begun to refuse. Who looks away for a moment misses a mode, and no number.
    cuts: u64,
}

impl Tcp {
    pub(crate) async fn to(port: u16, line: Line, seed: u64) -> Self {
        println!("impair: tcp to port {port}, seed {seed}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (way, ways) = watch::channel(Way { line, mode: Mode::Passes, cuts: 0 });
        let (counted, taken) = (Counted::default(), Arc::<AtomicUsize>::default());
        let relays = relays(listener, port, ways, seed, counted.clone(), taken.clone());
        let _relaying = AbortOnDropHandle::new(tokio::spawn(relays));
        Self { port: own, way, counted, taken, _relaying }
    }

    pub(crate) fn set(&self, line: Line) {
        self.way.send_modify(|way| way.line = line);
    }

    pub(crate) fn mode(&self, mode: Mode) {
        self.way.send_modify(|way| {
            way.mode = mode;
            way.cuts += u64::from(mode == Mode::Refuses);
        });
    }

    /// Closes every connection and takes none for `pause`.
    pub(crate) async fn cut(&self, pause: Duration) {
        self.mode(Mode::Refuses);
        tokio::time::sleep(pause).await;
        self.mode(Mode::Passes);
    }

    /// How many connections have come, with those that were refused.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// What has become of all blocks, both ways together.
    pub(crate) fn done(&self) -> Done {
        self.counted.so_far()
    }
}

async fn relays(
    listener: TcpListener,
    port: u16,
    ways: watch::Receiver<Way>,
    mut seed: u64,
    counted: Counted,
    taken: Arc<AtomicUsize>,
) {
    let mut relays = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while relays.try_join_next().is_some() {}
        taken.fetch_add(1, Ordering::Relaxed);
        // Two seeds for each, so that the fates of one do not hang on the others.
        let fates = [seed, seed.wrapping_add(1)].map(|seed| Fates::new(Line::default(), seed, counted.clone()));
        seed = seed.wrapping_add(2);
        relays.spawn(relay(client, port, ways.clone(), fates));
    }
}

async fn relay(client: TcpStream, port: u16, mut ways: watch::Receiver<Way>, [there, back]: [Fates; 2]) {
    // A silent way takes connections, as a router does whose other side is gone, and nothing comes of them.
    let Ok(way) = ways.wait_for(|way| way.mode != Mode::Silent).await.map(|way| *way) else { return };
    if way.mode == Mode::Refuses {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(server) = TcpStream::connect(address).await else { return };
    for end in [&client, &server] {
        let _ = end.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = direction(from_client, to_server, ways.clone(), there);
    let back = direction(from_server, to_client, ways.clone(), back);
    tokio::select! {
        ((), ()) = async { tokio::join!(there, back) } => {}
        _ = ways.wait_for(|now| now.cuts != way.cuts) => {}
    }
}

/// Reads on while pieces are on their way, and writes them in order. Ends with what there is to read, or with its
/// writer.
async fn direction(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ways: watch::Receiver<Way>,
    fates: Fates,
) {
    // A full one stops the reader, as a full window does.
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let mut blocks = Blocks { fates, left: 0, rest: Arrival { after: Duration::ZERO, flipped: None } };
    let reading_ways = ways.clone();
    let reads = async move {
        let mut buffer = [0; BLOCK];
        loop {
            let line = reading_ways.borrow().line;
            let room = blocks.room(line);
            let Ok(len @ 1..) = from.read(&mut buffer[..room]).await else { return };
            let mut piece = buffer[..len].to_vec();
            let due = clock::now() + blocks.pass(clock::now(), &mut piece);
            if pieces.send((due, piece)).await.is_err() {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((due, piece)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            let _ = ways.wait_for(|way| way.mode != Mode::Silent).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    // Who can write no more reads for nobody; who has read everything waits until it is written.
    tokio::select! {
        () = writes => {}
        () = async { reads.await; std::future::pending().await } => {}
    }
}

/// The fates of a connection by the place of its bytes, however many come at once.
struct Blocks {
    fates: Fates,
    /// Bytes of the present block that have not come.
    left: usize,
    /// The present block's fate, its bit counted from what has not come.
    rest: Arrival,
}

impl Blocks {
    /// How many bytes the next piece may have.
    fn room(&mut self, line: Line) -> usize {
        self.fates.set(line);
        if self.left == 0 {
            self.left = BLOCK;
            self.rest = self.fates.block(BLOCK);
        }
        self.left
    }

    /// How late a piece is; spoils it, if it is so.
    fn pass(&mut self, now: Instant, piece: &mut [u8]) -> Duration {
        let turn = self.fates.turn(now.into_std(), piece.len());
        self.left -= piece.len();
        match self.rest.flipped.map(|bit| bit.checked_sub(8 * piece.len())) {
            Some(None) => {
                self.rest.spoil(piece);
                self.rest.flipped = None;
            }
            Some(later) => self.rest.flipped = later,
            None => {}
        }
        turn + self.rest.after
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The two ends of a connection through a relay, and the relay.
    async fn connected(line: Line, seed: u64) -> (TcpStream, TcpStream, Tcp, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Tcp::to(listener.local_addr().unwrap().port(), line, seed).await;
        let (client, server) = joined(&relay, &listener).await;
        (client, server, relay, listener)
    }

    async fn joined(relay: &Tcp, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let (client, server) = tokio::join!(TcpStream::connect(("127.0.0.1", relay.port)), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
    }

    /// What arrives of a message that is written in pieces of so many bytes.
    async fn arrives(line: Line, seed: u64, sent: &[u8], at_once: usize) -> (Vec<u8>, Done) {
        let (mut client, mut server, relay, _listener) = connected(line, seed).await;
        let mut heard = Vec::new();
        let writes = async {
            for piece in sent.chunks(at_once) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let both = async { tokio::join!(writes, server.read_to_end(&mut heard)) };
        timeout(PATIENCE, both).await.unwrap().1.unwrap();
        (heard, relay.done())
    }

    /// Reads so much; `None` when nothing comes for a while.
    async fn hears(end: &mut TcpStream, len: usize) -> Option<Vec<u8>> {
        let mut heard = vec![0; len];
        let read = timeout(Duration::from_millis(300), end.read_exact(&mut heard)).await;
        read.ok().map(|read| read.map(|_| heard).unwrap())
    }

    async fn ends(end: &mut TcpStream) {
        let read = timeout(PATIENCE, end.read(&mut [0; 16])).await.expect("the connection stays");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test]
    async fn a_bad_line_loses_no_byte_and_keeps_their_order() {
        let line = Line {
            loss: 0.05,
            duplicate: 0.5,
            reorder: 0.1,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            ..Line::default()
        };
        let sent = message(100_000);
        let (heard, done) = arrives(line, 21, &sent, 4_000).await;
        assert!(heard == sent);
        assert!(done.lost > 0 && done.overtaken > 0 && done.doubled == 0, "{done:?}");
    }

    #[tokio::test]
    async fn the_same_bits_flip_however_the_bytes_come() {
        let line = Line { flip: 0.2, ..Line::default() };
        let sent = message(150_000);
        let (heard, done) = arrives(line, 22, &sent, 10_000).await;
        let flipped: u32 = heard.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert!(flipped > 5 && u64::from(flipped) <= done.flipped, "{flipped} bits, {done:?}");
        assert_eq!(heard.len(), sent.len());
        assert!(heard == arrives(line, 22, &sent, 777).await.0);
        assert!(heard != arrives(line, 23, &sent, 777).await.0);
    }

    #[tokio::test]
    async fn a_narrow_line_takes_its_time_and_loses_nothing() {
        let sent = message(100_000);
        let begun = clock::now();
        let (heard, done) = arrives(Line { rate: Some(1_600_000), ..Line::default() }, 24, &sent, 100_000).await;
        assert!(heard == sent && done.crowded_out == 0);
        assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_half_open_connection_is_silent_and_nobody_is_told() {
        let (mut client, mut server, relay, listener) = connected(Line::default(), 25).await;
        client.write_all(b"before").await.unwrap();
        assert_eq!(hears(&mut server, 6).await.as_deref(), Some(&b"before"[..]));
        relay.mode(Mode::Silent);
        client.write_all(b"there").await.unwrap();
        server.write_all(b"home").await.unwrap();
        assert_eq!((hears(&mut server, 5).await, hears(&mut client, 4).await), (None, None));
        let mut late = TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
        late.write_all(b"late").await.unwrap();
        assert!(timeout(Duration::from_millis(300), listener.accept()).await.is_err(), "the peer was connected to");
        relay.mode(Mode::Passes);
        assert_eq!(timeout(PATIENCE, hears(&mut server, 5)).await.unwrap().as_deref(), Some(&b"there"[..]));
        assert_eq!(timeout(PATIENCE, hears(&mut client, 4)).await.unwrap().as_deref(), Some(&b"home"[..]));
    }

    #[tokio::test]
    async fn a_cut_ends_both_ends_even_if_it_takes_no_time() {
        let (mut client, mut server, relay, listener) = connected(Line::default(), 26).await;
        for pause in [Duration::ZERO, Duration::from_millis(50)] {
            let (_, (), ()) = tokio::join!(relay.cut(pause), ends(&mut client), ends(&mut server));
            (client, server) = joined(&relay, &listener).await;
            client.write_all(b"again").await.unwrap();
            assert_eq!(hears(&mut server, 5).await.as_deref(), Some(&b"again"[..]));
        }
        relay.mode(Mode::Refuses);
        let mut refused = TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
        ends(&mut refused).await;
        assert_eq!(relay.taken(), 4);
    }

    #[tokio::test]
    async fn whoever_leaves_is_missed_by_the_other() {
        let (mut client, server, _relay, _listener) = connected(Line::default(), 27).await;
        drop(server);
        ends(&mut client).await;
        let (client, mut server, _relay, _listener) = connected(Line::default(), 28).await;
        drop(client);
        ends(&mut server).await;
    }
}
