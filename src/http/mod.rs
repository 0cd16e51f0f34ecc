//! The HTTP face: the page, its API, and the way in for WHEP (docs/http-api.md).
//!
//! Every request passes, from the outside in: the security headers, the `Host` and `Origin` rules
//! ([`guard`]), the bearer token ([`auth`]), and only then a handler of the table in [`routes`].

mod access;
mod accounts;
mod api;
mod auth;
mod card;
mod clips;
mod diagnostics;
mod door;
mod error;
mod events;
pub mod go2rtc;
mod guard;
mod kvs;
mod metrics;
mod page;
mod say;
mod serve;
mod snapshot;
mod upload;
pub mod whep;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, any, get, post, put};
use axum::{Router, middleware};
use tokio::sync::{Semaphore, watch};

use crate::doorbell::{Accounts, Registry, Voice};
use crate::model::MqttLink;

pub use accounts::{About, Setup, SetupError};
pub use api::Switch;
pub use auth::{Entrance, Generated, MediaKeys, NotMade, Tickets, Tokens};
pub use error::ApiError;
pub use serve::{attend, serve};

use upload::Uploads;

/// The largest request body; WHEP has a smaller one of its own, and files of sound a larger one.
const BODY_LIMIT: usize = 256 * 1024;
/// How many pages may listen to events at once; one more is told so with 503.
const LISTENERS: usize = 64;

/// What the HTTP face shows and lets people do. Cheap to clone: one face is served at several entrances.
#[derive(Clone)]
pub struct Face {
    pub doorbells: Registry,
    pub accounts: Accounts,
    /// Keeps the clips.
    pub voice: Arc<dyn Voice>,
    pub setup: Arc<dyn Setup>,
    pub mqtt: watch::Receiver<MqttLink>,
    /// The WHEP routes; they get the same guards as every other route.
    pub whep: whep::Routes,
    /// The same for go2rtc and the cards that are made for it.
    pub go2rtc: go2rtc::Routes,
    /// What other parts count: name (without prefix, ending in `_total` when it only grows) and value, for `/metrics`.
    pub counters: Arc<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
    pub version: &'static str,
    /// Where other machines come in, if they may; shown at every entrance, and its token can be made there.
    pub direct: Option<Direct>,
    /// For one stream each; the same at every entrance.
    pub tickets: Tickets,
    /// As `tickets`.
    pub keys: MediaKeys,
    /// Host names under which the service may be addressed, besides `localhost`, IP addresses and the machine's own:
    /// those of a reverse proxy.
    pub names: Vec<String>,
    /// Origins, as browsers write them (`scheme://host[:port]`), whose pages may call the direct entrance.
    pub origins: Vec<String>,
    /// Whether the doorbells are the virtual ones of `doorstep demo`.
    pub demo: bool,
}

/// The entrance by token, as the page tells of it.
#[derive(Clone)]
pub struct Direct {
    pub listen: SocketAddr,
    pub tokens: Tokens,
}

/// A listener that strangers can reach, without a token that keeps them out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can be reached from other machines, so it needs a token. \
     Set `http.token`, or listen on `127.0.0.1` and make a token on the page there, then start again."
)]
pub struct Exposed(pub SocketAddr);

/// What handlers share.
struct House {
    doorbells: Registry,
    accounts: Accounts,
    voice: Arc<dyn Voice>,
    setup: Arc<dyn Setup>,
    mqtt: watch::Receiver<MqttLink>,
    counters: Arc<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
    version: &'static str,
    demo: bool,
    listeners: Arc<Semaphore>,
    direct: Option<Direct>,
    tickets: Tickets,
    uploads: Uploads,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Without the token: liveness, and the page's own code, which holds nothing of this house.
    Public,
    /// As `Public`, and for the pages of other sites: the dashboard card, which Home Assistant's page loads.
    Anywhere,
    Token,
    /// The token, or for programs that cannot send one: the same as the password of HTTP Basic.
    TokenOrPassword,
    /// The token, or a ticket for the doorbell in the address; and for the session that a ticket has opened, its name.
    Whep,
    /// As `TokenOrPassword`, or a ticket or a key for the doorbell that `?src=` names.
    Signalling,
}

impl Access {
    const ALL: [Self; 6] =
        [Self::Public, Self::Anywhere, Self::Token, Self::TokenOrPassword, Self::Whep, Self::Signalling];

    fn asks(self) -> bool {
        !matches!(self, Self::Public | Self::Anywhere)
    }

