//! The signed addresses of still pictures, which refuse whoever brings a login of another kind (§3).

use axum::http::{StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Event;
use super::call::Call;
use super::reply::{Refusal, Reply};
use super::world::World;
use crate::clock;
use crate::proto::wire::hex;

/// 320×180: the first picture of the clip, made by `tools/make-clip`.
pub(super) const JPEG: &[u8] = include_bytes!("../assets/porch.jpg");
/// In seconds; made up.
const GOOD_FOR: u64 = 300;

pub(super) fn address(world: &World, device: i64, time: u64) -> String {
    let expires = clock::unix_seconds() + GOOD_FOR;
    let signature = signature(world, device, time, expires);
    format!("{}/images/{device}/{time}.jpg?Expires={expires}&Signature={signature}", world.origin)
}

/// `GET /images/{device}/{time}.jpg`, with the bytes that an object store would have.
pub(super) fn answer(world: &mut World, call: &Call, path: &str) -> Result<Reply, Refusal> {
    let parts = path.strip_suffix(".jpg").and_then(|path| path.split_once('/'));
    let numbers = parts.and_then(|(device, time)| Some((device.parse().ok()?, time.parse().ok()?)));
    let (device, time) = numbers.ok_or_else(Refusal::not_found)?;
    if call.headers.contains_key(header::AUTHORIZATION) {
        let body = json!({"Code": "InvalidArgument", "Message": "Only one auth mechanism allowed"});
        return Err(Refusal::new(StatusCode::BAD_REQUEST, &body, "a signed address was asked with a bearer token"));
    }
    let expires = call.query("Expires").parse().unwrap_or(0);
    if expires < clock::unix_seconds() || call.query("Signature") != signature(world, device, time, expires) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, &json!({"Code": "AccessDenied"}), "the signature is not good"));
    }
    world.tell(Event::ThumbnailRead { device });
    Ok(Reply::with(StatusCode::OK, "image/jpeg", JPEG))
}

fn signature(world: &World, device: i64, time: u64, expires: u64) -> String {
    hex(&Sha256::digest(format!("{}/{device}/{time}/{expires}", world.image_key)))
}
