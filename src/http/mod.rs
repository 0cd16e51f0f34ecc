//! The HTTP face: the page, its API, and the way in for WHEP (docs/http-api.md).
//!
//! Every request passes, from the outside in: the security headers, the `Host` and `Origin` rules
//! ([`guard`]), the bearer token ([`auth`]), and only then a handler of the table in [`routes`].

mod accounts;
mod api;
mod auth;
mod diagnostics;
mod door;
mod error;
mod events;
pub mod go2rtc;
mod guard;
mod kvs;
mod metrics;
mod page;
mod serve;
mod snapshot;
pub mod whep;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Router, middleware};
use tokio::sync::{Semaphore, watch};

use crate::doorbell::{Accounts, Registry};
use crate::secret::Token;

pub use api::Switch;
pub use error::ApiError;
pub use serve::serve;

/// The largest request body; WHEP has a smaller one of its own.
const BODY_LIMIT: usize = 256 * 1024;
/// How many pages may listen to events at once; one more is told so with 503.
const LISTENERS: usize = 64;

/// What the HTTP face shows and lets people do.
pub struct Face {
    pub doorbells: Registry,
    pub accounts: Accounts,
    /// `None` when no broker is configured.
    pub mqtt_connected: watch::Receiver<Option<bool>>,
    /// The WHEP routes; they get the same guards as every other route.
    pub whep: Router,
    /// What other parts count: name (without prefix, ending in `_total` when it only grows) and value, for `/metrics`.
    pub counters: Arc<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
    pub version: &'static str,
    /// Asked for on every route but the public ones; needed beyond loopback.
    pub token: Option<Token>,
    /// Host names under which the service may be addressed, besides `localhost`, IP addresses and the machine's own:
    /// those of a reverse proxy.
    pub names: Vec<String>,
    /// Whether the doorbells are the virtual ones of `doorstep demo`.
    pub demo: bool,
}

/// A listener that strangers can reach, without a token that keeps them out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can be reached from other machines, so it needs a token. \
     Set `http.token`, or listen on `127.0.0.1`, then start again."
)]
pub struct Exposed(pub SocketAddr);

/// What handlers share.
struct House {
    doorbells: Registry,
    accounts: Accounts,
    mqtt_connected: watch::Receiver<Option<bool>>,
    counters: Arc<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
    version: &'static str,
    demo: bool,
    listeners: Arc<Semaphore>,
    /// What the audit log says of whoever passes: that they had the token, or that there is none.
    who: &'static str,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Without the token: liveness, and the page's own code, which holds nothing of this house.
    Public,
    Token,
    /// The token, or for programs that cannot send one: the same as the password of HTTP Basic.
    TokenOrPassword,
}

struct Route {
    path: &'static str,
    access: Access,
    methods: MethodRouter<Arc<House>>,
}

/// Every route but WHEP's. There is no other way to add one, so the test that walks this table walks them all.
fn routes() -> Vec<Route> {
    let guarded = |path, methods| Route { path, access: Access::Token, methods };
    let public = |path, methods| Route { path, access: Access::Public, methods };
    let lenient = |path, methods| Route { path, access: Access::TokenOrPassword, methods };
    let mut routes = vec![
        guarded("/", get(page::index)),
        guarded("/api/doorbells", get(api::list)),
        guarded("/api/doorbells/{id}", get(api::one)),
        guarded("/api/doorbells/{id}/talk", post(api::talk)),
        guarded("/api/doorbells/{id}/stream", post(api::stream)),
        // Of any method, so that they alone decide whether they are there.
        guarded("/api/doorbells/{id}/unlock", any(door::unlock)),
        guarded("/api/doorbells/{id}/lock", any(door::lock)),
        guarded("/api/doorbells/{id}/garage", any(door::garage)),
        guarded("/api/doorbells/{id}/snapshot.jpg", get(snapshot::take)),
        guarded("/api/doorbells/{id}/diagnostics", get(diagnostics::ask)),
        guarded("/api/accounts", get(accounts::list)),
        guarded("/api/accounts/rediscover", post(accounts::rediscover)),
        guarded("/api/accounts/{n}/code", post(accounts::code)),
        lenient("/api/wyze/{id}/kvs", get(kvs::call)),
        guarded("/api/events", get(events::listen)),
        guarded("/metrics", get(metrics::text)),
        public("/health", get(api::health)),
    ];
    routes.extend(page::ASSETS.iter().map(|asset| public(asset.path, get(move |headers| page::asset(asset, headers)))));
    routes
}

