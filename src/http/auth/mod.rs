//! Who may pass (reliability.md S1, S2, S6, S22, S27): at the ingress entrance whoever comes, for only Home
//! Assistant's Supervisor can reach it; at the direct one whoever has a token, or a ticket or key for the one stream
//! that it opens.

mod patience;
mod tickets;
mod tokens;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{Access, ApiError, page};
use crate::clock::{self, Instant};
use crate::model::DeviceId;
use patience::Patience;
pub(super) use tickets::TICKET_LASTS;
pub use tickets::{MediaKeys, Tickets};
pub use tokens::{Generated, NotMade, Tokens};

/// Browsers cannot set headers on a WebSocket; the page offers this prefix and the token in base64url
/// as a second protocol.
const PROTOCOL_PREFIX: &str = "bearer.";
/// Who is signed in at Home Assistant, as its Supervisor tells it.
const INGRESS_USER: &str = "x-remote-user-id";
/// Home Assistant's ids are 32 hexadecimal digits; with dashes they would be 36.
const USER_ID_MAX: usize = 36;

/// By which way people come in.
#[derive(Clone)]
pub enum Entrance {
    /// Through Home Assistant: connections of this peer only, its Supervisor, which has asked who it is. All others
    /// are closed before a byte is read.
    Ingress { peer: IpAddr },
    /// By bearer token. On loopback, and without a token from whoever starts the service, everybody on this machine.
    Direct { tokens: Tokens },
}

/// Who passed: `loopback`, `token`, `token NAME`, `ingress` with the user's id; for the audit log and nothing else.
#[derive(Clone)]
pub(super) struct Who(pub(super) Arc<str>);

