//! How AWS says no (kvs reference §2).

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::sim::made_up::random_hex;

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) status: StatusCode,
    /// `ResourceNotFoundException`
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl Exception {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// 403, of whoever checks signatures.
    pub(super) fn forbidden(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, message)
    }

    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgumentException", message)
    }

    /// More than a quota allows.
    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ClientLimitExceededException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    pub(super) fn unknown_operation() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", "")
    }

    /// What AWS IoT says of a request at `/mqtt` that asks for no WebSocket with MQTT in it; its words are made up.
    pub(super) fn not_a_websocket() -> Self {
        let message = "a WebSocket of the sub-protocol mqtt is expected here";
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "")
    }

    pub(super) fn response(&self, dialect: Dialect) -> Response<Body> {
        match dialect {
            Dialect::Video => self.json(&format!("{}:{CORAL}", self.kind), "Message"),
            Dialect::Plain => self.json(self.kind, "message"),
            Dialect::Sts => self.xml(),
        }
    }

    fn json(&self, error_type: &str, key: &str) -> Response<Body> {
        let mut response = respond(self.status, "application/json", json!({ key: self.message }).to_string());
        if let Ok(value) = HeaderValue::from_str(error_type) {
            response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), value);
        }
        response
    }

    fn xml(&self) -> Response<Body> {
        let (code, message) = (self.sts_code(), escaped(&self.message));
        let kind = if self.status.is_server_error() { "Receiver" } else { "Sender" };
        let text = format!(
            "<ErrorResponse xmlns=\"{STS}\">\n  <Error>\n    <Type>{kind}</Type>\n    <Code>{code}</Code>\n    \
             <Message>{message}</Message>\n  </Error>\n  <RequestId>{}</RequestId>\n</ErrorResponse>\n",
            random_hex(32)
        );
        respond(self.status, "text/xml", text)
    }

    /// STS has older names for the same things.
    fn sts_code(&self) -> &'static str {
        match self.kind {
            "UnrecognizedClientException" => "InvalidClientTokenId",
            "InvalidSignatureException" => "SignatureDoesNotMatch",
            "ExpiredTokenException" => "ExpiredToken",
            "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
            "IncompleteSignatureException" => "IncompleteSignature",
            "AccessDeniedException" => "AccessDenied",
            "ClientLimitExceededException" => "Throttling",
            kind => kind,
        }
    }
}

/// In which form it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Kinesis Video Streams: `{"Message"}`, and the type with an address behind it.
    Video,
    /// AWS IoT, the credentials provider and the signaling service: `{"message"}`.
    Plain,
    /// XML.
    Sts,
}

pub(super) const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const CORAL: &str = "http://internal.amazon.com/coral/com.amazonaws.kinesisvideo.v20170930/";

pub(super) fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
