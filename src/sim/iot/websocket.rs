//! MQTT in the frames of a WebSocket, as a stream of bytes: where a frame ends means nothing.

use std::io;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

pub(super) fn stream(socket: WebSocket) -> impl AsyncRead + AsyncWrite + Send + Unpin {
    let (sink, stream) = socket.split();
    let frames = stream.filter_map(|frame| future::ready(bytes_of(frame).transpose()));
    let sink =
        sink.sink_map_err(io::Error::other).with(|bytes: Bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    tokio::io::join(StreamReader::new(frames), SinkWriter::new(CopyToBytes::new(sink)))
}

/// Nothing of what is about the connection. Texts are no MQTT (section 6 of the standard).
fn bytes_of(frame: Result<Message, axum::Error>) -> io::Result<Option<Bytes>> {
    match frame.map_err(io::Error::other)? {
        Message::Binary(bytes) => Ok(Some(bytes)),
        Message::Text(_) => Err(io::ErrorKind::InvalidData.into()),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(None),
    }
}
