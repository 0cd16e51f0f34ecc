//! ICE-TCP, the passive side (RFC 6544), on the same port number: for viewers whose UDP is blocked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::framing::{framed, read_frame};

/// Connections at a time, those that have not said anything yet included.
const MAX_CONNECTIONS: usize = 160;
/// Packets that wait for one connection: 0.6 MiB. When it is full the viewer goes on at the next keyframe.
const QUEUE: usize = 512;
/// What the kernel keeps for one connection besides, so that no more than 1 MiB waits (row 31 of the fault matrix); left
/// to itself it would grow to seconds of video. Enough for 20 Mbit/s over 50 ms.
const KERNEL_QUEUE_BYTES: usize = 128 << 10;
/// A viewer sends a check at once and consent every few seconds (RFC 7675).
const FIRST_FRAME: Duration = Duration::from_secs(5);
const NEXT_FRAME: Duration = Duration::from_secs(30);

/// What a connection tells the loop.
pub(super) enum Line {
    Opened { from: SocketAddr, queue: mpsc::Sender<Bytes> },
    Frame { from: SocketAddr, to: SocketAddr, data: BytesMut },
    Closed { from: SocketAddr },
}

/// Takes connections until told to stop. `lines` holds a reader back while it is full: TCP can wait.
pub(super) async fn listen(listener: TcpListener, lines: mpsc::Sender<Line>, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        // Out of descriptors or an abort in the queue: neither ends the listener.
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(permit) = free.clone().try_acquire_owned() else { continue };
        let (lines, stop) = (lines.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                ended = serve(stream, canonical(from), &lines) => if let Err(error) = ended {
                    debug!(%error, "a viewer's TCP connection ended");
                },
                () = stop.cancelled() => {}
            }
            let _ = lines.send(Line::Closed { from: canonical(from) }).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, lines: &mpsc::Sender<Line>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_send_buffer_size(KERNEL_QUEUE_BYTES)?;
    let to = canonical(stream.local_addr()?);
    let (mut reader, writer) = stream.into_split();
    let (queue, packets) = mpsc::channel(QUEUE);
    let first = frame(&mut reader, FIRST_FRAME).await?;
    let gone = || io::Error::other("the loop is gone");
    lines.send(Line::Opened { from, queue }).await.map_err(|_| gone())?;
    lines.send(Line::Frame { from, to, data: first }).await.map_err(|_| gone())?;
    tokio::select! {
        ended = read(reader, from, to, lines) => ended,
        ended = write(writer, packets) => ended,
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    from: SocketAddr,
    to: SocketAddr,
    lines: &mpsc::Sender<Line>,
) -> io::Result<()> {
    loop {
        let data = frame(&mut reader, NEXT_FRAME).await?;
        if lines.send(Line::Frame { from, to, data }).await.is_err() {
            return Ok(());
        }
    }
}

async fn frame(reader: &mut OwnedReadHalf, patience: Duration) -> io::Result<BytesMut> {
    timeout(patience, read_frame(reader)).await.map_err(io::Error::other)?
}

/// Ends when the loop drops its end of the queue.
async fn write(mut writer: OwnedWriteHalf, mut packets: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(packet) = packets.recv().await {
        if let Some(frame) = framed(&packet) {
            writer.write_all(&frame).await?;
        }
    }
    Ok(())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
