//! How to come by keys, and how to keep them fresh (kvs reference §8).
//!
//! Keys of the configuration and of the environment are good until their owner says otherwise. Those of AWS IoT's
//! credentials provider and of a role are good for an hour or so, and [`kept`] renews them.

mod kept;

use std::time::{Duration, SystemTime};

use url::Url;

use super::call::{Call, Caller};
use super::error::{self, Action, AwsError, Refusal};
use super::sts::{self, Assumed};
use crate::config::{AwsKeys, KvsLogin};
use crate::net::http::{Answer, Client, Method, Request};
use crate::net::tls::{Authority, Identity, Trust};
use crate::proto::kvs::sigv4::Keys;
use crate::secret::{Password, Token};
use kept::{Given, Kept};

/// What requests are signed with.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Password,
    /// Of temporary ones.
    pub session_token: Option<Token>,
}

impl Credentials {
    pub fn keys(&self) -> Keys<'_> {
        Keys {
            access_key_id: &self.access_key_id,
            secret_access_key: self.secret_access_key.expose(),
            session_token: self.session_token.as_ref().map(Token::expose),
        }
    }
}

impl From<&AwsKeys> for Credentials {
    fn from(keys: &AwsKeys) -> Self {
        Self {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.clone(),
            session_token: keys.session_token.clone(),
        }
    }
}

/// `variable` tells what a variable of the environment holds. One that is empty counts as missing.
pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Credentials, AwsError> {
    let variable = |name| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let wanted = |name| variable(name).ok_or(AwsError::NoLogin(name));
    Ok(Credentials {
        access_key_id: wanted("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Password::new(wanted("AWS_SECRET_ACCESS_KEY")?),
        session_token: variable("AWS_SESSION_TOKEN").map(Token::new),
    })
}

/// An account's login.
pub(super) struct Login {
    source: Source,
    role: Option<RoleToAssume>,
    kept: Kept,
}

enum Source {
    Fixed(Credentials),
    /// AWS IoT's credentials provider, to which `http` shows the certificate.
    Provider {
        http: Client,
        url: Url,
        thing: String,
    },
}

pub(super) struct RoleToAssume {
    pub(super) arn: String,
    pub(super) sts: Url,
}

impl Login {
    /// # Errors
    /// `NoLogin`, `Pem`.
    pub(super) fn new(
        login: &KvsLogin,
        role: Option<RoleToAssume>,
        authority: Option<&Authority>,
    ) -> Result<Self, AwsError> {
        let source = match login {
            KvsLogin::Keys(keys) => Source::Fixed(keys.into()),
            KvsLogin::Environment => Source::Fixed(of_environment(|name| std::env::var(name).ok())?),
            KvsLogin::Certificate { endpoint, role_alias, thing, identity } => {
                let identity = Identity::load(&identity.certificate, &identity.private_key)?;
                let trust = Trust { authority: authority.cloned(), identity: Some(identity) };
                let (http, url) = (Client::with(&trust), provider_url(endpoint, role_alias));
                Source::Provider { http, url, thing: thing.clone() }
            }
        };
        Ok(Self { source, role, kept: Kept::default() })
    }

    /// Credentials that are good, renewed if need be.
    ///
    /// # Errors
    /// [`AwsError`], when there are none and AWS gives none.
    pub(super) async fn credentials(&self, caller: &Caller) -> Result<Credentials, AwsError> {
        self.kept.get(async || self.renew(caller).await).await
    }

    /// AWS does not take `credentials`. Whether others can be had.
    pub(super) fn refused(&self, credentials: &Credentials) -> bool {
        self.kept.refused(credentials)
    }

    async fn renew(&self, caller: &Caller) -> Result<Given, AwsError> {
        let own = match &self.source {
            Source::Fixed(credentials) => Given { credentials: credentials.clone(), life: None },
            Source::Provider { http, url, thing } => ask_provider(caller, http, url, thing).await?,
        };
        match &self.role {
            Some(role) => assume(caller, role, &own.credentials).await,
            None => Ok(own),
        }
    }
}

/// `…/role-aliases/<alias>/credentials`
fn provider_url(endpoint: &Url, role_alias: &str) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["role-aliases", role_alias, "credentials"]);
    }
    url
}

