//! What the cloud answers.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

/// Why a request is not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reply: Reply,
    /// For whoever watches the cloud.
    pub(super) why: &'static str,
}

impl Reply {
    pub(super) fn json(body: &Value) -> Self {
        Self::with(StatusCode::OK, "application/json", body.to_string())
    }

    pub(super) fn html(status: StatusCode, page: &'static str) -> Self {
        Self::with(status, "text/html", page)
    }

    /// HTTP 302.
    pub(super) fn redirect(to: String) -> Self {
        Self::html(StatusCode::FOUND, "").and(header::LOCATION, to)
    }

    pub(super) fn with(status: StatusCode, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), kind, body: body.into() }
    }

    pub(super) fn and(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let kind = (header::CONTENT_TYPE, self.kind.to_owned());
        for (name, value) in self.headers.into_iter().chain([kind]) {
            // What cannot stand in a header came from the client, which then misses it.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

impl Refusal {
    pub(super) fn new(status: StatusCode, body: &Value, why: &'static str) -> Self {
        Self { reply: Reply::with(status, "application/json", body.to_string()), why }
    }

    /// HTTP 400 as OAuth has it.
    pub(super) fn oauth(error: &'static str, description: &'static str) -> Self {
        let body = json!({"error": error, "error_description": description});
        Self::new(StatusCode::BAD_REQUEST, &body, description)
    }

    /// HTTP 401: no token, or none that is good for this. The body is made up.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, &json!({"msg": "Unauthorized"}), "no good token")
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, &json!({"msg": "Not Found"}), "no such thing")
    }

    /// HTTP 403 of the proxy in front of the cloud (§2, rate limits).
    pub(super) fn blocked() -> Self {
        Self { reply: Reply::html(StatusCode::FORBIDDEN, BLOCKED), why: "blocked after too many failures" }
    }
}

const BLOCKED: &str =
    "<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>Request blocked.</body></html>\n";
