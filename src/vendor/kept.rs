//! What an account must remember over restarts: its tokens, when it last logged in, and a login that was refused.
//!
//! One entry in the store for each account, under a name that says nothing about it.

use std::time::Duration;

use hmac::{Hmac, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::clock::{self, Instant, unix_seconds};
use crate::proto::wire::hex;
use crate::secret::Email;
use crate::store::Store;

/// The form of an entry that this version writes.
const VERSION: u32 = 1;

/// An account's entry in the store. `Tokens` is never printed, and in the clear only there: the store is where tokens
/// must be.
pub(super) struct Kept<Tokens> {
    store: Store,
    key: String,
    budget: Budget,
    /// Of the login in the configuration.
    fingerprint: String,
    entry: Entry<Tokens>,
    /// As they were before the present one.
    logins_before: Logins,
    /// No login before this. On the monotonic clock, so that setting the other one starts no storm of logins.
    not_before: Instant,
}

/// How many logins a vendor bears.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// How long the second one waits. Each further one waits twice as long,
    pub(super) first_wait: Duration,
    /// but no longer than this.
    pub(super) longest_wait: Duration,
    /// After so long the next one is the first again.
    pub(super) forgotten_after: Duration,
    /// Whether the one behind a login that worked is the first again, too.
    pub(super) success_counts: bool,
}

#[derive(Serialize, Deserialize)]
struct Entry<Tokens> {
    version: u32,
    /// Of the fingerprint. Random, hexadecimal.
    salt: String,
    tokens: Option<Tokens>,
    logins: Logins,
    /// The fingerprint of a login that was refused for good.
    refused: Option<String>,
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
    /// How long the next one must wait at `now`. A clock that went back in between counts as no time gone by.
    fn remaining(&self, now: u64) -> Duration {
        Duration::from_secs((self.at.saturating_add(self.wait)).saturating_sub(now).min(self.wait))
    }

    /// One is tried at `now`.
    fn begin(&mut self, now: u64, budget: &Budget) {
        let long_ago = now.checked_sub(self.at).is_some_and(|gone| gone >= budget.forgotten_after.as_secs());
        self.in_a_row = if long_ago { 1 } else { self.in_a_row.saturating_add(1) };
        self.at = now;
        self.wait = budget.wait(self.in_a_row);
    }
}

impl Budget {
    /// How many seconds the next login waits after so many in a row.
    fn wait(&self, in_a_row: u32) -> u64 {
        (self.first_wait.as_secs() << in_a_row.saturating_sub(1).min(8)).min(self.longest_wait.as_secs())
    }
}

impl<Tokens: Serialize + DeserializeOwned> Kept<Tokens> {
    /// What the store has at `key`; what is damaged or of another version counts as nothing. `login` is everything
    /// that a login sends.
    pub(super) fn load(store: &Store, key: String, login: &[&str], budget: Budget) -> Self {
        let entry = store.get::<Entry<Tokens>>(&key).filter(|entry| entry.version == VERSION);
        let entry = entry.unwrap_or_else(|| Entry {
            version: VERSION,
            salt: random_hex(),
            tokens: None,
            logins: Logins::default(),
            refused: None,
        });
        let not_before = clock::now() + entry.logins.remaining(unix_seconds());
        let (store, fingerprint) = (store.clone(), fingerprint(login, &entry.salt));
        Self { store, key, budget, fingerprint, entry, logins_before: Logins::default(), not_before }
    }

    pub(super) fn tokens(&self) -> Option<&Tokens> {
        self.entry.tokens.as_ref()
    }

