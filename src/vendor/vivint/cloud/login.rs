//! The requests of a login: OAuth with a code and PKCE, the second factor, and the refresh (vivint reference §2).

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::Inner;
use super::answer::{self, Refused};
use super::cookies::Cookies;
use super::error::{CloudError, CodeBy};
use super::session::Tokens;
use crate::clock::{self, Instant};
use crate::net::http::{Answer, HttpError, Method, Request};
use crate::proto::totp::totp;
use crate::proto::vivint::login::{self, CLIENT_ID, Next, REDIRECT_URI, Redirect, SCOPE};
use crate::secret::{Password, Token};

/// What a login leads to.
pub(super) enum Step {
    Done(Tokens),
    Code(PendingCode),
}

/// A login that waits for its owner's code.
pub(super) struct PendingCode {
    pub(super) by: CodeBy,
    /// How many codes were refused.
    pub(super) tries: u32,
    begun: Instant,
    attempt: Attempt,
}

impl PendingCode {
    /// A code that was sent longer ago than this is hardly good any more.
    const LIFE: Duration = Duration::from_secs(10 * 60);

    pub(super) fn is_stale(&self) -> bool {
        self.begun.elapsed() > Self::LIFE
    }
}

/// One login: what holds its requests together.
struct Attempt {
    cookies: Cookies,
    verifier: String,
    state: String,
}

impl Attempt {
    /// # Errors
    /// Without randomness: a login that can be guessed is none.
    fn new() -> Result<Self, CloudError> {
        let (mut verifier, mut state) = ([0; 40], [0; 40]);
        let filled = getrandom::fill(&mut verifier).and_then(|()| getrandom::fill(&mut state));
        filled.map_err(|_| CloudError::Trouble("this machine has no random numbers".to_owned()))?;
        let (verifier, state) = (login::verifier(&verifier), login::verifier(&state));
        Ok(Self { cookies: Cookies::default(), verifier, state })
    }
}

/// A login that the server knows of.
pub(super) struct Begun {
    attempt: Attempt,
    /// Where the cookies are still a login it ends right here.
    redirect: Option<Redirect>,
}

/// How the identity server answered a login, or a code.
enum Reply {
    Next(Next, Answer),
    Refused(Refused),
}

impl Inner {
    /// User name and password, and the second factor where it needs nobody. `LoginRefused` is of the first,
    /// `TotpRefused` of the second.
    pub(super) async fn ask_for_login(&self, begun: Begun, password: &Password) -> Result<Step, CloudError> {
        let Begun { mut attempt, redirect } = begun;
        if let Some(redirect) = redirect {
            return Ok(Step::Done(self.redeem(&attempt, redirect).await?));
        }
        let by = match self.submit(&mut attempt, "/idp/api/submit", json!({}), password).await? {
            Reply::Next(Next::Validate, _) => CodeBy::Sms,
            // That it then wants the app's code is a guess: both are told to the same address.
            Reply::Next(Next::Mfa, _) | Reply::Refused(Refused::CodeMissing) => CodeBy::App,
            Reply::Next(next, answer) => return Ok(Step::Done(self.finish(&mut attempt, next, &answer).await?)),
            Reply::Refused(Refused::Other(error)) => return Err(error),
            Reply::Refused(Refused::Login | Refused::Code | Refused::Grant) => return Err(CloudError::LoginRefused),
        };
        let mut pending = PendingCode { by, tries: 0, begun: clock::now(), attempt };
        let (CodeBy::App, Some(secret)) = (by, &self.login.totp_secret) else { return Ok(Step::Code(pending)) };
        let digits = totp(secret.expose(), self.seconds()).ok_or(CloudError::TotpRefused)?;
        match self.answer_with_code(&mut pending, &digits, password).await {
            Ok(tokens) => Ok(Step::Done(tokens)),
            Err(CloudError::CodeRefused) => Err(CloudError::TotpRefused),
            Err(error) => Err(error),
        }
    }

    /// Step 1: the server learns what the login is for.
    pub(super) async fn begin_login(&self) -> Result<Begun, CloudError> {
        let mut attempt = Attempt::new()?;
        let mut url = self.identity("/oauth2/auth");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", SCOPE)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("state", &attempt.state)
            .append_pair("code_challenge", &login::challenge(&attempt.verifier))
            .append_pair("code_challenge_method", "S256");
        let answer = self.visit(&mut attempt, Request::new(Method::GET, url)).await?;
        match answer::passing(&answer) {
            Some(error) => Err(error),
            None => Ok(Begun { attempt, redirect: answer.location().and_then(Redirect::parse) }),
        }
    }