impl Who {
    /// The way in, without the name: `loopback`, `token` or `ingress`.
    pub(super) fn via(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
}

/// Whoever decides at one entrance.
pub(super) struct Gate {
    entrance: Entrance,
    /// Whether everybody on this machine passes.
    open: bool,
    patience: Patience,
    tickets: Tickets,
    keys: MediaKeys,
}

pub(super) async fn check(
    State((gate, access)): State<(Arc<Gate>, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    match gate.admit(&request, access) {
        Ok(who) => {
            let by_ticket = &*who.0 == TICKET;
            request.extensions_mut().insert(who);
            let response = next.run(request).await;
            if by_ticket {
                gate.remember_session(response.headers());
            }
            response
        }
        // A browser cannot send the token with its first request, so the refusal is the page, which asks for it.
        Err(ApiError::TokenMissing) if request.method() == Method::GET && request.uri().path() == "/" => {
            page::sign_in()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// What those are called who have no more than one stream's signalling; nothing they reach is audited.
const TICKET: &str = "ticket";
const KEY: &str = "key";

impl Gate {
    pub(super) fn new(entrance: Entrance, local: SocketAddr, tickets: Tickets, keys: MediaKeys) -> Self {
        let open = match &entrance {
            Entrance::Ingress { .. } => false,
            Entrance::Direct { tokens } => local.ip().is_loopback() && !tokens.any_given(),
        };
        Self { entrance, open, patience: Patience::default(), tickets, keys }
    }

    fn admit(&self, request: &Request, access: Access) -> Result<Who, ApiError> {
        let peer = request.extensions().get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
        // Without a peer there is no socket: all such requests share one address.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        let tokens = match &self.entrance {
            // Looked at again, should this router ever be served at another listener.
            Entrance::Ingress { peer: supervisor } if peer == supervisor.to_canonical() => {
                return Ok(Who(ingress_user(request.headers()).into()));
            }
            Entrance::Ingress { .. } => return Err(ApiError::ForeignPeer),
            Entrance::Direct { .. } if self.open => return Ok(Who("loopback".into())),
            Entrance::Direct { tokens } => tokens,
        };
        match offered(request.headers(), access) {
            Some(token) => self.token(tokens, peer, &token, clock::now()),
            None => self.pass(request.uri(), access).ok_or(ApiError::TokenMissing)?.map(|who| Who(who.into())),
        }
    }

    fn token(&self, tokens: &Tokens, peer: IpAddr, token: &[u8], now: Instant) -> Result<Who, ApiError> {
        // Whoever guesses from the address of Home Assistant, as all do behind one proxy, does not shut it out.
        if let Some(name) = tokens.name_of_made(token) {
            return Ok(Who(name.into()));
        }
        if let Some(wait) = self.patience.wait(peer, now) {
            return Err(ApiError::TooManyAttempts { wait });
        }
        let Some(name) = tokens.name(token) else {
            self.patience.failed(peer, now);
            return Err(ApiError::TokenWrong);
        };
        self.patience.succeeded(peer);
        Ok(Who(name.into()))
    }

    /// What the address itself brings along: a ticket or a key, or the name of a session that a ticket has opened.
    /// `None` when it brings nothing. A wrong one is not held against its sender: 128 bits are not guessed.
    fn pass(&self, uri: &Uri, access: Access) -> Option<Result<&'static str, ApiError>> {
        let (stream, session) = match access {
            Access::Whep => whep_path(uri.path())?,
            Access::Signalling => (query(uri, "src")?, None),
            _ => return None,
        };
        let good = |is_good: bool, who| if is_good { Ok(who) } else { Err(ApiError::TicketWrong) };
        if let Some(session) = session {
            return self.tickets.has_opened(session).then_some(Ok(TICKET));
        }
        let stream = DeviceId::parse(&stream).ok();
        if let Some(ticket) = query(uri, "ticket") {
            return Some(good(stream.is_some_and(|stream| self.tickets.redeem(&stream, &ticket)), TICKET));
        }
        let key = query(uri, "key").filter(|_| access == Access::Signalling)?;
        Some(good(stream.is_some_and(|stream| self.keys.admits(&stream, &key)), KEY))
    }

    fn remember_session(&self, headers: &HeaderMap) {
        let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        if let Some((_, session)) = location.and_then(|location| location.rsplit_once('/')) {
            self.tickets.opened(session);
        }
    }
}

/// The token a request came with.
fn offered(headers: &HeaderMap, access: Access) -> Option<Vec<u8>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, offered) = value.to_str().ok()?.split_once(' ')?;
        return match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(offered.trim().as_bytes().to_vec()),
            // Browsers send it unasked to wherever they sent it once, so it counts only where nothing is done.
            "basic" if access.takes_password() => password(offered.trim()),
            _ => None,
        };
    }
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let token = protocols.split(',').find_map(|protocol| protocol.trim().strip_prefix(PROTOCOL_PREFIX))?;
    URL_SAFE_NO_PAD.decode(token).ok()
}

/// What stands after the user's name in the credentials of HTTP Basic (RFC 7617 §2).
fn password(credentials: &str) -> Option<Vec<u8>> {
    let both = STANDARD.decode(credentials).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    Some(both[colon + 1..].to_vec())
}

/// `ingress`, and the user's id as far as it looks like one: it goes into a log.
fn ingress_user(headers: &HeaderMap) -> String {
    let id = headers.get(INGRESS_USER).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let is_id = !id.is_empty() && id.len() <= USER_ID_MAX && id.bytes().all(|b| b"0123456789abcdef-".contains(&b));
    if is_id { format!("ingress {id}") } else { "ingress".to_owned() }
}

/// The stream and the session in an address of WHEP.
fn whep_path(path: &str) -> Option<(String, Option<&str>)> {
    let rest = path.strip_prefix("/whep/")?;
    Some(match rest.split_once('/') {
        Some((stream, session)) => (stream.to_owned(), Some(session)),
        None => (rest.to_owned(), None),
    })
}

/// The value of this name in the query. None where there are two: a handler might go by the other one.
fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    let mut values = pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    values.next().filter(|_| values.next().is_none())
}
