//! The page and its files, embedded in the binary.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use miniz_oxide::deflate::compress_to_vec_zlib;
use sha2::{Digest, Sha256};

use super::card;

/// One embedded file. Its content never changes while the service runs.
pub(super) struct Asset {
    pub(super) path: &'static str,
    kind: &'static str,
    body: fn() -> &'static str,
    sent: LazyLock<Sent>,
}

/// What is made of a file's content once.
struct Sent {
    /// So that a browser keeps its copy until the service is updated. Weak, since one tag stands for both forms.
    etag: HeaderValue,
    /// As `Content-Encoding: deflate` means it: with zlib's frame (RFC 9110, section 8.4.1.2).
    deflated: Vec<u8>,
}

impl Sent {
    /// Beyond this level a file takes twice as long and gains nothing.
    const LEVEL: u8 = 6;

    fn of(body: &str) -> Self {
        let digest = Sha256::digest(body);
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("W/\"{short}\"")).expect("hexadecimal digits in quotes");
        Self { etag, deflated: compress_to_vec_zlib(body.as_bytes(), Self::LEVEL) }
    }
}

macro_rules! asset {
    ($path:literal, $kind:literal, $file:literal) => {
        Asset {
            path: $path,
            kind: $kind,
            body: || include_str!(concat!("assets/", $file)),
            sent: LazyLock::new(|| Sent::of(include_str!(concat!("assets/", $file)))),
        }
    };
}

static INDEX: Asset = asset!("/", "text/html; charset=utf-8", "index.html");

/// What the page loads. None of it says anything about this house.
pub(super) static ASSETS: [Asset; 20] = [
    asset!("/assets/style.css", "text/css; charset=utf-8", "style.css"),
    asset!("/assets/app.js", "text/javascript; charset=utf-8", "app.js"),
    asset!("/assets/access.js", "text/javascript; charset=utf-8", "access.js"),
    asset!("/assets/accounts.js", "text/javascript; charset=utf-8", "accounts.js"),
    asset!("/assets/card.js", "text/javascript; charset=utf-8", "card.js"),
    asset!("/assets/clips.js", "text/javascript; charset=utf-8", "clips.js"),
    asset!("/assets/door.js", "text/javascript; charset=utf-8", "door.js"),
    asset!("/assets/hold.js", "text/javascript; charset=utf-8", "hold.js"),
    asset!("/assets/house.js", "text/javascript; charset=utf-8", "house.js"),
    asset!("/assets/pictures.js", "text/javascript; charset=utf-8", "pictures.js"),
    asset!("/assets/player.js", "text/javascript; charset=utf-8", "player.js"),
    asset!("/assets/microphone.js", "text/javascript; charset=utf-8", "microphone.js"),
    asset!("/assets/request.js", "text/javascript; charset=utf-8", "request.js"),
    asset!("/assets/rings.js", "text/javascript; charset=utf-8", "rings.js"),
    asset!("/assets/say.js", "text/javascript; charset=utf-8", "say.js"),
    asset!("/assets/setup.js", "text/javascript; charset=utf-8", "setup.js"),
    asset!("/assets/talk.js", "text/javascript; charset=utf-8", "talk.js"),
    asset!("/assets/text.js", "text/javascript; charset=utf-8", "text.js"),
    asset!("/assets/vendors.js", "text/javascript; charset=utf-8", "vendors.js"),
    asset!("/assets/icon.svg", "image/svg+xml", "icon.svg"),
];

/// What dashboards load, also those of other sites.
pub(super) static CARD: Asset = Asset {
    path: "/card.js",
    kind: "text/javascript; charset=utf-8",
    body: card::text,
    sent: LazyLock::new(|| Sent::of(card::text())),
};

pub(super) async fn index(headers: HeaderMap) -> Response {
    asset(&INDEX, headers).await
}

/// The page for somebody who has not shown the token yet: it asks for it.
pub(super) fn sign_in() -> Response {
    let headers = [(header::CONTENT_TYPE, INDEX.kind), (header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, headers, (INDEX.body)()).into_response()
}

pub(super) async fn asset(asset: &'static Asset, headers: HeaderMap) -> Response {
    let Sent { etag, deflated } = &*asset.sent;
    let own = etag.to_str().map(strong).unwrap_or_default();
    let caching = [
        (header::ETAG, etag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if items(&headers, header::IF_NONE_MATCH).any(|known| strong(known) == own) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.kind)];
    if items(&headers, header::ACCEPT_ENCODING).any(|taken| taken.trim().eq_ignore_ascii_case("deflate")) {
        return (caching, kind, [(header::CONTENT_ENCODING, "deflate")], deflated.as_slice()).into_response();
    }
    (caching, kind, (asset.body)()).into_response()
}

/// A tag without what makes it weak: whether a browser's copy is the same hangs on the rest (RFC 9110, section 8.8.3.2).
fn strong(tag: &str) -> &str {
    tag.trim().trim_start_matches("W/")
}

/// What a header that is a list has, on however many lines.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','))
}
