//! What an account must remember over restarts: its tokens, when it last logged in, and a login that was refused.
//!
//! One entry in the store for each account, under a name that says nothing about it.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::session::Tokens;
use crate::clock::{self, Instant};
use crate::config::Vivint;
use crate::proto::wire::hex;
use crate::secret::Token;
use crate::store::Store;

/// The form of an entry that this version writes.
const VERSION: u32 = 1;

/// An account's entry in the store.
pub(super) struct Kept {
    store: Store,
    key: String,
    /// Of the login in the configuration.
    fingerprint: String,
    entry: Entry,
    /// As they were before the present one.
    logins_before: Logins,
    /// No login before this. On the monotonic clock, so that setting the other one starts no storm of logins.
    not_before: Instant,
}

#[derive(Serialize, Deserialize, Default)]
struct Entry {
    version: u32,
    /// Of the fingerprint. Random, hexadecimal.
    salt: String,
    tokens: Option<KeptTokens>,
    logins: Logins,
    /// The fingerprint of a login that was refused for good.
    refused: Option<String>,
}

/// Never printed, and in the clear only here: the store is where they must be.
#[derive(Serialize, Deserialize)]
struct KeptTokens {
    refresh: String,
    /// The short-lived ones, so that a process which looks in beside the service needs no login of its own.
    access: String,
    id: String,
    /// Until when those are good, in seconds since 1970.
    until: u64,
}

/// Logins that were tried lately.
#[derive(Clone, Serialize, Deserialize, Default)]
struct Logins {
    in_a_row: u32,
    /// When the last one was tried, in seconds since 1970.
    at: u64,
    /// How long after it the next one may be tried, in seconds.
    wait: u64,
}

impl Logins {
    /// Vivint's network blocks for a day who logs in again too soon (vivint reference §2).
    const FIRST_WAIT: u64 = 60;
    const LONGEST_WAIT: u64 = 4 * 60 * 60;
    /// After so long the next one is the first again.
    const FORGOTTEN_AFTER: u64 = 24 * 60 * 60;

    /// How long the next one must wait at `now`. A clock that went back in between counts as no time gone by.
    fn remaining(&self, now: u64) -> Duration {
        Duration::from_secs((self.at.saturating_add(self.wait)).saturating_sub(now).min(self.wait))
    }

    /// One is tried at `now`.
    fn begin(&mut self, now: u64) {
        let long_ago = now.checked_sub(self.at).is_some_and(|gone| gone >= Self::FORGOTTEN_AFTER);
        self.in_a_row = if long_ago { 1 } else { self.in_a_row.saturating_add(1) };
        self.at = now;
        self.wait = (Self::FIRST_WAIT << (self.in_a_row - 1).min(8)).min(Self::LONGEST_WAIT);
    }
}

impl Kept {
    /// What the store knows of this account. What is damaged or of another version counts as nothing.
    pub(super) fn load(login: &Vivint, store: &Store) -> Self {
        let key = key("vivint_account", login);
        let entry = store.get::<Entry>(&key).filter(|entry| entry.version == VERSION);
        let entry = entry.unwrap_or_else(|| Entry { version: VERSION, salt: random_hex(), ..Entry::default() });
        let not_before = clock::now() + entry.logins.remaining(unix_seconds());
        let (store, fingerprint) = (store.clone(), fingerprint(login, &entry.salt));
        Self { store, fingerprint, key, entry, logins_before: Logins::default(), not_before }
    }

