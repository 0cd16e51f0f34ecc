//! What keeps other sites' pages out (reliability.md S3, S4, row 43): rules for `Host`, `Origin`, `Sec-Fetch-Site` and
//! the content type, and the headers that every reply wears.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, debug, debug_span};

use super::{Access, ApiError, Entrance};

/// Scripts, styles, pictures and connections from this very service only; nothing inline, and no text that becomes
/// markup. `%` stands for who may show the page in a frame.
const CSP: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; \
                   require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors %";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a page of a listed origin may send.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];

/// The rules of one entrance.
pub(super) struct Rules {
    /// Whether requests come through Home Assistant.
    ingress: bool,
    names: Names,
    /// `scheme://host[:port]` as browsers write it.
    origins: Vec<String>,
}

/// From where a request that may pass was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Our own page, or no page at all.
    Here,
    /// The page of a listed origin, which may read the answer.
    Listed,
}

impl Rules {
    pub(super) fn new(entrance: &Entrance, names: Vec<String>, origins: Vec<String>) -> Self {
        Self { ingress: matches!(entrance, Entrance::Ingress { .. }), names: Names::new(names), origins }
    }

    fn judge(&self, request: &Request, access: Access) -> Result<From, ApiError> {
        let headers = request.headers();
        let host = host(headers)?;
        let from = if self.ingress { through_home_assistant(request, &host)? } else { self.direct(request, &host)? };
        // The other methods that change something are never sent across sites without asking first.
        if request.method() == Method::POST && !no_form_sends(headers) && access != Access::Anywhere {
            return Err(ApiError::ContentType);
        }
        Ok(from)
    }

    fn direct(&self, request: &Request, host: &Authority) -> Result<From, ApiError> {
        if !self.names.admit(host.host()) {
            return Err(ApiError::ForeignHost);
        }
        match request.headers().get(header::ORIGIN) {
            Some(origin) if same_site(origin, host) => Ok(From::Here),
            Some(origin) if self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()) => {
                Ok(From::Listed)
            }
            Some(_) => Err(ApiError::ForeignOrigin),
            // An image of another site's page names no origin, and on loopback nobody is asked for a token.
            None if said_foreign(request.headers()) && !is_page(request) => Err(ApiError::ForeignOrigin),
            None => Ok(From::Here),
        }
    }
}

/// Home Assistant's Supervisor has checked a session whose cookie browsers keep from other sites (`SameSite=Strict`),
/// so nobody comes here under a rebound name, and `Host` may be any name of Home Assistant's. For a cookie, another port
/// of the same host is the same site, and that must not do: browsers say so over TLS in `Sec-Fetch-Site`, and in
/// `Origin` otherwise. A proxy in front of Home Assistant may have dropped the port from `Host`.
fn through_home_assistant(request: &Request, host: &Authority) -> Result<From, ApiError> {
    let headers = request.headers();
    match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => return Ok(From::Here),
        Some(_) if !is_page(request) => return Err(ApiError::ForeignOrigin),
        _ => {}
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(From::Here) };
    let forwarded = headers.get(FORWARDED_HOST).and_then(|hosts| hosts.to_str().ok()?.split(',').next());
    let forwarded = forwarded.and_then(|host| authority(host.trim()));
    let known = [Some(host), forwarded.as_ref()];
    let ours = known.into_iter().flatten().any(|host| match host.port() {
        Some(_) => same_site(origin, host),
        None => same_host(origin, host),
    });
    if ours { Ok(From::Here) } else { Err(ApiError::ForeignOrigin) }
}

/// The names under which this machine may be addressed, besides loopback and every IP address.
struct Names(Vec<String>);

impl Names {
    /// The configured ones, and the machine's host name, plain and under `.local`, where mDNS announces it.
    fn new(mut names: Vec<String>) -> Self {
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

/// Refuses what a page of another site could have sent, and lets those of listed origins read the answer.
pub(super) async fn check(
    State((rules, access)): State<(Arc<Rules>, Access)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if access == Access::Anywhere {
        return Ok(for_everybody(next.run(request).await));
    }
    let reader = match rules.judge(&request, access)? {
        From::Here => None,
        From::Listed => request.headers().get(header::ORIGIN).cloned(),
    };
    let mut response = match &reader {
        // Asked by browsers before anything else, and without credentials.
        Some(_) if is_preflight(&request) => (StatusCode::NO_CONTENT, PREFLIGHT).into_response(),
        _ => next.run(request).await,
    };
    if let Some(origin) = reader {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let shown = HeaderValue::from_static("location, retry-after");
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, shown);
    }
    if !rules.origins.is_empty() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    }
    Ok(response)
}