    /// Steps 2 and 3, as far as `path` and `fields` are what differs.
    async fn submit(
        &self,
        attempt: &mut Attempt,
        path: &str,
        fields: Value,
        password: &Password,
    ) -> Result<Reply, CloudError> {
        let mut url = self.identity(path);
        url.query_pairs_mut().append_pair("client_id", CLIENT_ID);
        let mut body = fields;
        body["username"] = self.login.username.expose().into();
        body["password"] = password.expose().into();
        let answer = self.visit(attempt, Request::post_json(url, body.to_string())).await?;
        let next = answer.is_success().then(|| answer.json().ok()).flatten().and_then(|body| Next::read(&body));
        Ok(match next {
            Some(next) => Reply::Next(next, answer),
            None => Reply::Refused(Refused::read(&answer)),
        })
    }

    /// The second factor.
    pub(super) async fn answer_with_code(
        &self,
        pending: &mut PendingCode,
        code: &str,
        password: &Password,
    ) -> Result<Tokens, CloudError> {
        let (path, fields) = match pending.by {
            CodeBy::Sms => ("/idp/api/validate", json!({ "code": code })),
            CodeBy::App => ("/idp/api/submit", json!({ "mfa": code })),
        };
        match self.submit(&mut pending.attempt, path, fields, password).await? {
            // Asked once more, it does not like the last answer.
            Reply::Next(Next::Validate | Next::Mfa, _) => Err(CloudError::CodeRefused),
            Reply::Next(next, answer) => self.finish(&mut pending.attempt, next, &answer).await,
            Reply::Refused(Refused::Other(error)) => Err(error),
            Reply::Refused(_) => Err(CloudError::CodeRefused),
        }
    }

    async fn finish(&self, attempt: &mut Attempt, next: Next, answer: &Answer) -> Result<Tokens, CloudError> {
        match next {
            Next::Follow(url) => {
                let redirect = self.follow(attempt, &url).await?;
                self.redeem(attempt, redirect).await
            }
            _ => Tokens::read(&answer.json()?, None, self.seconds()),
        }
    }

    /// Step 3c: from address to address of the same server, until one leads to the app.
    async fn follow(&self, attempt: &mut Attempt, url: &str) -> Result<Redirect, CloudError> {
        const MOST: usize = 5;
        let elsewhere = || CloudError::Misunderstood("a login that leads nowhere".to_owned());
        let mut url = url.to_owned();
        for _ in 0..MOST {
            let next = login::within(&self.login.endpoints.identity, &url).ok_or_else(elsewhere)?;
            let answer = self.visit(attempt, Request::new(Method::GET, next)).await?;
            if let Some(error) = answer::passing(&answer) {
                return Err(error);
            }
            let location = answer.location().ok_or_else(elsewhere)?;
            match Redirect::parse(location) {
                Some(redirect) if redirect.state == attempt.state => return Ok(redirect),
                // Somebody else's login.
                Some(_) => return Err(elsewhere()),
                None => url = location.to_owned(),
            }
        }
        Err(elsewhere())
    }

    /// Step 4: the tokens for the code.
    async fn redeem(&self, attempt: &Attempt, redirect: Redirect) -> Result<Tokens, CloudError> {
        if redirect.state != attempt.state {
            return Err(CloudError::Misunderstood("a login of somebody else".to_owned()));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", REDIRECT_URI),
            ("code", &redirect.code),
            ("code_verifier", &attempt.verifier),
        ];
        let answer = self.client.send(Request::post_form(self.identity("/oauth2/token"), &form)).await?;
        match answer.is_success() {
            true => Tokens::read(&answer.json()?, None, self.seconds()),
            false => Err(match Refused::read(&answer) {
                Refused::Other(error) => error,
                _ => CloudError::Misunderstood("a login without a token".to_owned()),
            }),
        }
    }

    /// New tokens for a refresh token, which is worth nothing afterwards. `None` when it is worth nothing already.
    pub(super) async fn refresh(&self, old: &Token) -> Result<Option<Tokens>, CloudError> {
        let mut url = self.identity("/oauth2/token");
        url.query_pairs_mut().append_pair("client_id", CLIENT_ID);
        let form = [("grant_type", "refresh_token"), ("refresh_token", old.expose())];
        let answer = self.client.send(Request::post_form(url, &form)).await?;
        if answer.is_success() {
            return Tokens::read(&answer.json()?, Some(old), self.seconds()).map(Some);
        }
        match Refused::read(&answer) {
            Refused::Grant | Refused::Login => Ok(None),
            Refused::Other(error) => Err(error),
            Refused::Code | Refused::CodeMissing => {
                Err(CloudError::Misunderstood("a refresh that wants a code".to_owned()))
            }
        }
    }

    /// One request with the cookies of this login.
    async fn visit(&self, attempt: &mut Attempt, request: Request) -> Result<Answer, HttpError> {
        let answer = self.client.send(attempt.cookies.send_with(request).expecting_redirect()).await?;
        attempt.cookies.take(&answer);
        self.time.note(answer.date());
        Ok(answer)
    }

    fn identity(&self, path: &str) -> Url {
        let mut url = self.login.endpoints.identity.clone();
        url.set_path(path);
        url
    }
}