    /// Those of an earlier run.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        let KeptTokens { refresh, access, id, until } = self.entry.tokens.as_ref()?;
        let token = |text: &String| Token::new(text.as_str());
        Some(Tokens::kept(token(access), token(id), token(refresh), until.saturating_sub(unix_seconds())))
    }

    /// On the disk when this returns, so that a crash loses no token that was just given. A disk that refuses is
    /// told of by the store; the tokens then last as long as the process.
    pub(super) fn keep_tokens(&mut self, tokens: &Tokens) {
        let text = |token: &Token| token.expose().to_owned();
        self.entry.tokens = Some(KeptTokens {
            refresh: text(&tokens.refresh),
            access: text(&tokens.access),
            id: text(&tokens.id),
            until: unix_seconds().saturating_add(tokens.life.as_secs()),
        });
        self.entry.refused = None;
        self.entry.logins = Logins::default();
        self.save();
    }

    /// They are worth nothing any more.
    pub(super) fn forget_tokens(&mut self) {
        self.entry.tokens = None;
        self.save();
    }

    /// Whether the configured login was refused before and is still the same.
    pub(super) fn is_refused(&self) -> bool {
        self.entry.refused.as_ref() == Some(&self.fingerprint)
    }

    /// How long the next login must wait.
    pub(super) fn login_in(&self) -> Duration {
        self.not_before.saturating_duration_since(clock::now())
    }

    /// How many logins were tried in a row, the present one among them.
    pub(super) fn logins_in_a_row(&self) -> u32 {
        self.entry.logins.in_a_row
    }

    /// A login is about to be tried. Written first: a crash in the midst of it counts.
    pub(super) fn begin_login(&mut self) {
        self.logins_before = self.entry.logins.clone();
        self.entry.logins.begin(unix_seconds());
        self.not_before = clock::now() + Duration::from_secs(self.entry.logins.wait);
        self.save();
    }

    /// The login that was begun did not get as far as the cloud, so it does not count.
    pub(super) fn undo_login(&mut self) {
        self.entry.logins = self.logins_before.clone();
        self.not_before = clock::now();
        self.save();
    }

    /// The next login waits for at least so long from now.
    pub(super) fn hold_logins(&mut self, wait: Duration) {
        let until = clock::now() + wait;
        if until <= self.not_before {
            return;
        }
        self.not_before = until;
        let logins = &mut self.entry.logins;
        (logins.at, logins.wait) = (unix_seconds(), wait.as_secs());
        self.save();
    }

    /// The configured login is never tried again.
    pub(super) fn refuse(&mut self) {
        self.entry.refused = Some(self.fingerprint.clone());
        self.save();
    }

    fn save(&self) {
        if let Err(error) = self.store.put(&self.key, &self.entry) {
            tracing::warn!(%error, "the login at Vivint is not kept");
        }
    }
}

/// Says whose something is and where it is good, and gives neither away: tokens of one cloud are never sent to
/// another.
pub(in super::super) fn key(of: &str, login: &Vivint) -> String {
    let mut hash = Sha256::new();
    let at = &login.endpoints;
    for part in [login.username.expose().to_lowercase().as_str(), at.identity.as_str(), at.api.as_str()] {
        hash.update(part);
        hash.update([0]);
    }
    format!("{of}_{}", hex(hash.finalize().get(..8).unwrap_or_default()))
}

/// Of everything that a login sends. It says whether the owner has changed something since, and nothing else.
fn fingerprint(login: &Vivint, salt: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt.as_bytes()) else { return String::new() };
    let secret = |secret: &Option<crate::secret::Password>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let (password, totp) =
        (secret(&login.password).unwrap_or_default(), secret(&login.totp_secret).unwrap_or_default());
    for part in [login.username.expose(), &password, &totp] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    hex(&mac.finalize().into_bytes())
}

fn random_hex() -> String {
    let mut bytes = [0; 16];
    // Without randomness all installations are alike, which harms nobody.
    let _alike = getrandom::fill(&mut bytes);
    hex(&bytes)
}

