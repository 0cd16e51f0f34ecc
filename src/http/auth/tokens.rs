//! The bearer tokens of the direct entrance (reliability.md S2): those of the configuration, and one that is made in
//! the page. None of them is kept, only their SHA-256: equal lengths to compare, and nothing worth stealing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::super::Exposed;
use crate::clock;
use crate::secret::Token;

/// What the audit log calls whoever came with the token of the configuration.
const CONFIGURED: &str = "token";
/// And with the one that was made in the page.
const GENERATED: &str = "token page";

type Hash = [u8; 32];
type Keep = dyn Fn(&Generated) -> bool + Send + Sync;

/// Every token that opens the direct entrance. Cheap to clone; all clones are one set.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Those of whoever starts the service, with their names in the audit log.
    given: RwLock<Vec<(&'static str, Hash)>>,
    generated: RwLock<Option<Generated>>,
    /// Writes a generated token down; locked while one is being made, so that the last one kept is the last one good.
    keep: Mutex<Option<Box<Keep>>>,
}

/// What is kept of the token that was made in the page.
#[derive(Clone, Serialize, Deserialize)]
pub struct Generated {
    sha256: Hash,
    pub since: SystemTime,
}

/// There is no new token; the old one is as good as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    #[error("the data folder cannot be written")]
    NotKept,
    #[error("the machine gives no randomness")]
    NoRandomness,
}

impl Tokens {
    /// The one of the configuration, if there is one.
    pub fn of_config(token: Option<&Token>) -> Self {
        let tokens = Self::default();
        if let Some(token) = token {
            tokens.add(CONFIGURED, token);
        }
        tokens
    }

    /// One more of our own making, in place of that of the same name. `name` is what the audit log calls whoever comes
    /// with it.
    pub fn add(&self, name: &'static str, token: &Token) {
        let mut given = write(&self.0.given);
        given.retain(|(known, _)| *known != name);
        given.push((name, Sha256::digest(token.expose()).into()));
    }

    /// The token that was made in an earlier run, and what writes the next one down before it is shown. `keep` may
    /// wait for the disk, and says whether it is there.
    pub fn keeping(&self, known: Option<Generated>, keep: impl Fn(&Generated) -> bool + Send + Sync + 'static) {
        *write(&self.0.generated) = known;
        *self.lock_keep() = Some(Box::new(keep));
    }

