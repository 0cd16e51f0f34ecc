//! Firebase's Realtime Database over its WebSocket, as far as signalling has a use for it (§7), on a tree that the
//! virtual doorbells watch too.
//!
//! The rule: whoever is authenticated reads and writes below `groups/{system}`, and nobody anything else. Not made:
//! queries, which are answered with the whole node, and hashes, so that a transaction always wins.

mod connection;
mod frames;
mod rules;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{Response, StatusCode, header};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Event;
use super::call::Call;
use super::reply::Refusal;
use super::world::Cloud;
use connection::Connection;

/// A frame of a client; it splits what is longer than 16,384 characters.
const LARGEST_FRAME: usize = 256 * 1_024;

/// Opens the WebSocket of `/.ws?v=5&ns=…`.
pub(super) fn upgrade(
    cloud: Arc<Cloud>,
    call: &Call,
    upgrade: WebSocketUpgrade,
    stop: CancellationToken,
) -> Response<Body> {
    if call.query("v") != "5" || call.query("ns").is_empty() {
        let body = json!({"error": "the address lacks `v=5` or `ns`"});
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, &body, "the address lacks `v=5` or `ns`");
        cloud.world().tell(Event::Refused { path: call.path.clone(), why: refusal.why });
        return refusal.reply.response();
    }
    let host = call.header(header::HOST).to_owned();
    let upgrade = upgrade.max_message_size(LARGEST_FRAME);
    upgrade.on_upgrade(move |socket| async move {
        stop.run_until_cancelled(Connection::new(cloud, socket, host).run()).await;
    })
}
