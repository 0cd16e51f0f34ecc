//! A relay for connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use doorstep::clock::{self, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{Fates, Line, Mode};

/// The piece of a connection that has one fate.
const PIECE: usize = 1_500;

/// Relays to one port on loopback; closes everything when dropped.
pub(crate) struct Tcp {
    pub(crate) port: u16,
    way: watch::Sender<(Line, Mode)>,
    _relaying: AbortOnDropHandle<()>,
}

impl Tcp {
    pub(crate) async fn to(port: u16, line: Line, seed: u64) -> Self {
        println!("impair: tcp to port {port}, seed {seed}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (way, ways) = watch::channel((line, Mode::Passes));
        let _relaying = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            let mut seed = seed;
            while let Ok((client, _)) = listener.accept().await {
                relays.spawn(relay(client, port, ways.clone(), seed));
                seed = seed.wrapping_add(2);
            }
        }));
        Self { port: own, way, _relaying }
    }

    pub(crate) fn set(&self, line: Line) {
        self.way.send_modify(|way| way.0 = line);
    }

    pub(crate) fn mode(&self, mode: Mode) {
        self.way.send_modify(|way| way.1 = mode);
    }

    /// Closes every connection and takes none for `pause`.
    pub(crate) async fn cut(&self, pause: Duration) {
        self.mode(Mode::Refuses);
        tokio::time::sleep(pause).await;
        self.mode(Mode::Passes);
    }
}

async fn relay(client: TcpStream, port: u16, mut ways: watch::Receiver<(Line, Mode)>, seed: u64) {
    let refuses = |way: &(Line, Mode)| way.1 == Mode::Refuses;
    if refuses(&ways.borrow_and_update()) {
        return;
    }
    // A silent way takes connections, as a router does whose other side is gone, and nothing comes of them.
    let _ = ways.wait_for(|way| way.1 != Mode::Silent).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(server) = TcpStream::connect(address).await else { return };
    for end in [&client, &server] {
        let _ = end.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = direction(from_client, to_server, ways.clone(), seed);
    let back = direction(from_server, to_client, ways.clone(), seed.wrapping_add(1));
    tokio::select! {
        ((), ()) = async { tokio::join!(there, back) } => {}
        _ = ways.wait_for(refuses) => {}
    }
}

/// Reads on while pieces are on their way, and writes them in order. Ends with its reader or its writer.
async fn direction(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ways: watch::Receiver<(Line, Mode)>,
    seed: u64,
) {
    // A full one stops the reader, as a full window does.
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let mut fates = Fates::new(Line::default(), seed);
    let reading_ways = ways.clone();
    let reads = async move {
        let mut buffer = [0; PIECE];
        while let Ok(len @ 1..) = from.read(&mut buffer).await {
            let line = reading_ways.borrow().0;
            let (late, piece) = passed(&mut fates, line, &buffer[..len]);
            if pieces.send((clock::now() + late, piece)).await.is_err() {
                return;
            }
        }
    };
    let writes = async {
        while let Some((due, piece)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            let _ = ways.wait_for(|way| way.1 != Mode::Silent).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reads, writes);
}

/// How late a piece is, and what became of it.
fn passed(fates: &mut Fates, line: Line, piece: &[u8]) -> (Duration, Vec<u8>) {
    fates.set(line);
    let mut piece = piece.to_vec();
    match fates.next(clock::now(), piece.len()).first() {
        Some(arrival) => {
            arrival.spoil(&mut piece);
            (arrival.after, piece)
        }
        None => (line.delay + Line::RETRANSMISSION, piece),
    }
}
