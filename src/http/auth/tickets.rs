//! What opens one stream's signalling and nothing else, for programs and browsers that can send neither a header nor
//! the token: tickets, which are good once and for a minute (reliability.md S2), and media keys.
//!
//! Both are 128 random bits and are held as SHA-256, so that how long a look-up takes says nothing about them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::clock::{self, Instant};
use crate::model::DeviceId;

/// How long a ticket may be used.
pub(in crate::http) const TICKET_LASTS: Duration = Duration::from_secs(60);
/// Tickets that nobody has used; the oldest makes room.
const TICKETS: usize = 256;
/// Sessions opened by tickets that are remembered; the oldest makes room, and ends by itself.
const SESSIONS: usize = 256;
/// How long a key that was replaced is good for whoever is about to use it.
const KEY_OUTLIVES: Duration = Duration::from_secs(600);
/// Streams that have a key; the one whose key is oldest makes room.
const KEYS: usize = 256;

type Hash = [u8; 32];

/// 128 random bits in base64url, and what is held of them.
fn draw() -> Result<(String, Hash), getrandom::Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    let text = URL_SAFE_NO_PAD.encode(bits);
    let hash = hash(&text);
    Ok((text, hash))
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

/// Tickets. Cheap to clone; all clones are one book.
#[derive(Clone, Default)]
pub struct Tickets(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    /// The oldest first.
    tickets: VecDeque<Ticket>,
    /// WHEP sessions that were opened with one, the oldest first.
    sessions: VecDeque<Hash>,
}

struct Ticket {
    hash: Hash,
    stream: DeviceId,
    until: Instant,
}

impl Tickets {
    /// A ticket for this stream.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn issue(&self, stream: &DeviceId) -> Result<String, getrandom::Error> {
        let (ticket, hash) = draw()?;
        let now = clock::now();
        let mut book = self.lock();
        book.tickets.retain(|ticket| ticket.until > now);
        while book.tickets.len() >= TICKETS {
            book.tickets.pop_front();
        }
        book.tickets.push_back(Ticket { hash, stream: stream.clone(), until: now + TICKET_LASTS });
        Ok(ticket)
    }

    /// Whether this ticket is good for `stream`. It is good for nothing afterwards.
    pub(super) fn redeem(&self, stream: &DeviceId, ticket: &str) -> bool {
        let hash = hash(ticket);
        let mut book = self.lock();
        let Some(at) = book.tickets.iter().position(|ticket| ticket.hash == hash) else { return false };
        let found = book.tickets.remove(at);
        found.is_some_and(|found| found.stream == *stream && found.until > clock::now())
    }

    /// Remembers a session that was opened with a ticket: whoever knows its random name may change and end it.
    pub(super) fn opened(&self, session: &str) {
        let mut book = self.lock();
        while book.sessions.len() >= SESSIONS {
            book.sessions.pop_front();
        }
        book.sessions.push_back(hash(session));
    }

    pub(super) fn has_opened(&self, session: &str) -> bool {
        self.lock().sessions.contains(&hash(session))
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys for programs that come back to a stream again and again, such as go2rtc. A key is good until the next one is
/// issued for its stream, and for ten minutes after that, so that nobody who was just told the old one is turned away.
/// Cheap to clone; all clones are one set. They do not survive the process.
#[derive(Clone, Default)]
pub struct MediaKeys(Arc<Mutex<HashMap<DeviceId, Keys>>>);

struct Keys {
    newest: Hash,
    issued: Instant,
    /// The one before, and how long it is still good.
    before: Option<(Hash, Instant)>,
}

impl MediaKeys {
    /// A new key for this stream.
    ///
    /// # Errors
    /// When the machine gives no randomness; the key before stays.
    pub fn issue(&self, stream: &DeviceId) -> Result<String, getrandom::Error> {
        let (key, newest) = draw()?;
        let now = clock::now();
        let mut all = self.lock();
        let before = all.remove(stream).map(|old| (old.newest, now + KEY_OUTLIVES));
        if all.len() >= KEYS {
            let oldest = all.iter().min_by_key(|(_, keys)| keys.issued).map(|(stream, _)| stream.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.insert(stream.clone(), Keys { newest, issued: now, before });
        Ok(key)
    }

    /// Whether this key opens `stream`.
    pub fn admits(&self, stream: &DeviceId, key: &str) -> bool {
        let (hash, now) = (hash(key), clock::now());
        let all = self.lock();
        let Some(keys) = all.get(stream) else { return false };
        keys.newest == hash || keys.before.is_some_and(|(before, until)| before == hash && until > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Keys>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: &str) -> DeviceId {
        DeviceId::parse(id).unwrap()
    }

    #[test]
    fn a_ticket_opens_its_own_stream_once() {
        let (tickets, front) = (Tickets::default(), stream("front"));
        let ticket = tickets.issue(&front).unwrap();
        assert!(tickets.redeem(&front, &ticket));
        assert!(!tickets.redeem(&front, &ticket), "it was good twice");
        let ticket = tickets.issue(&front).unwrap();
        assert!(!tickets.redeem(&stream("back"), &ticket));
        assert!(!tickets.redeem(&front, &ticket), "tried at a wrong stream, it is spent");
        assert!(!tickets.redeem(&front, ""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_for_a_minute() {
        let (tickets, front) = (Tickets::default(), stream("front"));
        let [in_time, late] = [0, 0].map(|_| tickets.issue(&front).unwrap());
        tokio::time::advance(TICKET_LASTS - Duration::from_millis(1)).await;
        assert!(tickets.redeem(&front, &in_time));
        tokio::time::advance(Duration::from_millis(1)).await;
        tickets.issue(&front).unwrap();
        assert_eq!(tickets.lock().tickets.len(), 1, "one that is good for nothing takes up room");
        assert!(!tickets.redeem(&front, &late));
        let late = tickets.issue(&front).unwrap();
        tokio::time::advance(TICKET_LASTS).await;
        assert!(!tickets.redeem(&front, &late));
    }

    #[test]
    fn tickets_sessions_and_keys_are_bounded() {
        let (tickets, keys) = (Tickets::default(), MediaKeys::default());
        let first = tickets.issue(&stream("s")).unwrap();
        for n in 0..3 * TICKETS {
            tickets.issue(&stream("s")).unwrap();
            tickets.opened(&n.to_string());
            keys.issue(&stream(&format!("s{n}"))).unwrap();
        }
        assert_eq!(tickets.lock().tickets.len(), TICKETS);
        assert_eq!(tickets.lock().sessions.len(), SESSIONS);
        assert_eq!(keys.lock().len(), KEYS);
        assert!(!tickets.redeem(&stream("s"), &first), "the newest made room for the oldest");
        assert!(tickets.has_opened(&(3 * SESSIONS - 1).to_string()) && !tickets.has_opened("0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_opens_one_stream_until_ten_minutes_after_the_next() {
        let (keys, front) = (MediaKeys::default(), stream("front"));
        let first = keys.issue(&front).unwrap();
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(keys.admits(&front, &first));
        assert!(!keys.admits(&stream("back"), &first) && !keys.admits(&front, "") && !keys.admits(&front, "x"));
        let second = keys.issue(&front).unwrap();
        tokio::time::advance(KEY_OUTLIVES - Duration::from_millis(1)).await;
        assert!(keys.admits(&front, &first) && keys.admits(&front, &second));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!keys.admits(&front, &first) && keys.admits(&front, &second));
    }
}
