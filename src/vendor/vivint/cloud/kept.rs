//! What a Vivint account must remember over restarts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::session::Tokens;
use crate::clock::unix_seconds;
use crate::config::Vivint;
use crate::secret::{Password, Token};
use crate::store::Store;
use crate::vendor::kept::{self, Budget};

pub(super) type Kept = kept::Kept<KeptTokens>;

/// Vivint's network blocks for a day who logs in again too soon (vivint reference §2).
const BUDGET: Budget = Budget {
    first_wait: Duration::from_secs(60),
    longest_wait: Duration::from_secs(4 * 60 * 60),
    forgotten_after: Duration::from_secs(24 * 60 * 60),
    success_counts: true,
};

#[derive(Serialize, Deserialize)]
pub(super) struct KeptTokens {
    refresh: String,
    /// The short-lived ones, so that a process which looks in beside the service needs no login of its own.
    access: String,
    id: String,
    /// Until when those are good, in seconds since 1970.
    until: u64,
}

impl KeptTokens {
    /// Just given.
    pub(super) fn new(tokens: &Tokens) -> Self {
        let text = |token: &Token| token.expose().to_owned();
        Self {
            refresh: text(&tokens.refresh),
            access: text(&tokens.access),
            id: text(&tokens.id),
            until: unix_seconds().saturating_add(tokens.life.as_secs()),
        }
    }

    pub(super) fn read(&self) -> Tokens {
        let token = |text: &String| Token::new(text.as_str());
        let left = self.until.saturating_sub(unix_seconds());
        Tokens::kept(token(&self.access), token(&self.id), token(&self.refresh), left)
    }
}

pub(super) fn load(login: &Vivint, store: &Store) -> Kept {
    let secret = |secret: &'_ Option<Password>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let (password, totp) = (secret(&login.password), secret(&login.totp_secret));
    let sent = [login.username.expose(), &password.unwrap_or_default(), &totp.unwrap_or_default()];
    Kept::load(store, key("vivint_account", login), &sent, BUDGET)
}

/// Where in the store something `of` this account is.
pub(in super::super) fn key(of: &str, login: &Vivint) -> String {
    let at = &login.endpoints;
    kept::key(of, &login.username, &[&at.identity, &at.api])
}

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::*;
    use crate::config::VivintEndpoints;
    use crate::secret::Email;

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

    fn tokens() -> Tokens {
        let token = |text| Token::new(text);
        let life = Duration::from_secs(3_600);
        Tokens { access: token("access"), id: token("id"), refresh: token("refresh"), life }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_found_again_by_the_same_account_at_the_same_cloud_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        load(&login("hunter2"), &store).keep_tokens(KeptTokens::new(&tokens()));
        tokio::time::advance(Duration::from_secs(600)).await;
        let store = Store::open(folder.path()).unwrap();
        let found = load(&login("hunter2"), &store).tokens().unwrap().read();
        assert_eq!((found.access.expose(), found.id.expose(), found.refresh.expose()), ("access", "id", "refresh"));
        assert!((2_999..=3_001).contains(&found.life.as_secs()), "{:?}", found.life);

        let mut elsewhere = login("hunter2");
        elsewhere.endpoints.identity = "https://127.0.0.1:1".parse().unwrap();
        let somebody = Vivint { username: Email::new("somebody@example.com"), ..login("hunter2") };
        assert!(load(&elsewhere, &store).tokens().is_none());
        assert!(load(&somebody, &store).tokens().is_none());
    }

    #[tokio::test]
    async fn no_life_that_a_cloud_may_tell_is_beyond_the_clock_or_renewed_by_every_call() {
        for (told, life) in [(u64::MAX, 24 * 3_600), (i64::MAX as u64, 24 * 3_600), (3_600, 3_600), (0, 10)] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let reply = serde_json::json!({"access_token": "a", "refresh_token": "r", "expires_in": told});
            let tokens = Tokens::read(&reply, None, unix_seconds()).unwrap();
            assert_eq!(tokens.life.as_secs(), life);
            load(&login("hunter2"), &store).keep_tokens(KeptTokens::new(&tokens));
            // What an earlier version has kept.
            let key = key("vivint_account", &login("hunter2"));
            let mut entry: serde_json::Value = store.get(&key).unwrap();
            entry["tokens"]["until"] = told.into();
            store.put(&key, &entry).unwrap();
            let kept = load(&login("hunter2"), &store);
            assert!(kept.tokens().is_some_and(|tokens| tokens.read().life.as_secs() <= 24 * 3_600));
            let _begins = Session::new(kept, &store);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn logins_in_a_row_wait_a_minute_and_longer_and_longer() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = load(&login("hunter2"), &Store::open(folder.path()).unwrap());
        for wanted in [60, 120, 240, 480, 960, 1_920, 3_840, 7_680, 14_400] {
            kept.begin_login();
            assert_eq!(kept.login_in().as_secs(), wanted);
            tokio::time::advance(kept.login_in()).await;
        }
        kept.keep_tokens(KeptTokens::new(&tokens()));
        kept.begin_login();
        assert_eq!((kept.logins_in_a_row(), kept.login_in()), (1, Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn a_refused_login_is_tried_again_when_anything_that_it_sends_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        load(&login("hunter2"), &store).refuse();
        assert!(load(&login("hunter2"), &store).is_refused());
        let totp = Vivint { totp_secret: Some(Password::new("JBSWY3DP")), ..login("hunter2") };
        for other in [login("hunter3"), totp] {
            assert!(!load(&other, &store).is_refused());
        }
    }
}
