//! The sockets of a session that speaks over UDP and over TCP streams of whole messages, one stream a peer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::link::{Datagram, Datagrams, UdpLink};
use crate::proto::Lane;

/// How messages lie in the streams of a lane: back to back, each telling its whole length in its first four bytes.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Which lane is of streams; every other one is UDP.
    pub lane: Lane,
    /// The length of the message that begins with these bytes, themselves included; `None` where none begins so.
    pub frame_len: fn([u8; 4]) -> Option<usize>,
}

/// [`Lane::MAIN`] on one UDP socket, and a lane of TCP streams. The first message to a peer opens its stream in the
/// background and waits until it stands; a stream that is closed, refused or not opened within
/// [`Lanes::CONNECT`] is told once, as an empty message from there, and the next message opens another. An empty
/// message closes the peer's stream.
///
/// With a listener, whoever connects is a peer too. When it is dropped, what was sent still goes out, for
/// [`Lanes::FLUSH`] at most.
pub struct Lanes {
    udp: UdpLink,
    listener: Option<TcpListener>,
    streams: Streams,
    peers: HashMap<SocketAddr, Peer>,
    /// Messages and endings of all streams. Full, it holds the readers back: TCP can wait.
    arrived: mpsc::Receiver<Datagram>,
    arriving: mpsc::Sender<Datagram>,
    connections: TaskTracker,
    /// [`Lanes::IDLE`], but in a test.
    idle: Duration,
}

struct Peer {
    /// `None`: the stream is closing.
    line: Option<Line>,
    opened_by_us: bool,
}

/// Our end of a stream, which closes when this is dropped.
struct Line {
    /// Messages that wait for the stream. Full, the next ones are dropped, as on a wire.
    outgoing: mpsc::Sender<Vec<u8>>,
    _closes: DropGuard,
}

impl Lanes {
    /// How long a connection may take to stand.
    pub const CONNECT: Duration = Duration::from_secs(5);
    /// How long what was sent may take to go out of a stream that is closing.
    pub const FLUSH: Duration = Duration::from_secs(2);
    /// How long a peer may take nothing before its stream is taken for dead.
    const STUCK: Duration = Duration::from_secs(10);
    /// How long the next message may take to come, whole: those who speak over streams do so every few seconds, and who
    /// holds one open without a word holds a place.
    pub const IDLE: Duration = Duration::from_secs(60);
    /// Streams that we open, at a time: a session needs one to its camera and one to each of a few relays.
    pub const MAX_OPENED: usize = 8;
    /// Streams that others open, at a time.
    pub const MAX_ACCEPTED: usize = 64;
    /// The longest message of a stream. One that claims to be longer closes it.
    pub const MAX_MESSAGE: usize = 16 * 1_024;
    /// Messages that wait for one stream: half a megabyte of video.
    const OUTGOING: usize = 512;
    const ARRIVED: usize = 256;