    /// Makes a token of 256 random bits. Whoever has the one made before is refused from then on. Waits for the disk.
    ///
    /// # Errors
    /// When it could not be written down; nothing has changed then.
    pub fn rotate(&self) -> Result<Token, NotMade> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(|_| NotMade::NoRandomness)?;
        let token = Token::new(URL_SAFE_NO_PAD.encode(bits));
        let generated = Generated { sha256: Sha256::digest(token.expose()).into(), since: clock::unix_now() };
        let keep = self.lock_keep();
        if keep.as_ref().is_some_and(|keep| !keep(&generated)) {
            return Err(NotMade::NotKept);
        }
        *write(&self.0.generated) = Some(generated);
        Ok(token)
    }

    /// Since when the token that was made in the page is good; `None` without one.
    pub fn generated_since(&self) -> Option<SystemTime> {
        read(&self.0.generated).as_ref().map(|generated| generated.since)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        !self.any_given() && self.generated_since().is_none()
    }

    /// Whether strangers are kept out of a listener on this address.
    ///
    /// # Errors
    /// When other machines can reach it, and there is no token.
    pub fn suffice_at(&self, local: SocketAddr) -> Result<(), Exposed> {
        if self.is_empty() && !local.ip().is_loopback() { Err(Exposed(local)) } else { Ok(()) }
    }

    /// Whether whoever starts the service has set one.
    pub(super) fn any_given(&self) -> bool {
        !read(&self.0.given).is_empty()
    }

    /// The name of this token if we have made it ourselves: 256 random bits, which nobody guesses, so that no limit on
    /// guesses need hold for them.
    pub(super) fn name_of_made(&self, offered: &[u8]) -> Option<&'static str> {
        self.name(offered).filter(|name| *name != CONFIGURED)
    }

    /// The name of this token, in a time that tells nothing about the others.
    pub(super) fn name(&self, offered: &[u8]) -> Option<&'static str> {
        let offered: Hash = Sha256::digest(offered).into();
        let generated = read(&self.0.generated).as_ref().map(|generated| (GENERATED, generated.sha256));
        let mut found = None;
        for (name, known) in read(&self.0.given).iter().copied().chain(generated) {
            let same: Choice = known.ct_eq(&offered);
            if same.into() {
                found = Some(name);
            }
        }
        found
    }

    fn lock_keep(&self) -> MutexGuard<'_, Option<Box<Keep>>> {
        self.0.keep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_opens_under_its_name_and_nothing_else_does() {
        let tokens = Tokens::of_config(Some(&Token::new("correct horse battery staple")));
        tokens.add("token home_assistant", &Token::new("companion"));
        let generated = tokens.rotate().unwrap();
        assert_eq!(tokens.name(b"correct horse battery staple"), Some("token"));
        assert_eq!(tokens.name(b"companion"), Some("token home_assistant"));
        assert_eq!(tokens.name_of_made(b"companion"), Some("token home_assistant"));
        assert_eq!(tokens.name_of_made(generated.expose().as_bytes()), Some("token page"));
        assert_eq!(tokens.name_of_made(b"correct horse battery staple"), None, "perhaps it can be guessed");
        assert_eq!(tokens.name(generated.expose().as_bytes()), Some("token page"));
        for wrong in ["", "correct horse battery stapl", "correct horse battery staple ", "token"] {
            assert_eq!(tokens.name(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_token_in_the_place_of_another_is_good_alone() {
        let tokens = Tokens::default();
        tokens.add("token home_assistant", &Token::new("old"));
        tokens.add("token other", &Token::new("beside"));
        tokens.add("token home_assistant", &Token::new("new"));
        let names = ["old", "new", "beside"].map(|token| tokens.name(token.as_bytes()));
        assert_eq!(names, [None, Some("token home_assistant"), Some("token other")]);
    }

    #[test]
    fn without_a_token_only_this_machine_is_served() {
        let (none, one) = (Tokens::default(), Tokens::of_config(Some(&Token::new("correct horse"))));
        let [here, open] = ["127.0.0.1:8480", "0.0.0.0:8480"].map(|local| local.parse().unwrap());
        assert_eq!((none.suffice_at(here), none.suffice_at(open).is_err()), (Ok(()), true));
        assert_eq!((one.suffice_at(here), one.suffice_at(open)), (Ok(()), Ok(())));
        assert!(one.any_given() && !none.any_given());
    }

    #[test]
    fn a_new_token_ends_the_one_before_and_is_kept_as_a_hash_only() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let writes = kept.clone();
        let keep = move |made: &Generated| {
            writes.lock().unwrap().push(serde_json::to_string(made).unwrap());
            true
        };
        let tokens = Tokens::default();
        tokens.keeping(None, keep);
        assert!(tokens.is_empty());
        let (first, second) = (tokens.rotate().unwrap(), tokens.rotate().unwrap());
        assert_eq!(first.expose().len(), 43, "256 bits in base64url");
        assert_eq!(tokens.name(first.expose().as_bytes()), None);
        assert_eq!(tokens.name(second.expose().as_bytes()), Some(GENERATED));
        let kept = kept.lock().unwrap();
        assert!(kept.iter().all(|kept| !kept.contains(first.expose()) && !kept.contains(second.expose())));

        let next_run = Tokens::default();
        next_run.keeping(Some(serde_json::from_str(&kept[1]).unwrap()), |_| true);
        assert!(!next_run.is_empty());
        assert_eq!(next_run.name(second.expose().as_bytes()), Some(GENERATED));
    }

    #[test]
    fn a_token_that_cannot_be_written_down_is_not_made() {
        let tokens = Tokens::default();
        let good = tokens.rotate().unwrap();
        let since = tokens.generated_since();
        let known = read(&tokens.0.generated).clone();
        tokens.keeping(known, |_| false);
        assert_eq!(tokens.rotate().err(), Some(NotMade::NotKept));
        assert_eq!(tokens.name(good.expose().as_bytes()), Some(GENERATED), "its owner was shut out");
        assert_eq!(tokens.generated_since(), since);
    }
}
