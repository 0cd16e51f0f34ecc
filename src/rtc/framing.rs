//! Packets in a stream of bytes (RFC 4571): a length of two bytes, big-endian, and the packet.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No packet of WebRTC is larger; a longer frame is not meant for us.
pub const MAX_FRAME: usize = 4_096;

/// The next packet, which may be empty. Loses its place in the stream when it is cancelled.
///
/// # Errors
/// When the stream ends or fails, or the frame is longer than [`MAX_FRAME`].
pub async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let length = usize::from(reader.read_u16().await?);
    if length > MAX_FRAME {
        return Err(io::Error::other("the frame is too long"));
    }
    let mut packet = BytesMut::zeroed(length);
    reader.read_exact(&mut packet).await?;
    Ok(packet)
}

/// The packet as a frame; `None` when it is longer than a length can say.
pub fn framed(packet: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(packet.len()).ok()?;
    let mut frame = Vec::with_capacity(2 + packet.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(packet);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(mut stream: &[u8]) -> (Vec<BytesMut>, io::Error) {
        let mut frames = Vec::new();
        loop {
            match read_frame(&mut stream).await {
                Ok(frame) => frames.push(frame),
                Err(error) => return (frames, error),
            }
        }
    }

    #[tokio::test]
    async fn a_packet_comes_out_as_it_went_in_and_half_a_one_does_not() {
        let packets = [&b"one"[..], b"", &[7; MAX_FRAME]];
        let stream: Vec<u8> = packets.iter().flat_map(|packet| framed(packet).unwrap()).collect();
        let (read, end) = frames(&stream).await;
        assert_eq!((read, end.kind()), (packets.map(BytesMut::from).to_vec(), io::ErrorKind::UnexpectedEof));
        assert_eq!(frames(&stream[..stream.len() - 1]).await.0.len(), 2);
    }

    #[tokio::test]
    async fn a_length_beyond_every_packet_is_refused_before_it_is_waited_for() {
        assert_eq!(frames(&framed(&[0; MAX_FRAME + 1]).unwrap()).await.1.to_string(), "the frame is too long");
        assert!(framed(&[0; 1 << 16]).is_none());
    }
}
