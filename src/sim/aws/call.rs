//! One request as it came over the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::exception::Exception;

/// What a request came over.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) tls: bool,
    /// Whose certificate the client has shown.
    pub(super) thing: Option<Arc<str>>,
    /// Cancelled when the line is cut.
    pub(super) cut: CancellationToken,
}

pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    /// As it came, which is what was signed.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) line: Line,
}

impl Call {
    pub(super) fn new(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes, line: Line) -> Self {
        let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
        Self { method, path, query, headers, body, line }
    }

    /// Empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// As the client calls us.
    pub(super) fn host(&self) -> &str {
        self.header(header::HOST.as_str())
    }

    /// Where the client can reach us again, over `http` or `ws`: the scheme and the host that it asked, without a port
    /// that goes without saying, since AWS's JavaScript would sign it (kvs reference §3).
    pub(super) fn address(&self, scheme: &str) -> String {
        let (s, usual) = if self.line.tls { ("s", ":443") } else { ("", ":80") };
        format!("{scheme}{s}://{}", self.host().trim_end_matches(usual))
    }

    /// A parameter of the query, decoded; the last of that name.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        pairs(self.query.as_bytes()).remove(name)
    }

    pub(super) fn form(&self) -> BTreeMap<String, String> {
        pairs(&self.body)
    }

    /// # Errors
    /// `InvalidArgumentException`, as the service says it of JSON that it cannot use.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Exception> {
        let body = if self.body.is_empty() { &b"{}"[..] } else { &self.body };
        serde_json::from_slice(body).map_err(|error| Exception::invalid_argument(format!("the body: {error}")))
    }
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}