/// Every address but WHEP's, with `{id}` for a doorbell and `{n}` for an account, so that a test can walk them all.
pub fn paths() -> impl Iterator<Item = &'static str> {
    routes().into_iter().map(|route| route.path)
}

/// The whole face, to be served on `local`.
///
/// # Errors
/// When `local` is not a loopback address and there is no token.
pub fn router(face: Face, local: SocketAddr) -> Result<Router, Exposed> {
    if face.token.is_none() && !local.ip().is_loopback() {
        return Err(Exposed(local));
    }
    let house = Arc::new(House {
        doorbells: face.doorbells,
        accounts: face.accounts,
        mqtt_connected: face.mqtt_connected,
        counters: face.counters,
        version: face.version,
        demo: face.demo,
        listeners: Arc::new(Semaphore::new(LISTENERS)),
        who: if face.token.is_some() { "token" } else { "loopback" },
    });
    let (mut public, mut guarded, mut lenient) = (Router::new(), Router::new(), Router::new());
    for Route { path, access, methods } in routes() {
        match access {
            Access::Public => public = public.route(path, methods),
            Access::Token => guarded = guarded.route(path, methods),
            Access::TokenOrPassword => lenient = lenient.route(path, methods),
        }
    }
    guarded = guarded.merge(face.whep.with_state(()));
    guarded = guarded.fallback(async || ApiError::NoSuchRoute).method_not_allowed_fallback(async || ApiError::Method);
    lenient = lenient.method_not_allowed_fallback(async || ApiError::Method);
    if let Some(token) = &face.token {
        let gate = Arc::new(auth::Gate::new(token));
        guarded = guarded.layer(middleware::from_fn_with_state((gate.clone(), Access::Token), auth::check));
        lenient = lenient.layer(middleware::from_fn_with_state((gate, Access::TokenOrPassword), auth::check));
    }
    let names = Arc::new(guard::Names::new(face.names));
    Ok(public
        .merge(lenient)
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(names, guard::check))
        .layer(middleware::from_fn(guard::dress))
        .with_state(house))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::doorbell::accounts::Wishes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    fn face(token: Option<Token>) -> Face {
        let no_wishes = Wishes { options: HashMap::new(), locks: BTreeSet::new() };
        let (doorbells, locks) = (Registry::default(), Registry::default());
        Face {
            doorbells: doorbells.clone(),
            accounts: Accounts::start(Vec::new(), no_wishes, doorbells, locks, &CancellationToken::new()),
            mqtt_connected: watch::channel(None).1,
            whep: Router::new().route("/whep/{id}", post(async || "an answer")),
            counters: Arc::new(Vec::new),
            version: "0",
            token,
            names: Vec::new(),
            demo: false,
        }
    }

    async fn status(address: SocketAddr, method: &str, path: &str) -> u16 {
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: 11\r\n\r\n{{\"on\":true}}"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn no_route_but_the_public_ones_opens_without_the_token() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = router(face(Some(Token::new("secret"))), address).unwrap();
        tokio::spawn(serve(listener, router, stop.clone()));
        let known = routes().into_iter().map(|route| (route.path, route.access));
        let others = ["/whep/{id}", "/whep/{id}/1", "/nothing", "/api", "/api/doorbells/", "//health", "/health/"];
        for (path, access) in known.chain(others.map(|path| (path, Access::Token))) {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let status = status(address, method, &path.replace("{id}", "fake_1").replace("{n}", "0")).await;
                match (access, method) {
                    (Access::Token | Access::TokenOrPassword, _) => assert_eq!(status, 401, "{method} {path}"),
                    (Access::Public, "GET" | "HEAD") => assert_eq!(status, 200, "{method} {path}"),
                    (Access::Public, _) => assert_eq!(status, 405, "{method} {path}"),
                }
            }
        }
        stop.cancel();
    }

    #[test]
    fn strangers_are_not_served_without_a_token() {
        for open in ["0.0.0.0:8480", "192.168.1.2:8480", "[::]:8480"] {
            let open: SocketAddr = open.parse().unwrap();
            assert_eq!(router(face(None), open).err(), Some(Exposed(open)));
            assert!(router(face(Some(Token::new("secret"))), open).is_ok());
        }
        assert!(router(face(None), "127.0.0.1:8480".parse().unwrap()).is_ok());
        assert!(router(face(None), "[::1]:8480".parse().unwrap()).is_ok());
    }
}