    /// A UDP socket at `udp`, and a listener at `listen` if there is one. Its port 0 is the UDP socket's number.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn bind(udp: SocketAddr, listen: Option<SocketAddr>, streams: Streams) -> io::Result<Self> {
        const TRIES: usize = 8;
        let mut tries = 1;
        loop {
            let link = UdpLink::bind(udp).await?;
            let Some(listen) = listen else { return Ok(Self::of(link, None, streams)) };
            match TcpListener::bind(beside(listen, link.local_addr()?)).await {
                Ok(listener) => return Ok(Self::of(link, Some(listener), streams)),
                // The number that UDP happened to get is somebody's over TCP.
                Err(_) if udp.port() == 0 && listen.port() == 0 && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn of(udp: UdpLink, listener: Option<TcpListener>, streams: Streams) -> Self {
        let (arriving, arrived) = mpsc::channel(Self::ARRIVED);
        let connections = TaskTracker::new();
        Self { udp, listener, streams, peers: HashMap::new(), arrived, arriving, connections, idle: Self::IDLE }
    }

    /// Of the UDP socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Where streams are accepted, if they are.
    pub fn listening_at(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Closes everything and waits until what was sent has gone out, for [`Lanes::FLUSH`] at most.
    pub async fn close(self) {
        let connections = self.connections.clone();
        drop(self);
        connections.close();
        connections.wait().await;
    }

    fn send_in_stream(&mut self, to: SocketAddr, message: &[u8]) {
        if message.is_empty() {
            self.peers.entry(to).and_modify(|peer| peer.line = None);
            return;
        }
        if !self.peers.contains_key(&to) && !self.open(to) {
            return;
        }
        let line = self.peers.get(&to).and_then(|peer| peer.line.as_ref());
        if line.is_none_or(|line| line.outgoing.try_send(message.to_vec()).is_err()) {
            tracing::debug!(%to, "message dropped: its stream is full or closing");
        }
    }

    /// False when there are too many streams already.
    fn open(&mut self, to: SocketAddr) -> bool {
        if self.count(true) >= Self::MAX_OPENED {
            tracing::debug!(%to, "stream not opened: too many are");
            // Full: there is a lot to hear before, and the session will ask again.
            if self.arriving.try_send(self.ending(to)).is_ok() {
                self.peers.insert(to, Peer { line: None, opened_by_us: true });
            }
            return false;
        }
        self.begin(to, true, async move { timeout(Self::CONNECT, TcpStream::connect(to)).await? });
        true
    }

    fn take(&mut self, stream: TcpStream, from: SocketAddr) {
        // A peer whose earlier stream is not told as closed yet has to try again.
        if self.count(false) < Self::MAX_ACCEPTED && !self.peers.contains_key(&from) {
            self.begin(from, false, async move { Ok(stream) });
        }
    }

    fn count(&self, opened_by_us: bool) -> usize {
        self.peers.values().filter(|peer| peer.opened_by_us == opened_by_us).count()
    }

    fn begin(
        &mut self,
        peer: SocketAddr,
        opened_by_us: bool,
        stream: impl Future<Output = io::Result<TcpStream>> + Send + 'static,
    ) {
        let (outgoing, queue) = mpsc::channel(Self::OUTGOING);
        let closing = CancellationToken::new();
        let line = Some(Line { outgoing, _closes: closing.clone().drop_guard() });
        self.peers.insert(peer, Peer { line, opened_by_us });
        let incoming = Incoming { peer, streams: self.streams, idle: self.idle, arriving: self.arriving.clone() };
        self.connections.spawn(async move {
            let life = async { serve(stream.await?, &incoming, queue).await };
            tokio::select! {
                ended = life => if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a stream ended");
                },
                () = overdue(&closing) => {}
            }
            incoming.tell(Vec::new()).await;
        });
    }

    fn ending(&self, from: SocketAddr) -> Datagram {
        Datagram { lane: self.streams.lane, from, payload: Vec::new() }
    }
}

impl Datagrams for Lanes {
    fn send(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        if lane != self.streams.lane {
            return self.udp.send(lane, to, payload);
        }
        self.send_in_stream(to, payload);
        Ok(())
    }

    async fn recv(&mut self) -> io::Result<Datagram> {
        loop {
            tokio::select! {
                datagram = self.udp.recv() => return datagram,
                Some(arrived) = self.arrived.recv() => {
                    if arrived.payload.is_empty() {
                        self.peers.remove(&arrived.from);
                    }
                    return Ok(arrived);
                }
                Some((stream, from)) = accept(self.listener.as_ref()) => self.take(stream, from),
            }
        }
    }
}

fn beside(listen: SocketAddr, udp: SocketAddr) -> SocketAddr {
    let port = if listen.port() == 0 { udp.port() } else { listen.port() };
    SocketAddr::new(listen.ip(), port)
}

/// `None` after an abort in the queue or without descriptors left, neither of which ends the listener.
async fn accept(listener: Option<&TcpListener>) -> Option<(TcpStream, SocketAddr)> {
    let Some(listener) = listener else { return std::future::pending().await };
    if let Ok(accepted) = listener.accept().await {
        return Some(accepted);
    }
    sleep(Duration::from_millis(50)).await;
    None
}

/// When even what was sent last has had its time.
async fn overdue(closing: &CancellationToken) {
    closing.cancelled().await;
    sleep(Lanes::FLUSH).await;
}

async fn serve(stream: TcpStream, incoming: &Incoming, queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    tokio::select! {
        ended = incoming.read(reader) => ended,
        ended = write(writer, queue) => ended,
    }
}

/// Ends when the peer takes nothing any more. When the stream is to close it says so and waits for the peer to do the
/// same: a socket closed with bytes unread takes back what it has sent.
async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    /// Written at once.
    const TOGETHER: usize = 32;
    let mut messages = Vec::with_capacity(TOGETHER);
    while queue.recv_many(&mut messages, TOGETHER).await > 0 {
        timeout(Lanes::STUCK, writer.write_all(&messages.concat())).await??;
        messages.clear();
    }
    writer.shutdown().await?;
    std::future::pending().await
}

/// Where a peer's messages go.
struct Incoming {
    peer: SocketAddr,
    streams: Streams,
    idle: Duration,
    arriving: mpsc::Sender<Datagram>,
}

impl Incoming {
    /// Until the peer closes the stream, or what comes is no message, or none does.
    async fn read(&self, reader: OwnedReadHalf) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(Lanes::MAX_MESSAGE, reader);
        loop {
            let message = timeout(self.idle, read_message(&mut reader, self.streams.frame_len)).await??;
            self.tell(message).await;
        }
    }

