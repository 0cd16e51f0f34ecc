//! A still picture: the camera is asked for one, and what the cloud has of it is fetched (vivint reference §3).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::timeout;

use super::camera::Services;
use crate::clock;
use crate::doorbell::{ActionError, VendorError};

/// For the camera to take one and for the cloud to say so.
const WITHIN: Duration = Duration::from_secs(10);
const LARGEST: usize = 4 << 20;
/// The start of every JPEG.
const JPEG: [u8; 3] = [0xff, 0xd8, 0xff];

/// A JPEG, taken now; of a camera that takes none in time the last one that there is.
pub(super) async fn take(services: &impl Services) -> Result<Bytes, ActionError> {
    let last = services.newest_thumbnail();
    services.request_thumbnail().await.map_err(offline)?;
    // The cloud's clock and ours may differ: newer than the last one is what counts.
    let fresh = timeout(WITHIN, services.newer_thumbnail(last)).await.ok();
    let Some(at) = fresh.or(last) else {
        let why = "It has taken no still picture yet. Check that it is online in Vivint's app.".to_owned();
        return Err(ActionError::Offline { why });
    };
    if fresh.is_none() {
        tracing::warn!(age_s = age(at).as_secs(), "the camera has taken no new still picture; an older one is shown");
    }
    checked(services.thumbnail(at).await.map_err(offline)?)
}

fn age(at: SystemTime) -> Duration {
    clock::unix_now().duration_since(at).unwrap_or_default()
}

fn checked(picture: Bytes) -> Result<Bytes, ActionError> {
    if picture.len() <= LARGEST && picture.starts_with(&JPEG) {
        return Ok(picture);
    }
    let why = "Vivint's cloud sent something else than a picture. Try again later.".to_owned();
    Err(ActionError::Offline { why })
}

fn offline(error: VendorError) -> ActionError {
    ActionError::Offline { why: error.what }
}