    fn takes_password(self) -> bool {
        matches!(self, Self::TokenOrPassword | Self::Signalling)
    }
}

struct Route {
    path: &'static str,
    access: Access,
    methods: MethodRouter<Arc<House>>,
}

/// Every route. There is no other way to add one, so the test that walks this table walks them all.
fn routes(whep: whep::Routes, go2rtc: go2rtc::Routes) -> Vec<Route> {
    let guarded = |path, methods| Route { path, access: Access::Token, methods };
    let public = |path, methods| Route { path, access: Access::Public, methods };
    let lenient = |path, methods| Route { path, access: Access::TokenOrPassword, methods };
    let viewing = |path, methods: MethodRouter| Route { path, access: Access::Whep, methods: methods.with_state(()) };
    let mut routes = vec![
        guarded("/", get(page::index)),
        guarded("/api/doorbells", get(api::list)),
        guarded("/api/doorbells/{id}", get(api::one)),
        guarded("/api/doorbells/{id}/talk", post(api::talk)),
        guarded("/api/doorbells/{id}/stream", post(api::stream)),
        guarded("/api/doorbells/{id}/ticket", post(access::ticket)),
        // Of any method, so that they alone decide whether they are there.
        guarded("/api/doorbells/{id}/unlock", any(door::unlock)),
        guarded("/api/doorbells/{id}/lock", any(door::lock)),
        guarded("/api/doorbells/{id}/garage", any(door::garage)),
        guarded("/api/doorbells/{id}/say", post(say::say).delete(say::stop)),
        guarded("/api/doorbells/{id}/snapshot.jpg", get(snapshot::take)),
        // The last piece is the ring's `event_id` and `.jpg`.
        guarded("/api/doorbells/{id}/rings/{picture}", get(snapshot::of_ring)),
        guarded("/api/doorbells/{id}/diagnostics", get(diagnostics::ask)),
        guarded("/api/clips", get(clips::list)),
        guarded("/api/clips/{name}", put(clips::keep).delete(clips::remove)),
        guarded("/api/access", get(access::show)),
        guarded("/api/access/token", post(access::make_token)),
        guarded("/api/accounts", get(accounts::list).post(accounts::add)),
        guarded("/api/accounts/{n}", put(accounts::correct).delete(accounts::remove)),
        guarded("/api/accounts/rediscover", post(accounts::rediscover)),
        guarded("/api/accounts/{n}/code", post(accounts::code)),
        lenient("/api/wyze/{id}/kvs", get(kvs::call)),
        guarded("/api/events", get(events::listen)),
        guarded("/metrics", get(metrics::text)),
        public("/health", get(api::health)),
        Route {
            path: page::CARD.path,
            access: Access::Anywhere,
            methods: get(|headers| page::asset(&page::CARD, headers)),
        },
        viewing("/whep/{id}", whep.offers),
        viewing("/whep/{id}/{session}", whep.sessions),
        lenient("/api/streams", go2rtc.streams.with_state(())),
        Route { path: "/api/ws", access: Access::Signalling, methods: go2rtc.signalling.with_state(()) },
    ];
    routes.extend(page::ASSETS.iter().map(|asset| public(asset.path, get(move |headers| page::asset(asset, headers)))));
    routes
}

/// Every address, with `{id}` for a doorbell, `{n}` for an account, `{name}` for a clip, `{picture}` for that of a ring
/// and `{session}` for a viewer, so that a test can walk them all.
pub fn paths() -> impl Iterator<Item = &'static str> {
    routes(whep::Routes::default(), go2rtc::Routes::default()).into_iter().map(|route| route.path)
}

