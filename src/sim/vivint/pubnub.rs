//! PubNub's v2 subscribe: a long poll with time tokens, which any number of subscribers keep for themselves (§4).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::call::Call;
use super::reply::{Refusal, Reply};
use super::world::{Cloud, World};
use super::{Event, Fault};
use crate::clock;

/// Messages that are kept for who comes back, as PubNub keeps them for some minutes.
const KEPT: usize = 1_024;
/// In one reply (PubNub's limit).
const PER_REPLY: usize = 100;
/// PubNub's name of where this is.
const REGION: u32 = 4;

/// What was published.
pub(super) struct Channel {
    messages: VecDeque<Message>,
    /// The time token of the newest.
    newest: watch::Sender<u64>,
}

struct Message {
    token: u64,
    /// Everything around the payload too.
    envelope: Value,
}

impl Default for Channel {
    fn default() -> Self {
        Self { messages: VecDeque::new(), newest: watch::Sender::new(now()) }
    }
}

/// Now in tenths of microseconds: 17 digits.
fn now() -> u64 {
    let since = clock::unix_now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() / 100) as u64
}

impl Channel {
    /// `envelope` lacks its time token.
    fn publish(&mut self, mut envelope: Value) {
        // No two have the same, however fast they come.
        let token = now().max(*self.newest.borrow() + 1);
        envelope["p"] = json!({"t": token.to_string(), "r": REGION});
        if self.messages.len() >= KEPT {
            self.messages.pop_front();
        }
        self.messages.push_back(Message { token, envelope });
        self.newest.send_replace(token);
    }

    /// What came after this time token, oldest first, and the token to go on with.
    fn since(&self, token: u64) -> Option<Value> {
        let new: Vec<&Message> = self.messages.iter().filter(|message| message.token > token).take(PER_REPLY).collect();
        let last = new.last()?.token;
        let messages: Vec<&Value> = new.into_iter().map(|message| &message.envelope).collect();
        Some(reply(last, &json!(messages)))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

fn reply(token: u64, messages: &Value) -> Value {
    json!({"t": {"t": token.to_string(), "r": REGION}, "m": messages})
}

impl World {
    /// Tells every subscriber, with the noise that a fault makes around it.
    pub(super) fn publish(&mut self, payload: Value) {
        let noisy = self.has(Fault::PubnubNoise);
        if noisy {
            self.noise_before();
        }
        let mut envelope = self.envelope();
        envelope["d"] = payload;
        if noisy {
            envelope["x"] = json!({"nobody": ["knows", 1]});
            envelope["d"]["novel"] = json!([null, {"a": 1}]);
        }
        self.channel.publish(envelope);
    }

    fn envelope(&self) -> Value {
        let channel = format!("PlatformChannel#{}", self.settings.message_channel);
        json!({"a": "4", "f": 512, "i": "virtual", "k": self.settings.pubnub_key, "c": channel})
    }

    fn noise_before(&mut self) {
        let ring = json!({"d": [{"_id": 27, "act": "vivint_dbc350_camera_device", "dng": 1}]});
        let payloads = [
            json!({"t": "account_partition", "da": ring}),
            json!({"t": "account_partition", "op": "u", "panid": 1, "parid": 1, "da": ring}),
            json!({"t": "account_partition", "op": "u", "panid": self.settings.panel, "parid": 1}),
            json!({"t": "account_system", "op": "u", "panid": self.settings.panel, "da": {"csce": "away"}}),
            json!(["no", "object"]),
        ];
        let bare = self.envelope();
        self.channel.publish(bare);
        for payload in payloads {
            let mut envelope = self.envelope();
            envelope["d"] = payload;
            self.channel.publish(envelope);
        }
    }
}

/// `GET /v2/subscribe/{key}/{channels}/0`: at once for who begins, otherwise as soon as there is something.
pub(super) async fn subscribe(cloud: Arc<Cloud>, call: &Call, path: &str) -> Result<Reply, Refusal> {
    let parts: Vec<&str> = path.split('/').collect();
    let [key, channels, "0"] = parts.as_slice() else { return Err(Refusal::not_found()) };
    let (mut newest, hold, listens) = {
        let mut world = cloud.world();
        world.check_key(key)?;
        world.tell(Event::Subscribed { from_now: call.query("tt") == "0" });
        (world.channel.subscribe(), world.settings.long_poll, world.is_listened_to(channels))
    };
    let asked: u64 = call.query("tt").parse().unwrap_or(0);
    if asked == 0 {
        let token = *newest.borrow();
        return Ok(Reply::json(&reply(token, &json!([]))));
    }
    let something = async {
        loop {
            newest.borrow_and_update();
            if let Some(found) = cloud.world().heard_since(asked, listens) {
                return found;
            }
            // The sender lives as long as the cloud.
            let _ = newest.changed().await;
        }
    };
    let held = tokio::time::timeout(hold, something).await;
    Ok(held.unwrap_or_else(|_| Reply::json(&reply(asked, &json!([])))))
}

/// `GET /v2/presence/sub-key/{key}/channel/{channels}/{leave|heartbeat}`
pub(super) fn presence(world: &mut World, path: &str) -> Result<Reply, Refusal> {
    let parts: Vec<&str> = path.split('/').collect();
    let [key, "channel", _, action @ ("leave" | "heartbeat")] = parts.as_slice() else {
        return Err(Refusal::not_found());
    };
    world.check_key(key)?;
    if *action == "leave" {
        world.tell(Event::Left);
    }
    Ok(Reply::json(&json!({"status": 200, "message": "OK", "action": action, "service": "Presence"})))
}

impl World {
    fn check_key(&self, key: &str) -> Result<(), Refusal> {
        if key == self.settings.pubnub_key {
            return Ok(());
        }
        let body = json!({"message": "Invalid Subscribe Key", "error": true, "status": 400});
        Err(Refusal::new(StatusCode::BAD_REQUEST, &body, "the subscribe key is another one"))
    }

    /// Whether the account's channel is among these.
    fn is_listened_to(&self, channels: &str) -> bool {
        let own = format!("PlatformChannel#{}", self.settings.message_channel);
        channels.split(',').any(|channel| percent_decode_str(channel).decode_utf8_lossy() == own)
    }

    fn heard_since(&self, token: u64, listens: bool) -> Option<Reply> {
        if !listens || self.has(Fault::PubnubSilent) {
            return None;
        }
        let found = self.channel.since(token)?;
        let garbage = self.has(Fault::PubnubGarbage);
        Some(if garbage {
            Reply::with(StatusCode::OK, "text/javascript", "{\"t\":{\"t\":17")
        } else {
            Reply::json(&found)
        })
    }
}