pub(super) fn unix_seconds() -> u64 {
    clock::unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::*;
    use crate::config::VivintEndpoints;
    use crate::secret::{Email, Password};
    use tempfile::TempDir;

    fn login(password: &str) -> Vivint {
        Vivint {
            username: Email::new("owner@example.com"),
            password: Some(Password::new(password)),
            totp_secret: None,
            firebase_api_key: None,
            ring_quiet: Duration::from_secs(5),
            endpoints: VivintEndpoints::default(),
        }
    }

    fn open(folder: &TempDir) -> Kept {
        Kept::load(&login("hunter2"), &Store::open(folder.path()).unwrap())
    }

    fn tokens() -> Tokens {
        let token = |text| Token::new(text);
        let life = Duration::from_secs(3_600);
        Tokens { access: token("access"), id: token("id"), refresh: token("refresh"), life }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_found_again_by_the_same_account_at_the_same_cloud_only() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).keep_tokens(&tokens());
        tokio::time::advance(Duration::from_secs(600)).await;
        let found = open(&folder).tokens().unwrap();
        assert_eq!((found.access.expose(), found.id.expose(), found.refresh.expose()), ("access", "id", "refresh"));
        assert!((2_999..=3_001).contains(&found.life.as_secs()), "{:?}", found.life);

        let store = Store::open(folder.path()).unwrap();
        let mut elsewhere = login("hunter2");
        elsewhere.endpoints.identity = "https://127.0.0.1:1".parse().unwrap();
        let somebody = Vivint { username: Email::new("somebody@example.com"), ..login("hunter2") };
        assert!(Kept::load(&elsewhere, &store).tokens().is_none());
        assert!(Kept::load(&somebody, &store).tokens().is_none());
        open(&folder).forget_tokens();
        assert!(open(&folder).tokens().is_none());
    }

    #[tokio::test]
    async fn no_life_that_a_cloud_may_tell_is_beyond_the_clock_or_renewed_by_every_call() {
        for (told, life) in [(u64::MAX, 24 * 3_600), (i64::MAX as u64, 24 * 3_600), (3_600, 3_600), (0, 10)] {
            let folder = tempfile::tempdir().unwrap();
            let reply = serde_json::json!({"access_token": "a", "refresh_token": "r", "expires_in": told});
            let tokens = Tokens::read(&reply, None).unwrap();
            assert_eq!(tokens.life.as_secs(), life);
            open(&folder).keep_tokens(&tokens);
            // What an earlier version has kept.
            let (store, key) = (Store::open(folder.path()).unwrap(), key("vivint_account", &login("hunter2")));
            let mut entry: serde_json::Value = store.get(&key).unwrap();
            entry["tokens"]["until"] = told.into();
            store.put(&key, &entry).unwrap();
            let kept = Kept::load(&login("hunter2"), &store);
            assert!(kept.tokens().is_some_and(|tokens| tokens.life.as_secs() <= 24 * 3_600));
            let _begins = Session::new(kept, &store);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn logins_in_a_row_wait_a_minute_and_longer_and_longer_also_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(open(&folder).login_in(), Duration::ZERO);
            open(&folder).begin_login();
            let wait = open(&folder).login_in();
            waits.push(wait.as_secs_f64().round() as u64);
            tokio::time::advance(wait + Duration::from_secs(1)).await;
        }
        for (wait, wanted) in waits.iter().zip([60, 120, 240, 480, 960, 1_920, 3_840, 7_680, 14_400]) {
            assert!(wait.abs_diff(wanted) <= 1, "{waits:?}");
        }
        open(&folder).keep_tokens(&tokens());
        let mut kept = open(&folder);
        kept.begin_login();
        assert_eq!((kept.logins_in_a_row(), kept.login_in()), (1, Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_never_left_the_house_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = open(&folder);
        kept.begin_login();
        kept.undo_login();
        assert_eq!((kept.login_in(), kept.logins_in_a_row()), (Duration::ZERO, 0));
    }

    #[tokio::test]
    async fn a_refused_login_stays_refused_until_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).refuse();
        assert!(open(&folder).is_refused());
        let store = Store::open(folder.path()).unwrap();
        assert!(!Kept::load(&login("hunter3"), &store).is_refused());
        // What is stored for it would tell nobody the password.
        let file = std::fs::read_to_string(folder.path().join("state.json")).unwrap();
        assert!(!file.contains("hunter2") && !file.contains("owner"), "{file}");
    }

    #[tokio::test]
    async fn an_entry_of_another_form_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for entry in [serde_json::json!({"version": 2}), serde_json::json!("nonsense"), serde_json::json!(null)] {
            store.put(&key("vivint_account", &login("hunter2")), &entry).unwrap();
            let mut kept = open(&folder);
            assert!(kept.tokens().is_none() && !kept.is_refused());
            kept.keep_tokens(&tokens());
            assert!(open(&folder).tokens().is_some());
        }
    }
}
