//! Every host of the cloud on one listener, and what a fault does to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::fault::Fault;
use super::mangle;
use super::world::{Answer, Cloud};
use crate::sim::http_date;
use crate::sim::listener::{self, Hangup};

const LARGEST_REQUEST: usize = 1_024 * 1_024;
const STALL: Duration = Duration::from_secs(30);

/// Serves until `stop`, and cuts every client off then.
pub(super) async fn serve(listener: TcpListener, cloud: Arc<Cloud>, stop: CancellationToken) {
    let online = cloud.online.subscribe();
    let router = Router::new().fallback(answer).with_state(cloud);
    listener::serve(listener, router, online, stop).await;
}

async fn answer(
    State(cloud): State<Arc<Cloud>>,
    Extension(hangup): Extension<Hangup>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let call = Call::new(head.method, &head.uri, head.headers, body);
    if let Some(picture) = cloud.file(&call) {
        return with_type(StatusCode::OK, "image/jpeg", Body::from(picture));
    }
    let answer = cloud.answer(&call);
    match answer.fault {
        Some(Fault::Reset) => {
            hangup.now();
            std::future::pending().await
        }
        Some(Fault::Stall) => tokio::time::sleep(STALL).await,
        _ => {}
    }
    respond(answer)
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn respond(answer: Answer) -> Response<Body> {
    let Answer { status, body, fault, now_ms, remaining, reset_ms } = answer;
    let mut response = match fault {
        Some(Fault::ForbiddenHtml) => page(StatusCode::FORBIDDEN, BLOCKED),
        Some(Fault::ServerError) => page(StatusCode::INTERNAL_SERVER_ERROR, BROKEN),
        Some(Fault::Html) => page(StatusCode::OK, MAINTENANCE),
        Some(Fault::GzipBomb) => bomb(),
        _ => json(status, mangle::body(fault, body)),
    };
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::DATE, http_date::http(now_ms));
    set(HeaderName::from_static("x-ratelimit-remaining"), remaining.to_string());
    set(HeaderName::from_static("x-ratelimit-reset-by"), http_date::java(reset_ms));
    if let Some(after) = retry_after(fault, now_ms) {
        set(header::RETRY_AFTER, after);
    }
    response
}

fn retry_after(fault: Option<Fault>, now_ms: u64) -> Option<String> {
    match fault? {
        Fault::TooManySeconds => Some("7".to_owned()),
        Fault::TooManyDate => Some(http_date::http(now_ms + 60_000)),
        Fault::TooManyAbsurd => Some("315360000".to_owned()),
        _ => None,
    }
}

fn json(status: StatusCode, body: Body) -> Response<Body> {
    with_type(status, "application/json", body)
}

fn page(status: StatusCode, html: &'static str) -> Response<Body> {
    with_type(status, "text/html", Body::from(html))
}

fn bomb() -> Response<Body> {
    let mut response = json(StatusCode::OK, mangle::gzip_bomb());
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const BLOCKED: &str = "<!DOCTYPE HTML><HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD>\
    <BODY><H1>403 ERROR</H1><H2>The request could not be satisfied.</H2></BODY></HTML>\n";
const BROKEN: &str = "<html><head><title>500 Internal Server Error</title></head><body></body></html>\n";
const MAINTENANCE: &str = "<!doctype html><html><body><h1>We will be back soon</h1></body></html>\n";
