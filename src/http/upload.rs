//! Files of sound that are sent to us: larger than any other body, so only so much of them at once, each within its
//! limits.

use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

use super::ApiError;
use super::guard::is_sound;
use crate::clock;
use crate::doorbell::voice::Source;

/// How long a file may take to arrive: 10 MiB over a poor line.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// And any other body, which is small. Longer, so that whoever sends a file is told of that limit.
const BODY_WITHIN: Duration = Duration::from_secs(90);

/// Whoever reads this request's body is told of an error when it does not come in time: nobody keeps a connection by
/// sending a byte now and then.
pub(super) async fn in_time(request: Request) -> Request {
    let deadline = clock::now() + BODY_WITHIN;
    request.map(|body| {
        let chunks = stream::unfold((body.into_data_stream(), deadline), async |(mut chunks, deadline)| {
            let chunk = match timeout_at(deadline, chunks.next()).await {
                Ok(chunk) => chunk?.map_err(BoxError::from),
                Err(late) => Err(late.into()),
            };
            Some((chunk, (chunks, deadline)))
        });
        Body::from_stream(chunks)
    })
}

/// The room that there is for files, from their first byte until nobody needs them any more. Whoever finds none is told
/// so with 503.
#[derive(Clone)]
pub(super) struct Uploads(Arc<Semaphore>);

impl Uploads {
    /// Three of the largest.
    const ROOM: usize = 3 * kibibytes(Source::LARGEST_FILE);

    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(Self::ROOM)))
    }

    /// The file that `request` brings, whole. It takes up its room until its last clone is dropped.
    ///
    /// # Errors
    /// When it is not said to be sound, there is no room, or it is too large, too slow, or breaks off.
    pub(super) async fn receive(&self, request: Request) -> Result<Bytes, ApiError> {
        if !is_sound(request.headers()) {
            return Err(ApiError::NoSoundType);
        }
        let length = announced(request.headers()).unwrap_or(Source::LARGEST_FILE);
        if length > Source::LARGEST_FILE {
            return Err(ApiError::FileTooLarge);
        }
        let mut room = self.reserve(length)?;
        let bytes = timeout(ARRIVES_WITHIN, read(request)).await.map_err(|_| ApiError::FileTooSlow)??;
        let too_much = room.num_permits().saturating_sub(kibibytes(bytes.len()));
        drop(room.split(too_much));
        Ok(Bytes::from_owner(File { bytes, _room: room }))
    }

    fn reserve(&self, length: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let room = u32::try_from(kibibytes(length)).unwrap_or(u32::MAX);
        self.0.clone().try_acquire_many_owned(room).map_err(|_| ApiError::TooManyUploads)
    }
}

struct File {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for File {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Chunk by chunk, since not everybody announces a length.
async fn read(request: Request) -> Result<Vec<u8>, ApiError> {
    let mut file = Vec::new();
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::FileBroken)?;
        if file.len() + chunk.len() > Source::LARGEST_FILE {
            return Err(ApiError::FileTooLarge);
        }
        file.extend_from_slice(&chunk);
    }
    Ok(file)
}

/// What HTTP holds the body to.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Rounded up, and never nothing.
const fn kibibytes(bytes: usize) -> usize {
    bytes / 1024 + 1
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_ends_with_an_error_and_one_that_does_is_whole() {
        let drip = stream::repeat(()).then(async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, BoxError>(Bytes::from_static(b"."))
        });
        let begun = clock::now();
        let request = in_time(Request::new(Body::from_stream(drip))).await;
        assert!(to_bytes(request.into_body(), usize::MAX).await.is_err());
        assert_eq!(begun.elapsed(), BODY_WITHIN);
        let request = in_time(Request::new(Body::from("whole"))).await;
        assert_eq!(to_bytes(request.into_body(), usize::MAX).await.unwrap(), "whole");
    }
}
