//! What an account must remember over restarts: its tokens, when it last logged in, and a login that was refused.
//!
//! One entry in the store for each account, under a name that says nothing about it.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::{self, Instant};
use crate::config::WyzeLogin;
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
    access: String,
    refresh: String,
    /// When they were given, in seconds since 1970.
    at: u64,
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
    const FIRST_WAIT: u64 = 20;
    const LONGEST_WAIT: u64 = 15 * 60;
    /// After so long the next one is the first again.
    const FORGOTTEN_AFTER: u64 = 60 * 60;

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
    pub(super) fn load(login: &WyzeLogin, store: &Store) -> Self {
        let key = key(login);
        let entry = store.get::<Entry>(&key).filter(|entry| entry.version == VERSION);
        let entry = entry.unwrap_or_else(|| Entry { version: VERSION, salt: random_hex::<16>(), ..Entry::default() });
        let not_before = clock::now() + entry.logins.remaining(unix_seconds());
        let (store, fingerprint) = (store.clone(), fingerprint(login, &entry.salt));
        Self { store, fingerprint, key, entry, logins_before: Logins::default(), not_before }
    }

    /// The access and the refresh token, and how long ago they were given.
    pub(super) fn tokens(&self) -> Option<(Token, Token, Duration)> {
        let KeptTokens { access, refresh, at } = self.entry.tokens.as_ref()?;
        let age = Duration::from_secs(unix_seconds().saturating_sub(*at));
        Some((Token::new(access.as_str()), Token::new(refresh.as_str()), age))
    }

    /// On the disk when this returns, so that a crash loses no token that was just given. A disk that refuses is
    /// told of by the store; the tokens then last as long as the process.
    pub(super) fn keep_tokens(&mut self, access: &Token, refresh: &Token) {
        let (access, refresh) = (access.expose().to_owned(), refresh.expose().to_owned());
        self.entry.tokens = Some(KeptTokens { access, refresh, at: unix_seconds() });
        self.entry.refused = None;
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
            tracing::warn!(%error, "the login at Wyze is not kept");
        }
    }
}

/// Tokens of one cloud are never sent to another, so the key says both whose they are and where they are good.
fn key(login: &WyzeLogin) -> String {
    let at = &login.endpoints;
    let mut hash = Sha256::new();
    for part in [
        login.email.expose().to_lowercase().as_str(),
        at.auth.as_str(),
        at.api.as_str(),
        at.core.as_str(),
        at.lock.as_str(),
    ] {
        hash.update(part);
        hash.update([0]);
    }
    format!("wyze_account_{}", hex(hash.finalize().get(..8).unwrap_or_default()))
}

/// Of everything that a login sends. It says whether the owner has changed something since, and nothing else.
fn fingerprint(login: &WyzeLogin, salt: &str) -> String {
    let totp = login.totp_secret.as_ref().map(|secret| secret.expose()).unwrap_or_default();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt.as_bytes()) else { return String::new() };
    for part in [login.email.expose(), login.password.expose(), login.key_id.expose(), login.api_key.expose(), totp] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    hex(&mac.finalize().into_bytes())
}

/// The same in every run of this installation: a random UUID.
pub(super) fn phone_id(store: &Store) -> String {
    const KEY: &str = "wyze_phone_id";
    if let Some(id) = store.get(KEY) {
        return id;
    }
    let id = uuid();
    if let Err(error) = store.put(KEY, &id) {
        tracing::warn!(%error, "the id of this installation is not kept");
    }
    id
}

/// A random one, version 4.
fn uuid() -> String {
    let hex = random_hex::<16>();
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

pub(super) fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    // Without randomness all installations are alike, which harms nobody.
    let _alike = getrandom::fill(&mut bytes);
    hex(&bytes)
}

