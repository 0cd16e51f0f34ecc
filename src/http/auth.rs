//! The bearer token, and patience with those who guess at it (reliability.md S1, S2, S6).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Access, ApiError, page};
use crate::clock::{self, Instant};
use crate::secret::Token;

/// Wrong tokens that one address may send within `WINDOW`.
const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The first refusal of an address lasts this long, each further one twice as long as the one before.
const FIRST_BLOCK: Duration = Duration::from_secs(60);
const LONGEST_BLOCK: Duration = Duration::from_secs(15 * 60);
/// An address that was quiet for so long starts anew.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// Addresses remembered; the one that was quiet longest makes room.
const ADDRESSES: usize = 1024;

/// Browsers cannot set headers on a WebSocket; the page offers this prefix and the token in base64url
/// as a second protocol.
const PROTOCOL_PREFIX: &str = "bearer.";

pub(super) struct Gate {
    /// SHA-256 of the token: equal lengths to compare, and nothing worth stealing.
    token: [u8; 32],
    attempts: Mutex<HashMap<IpAddr, Attempts>>,
}

#[derive(Clone, Copy)]
struct Attempts {
    failures: u32,
    since: Instant,
    blocks: u32,
    blocked_until: Instant,
    last: Instant,
}

pub(super) async fn check(State((gate, access)): State<(Arc<Gate>, Access)>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    // Without a peer there is no socket: all such requests share one address.
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    match gate.admit(peer, offered(request.headers(), access).as_deref(), clock::now()) {
        Ok(()) => next.run(request).await,
        // A browser cannot send the token with its first request, so the refusal is the page, which asks for it.
        Err(ApiError::TokenMissing) if request.method() == Method::GET && request.uri().path() == "/" => {
            page::sign_in()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// The token a request came with.
fn offered(headers: &HeaderMap, access: Access) -> Option<Vec<u8>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, offered) = value.to_str().ok()?.split_once(' ')?;
        return match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(offered.trim().as_bytes().to_vec()),
            // Browsers send it unasked to wherever they sent it once, so it counts only where nothing is done.
            "basic" if access == Access::TokenOrPassword => password(offered.trim()),
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

impl Gate {
    pub(super) fn new(token: &Token) -> Self {
        Self { token: Sha256::digest(token.expose()).into(), attempts: Mutex::default() }
    }

    /// Whether a request from `peer` with this token may pass. A request without a token is refused but not
    /// held against its sender: that is how a browser begins.
    fn admit(&self, peer: IpAddr, token: Option<&[u8]>, now: Instant) -> Result<(), ApiError> {
        let token = token.ok_or(ApiError::TokenMissing)?;
        let peer = household(peer);
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at first, so that a guess made while blocked is answered without being tried.
        if let Some(until) = attempts.get(&peer).map(|a| a.blocked_until).filter(|until| *until > now) {
            return Err(ApiError::TooManyAttempts { wait: until - now });
        }
        if Sha256::digest(token).ct_eq(&self.token).into() {
            attempts.remove(&peer);
            return Ok(());
        }
        make_room(&mut attempts, peer, now);
        attempts.entry(peer).or_insert_with(|| Attempts::new(now)).fail(now);
        Err(ApiError::TokenWrong)
    }
}

impl Attempts {
    fn new(now: Instant) -> Self {
        Self { failures: 0, since: now, blocks: 0, blocked_until: now, last: now }
    }

    fn fail(&mut self, now: Instant) {
        if now - self.last > FORGET {
            *self = Self::new(now);
        }
        if now - self.since > WINDOW {
            (self.failures, self.since) = (0, now);
        }
        self.last = now;
        self.failures += 1;
        if self.failures == FAILURES {
            let block = FIRST_BLOCK * (1 << self.blocks.min(8));
            self.blocked_until = now + block.min(LONGEST_BLOCK);
            self.blocks += 1;
            self.failures = 0;
        }
    }
}

/// An IPv6 host owns a /64 and could guess from all of it; it counts as one address.
fn household(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

fn make_room(attempts: &mut HashMap<IpAddr, Attempts>, peer: IpAddr, now: Instant) {
    if attempts.len() < ADDRESSES || attempts.contains_key(&peer) {
        return;
    }
    attempts.retain(|_, a| now - a.last <= FORGET);
    let quietest = attempts.iter().min_by_key(|(_, a)| a.last).map(|(peer, _)| *peer);
    if let Some(quietest) = quietest.filter(|_| attempts.len() >= ADDRESSES) {
        attempts.remove(&quietest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));

    fn gate() -> Gate {
        Gate::new(&Token::new("correct horse battery staple"))
    }

    fn guess(gate: &Gate, peer: IpAddr, now: Instant) -> ApiError {
        gate.admit(peer, Some(b"guess"), now).expect_err("a guess was let in")
    }

    fn blocked_for(gate: &Gate, peer: IpAddr, now: Instant) -> Duration {
        for _ in 0..FAILURES {
            assert!(matches!(guess(gate, peer, now), ApiError::TokenWrong));
        }
        match guess(gate, peer, now) {
            ApiError::TooManyAttempts { wait } => wait,
            other => panic!("an eleventh guess was answered with {other:?}"),
        }
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let (gate, now) = (gate(), clock::now());
        assert!(gate.admit(HOME, Some(b"correct horse battery staple"), now).is_ok());
        assert!(matches!(gate.admit(HOME, None, now), Err(ApiError::TokenMissing)));
        for wrong in ["", "correct horse battery stapl", "correct horse battery staple "] {
            assert!(matches!(gate.admit(HOME, Some(wrong.as_bytes()), now), Err(ApiError::TokenWrong)), "{wrong:?}");
        }
    }

    #[test]
    fn guessing_is_answered_slower_and_slower_up_to_a_bound() {
        let (gate, mut now) = (gate(), clock::now());
        for minutes in [1, 2, 4, 8, 15, 15] {
            let wait = blocked_for(&gate, HOME, now);
            assert_eq!(wait, Duration::from_secs(60 * minutes));
            now += wait;
        }
    }

    #[test]
    fn a_guesser_does_not_shut_out_other_addresses() {
        let (gate, now) = (gate(), clock::now());
        blocked_for(&gate, HOME, now);
        let other = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 3));
        assert!(gate.admit(other, Some(b"correct horse battery staple"), now).is_ok());
        assert!(
            matches!(
                gate.admit(HOME, Some(b"correct horse battery staple"), now),
                Err(ApiError::TooManyAttempts { .. })
            ),
            "a blocked address could still test tokens"
        );
    }

    #[test]
    fn a_missing_token_is_never_held_against_its_sender() {
        let (gate, now) = (gate(), clock::now());
        for _ in 0..100 {
            assert!(matches!(gate.admit(HOME, None, now), Err(ApiError::TokenMissing)));
        }
        assert!(gate.admit(HOME, Some(b"correct horse battery staple"), now).is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_guesser() {
        let (gate, now) = (gate(), clock::now());
        for host in 1..=u128::from(FAILURES) {
            guess(&gate, IpAddr::V6(Ipv6Addr::from((0x2001_0db8 << 96) | host)), now);
        }
        let next = guess(&gate, IpAddr::V6(Ipv6Addr::from((0x2001_0db8 << 96) | 77)), now);
        assert!(matches!(next, ApiError::TooManyAttempts { .. }), "a new host of the same /64 could go on guessing");
    }

    #[test]
    fn a_million_guessers_cannot_fill_the_memory() {
        let (gate, now) = (gate(), clock::now());
        for n in 0..(ADDRESSES as u32 * 3) {
            guess(&gate, IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), now + Duration::from_millis(n.into()));
        }
        assert!(gate.attempts.lock().unwrap().len() <= ADDRESSES);
    }
}