/// A file that holds nothing of this house and that pages of others load as a module.
fn for_everybody(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The page itself and what it is made of, to which other sites may link.
fn is_page(request: &Request) -> bool {
    let path = request.uri().path();
    matches!(*request.method(), Method::GET | Method::HEAD) && (path == "/" || path.starts_with("/assets/"))
}

/// Whether the browser says that another site's page sent this. Browsers do on loopback and over TLS.
fn said_foreign(headers: &HeaderMap) -> bool {
    headers.get(FETCH_SITE).is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

fn host(headers: &HeaderMap) -> Result<Authority, ApiError> {
    let mut named = headers.get_all(header::HOST).into_iter();
    // Of two, another program on the way may have looked at the other (RFC 9112, section 3.2).
    let (Some(host), None) = (named.next(), named.next()) else { return Err(ApiError::NoHost) };
    host.to_str().ok().and_then(authority).ok_or(ApiError::NoHost)
}

/// A host, with a port or without. To the parser `[::1].evil.example` is the host `[::1]`, and what stands before an `@`
/// belongs to it as well.
fn authority(text: &str) -> Option<Authority> {
    let authority = Authority::try_from(text).ok()?;
    let rest = text.strip_prefix(authority.host())?;
    let whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    whole.then_some(authority)
}

/// Whether `Origin` names the host that the request went to. The scheme may differ: a proxy may add TLS.
fn same_site(origin: &HeaderValue, host: &Authority) -> bool {
    let Some((default, origin)) = web_origin(origin) else { return false };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
}

/// The same, whatever the port.
fn same_host(origin: &HeaderValue, host: &Authority) -> bool {
    web_origin(origin).is_some_and(|(_, origin)| origin.host().eq_ignore_ascii_case(host.host()))
}

/// The default port of an origin of the web, and its host and port.
fn web_origin(origin: &HeaderValue) -> Option<(u16, Authority)> {
    let (scheme, origin) = origin.to_str().ok()?.split_once("://")?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((default, authority(origin)?))
}

/// Whether the body is of a type that a form on another site cannot send.
fn no_form_sends(headers: &HeaderMap) -> bool {
    let Some(kind) = content_type(headers) else { return false };
    ["application/json", "application/sdp"].iter().any(|known| kind.eq_ignore_ascii_case(known)) || is_sound(headers)
}

/// Whether the body is said to be a file of sound: `audio/*`, or `application/octet-stream`.
pub(super) fn is_sound(headers: &HeaderMap) -> bool {
    let Some((kind, what)) = content_type(headers).and_then(|kind| kind.split_once('/')) else { return false };
    let bytes = kind.eq_ignore_ascii_case("application") && what.eq_ignore_ascii_case("octet-stream");
    bytes || kind.eq_ignore_ascii_case("audio") && !what.is_empty()
}

/// The type of the body, without parameters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// The headers that replies wear at one entrance.
#[derive(Clone)]
pub(super) struct Dress(HeaderValue);

impl Dress {
    /// Home Assistant shows the page in a frame, and to the browser both are one origin. Nobody else frames it.
    pub(super) fn new(entrance: &Entrance) -> Self {
        let framed_by = if matches!(entrance, Entrance::Ingress { .. }) { "'self'" } else { "'none'" };
        Self(
            HeaderValue::try_from(CSP.replace('%', framed_by))
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        )
    }
}

/// Puts the security headers on every reply, refusals included, and the request into its span. The query stays out of
/// it: it may hold a ticket.
pub(super) async fn dress(State(Dress(csp)): State<Dress>, request: Request, next: Next) -> Response {
    let span = debug_span!("http", method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    debug!(parent: &span, status = response.status().as_u16(), "answered");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, csp);
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_a_port_and_nothing_beside_them() {
        for whole in ["localhost", "127.0.0.1:8480", "[::1]", "[::1]:8480", "porch.local:80"] {
            assert!(authority(whole).is_some(), "{whole} was refused");
        }
        for more in
            ["[::1].evil.example", "[::1]evil", "x@localhost", "localhost:", "localhost:65536", "localhost:8x", ""]
        {
            assert!(authority(more).is_none(), "{more} was taken");
        }
    }

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

    fn from(entrance: &Entrance, path: &str, headers: &[(&str, &str)]) -> Result<From, u16> {
        let mut request = axum::http::Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let listed = vec!["http://card.example:8123".to_owned()];
        let rules = Rules { names: Names(vec!["porch".to_owned()]), ..Rules::new(entrance, Vec::new(), listed) };
        let judged = rules.judge(&request.body(axum::body::Body::empty()).unwrap(), Access::Token);
        judged.map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn at_the_direct_entrance_only_listed_origins_come_from_elsewhere() {
        let direct = Entrance::Direct { tokens: super::super::Tokens::default() };
        let judge =
            |path, headers: &[(&str, &str)]| from(&direct, path, &[&[("host", "porch:8480")], headers].concat());
        assert_eq!(judge("/api/doorbells", &[]), Ok(From::Here));
        assert_eq!(judge("/api/doorbells", &[("origin", "http://porch:8480")]), Ok(From::Here));
        assert_eq!(judge("/api/doorbells", &[("origin", "http://card.example:8123")]), Ok(From::Listed));
        for origin in ["http://card.example", "https://card.example:8123", "http://card.example:81234", "null", ""] {
            assert_eq!(judge("/api/doorbells", &[("origin", origin)]), Err(403), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(judge("/api/wyze/a/kvs", &[("sec-fetch-site", site)]), Err(403), "an image of another page");
            assert_eq!(judge("/", &[("sec-fetch-site", site)]), Ok(From::Here), "a link to the page");
        }
        assert_eq!(judge("/api/doorbells", &[("sec-fetch-site", "same-origin")]), Ok(From::Here));
        assert_eq!(judge("/api/doorbells", &[("sec-fetch-site", "none")]), Ok(From::Here), "typed by hand");
        let rebound = [("host", "evil.example"), ("sec-fetch-site", "same-origin")];
        assert_eq!(from(&direct, "/api/doorbells", &rebound), Err(403));
    }

    #[test]
    fn through_home_assistant_only_its_own_origin_comes() {
        let ingress = Entrance::Ingress { peer: [172, 30, 32, 2].into() };
        let judge = |headers: &[(&str, &str)]| from(&ingress, "/api/doorbells", headers);
        let lan = ("host", "homeassistant.local:8123");
        assert_eq!(judge(&[lan]), Ok(From::Here));
        assert_eq!(judge(&[lan, ("origin", "http://homeassistant.local:8123")]), Ok(From::Here));
        assert_eq!(
            judge(&[lan, ("origin", "http://homeassistant.local:9000")]),
            Err(403),
            "another port is another page"
        );
        assert_eq!(judge(&[lan, ("origin", "http://evil.example")]), Err(403));
        assert_eq!(judge(&[lan, ("origin", "http://card.example:8123")]), Err(403), "listed for the direct entrance");
        assert_eq!(judge(&[lan, ("origin", "null")]), Err(403));
        for site in ["same-site", "cross-site"] {
            assert_eq!(judge(&[lan, ("sec-fetch-site", site)]), Err(403));
        }
        let tls = ("origin", "https://home.example:8443");
        assert_eq!(judge(&[("host", "home.example"), tls]), Ok(From::Here), "a proxy dropped the port");
        let renamed = [("host", "10.0.0.2:8123"), ("x-forwarded-host", "home.example:8443, inner"), tls];
        assert_eq!(judge(&renamed), Ok(From::Here), "a proxy put its own name into Host");
        assert_eq!(judge(&[("host", "10.0.0.2:8123"), ("sec-fetch-site", "same-origin"), tls]), Ok(From::Here));
    }
}