    /// On the disk when this returns, so that a crash loses no token that was just given. A disk that refuses is
    /// told of by the store; the tokens then last as long as the process.
    pub(super) fn keep_tokens(&mut self, tokens: Tokens) {
        self.entry.tokens = Some(tokens);
        self.entry.refused = None;
        if self.budget.success_counts {
            self.entry.logins = Logins::default();
        }
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
        self.entry.logins.begin(unix_seconds(), &self.budget);
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

    /// The owner has seen to the login: it is tried once more, and now, unless too many were tried in a row or the
    /// vendor wants to be left alone for longer.
    pub(super) fn retry(&mut self) {
        const IN_A_ROW: u32 = 3;
        let logins = &mut self.entry.logins;
        self.entry.refused = None;
        if logins.in_a_row <= IN_A_ROW && logins.wait <= self.budget.wait(logins.in_a_row) {
            logins.wait = 0;
            self.not_before = clock::now();
        }
        self.save();
    }

    /// The configured login is never tried again.
    pub(super) fn refuse(&mut self) {
        self.entry.refused = Some(self.fingerprint.clone());
        self.save();
    }

    fn save(&self) {
        if let Err(error) = self.store.put(&self.key, &self.entry) {
            tracing::warn!(%error, "the account's login is not kept for the next start");
        }
    }
}

/// `of_…`: says whose something is and where it is good, and gives neither away. Tokens of one cloud are never sent to
/// another.
pub(super) fn key(of: &str, user: &Email, cloud: &[&Url]) -> String {
    let mut hash = Sha256::new();
    let user = user.expose().to_lowercase();
    for part in [user.as_str()].into_iter().chain(cloud.iter().map(|url| url.as_str())) {
        hash.update(part);
        hash.update([0]);
    }
    format!("{of}_{}", hex(hash.finalize().get(..8).unwrap_or_default()))
}

/// It says whether the owner has changed something since, and nothing else.
fn fingerprint(login: &[&str], salt: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt.as_bytes()) else { return String::new() };
    for part in login {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    hex(&mac.finalize().into_bytes())
}

/// 16 bytes.
pub(super) fn random_hex() -> String {
    let mut bytes = [0; 16];
    // Without randomness all installations are alike, which harms nobody.
    let _alike = getrandom::fill(&mut bytes);
    hex(&bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    const BUDGET: Budget = Budget {
        first_wait: Duration::from_secs(20),
        longest_wait: Duration::from_secs(900),
        forgotten_after: Duration::from_secs(3_600),
        success_counts: false,
    };

    fn of(store: &Store, budget: Budget) -> Kept<String> {
        Kept::load(store, "account".to_owned(), &["owner@example.com", "hunter2"], budget)
    }

    fn open(folder: &TempDir) -> Kept<String> {
        of(&Store::open(folder.path()).unwrap(), BUDGET)
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
    async fn a_login_that_worked_makes_the_next_one_the_first_where_the_vendor_sees_it_so() {
        for success_counts in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut kept = of(&Store::open(folder.path()).unwrap(), Budget { success_counts, ..BUDGET });
            kept.begin_login();
            kept.keep_tokens("tokens".to_owned());
            kept.begin_login();
            assert_eq!(kept.logins_in_a_row(), if success_counts { 1 } else { 2 });
        }
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

    #[tokio::test(start_paused = true)]
    async fn an_owner_who_corrects_a_login_need_not_wait_unless_again_and_again_or_locked_out() {
        let folder = tempfile::tempdir().unwrap();
        for in_a_row in 1..=5 {
            let mut kept = open(&folder);
            kept.begin_login();
            kept.refuse();
            kept.retry();
            let kept = open(&folder);
            assert!(!kept.is_refused());
            assert_eq!(kept.login_in().is_zero(), in_a_row <= 3, "{in_a_row} in a row: {:?}", kept.login_in());
            tokio::time::advance(kept.login_in()).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut kept = open(&folder);
        kept.begin_login();
        kept.hold_logins(Duration::from_secs(900));
        kept.retry();
        assert!(kept.login_in() > Duration::from_secs(890) && open(&folder).login_in() > Duration::from_secs(890));
    }

    #[test]
    fn row_39_a_clock_that_is_wrong_makes_no_wait_longer_than_it_was() {
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
        let another: Kept<String> = Kept::load(&store, "account".to_owned(), &["owner@example.com", "hunter3"], BUDGET);
        assert!(!another.is_refused());
        // What is stored for it would tell nobody the password.
        let file = std::fs::read_to_string(folder.path().join("state.json")).unwrap();
        assert!(!file.contains("hunter2") && !file.contains("owner"), "{file}");
    }

    #[tokio::test]
    async fn an_entry_of_another_form_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for entry in [json!({"version": 2}), json!("nonsense"), json!(null)] {
            store.put("account", &entry).unwrap();
            let mut kept = open(&folder);
            assert!(kept.tokens().is_none() && !kept.is_refused());
            kept.keep_tokens("tokens".to_owned());
            assert_eq!(open(&folder).tokens().unwrap(), "tokens");
            kept.forget_tokens();
            assert!(open(&folder).tokens().is_none());
        }
    }
}