/// The whole face, to be served on `local` to those who come by this entrance.
///
/// # Errors
/// When the entrance is the direct one, `local` is not a loopback address, and there is no token.
pub fn router(face: Face, entrance: &Entrance, local: SocketAddr) -> Result<Router, Exposed> {
    if let Entrance::Direct { tokens } = entrance {
        tokens.suffice_at(local)?;
    }
    let gate = Arc::new(auth::Gate::new(entrance.clone(), local, face.tickets.clone(), face.keys));
    let house = Arc::new(House {
        doorbells: face.doorbells,
        accounts: face.accounts,
        voice: face.voice,
        setup: face.setup,
        mqtt: face.mqtt,
        counters: face.counters,
        version: face.version,
        demo: face.demo,
        listeners: Arc::new(Semaphore::new(LISTENERS)),
        direct: face.direct,
        tickets: face.tickets,
        uploads: Uploads::new(),
    });
    let rules = Arc::new(guard::Rules::new(entrance, face.names, face.origins));
    let mut all = Router::new();
    for access in Access::ALL {
        let mut part = Router::new();
        for route in routes(face.whep.clone(), face.go2rtc.clone()).into_iter().filter(|route| route.access == access) {
            part = part.route(route.path, route.methods);
        }
        if access == Access::Token {
            part = part.fallback(async || ApiError::NoSuchRoute);
        }
        part = part.method_not_allowed_fallback(async || ApiError::Method);
        if access.asks() {
            part = part.layer(middleware::from_fn_with_state((gate.clone(), access), auth::check));
        }
        part = part.layer(middleware::from_fn_with_state((rules.clone(), access), guard::check));
        all = all.merge(part);
    }
    Ok(all
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::map_request(upload::in_time))
        .layer(middleware::from_fn_with_state(guard::Dress::new(entrance), guard::dress))
        .with_state(house))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::doorbell::accounts::Wishes;
    use crate::doorbell::vendor::BoxFuture;
    use crate::doorbell::voice::Mute;
    use crate::secret::Token;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    /// Nobody adds an account here.
    struct Unchangeable;

    impl Setup for Unchangeable {
        fn about(&self, _: usize) -> About {
            About::default()
        }

        fn add(&self, _: Value) -> BoxFuture<'static, Result<usize, SetupError>> {
            Box::pin(async { Err(SetupError::Full(0)) })
        }

        fn correct(&self, _: usize, _: Value) -> BoxFuture<'static, Result<(), SetupError>> {
            Box::pin(async { Err(SetupError::Configured) })
        }

        fn remove(&self, _: usize) -> BoxFuture<'static, Result<(), SetupError>> {
            Box::pin(async { Err(SetupError::Configured) })
        }
    }

    fn face() -> Face {
        let no_wishes = Wishes {
            options: HashMap::new(),
            locks: BTreeSet::new(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let (doorbells, locks) = (Registry::default(), Registry::default());
        Face {
            doorbells: doorbells.clone(),
            accounts: Accounts::start(Vec::new(), no_wishes, doorbells, locks, &CancellationToken::new()),
            voice: Arc::new(Mute),
            setup: Arc::new(Unchangeable),
            mqtt: watch::channel(MqttLink::Off).1,
            whep: whep::Routes { offers: post(async || "an answer"), sessions: MethodRouter::new() },
            go2rtc: go2rtc::Routes::default(),
            counters: Arc::new(Vec::new),
            version: "0",
            direct: None,
            tickets: Tickets::default(),
            keys: MediaKeys::default(),
            names: Vec::new(),
            origins: Vec::new(),
            demo: false,
        }
    }

    fn direct(token: Option<&str>) -> Entrance {
        Entrance::Direct { tokens: Tokens::of_config(token.map(Token::new).as_ref()) }
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
        let entrance = direct(Some("secret"));
        let router = router(face(), &entrance, address).unwrap();
        tokio::spawn(serve(listener, &entrance, router, stop.clone()));
        let known = routes(whep::Routes::default(), go2rtc::Routes::default())
            .into_iter()
            .map(|route| (route.path, route.access));
        let others = ["/nothing", "/api", "/api/doorbells/", "//health", "/health/"];
        for (path, access) in known.chain(others.map(|path| (path, Access::Token))) {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let status = status(address, method, &path.replace("{id}", "fake_1").replace("{n}", "0")).await;
                match (access, method) {
                    (Access::Public | Access::Anywhere, "GET" | "HEAD") => assert_eq!(status, 200, "{method} {path}"),
                    (Access::Public | Access::Anywhere, _) => assert_eq!(status, 405, "{method} {path}"),
                    _ => assert_eq!(status, 401, "{method} {path}"),
                }
            }
        }
        stop.cancel();
    }

    #[test]
    fn strangers_are_not_served_without_a_token() {
        for open in ["0.0.0.0:8480", "192.168.1.2:8480", "[::]:8480"] {
            let open: SocketAddr = open.parse().unwrap();
            assert_eq!(router(face(), &direct(None), open).err(), Some(Exposed(open)));
            assert!(router(face(), &direct(Some("secret")), open).is_ok());
        }
        assert!(router(face(), &direct(None), "127.0.0.1:8480".parse().unwrap()).is_ok());
        assert!(router(face(), &direct(None), "[::1]:8480".parse().unwrap()).is_ok());
    }
}
