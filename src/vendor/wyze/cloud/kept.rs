//! What a Wyze account must remember over restarts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::login::Granted;
use crate::clock::unix_seconds;
use crate::config::WyzeLogin;
use crate::secret::Token;
use crate::store::Store;
use crate::vendor::kept::{self, Budget, random_hex};

pub(super) type Kept = kept::Kept<KeptTokens>;

/// A lock-out lasts about a quarter of an hour (wyze-cloud reference §1).
const BUDGET: Budget = Budget {
    first_wait: Duration::from_secs(20),
    longest_wait: Duration::from_secs(15 * 60),
    forgotten_after: Duration::from_secs(60 * 60),
    success_counts: false,
};

#[derive(Serialize, Deserialize)]
pub(super) struct KeptTokens {
    access: String,
    refresh: String,
    #[serde(default)]
    user_id: Option<String>,
    /// When they were given, in seconds since 1970.
    at: u64,
}

impl KeptTokens {
    /// Just given.
    pub(super) fn new(granted: &Granted) -> Self {
        let (access, refresh) = (granted.access.expose().to_owned(), granted.refresh.expose().to_owned());
        Self { access, refresh, user_id: granted.user_id.clone(), at: unix_seconds() }
    }

    /// As it was granted, and how long ago.
    pub(super) fn read(&self) -> (Granted, Duration) {
        let age = Duration::from_secs(unix_seconds().saturating_sub(self.at));
        let (access, refresh) = (Token::new(self.access.as_str()), Token::new(self.refresh.as_str()));
        (Granted { access, refresh, user_id: self.user_id.clone() }, age)
    }
}

/// Where in the store an account is.
pub(super) fn key(login: &WyzeLogin) -> String {
    let at = &login.endpoints;
    kept::key("wyze_account", &login.email, &[&at.auth, &at.api, &at.core, &at.lock])
}

pub(super) fn load(login: &WyzeLogin, store: &Store) -> Kept {
    let totp = login.totp_secret.as_ref().map(|secret| secret.expose()).unwrap_or_default();
    let (key, sent) = (
        key(login),
        [login.email.expose(), login.password.expose(), login.key_id.expose(), login.api_key.expose(), totp],
    );
    Kept::load(store, key, &sent, BUDGET)
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
    let hex = random_hex();
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WyzeEndpoints;
    use crate::secret::{Email, Password};

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
            gwell: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_found_again_by_the_same_account_at_the_same_cloud_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (access, refresh) = (Token::new("access"), Token::new("refresh"));
        let granted = Granted { access, refresh, user_id: Some("owner".to_owned()) };
        load(&login("hunter2"), &store).keep_tokens(KeptTokens::new(&granted));
        tokio::time::advance(Duration::from_secs(3600)).await;
        let store = Store::open(folder.path()).unwrap();
        let (granted, age) = load(&login("hunter3"), &store).tokens().unwrap().read();
        assert_eq!((granted.access.expose(), granted.refresh.expose()), ("access", "refresh"));
        assert_eq!(granted.user_id.as_deref(), Some("owner"));
        assert!((3599..=3601).contains(&age.as_secs()), "{age:?}");

        let mut elsewhere = login("hunter2");
        elsewhere.endpoints.lock = "https://127.0.0.1:1".parse().unwrap();
        let somebody = WyzeLogin { email: Email::new("somebody@example.com"), ..login("hunter2") };
        assert!(load(&elsewhere, &store).tokens().is_none());
        assert!(load(&somebody, &store).tokens().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn logins_in_a_row_wait_20_s_and_longer_and_longer() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = load(&login("hunter2"), &Store::open(folder.path()).unwrap());
        for wanted in [20, 40, 80, 160, 320, 640, 900, 900] {
            kept.begin_login();
            assert_eq!(kept.login_in().as_secs(), wanted);
            tokio::time::advance(kept.login_in()).await;
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        kept.begin_login();
        assert_eq!((kept.logins_in_a_row(), kept.login_in()), (1, Duration::from_secs(20)));
    }

    #[tokio::test]
    async fn a_refused_login_is_tried_again_when_anything_that_it_sends_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        load(&login("hunter2"), &store).refuse();
        assert!(load(&login("hunter2"), &store).is_refused());
        for other in [
            login("hunter3"),
            WyzeLogin { totp_secret: Some(Password::new("JBSWY3DP")), ..login("hunter2") },
            WyzeLogin { key_id: Password::new("another"), ..login("hunter2") },
            WyzeLogin { api_key: Token::new("another"), ..login("hunter2") },
        ] {
            assert!(!load(&other, &store).is_refused());
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
