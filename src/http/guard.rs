//! What keeps other sites' pages out (reliability.md S3, S4, row 43): rules for `Host`, `Origin` and the
//! content type, and the headers that every reply wears.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, debug, debug_span};

use super::ApiError;

/// Scripts, styles, pictures and connections from this very service only; nothing inline.
const CSP: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; frame-ancestors 'self'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CSP),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
];

/// The names under which this machine may be addressed, besides loopback and every IP address.
pub(super) struct Names(Vec<String>);

impl Names {
    /// The configured ones, and the machine's host name, plain and under `.local`, where mDNS announces it.
    pub(super) fn new(mut names: Vec<String>) -> Self {
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let own = own.trim();
        if !own.is_empty() {
            names.extend([own.to_owned(), format!("{own}.local")]);
        }
        Self(names)
    }

    /// A page that rebinds its name to our address still sends its own name. An IP address in `Host` cannot be
    /// rebound by anybody, so every one of them is ours: behind a port forward it is not even one we have.
    fn admit(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Refuses what a page of another site could have sent.
pub(super) async fn check(State(names): State<Arc<Names>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let host = host(request.headers())?;
    if !names.admit(host.host()) {
        return Err(ApiError::ForeignHost);
    }
    // No reply allows another origin to read it, so a request that names one has no business here.
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        same_site(origin, &host).then_some(()).ok_or(ApiError::ForeignOrigin)?;
    }
    // The other methods that change something are never sent across sites without asking first.
    if request.method() == Method::POST && !no_form_sends(request.headers()) {
        return Err(ApiError::ContentType);
    }
    Ok(next.run(request).await)
}

fn host(headers: &HeaderMap) -> Result<Authority, ApiError> {
    let value = headers.get(header::HOST).ok_or(ApiError::NoHost)?;
    Authority::try_from(value.as_bytes()).map_err(|_| ApiError::NoHost)
}

/// Whether `Origin` names the host that the request went to. The scheme may differ: a proxy may add TLS.
fn same_site(origin: &HeaderValue, host: &Authority) -> bool {
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|o| o.split_once("://")) else { return false };
    let Ok(origin) = Authority::try_from(origin) else { return false };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
}

/// Whether the body is of a type that a form on another site cannot send.
fn no_form_sends(headers: &HeaderMap) -> bool {
    let Some(kind) = content_type(headers) else { return false };
    ["application/json", "application/sdp"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// The type of the body, without parameters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// Puts the security headers on every reply, refusals included, and the request into its span.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let span = debug_span!("http", method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    debug!(parent: &span, status = response.status().as_u16(), "answered");
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_own_names_are_admitted_and_other_names_are_not() {
        let names = Names(vec!["porch".into(), "porch.local".into()]);
        for host in ["127.0.0.1", "192.168.1.2", "[::1]", "localhost", "Porch", "porch.LOCAL"] {
            assert!(names.admit(host), "{host} was refused");
        }
        for host in ["evil.example", "localhost.evil.example", "porch.evil.example", "127.0.0.1.nip.io", "", "1"] {
            assert!(!names.admit(host), "{host} was admitted");
        }
    }

    #[test]
    fn an_origin_must_be_the_host_it_talks_to() {
        let same = |origin: &'static str, host: &'static str| {
            same_site(&HeaderValue::from_static(origin), &Authority::from_static(host))
        };
        assert!(same("http://127.0.0.1:8480", "127.0.0.1:8480"));
        assert!(same("https://porch.local", "porch.local"), "TLS added by a proxy");
        assert!(same("https://porch.local", "porch.local:443"));
        assert!(!same("http://127.0.0.1:8481", "127.0.0.1:8480"));
        assert!(!same("http://evil.example", "127.0.0.1:8480"));
        assert!(!same("null", "127.0.0.1:8480"));
        assert!(!same("file://", "127.0.0.1:8480"));
    }
}
