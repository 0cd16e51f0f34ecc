//! The one UDP socket: runs of equal-size datagrams leave in one system call where the kernel can (UDP GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// One receive call takes this many buffers; with GRO each may hold up to 64 datagrams of one sender.
const RECEIVE_BUFFERS: usize = 4;
const RECEIVE_BUFFER_BYTES: usize = 65_536;
/// What a run may hold: the largest UDP payload, less some room.
const MAX_RUN_BYTES: usize = 60_000;
/// A GOP for each of 100 viewers at once must not be dropped in our own kernel.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A received datagram. Addresses are as the network has them: IPv4 is never wrapped in IPv6.
pub(super) struct Received {
    pub(super) from: SocketAddr,
    /// Our address that it was sent to.
    pub(super) to: Option<IpAddr>,
    pub(super) data: BytesMut,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    /// System calls that sent them.
    pub(super) calls: u64,
    pub(super) errors: u64,
}

pub(super) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    dual_stack: bool,
    buffers: Vec<Vec<u8>>,
    run: Run,
    pub(super) sent: Sent,
}

/// Datagrams to one destination, all of `segment` bytes but for the last, which may be shorter.
#[derive(Default)]
struct Run {
    to: Option<(SocketAddr, Option<IpAddr>)>,
    segment: usize,
    bytes: Vec<u8>,
    count: usize,
    ended: bool,
}

impl Udp {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let options = socket2::SockRef::from(&socket);
        // The kernel grants what it may; less than asked for is no error.
        let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        let dual_stack = socket.local_addr()?.is_ipv6();
        let buffers = vec![vec![0; RECEIVE_BUFFER_BYTES]; RECEIVE_BUFFERS];
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, state, dual_stack, buffers, run: Run::default(), sent: Sent::default() })
    }

    pub(super) async fn readable(&self) {
        // An error shows itself again at `receive`.
        let _ = self.socket.readable().await;
    }

    /// What has arrived, up to one round of buffers; nothing when nothing has.
    pub(super) fn receive(&mut self, mut take: impl FnMut(Received)) {
        let mut meta = [RecvMeta::default(); RECEIVE_BUFFERS];
        let Self { socket, state, buffers, .. } = self;
        let mut slices: Vec<IoSliceMut<'_>> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let received = socket.try_io(Interest::READABLE, || state.recv((&*socket).into(), &mut slices, &mut meta));
        for (meta, buffer) in meta.iter().zip(&*buffers).take(received.unwrap_or(0)) {
            let datagrams = buffer[..meta.len.min(buffer.len())].chunks(meta.stride.max(1));
            for data in datagrams {
                let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
                take(Received { from, to: meta.dst_ip.map(|ip| ip.to_canonical()), data: BytesMut::from(data) });
            }
        }
    }

    /// Adds a datagram to the run, sending the run before it where they do not go together.
    /// `source` is the address of ours to send from, where it matters.
    pub(super) fn send(&mut self, to: SocketAddr, source: Option<IpAddr>, datagram: &[u8]) {
        let run = &self.run;
        let joins = run.to == Some((to, source))
            && !run.ended
            && datagram.len() <= run.segment
            && run.bytes.len() + datagram.len() <= MAX_RUN_BYTES
            && run.count < self.state.max_gso_segments();
        if !joins {
            self.flush();
            self.run.to = Some((to, source));
            self.run.segment = datagram.len();
        }
        self.run.ended = datagram.len() < self.run.segment;
        self.run.bytes.extend_from_slice(datagram);
        self.run.count += 1;
    }

    /// Sends the run that is being gathered. Nothing is kept for later: what the kernel refuses is lost, as any
    /// datagram may be, and the viewer asks for it again.
    pub(super) fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        let Some((to, source)) = run.to.filter(|_| run.count > 0) else { return };
        self.sent.datagrams += run.count as u64;
        self.sent.bytes += run.bytes.len() as u64;
        let segment = (run.count > 1).then_some(run.segment);
        match self.transmit(to, source, &run.bytes, segment) {
            Ok(()) => {}
            // Some network cards refuse segmentation; `UdpSocketState` has taken note of it.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && run.count > 1 => {
                for datagram in run.bytes.chunks(run.segment) {
                    let failed = self.transmit(to, source, datagram, None).is_err();
                    self.sent.errors += u64::from(failed);
                }
            }
            Err(_) => self.sent.errors += run.count as u64,
        }
        // The buffer is used again.
        self.run.bytes = run.bytes;
        self.run.bytes.clear();
    }

    fn transmit(
        &mut self,
        to: SocketAddr,
        source: Option<IpAddr>,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        self.sent.calls += 1;
        let destination = SocketAddr::new(self.wrapped(to.ip()), to.port());
        let src_ip = source.map(|source| self.wrapped(source));
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip };
        self.socket.try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit))
    }

    /// As the socket wants it: one that speaks both takes IPv4 as IPv4-mapped IPv6.
    fn wrapped(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(v4) if self.dual_stack => v4.to_ipv6_mapped().into(),
            other => other,
        }
    }
}