fn unix_seconds() -> u64 {
    clock::unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WyzeEndpoints;
    use crate::secret::{Email, Password};
    use tempfile::TempDir;

    fn login(password: &str) -> WyzeLogin {
        WyzeLogin {
            email: Email::new("owner@example.com"),
            password: Password::new(password),
            key_id: Password::new("key id"),
            api_key: Token::new("api key"),
            totp_secret: None,
            ring_events: vec![10],
            poll: Duration::from_secs(5),
            endpoints: WyzeEndpoints::default(),
        }
    }

    fn open(folder: &TempDir) -> Kept {
        Kept::load(&login("hunter2"), &Store::open(folder.path()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_found_again_by_the_same_account_at_the_same_cloud_only() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).keep_tokens(&Token::new("access"), &Token::new("refresh"));
        tokio::time::advance(Duration::from_secs(3600)).await;
        let (access, refresh, age) = open(&folder).tokens().unwrap();
        assert_eq!((access.expose(), refresh.expose()), ("access", "refresh"));
        assert!((3599..=3601).contains(&age.as_secs()), "{age:?}");

        let store = Store::open(folder.path()).unwrap();
        let mut elsewhere = login("hunter2");
        elsewhere.endpoints.lock = "https://127.0.0.1:1".parse().unwrap();
        let somebody = WyzeLogin { email: Email::new("somebody@example.com"), ..login("hunter2") };
        assert!(Kept::load(&elsewhere, &store).tokens().is_none());
        assert!(Kept::load(&somebody, &store).tokens().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn logins_in_a_row_wait_longer_and_longer_also_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(open(&folder).login_in(), Duration::ZERO);
            open(&folder).begin_login();
            let wait = open(&folder).login_in();
            waits.push(wait.as_secs_f64().round() as u64);
            tokio::time::advance(wait + Duration::from_secs(1)).await;
        }
        for (wait, wanted) in waits.iter().zip([20, 40, 80, 160, 320, 640, 900, 900]) {
            assert!(wait.abs_diff(wanted) <= 1, "{waits:?}");
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        let mut kept = open(&folder);
        kept.begin_login();
        assert_eq!(kept.logins_in_a_row(), 1);
        assert_eq!(kept.login_in(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_never_left_the_house_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = open(&folder);
        for _ in 0..5 {
            kept.begin_login();
            kept.undo_login();
            assert_eq!((kept.login_in(), kept.logins_in_a_row()), (Duration::ZERO, 0));
        }
        kept.begin_login();
        assert_eq!(open(&folder).logins_in_a_row(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_out_is_respected_over_restarts_and_never_made_shorter() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = open(&folder);
        kept.begin_login();
        kept.hold_logins(Duration::from_secs(900));
        kept.hold_logins(Duration::from_secs(5));
        for kept in [kept, open(&folder)] {
            assert!((898..=900).contains(&kept.login_in().as_secs()), "{:?}", kept.login_in());
        }
    }

    #[test]
    fn a_clock_that_is_wrong_makes_no_wait_longer_than_it_was() {
        let logins = Logins { in_a_row: 3, at: 1_700_000_000, wait: 80 };
        for (now, wait) in [(0, 80), (1_699_999_000, 80), (1_700_000_050, 30), (1_700_086_400, 0), (u64::MAX, 0)] {
            assert_eq!(logins.remaining(now).as_secs(), wait, "at {now}");
        }
    }

    #[tokio::test]
    async fn a_refused_login_stays_refused_until_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).refuse();
        assert!(open(&folder).is_refused());
        let store = Store::open(folder.path()).unwrap();
        assert!(!Kept::load(&login("hunter3"), &store).is_refused());
        let totp = WyzeLogin { totp_secret: Some(Password::new("JBSWY3DP")), ..login("hunter2") };
        assert!(!Kept::load(&totp, &store).is_refused());
        // What is stored for it would tell nobody the password.
        let file = std::fs::read_to_string(folder.path().join("state.json")).unwrap();
        assert!(!file.contains("hunter2") && !file.contains("owner"), "{file}");
    }

    #[tokio::test]
    async fn an_entry_of_another_form_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for entry in [serde_json::json!({"version": 2}), serde_json::json!("nonsense"), serde_json::json!(null)] {
            store.put(&key(&login("hunter2")), &entry).unwrap();
            let mut kept = open(&folder);
            assert!(kept.tokens().is_none() && !kept.is_refused());
            kept.keep_tokens(&Token::new("a"), &Token::new("b"));
            assert!(open(&folder).tokens().is_some());
        }
    }

    #[test]
    fn an_installation_has_one_phone_id() {
        let folder = tempfile::tempdir().unwrap();
        let id = phone_id(&Store::open(folder.path()).unwrap());
        assert_eq!(id, phone_id(&Store::open(folder.path()).unwrap()));
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
    }
}
