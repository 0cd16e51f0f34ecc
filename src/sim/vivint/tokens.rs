//! The tokens of Vivint and of Firebase: JSON Web Tokens (RFC 7519) that only this cloud takes, since it remembers
//! which ones it made. They are not signed: no client has the key to check it.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::devices::merged;
use crate::clock::{self, Instant};
use crate::sim::made_up::random_hex;

/// More than any test asks for. The oldest are forgotten.
const TOKENS: usize = 4_096;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The API.
    Access,
    /// The exchange.
    Id,
    /// Identity Toolkit.
    Custom,
    /// The database.
    Firebase,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Unknown,
    Expired,
}

#[derive(Default)]
pub(super) struct Tokens {
    made: HashMap<String, Made>,
}

struct Made {
    purpose: Purpose,
    at: Instant,
    until: Instant,
}

impl Tokens {
    /// A token with these claims, and when it was made and ends.
    pub(super) fn make(&mut self, purpose: Purpose, life: Duration, claims: Value) -> String {
        let now = clock::now();
        let seconds = clock::unix_seconds();
        let times = json!({"iat": seconds, "exp": seconds + life.as_secs(), "jti": random_hex(16)});
        let payload = merged(times, claims);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = json!({"alg": "RS256", "typ": "JWT"});
        let token = format!("{}.{}.{}", part(&head), part(&payload), URL_SAFE_NO_PAD.encode(random_hex(32)));
        if self.made.len() >= TOKENS {
            let oldest = self.made.iter().min_by_key(|(_, made)| made.at).map(|(token, _)| token.clone());
            oldest.and_then(|token| self.made.remove(&token));
        }
        self.made.insert(token.clone(), Made { purpose, at: now, until: now + life });
        token
    }

    /// Until when this token opens what it is for.
    pub(super) fn check(&self, purpose: Purpose, token: &str) -> Result<Instant, Bad> {
        let made = self.made.get(token).filter(|made| made.purpose == purpose).ok_or(Bad::Unknown)?;
        if made.until > clock::now() { Ok(made.until) } else { Err(Bad::Expired) }
    }

    /// Ends every token of these purposes.
    pub(super) fn expire(&mut self, purposes: &[Purpose]) {
        let now = clock::now();
        let of_them = self.made.values_mut().filter(|made| purposes.contains(&made.purpose));
        of_them.for_each(|made| made.until = made.until.min(now));
    }
}
