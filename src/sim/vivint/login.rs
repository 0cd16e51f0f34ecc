//! OAuth with a login session in cookies, PKCE, codes, and tokens that are refreshed (§2).

use std::time::Duration;

use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::call::Call;
use super::devices::merged;
use super::reply::{Refusal, Reply};
use super::settings::SecondFactor;
use super::tokens::Purpose;
use super::world::World;
use super::{Event, Fault};
use crate::clock::{self, Instant};
use crate::proto::totp::totp;
use crate::sim::made_up::random_hex;

pub(super) const CLIENT: &str = "ios";
pub(super) const REDIRECT: &str = "vivint://app/oauth_redirect";
pub(super) const SCOPE: &str = "openid email devices email_verified";

/// After so many wrong passwords in a row the proxy in front lets nobody in for a day (§2, rate limits; the number is
/// made up).
const FAILURES: u32 = 5;
const BLOCKED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Both are needed: who keeps one of them has no cookie jar.
const SESSION: &str = "idp_session";
const CSRF: &str = "oauth2_csrf";
/// Sessions, codes and refresh tokens that are kept; the oldest make room.
const KEPT: usize = 256;

#[derive(Default)]
pub(super) struct Logins {
    failures: u32,
    blocked_until: Option<Instant>,
    sessions: Vec<Session>,
    grants: Vec<Grant>,
    /// The refresh tokens that still work.
    refresh: Vec<String>,
}

/// What a browser has begun.
struct Session {
    id: String,
    csrf: String,
    asked: Asked,
    step: Step,
}

/// What the app wants to be given.
#[derive(Clone)]
struct Asked {
    challenge: String,
    state: String,
}

enum Step {
    Begun,
    /// A text message with this code went out.
    Sms(String),
    Totp,
    /// This opens the page that gives the code out.
    LoggedIn {
        verifier: String,
    },
}

/// A code of the redirect, good once.
struct Grant {
    code: String,
    challenge: String,
}

impl Logins {
    fn session(&mut self, call: &Call) -> Option<&mut Session> {
        let (id, csrf) = (call.cookie(SESSION), call.cookie(CSRF));
        self.sessions.iter_mut().find(|session| session.id == id && session.csrf == csrf)
    }

    fn is_blocked(&self) -> bool {
        self.blocked_until.is_some_and(|until| clock::now() < until)
    }

    fn failed(&mut self) {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.failures = 0;
            self.blocked_until = Some(clock::now() + BLOCKED_FOR);
        }
    }

    pub(super) fn revoke_refresh(&mut self) {
        self.refresh.clear();
    }
}

fn keep<T>(all: &mut Vec<T>, new: T) {
    if all.len() >= KEPT {
        all.remove(0);
    }
    all.push(new);
}

fn invalid_request() -> Refusal {
    Refusal::oauth("invalid_request", "The request is missing a required parameter.")
}

fn wrong_password() -> Refusal {
    let body = json!({"msg": "Invalid username and/or password"});
    Refusal::new(StatusCode::UNAUTHORIZED, &body, "Invalid username and/or password")
}

fn wrong_code() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, &json!({"message": "Code is not valid"}), "Code is not valid")
}

/// Without the cookies of the first step. The text is made up.
fn no_session() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, &json!({"msg": "No login in progress"}), "no login session in the cookies")
}

