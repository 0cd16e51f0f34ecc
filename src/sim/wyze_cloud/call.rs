//! One request as it came over the wire.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use serde_json::Value;

use super::reply::Refusal;
use super::world::World;
use crate::proto::wyze::App;

pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    /// Decoded, as a form.
    pub(super) query: BTreeMap<String, String>,
    pub(super) form: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
    /// Of the body; `Null` where it is no JSON.
    pub(super) json: Value,
}

impl Call {
    pub(super) fn new(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Self {
        let pairs = |bytes: &[u8]| url::form_urlencoded::parse(bytes).into_owned().collect::<BTreeMap<_, _>>();
        let is_form = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www"));
        Self {
            method,
            path: uri.path().to_owned(),
            query: pairs(uri.query().unwrap_or("").as_bytes()),
            form: if is_form { pairs(&body) } else { BTreeMap::new() },
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            headers,
            body,
        }
    }

    /// Empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// A text of the body; empty where there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or("")
    }

    /// A number of the body.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.json[key].as_u64()
    }

    /// A list of the body; numbers become texts, since clients send both.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let items = self.json[key].as_array().into_iter().flatten();
        items.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    }

    /// Lets in who has a token in the common body (§2).
    pub(super) fn common(&self, world: &World) -> Result<(), Refusal> {
        world.check_token(self.text("access_token"))
    }

    /// Lets in who has a token in the headers and signed these very bytes with it (§6).
    pub(super) fn signed(&self, world: &World, app: App) -> Result<(), Refusal> {
        let token = self.header("access_token");
        world.check_token(token)?;
        let fits = self.header("appid") == app.id() && self.header("signature2") == app.signature2(token, &self.body);
        if fits { Ok(()) } else { Err(Refusal::SIGNATURE) }
    }
}
