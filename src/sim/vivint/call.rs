//! One request as it came over the wire.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use serde_json::Value;

pub(super) struct Call {
    pub(super) method: Method,
    /// As it was sent, percent-encoded.
    pub(super) path: String,
    /// Decoded, as a form.
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    /// Of the body, whatever type it claims to have (§2); `Null` where it is no JSON.
    pub(super) json: Value,
    /// Of the body, whatever type it claims to have.
    pub(super) form: BTreeMap<String, String>,
}

impl Call {
    pub(super) fn new(method: Method, uri: &Uri, headers: HeaderMap, body: &Bytes) -> Self {
        let pairs = |bytes: &[u8]| url::form_urlencoded::parse(bytes).into_owned().collect::<BTreeMap<_, _>>();
        Self {
            method,
            path: uri.path().to_owned(),
            query: pairs(uri.query().unwrap_or("").as_bytes()),
            json: serde_json::from_slice(body).unwrap_or(Value::Null),
            form: pairs(body),
            headers,
        }
    }

    /// Empty where there is none.
    pub(super) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Behind `Authorization: Bearer`.
    pub(super) fn bearer(&self) -> &str {
        self.header(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or("")
    }

    /// One cookie, in however many headers they came.
    pub(super) fn cookie(&self, name: &str) -> &str {
        let headers = self.headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let cookies = headers.flat_map(|all| all.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        cookies.into_iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    /// Empty where there is none.
    pub(super) fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// A field of a form; empty where there is none.
    pub(super) fn field(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }

    /// A text of a JSON body; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or("")
    }
}