/// `GET /oauth2/auth`: begins a login (step 1), or ends it with a code (step 3c).
pub(super) fn authorize(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let logins = &mut world.logins;
    let given = call.query("login_verifier");
    if !given.is_empty() {
        let session = logins.session(call).ok_or_else(no_session)?;
        let fits = matches!(&session.step, Step::LoggedIn { verifier } if verifier == given);
        let asked = session.asked.clone();
        return if fits { Ok(give_code(logins, &asked)) } else { Err(no_session()) };
    }
    let asked = asked(call).ok_or_else(invalid_request)?;
    if logins.session(call).is_some_and(|session| matches!(session.step, Step::LoggedIn { .. })) {
        return Ok(give_code(logins, &asked));
    }
    let session = Session { id: random_hex(32), csrf: random_hex(32), asked, step: Step::Begun };
    let cookie = |name, value: &str| (header::SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax"));
    let cookies = vec![cookie(SESSION, &session.id), cookie(CSRF, &session.csrf)];
    keep(&mut logins.sessions, session);
    let page = Reply::redirect(format!("/idp/login?login_challenge={}", random_hex(32)));
    Ok(Reply { headers: [page.headers, cookies].concat(), ..page })
}

fn asked(call: &Call) -> Option<Asked> {
    let is = |name, value| call.query(name) == value;
    let (challenge, state) = (call.query("code_challenge").to_owned(), call.query("state").to_owned());
    let right = is("response_type", "code")
        && is("client_id", CLIENT)
        && is("redirect_uri", REDIRECT)
        && is("code_challenge_method", "S256")
        && call.query("scope").split(' ').any(|scope| scope == "openid")
        && !challenge.is_empty();
    right.then_some(Asked { challenge, state })
}

fn give_code(logins: &mut Logins, asked: &Asked) -> Reply {
    let code = random_hex(22);
    keep(&mut logins.grants, Grant { code: code.clone(), challenge: asked.challenge.clone() });
    let pairs = [("code", code.as_str()), ("scope", SCOPE), ("state", &asked.state)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Reply::redirect(format!("{REDIRECT}?{query}"))
}

/// `POST /idp/api/submit`: user and password (step 2), or with them the code of an authenticator app (step 3b).
pub(super) fn submit(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    check_password(world, call)?;
    match call.json.get("mfa").and_then(Value::as_str) {
        Some(code) => take_code(world, call, code),
        None => begin_second_factor(world, call),
    }
}

/// `POST /idp/api/validate`: the code of a text message (step 3a).
pub(super) fn validate(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    check_password(world, call)?;
    take_code(world, call, call.text("code"))
}

fn check_password(world: &mut World, call: &Call) -> Result<(), Refusal> {
    if call.query("client_id") != CLIENT {
        return Err(invalid_request());
    }
    if world.logins.is_blocked() {
        return Err(Refusal::blocked());
    }
    world.logins.session(call).ok_or_else(no_session)?;
    let settings = &world.settings;
    let fits = call.text("username").eq_ignore_ascii_case(settings.username.expose())
        && call.text("password") == settings.password.expose()
        && !world.has(Fault::LoginRefused);
    if !fits {
        world.logins.failed();
        return Err(wrong_password());
    }
    world.logins.failures = 0;
    Ok(())
}

fn begin_second_factor(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (step, reply) = match world.settings.second_factor {
        SecondFactor::None => return finish(world, call),
        SecondFactor::NoneAndTokensAtOnce => return Ok(Reply::json(&welcome(world, false))),
        SecondFactor::Sms => {
            let digits = u32::from_str_radix(&random_hex(6), 16).unwrap_or_default();
            let code = format!("{:06}", digits % 1_000_000);
            world.tell(Event::SmsSent { code: code.clone() });
            (Step::Sms(code), json!({"validate": true}))
        }
        SecondFactor::Totp(_) => (Step::Totp, json!({"mfa": true})),
    };
    world.logins.session(call).ok_or_else(no_session)?.step = step;
    Ok(Reply::json(&reply))
}

fn take_code(world: &mut World, call: &Call, given: &str) -> Result<Reply, Refusal> {
    if world.has(Fault::CodeServerError) {
        let why = "the code server is broken";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, &json!({"message": "Internal error"}), why));
    }
    let session = world.logins.session(call).ok_or_else(no_session)?;
    let fits = match (&session.step, &world.settings.second_factor) {
        // Not trimmed: a leading space is refused.
        (Step::Sms(sent), _) => given == sent,
        (Step::Totp, SecondFactor::Totp(secret)) => {
            let seconds = clock::unix_seconds();
            // The code before and the one after are taken too (RFC 6238 §5.2).
            let around = [0, 30, 60].map(|ago| totp(secret.expose(), (seconds + 30).saturating_sub(ago)));
            around.iter().flatten().any(|own| own == given)
        }
        _ => false,
    };
    if fits { finish(world, call) } else { Err(wrong_code()) }
}

/// The page that gives the code out.
fn finish(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let verifier = random_hex(32);
    let session = world.logins.session(call).ok_or_else(no_session)?;
    session.step = Step::LoggedIn { verifier: verifier.clone() };
    Ok(Reply::json(&json!({"url": format!("/oauth2/auth?login_verifier={verifier}")})))
}

/// `POST /oauth2/token`: tokens for a code (step 4) or a refresh token.
pub(super) fn token(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    match call.field("grant_type") {
        "authorization_code" => redeem(world, call),
        "refresh_token" => refresh(world, call),
        _ => Err(Refusal::oauth("unsupported_grant_type", "The grant type is not supported.")),
    }
}

fn redeem(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    if call.field("client_id") != CLIENT || call.field("redirect_uri") != REDIRECT {
        return Err(invalid_request());
    }
    let invalid = || Refusal::oauth("invalid_grant", "The authorization code is invalid.");
    let grants = &mut world.logins.grants;
    let place = grants.iter().position(|grant| grant.code == call.field("code")).ok_or_else(invalid)?;
    let grant = grants.remove(place);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(call.field("code_verifier")));
    if challenge != grant.challenge {
        return Err(Refusal::oauth("invalid_grant", "The PKCE code challenge did not match the code verifier."));
    }
    let second_factor = matches!(world.settings.second_factor, SecondFactor::Sms | SecondFactor::Totp(_));
    Ok(Reply::json(&welcome(world, second_factor)))
}

/// Each refresh token works once.
fn refresh(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    if call.query("client_id") != CLIENT {
        return Err(invalid_request());
    }
    let known = &mut world.logins.refresh;
    let place = known.iter().position(|own| own == call.field("refresh_token"));
    let place = place.ok_or_else(|| Refusal::oauth("invalid_grant", "The refresh token is invalid."))?;
    let kept = known.remove(place);
    let mut tokens = tokens(world);
    if world.has(Fault::RefreshKept) {
        world.logins.refresh.push(kept);
        tokens.as_object_mut().and_then(|tokens| tokens.remove("refresh_token"));
    }
    world.tell(Event::Refresh);
    Ok(Reply::json(&tokens))
}

fn welcome(world: &mut World, second_factor: bool) -> Value {
    let tokens = tokens(world);
    world.tell(Event::Login { second_factor });
    tokens
}

fn tokens(world: &mut World) -> Value {
    let (life, refresh) = (world.settings.token_life, random_hex(64));
    let (uid, email) = (world.settings.uid.clone(), world.settings.username.expose().to_owned());
    let common = |more| merged(json!({"iss": "https://id.vivint.com/", "aud": [CLIENT], "sub": uid}), more);
    let access = world.tokens.make(Purpose::Access, life, common(json!({"scp": SCOPE.split(' ').collect::<Vec<_>>()})));
    let id = world.tokens.make(Purpose::Id, life, common(json!({"email": email, "email_verified": true})));
    keep(&mut world.logins.refresh, refresh.clone());
    json!({
        "access_token": access, "id_token": id, "refresh_token": refresh, "expires_in": life.as_secs(),
        "scope": SCOPE, "token_type": "bearer",
    })
}