    /// Nobody hears it when the lanes are gone. The stream is read on even then, so that what was sent last is not
    /// taken back.
    async fn tell(&self, payload: Vec<u8>) {
        let _ = self.arriving.send(Datagram { lane: self.streams.lane, from: self.peer, payload }).await;
    }
}

async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
    frame_len: fn([u8; 4]) -> Option<usize>,
) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    reader.read_exact(&mut head).await?;
    let len = frame_len(head)
        .filter(|len| (head.len()..=Lanes::MAX_MESSAGE).contains(len))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no message begins like this"))?;
    let mut message = vec![0; len];
    let (first, rest) = message.split_at_mut(head.len());
    first.copy_from_slice(&head);
    reader.read_exact(rest).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    const STREAM: Lane = Lane(1);
    const LIMIT: Duration = Duration::from_secs(20);

    /// Messages whose second byte is their length, 0xC0 before it.
    const SHORT: Streams = Streams { lane: STREAM, frame_len: |head| (head[0] == 0xC0).then_some(head[1].into()) };

    fn message(len: u8, filled: u8) -> Vec<u8> {
        let mut message = vec![filled; len.into()];
        message[..2].copy_from_slice(&[0xC0, len]);
        message
    }

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    async fn caller() -> Lanes {
        Lanes::bind(loopback(), None, SHORT).await.unwrap()
    }

    async fn listening() -> (Lanes, SocketAddr) {
        let lanes = Lanes::bind(loopback(), Some(loopback()), SHORT).await.unwrap();
        let address = lanes.listening_at().unwrap();
        (lanes, address)
    }

    async fn next(lanes: &mut Lanes) -> Datagram {
        timeout(LIMIT, lanes.recv()).await.expect("nothing arrived").unwrap()
    }

    /// Of a stream that is over.
    fn ending(from: SocketAddr) -> Datagram {
        Datagram { lane: STREAM, from, payload: Vec::new() }
    }

    /// Someone who takes one connection by hand.
    async fn by_hand(listener: &TcpListener) -> TcpStream {
        timeout(LIMIT, listener.accept()).await.expect("nobody connected").unwrap().0
    }

    #[tokio::test]
    async fn messages_sent_before_the_stream_stands_arrive_whole_and_in_order_and_are_answered() {
        let (mut far, address) = listening().await;
        let mut near = caller().await;
        let sent: Vec<_> = (0..50).map(|n| message(4 + n * 5, n)).collect();
        for message in &sent {
            near.send(STREAM, address, message).unwrap();
        }
        let mut arrived = Vec::new();
        while arrived.len() < sent.len() {
            arrived.push(next(&mut far).await);
        }
        let from = arrived[0].from;
        assert!(arrived.iter().all(|datagram| (datagram.lane, datagram.from) == (STREAM, from)));
        assert_eq!(arrived.into_iter().map(|datagram| datagram.payload).collect::<Vec<_>>(), sent);
        far.send(STREAM, from, &message(9, 7)).unwrap();
        assert_eq!(next(&mut near).await, Datagram { lane: STREAM, from: address, payload: message(9, 7) });
    }

    #[tokio::test]
    async fn udp_goes_its_own_way_at_the_same_port() {
        let (mut far, address) = listening().await;
        assert_eq!(far.local_addr().unwrap(), address);
        let mut near = caller().await;
        near.send(Lane::MAIN, address, b"not framed").unwrap();
        let arrived = next(&mut far).await;
        assert_eq!((arrived.lane, arrived.payload.as_slice()), (Lane::MAIN, &b"not framed"[..]));
        assert_eq!(arrived.from, near.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_message_cut_anywhere_is_put_together() {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = caller().await;
        near.send(STREAM, address, &message(4, 0)).unwrap();
        let mut stream = by_hand(&listener).await;
        stream.set_nodelay(true).unwrap();
        let sent = [message(4, 1), message(200, 2), message(5, 3)];
        for byte in sent.concat() {
            stream.write_all(&[byte]).await.unwrap();
        }
        for payload in sent {
            assert_eq!(next(&mut near).await, Datagram { lane: STREAM, from: address, payload });
        }
    }

    #[tokio::test]
    async fn a_refused_stream_is_told_once_and_the_next_message_tries_again() {
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind(loopback()).unwrap();
        let address = closed.local_addr().unwrap();
        let mut near = caller().await;
        for _ in 0..2 {
            near.send(STREAM, address, &message(8, 1)).unwrap();
            near.send(STREAM, address, &message(8, 2)).unwrap();
            assert_eq!(next(&mut near).await, ending(address));
            assert!(near.peers.is_empty() && near.arrived.is_empty());
        }
        let listener = closed.listen(1).unwrap();
        near.send(STREAM, address, &message(8, 3)).unwrap();
        let mut first = [0; 8];
        by_hand(&listener).await.read_exact(&mut first).await.unwrap();
        assert_eq!(first.to_vec(), message(8, 3));
    }

    #[tokio::test]
    async fn a_stream_that_the_peer_closes_is_told_after_its_last_message() {
        let (mut far, address) = listening().await;
        let mut near = caller().await;
        near.send(STREAM, address, &message(8, 1)).unwrap();
        let from = next(&mut far).await.from;
        far.send(STREAM, from, &message(8, 2)).unwrap();
        far.close().await;
        assert_eq!(next(&mut near).await.payload, message(8, 2));
        assert_eq!(next(&mut near).await, ending(address));
    }

    #[tokio::test]
    async fn what_is_no_message_closes_the_stream() {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = caller().await;
        // Not begun like a message; one that does not even hold its own head.
        for nonsense in [[1, 2, 3, 4], [0xC0, 3, 0, 0]] {
            near.send(STREAM, address, &message(8, 1)).unwrap();
            let mut stream = by_hand(&listener).await;
            stream.write_all(&nonsense).await.unwrap();
            assert_eq!(next(&mut near).await, ending(address));
        }
    }

    #[tokio::test]
    async fn whoever_holds_a_stream_open_without_a_whole_message_loses_it() {
        let (mut near, address) = listening().await;
        near.idle = Duration::from_millis(100);
        for begun in [&[][..], &[0xC0, 9, 0, 0, 0]] {
            let mut stranger = TcpStream::connect(address).await.unwrap();
            stranger.write_all(begun).await.unwrap();
            let from = stranger.local_addr().unwrap();
            assert_eq!(next(&mut near).await, ending(from));
        }
    }

    #[tokio::test]
    async fn a_length_beyond_every_message_is_refused_before_it_is_waited_for() {
        let endless = |_| Some(Lanes::MAX_MESSAGE + 1);
        let refused = read_message(&mut &[0_u8; 16][..], endless).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_farewell_goes_out_although_the_lanes_are_dropped_at_once() {
        let (mut far, address) = listening().await;
        let mut near = caller().await;
        // Before it even stands.
        near.send(STREAM, address, &message(8, 1)).unwrap();
        drop(near);
        let arrived = next(&mut far).await;
        assert_eq!(arrived.payload, message(8, 1));
        assert_eq!(next(&mut far).await, ending(arrived.from));
        // From a session that has left a lot unread.
        let mut near = caller().await;
        near.send(STREAM, address, &message(8, 2)).unwrap();
        let from = next(&mut far).await.from;
        for _ in 0..100 {
            far.send(STREAM, from, &message(200, 0)).unwrap();
        }
        next(&mut near).await;
        near.send(STREAM, address, &message(8, 3)).unwrap();
        near.close().await;
        assert_eq!(next(&mut far).await.payload, message(8, 3));
        assert_eq!(next(&mut far).await, ending(from));
    }

    #[tokio::test]
    async fn an_empty_message_closes_the_stream_after_what_was_sent() {
        let (mut far, address) = listening().await;
        let mut near = caller().await;
        near.send(STREAM, address, &message(8, 1)).unwrap();
        near.send(STREAM, address, &[]).unwrap();
        near.send(STREAM, address, &message(8, 2)).unwrap();
        let from = next(&mut far).await.from;
        assert_eq!(next(&mut far).await, ending(from), "the message after the end went out");
        assert_eq!(next(&mut near).await, ending(address));
        near.send(STREAM, address, &message(8, 3)).unwrap();
        assert_eq!(next(&mut far).await.payload, message(8, 3));
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_never_blocks_the_session_and_costs_bounded_memory() {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = caller().await;
        near.send(STREAM, address, &message(250, 1)).unwrap();
        let _deaf = by_hand(&listener).await;
        let waiting = |near: &Lanes| {
            let outgoing = &near.peers[&address].line.as_ref().unwrap().outgoing;
            outgoing.max_capacity() - outgoing.capacity()
        };
        // Each turn fills what the socket has taken of the queue, until it takes no more.
        let mut taken = true;
        while taken {
            for _ in waiting(&near)..Lanes::OUTGOING {
                near.send(STREAM, address, &message(250, 2)).unwrap();
            }
            tokio::task::yield_now().await;
            taken = waiting(&near) < Lanes::OUTGOING;
        }
        near.send(STREAM, address, &message(250, 3)).unwrap();
        assert_eq!(waiting(&near), Lanes::OUTGOING);
    }

    #[tokio::test]
    async fn streams_beyond_the_limit_are_told_as_never_opened() {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = caller().await;
        for n in 1..=Lanes::MAX_OPENED as u8 {
            near.peers.insert(SocketAddr::from(([127, 0, 1, n], 1)), Peer { line: None, opened_by_us: true });
        }
        near.send(STREAM, address, &message(8, 1)).unwrap();
        assert_eq!(next(&mut near).await, ending(address));
        near.peers.remove(&SocketAddr::from(([127, 0, 1, 1], 1)));
        near.send(STREAM, address, &message(8, 2)).unwrap();
        by_hand(&listener).await;
    }
}