async fn ask_provider(caller: &Caller, http: &Client, url: &Url, thing: &str) -> Result<Given, AwsError> {
    const ACTION: Action = Action::AssumeRoleWithCertificate;
    let request = Request::new(Method::GET, url.clone()).header("x-amzn-iot-thingname", thing);
    let answer = http.send(request).await.map_err(AwsError::Unreachable)?;
    if let Some(date) = answer.date() {
        caller.skew().learn(date, false);
    }
    if !answer.is_success() {
        return Err(Refusal::read(&answer).error(ACTION, error::wait(&answer, caller.now())));
    }
    let json = answer.json().map_err(|error| AwsError::unreadable(ACTION, error.to_string()))?;
    let text = |key: &str| json.get("credentials")?.get(key)?.as_str().filter(|text| !text.is_empty());
    let (Some(id), Some(secret), Some(token)) = (text("accessKeyId"), text("secretAccessKey"), text("sessionToken"))
    else {
        return Err(AwsError::unreadable(ACTION, "it holds no temporary keys"));
    };
    let life = life(text("expiration").unwrap_or_default(), now_of(&answer, caller));
    Ok(Given { credentials: temporary(id, secret, token), life: Some(life) })
}

async fn assume(caller: &Caller, role: &RoleToAssume, own: &Credentials) -> Result<Given, AwsError> {
    const ACTION: Action = Action::AssumeRole;
    let call = Call {
        action: ACTION,
        service: "sts",
        method: Method::POST,
        url: role.sts.clone(),
        content_type: Some("application/x-www-form-urlencoded; charset=utf-8"),
        body: &sts::assume_role(&role.arn),
    };
    let answer = caller.ask(&call, own).await?;
    let assumed = Assumed::read(answer.body());
    let assumed = assumed.ok_or_else(|| AwsError::unreadable(ACTION, "it holds no temporary keys"))?;
    let credentials = temporary(assumed.access_key_id, assumed.secret_access_key, assumed.session_token);
    Ok(Given { credentials, life: Some(life(assumed.expiration, now_of(&answer, caller))) })
}

fn temporary(access_key_id: &str, secret_access_key: &str, session_token: &str) -> Credentials {
    Credentials {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: Password::new(secret_access_key),
        session_token: Some(Token::new(session_token)),
    }
}

/// The time of whoever has answered.
fn now_of(answer: &Answer, caller: &Caller) -> SystemTime {
    answer.date().unwrap_or_else(|| caller.now())
}

/// How long keys are good that expire at `expiration`. Whatever is said: not so short that every call renews them, nor
/// longer than a role ever lasts.
fn life(expiration: &str, now: SystemTime) -> Duration {
    const USUAL: Duration = Duration::from_secs(15 * 60);
    const SHORTEST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(12 * 3_600);
    let Ok(end) = humantime::parse_rfc3339_weak(expiration) else {
        tracing::warn!("AWS does not say until when its temporary keys are good");
        return USUAL;
    };
    end.duration_since(now).unwrap_or_default().clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_that_makes_no_sense_is_survived() {
        let now = humantime::parse_rfc3339("2025-01-01T00:00:00Z").unwrap();
        for (expiration, life_s) in [
            ("2025-01-01T01:00:00Z", 3_600),
            ("2025-01-01T00:30:00.123Z", 1_800),
            ("2025-01-01T00:00:01Z", 60),
            ("2020-01-01T00:00:00Z", 60),
            ("1970-01-01T00:00:00Z", 60),
            ("9999-12-31T23:59:59Z", 12 * 3_600),
            ("", 900),
            ("soon", 900),
            ("2025-13-41T99:00:00Z", 900),
            ("1735693200", 900),
        ] {
            assert_eq!(life(expiration, now).as_secs(), life_s, "{expiration}");
        }
    }

    #[test]
    fn the_environment_is_a_login_when_it_holds_both_halves_of_a_key() {
        let environment = |set: &'static [(&str, &str)]| {
            of_environment(move |name| {
                set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let all = &[("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret\n"), ("AWS_SESSION_TOKEN", "t")];
        let read = environment(all).unwrap();
        assert_eq!(read.keys().secret_access_key, "secret");
        assert_eq!(read.keys().session_token, Some("t"));
        assert!(environment(&all[..2]).unwrap().session_token.is_none());
        assert_eq!(environment(&all[..1]).unwrap_err(), AwsError::NoLogin("AWS_SECRET_ACCESS_KEY"));
        let empty = environment(&[("AWS_ACCESS_KEY_ID", " "), ("AWS_SECRET_ACCESS_KEY", "secret")]);
        assert_eq!(empty.unwrap_err(), AwsError::NoLogin("AWS_ACCESS_KEY_ID"));
    }

    #[test]
    fn a_role_alias_stays_one_piece_of_the_path() {
        let url = |endpoint: &str, alias| provider_url(&endpoint.parse().unwrap(), alias).to_string();
        let host = "https://id.credentials.iot.us-east-1.amazonaws.com";
        assert_eq!(url(host, "door-bell"), format!("{host}/role-aliases/door-bell/credentials"));
        assert_eq!(url("http://127.0.0.1:9/at/", "a=b"), "http://127.0.0.1:9/at/role-aliases/a=b/credentials");
    }
}
