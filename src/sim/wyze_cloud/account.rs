//! Logins, lock-out and tokens (§1).

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::reply::Refusal;
use super::settings::{SecondFactor, Settings};
use super::world::World;
use super::{CloudEvent, Fault};
use crate::clock::{self, Instant};
use crate::proto::totp::totp;
use crate::proto::wyze;
use crate::secret::Password;
use crate::sim::made_up::random_hex;

/// After so many failures in a row every login is refused.
const FAILURES: u32 = 5;
const LOCKED_OUT_FOR: Duration = Duration::from_secs(15 * 60);
/// More than any test logs in. The oldest are forgotten.
const TOKENS: usize = 1_000;
const SMS_CODE: &str = "PrimaryPhone";
const APP_CODE: &str = "TotpVerificationCode";

#[derive(Default)]
pub(super) struct Account {
    failures: u32,
    locked_until: Option<Instant>,
    /// By access token.
    access: HashMap<String, Access>,
    /// The refresh tokens that still work.
    refresh: Vec<String>,
    /// What a second step must name: an app, or a message that was asked for.
    verifications: Vec<Verification>,
}

struct Access {
    since: Instant,
    dead: Option<Refusal>,
}

struct Verification {
    id: String,
    kind: &'static str,
    /// Of a text message.
    code: Option<String>,
}

impl Account {
    /// Whether this access token opens anything.
    pub(super) fn check(&self, token: &str, life: Duration) -> Result<(), Refusal> {
        match self.access.get(token) {
            None => Err(Refusal::EXPIRED),
            Some(Access { dead: Some(refusal), .. }) => Err(*refusal),
            Some(access) if access.since.elapsed() >= life => Err(Refusal::EXPIRED),
            Some(_) => Ok(()),
        }
    }

    /// Refuses every access token given out so far.
    pub(super) fn refuse_access(&mut self, refusal: Refusal) {
        self.access.values_mut().for_each(|access| access.dead = Some(refusal));
    }

    pub(super) fn revoke_all(&mut self) {
        self.access.clear();
        self.refresh.clear();
    }

    fn is_locked_out(&self) -> bool {
        self.locked_until.is_some_and(|until| clock::now() < until)
    }

    fn failed(&mut self) {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.failures = 0;
            self.locked_until = Some(clock::now() + LOCKED_OUT_FOR);
        }
    }

    /// A new pair of tokens.
    fn admit(&mut self) -> (String, String) {
        let (access, refresh) = (format!("lvtx.{}", random_hex(64)), format!("rvtx.{}", random_hex(64)));
        if self.access.len() >= TOKENS {
            let oldest = self.access.iter().min_by_key(|(_, access)| access.since).map(|(token, _)| token.clone());
            oldest.and_then(|token| self.access.remove(&token));
        }
        if self.refresh.len() >= TOKENS {
            self.refresh.remove(0);
        }
        self.access.insert(access.clone(), Access { since: clock::now(), dead: None });
        self.refresh.push(refresh.clone());
        (access, refresh)
    }

    fn verification(&mut self, id: String, kind: &'static str, code: Option<String>) {
        self.verifications.truncate(9);
        self.verifications.insert(0, Verification { id, kind, code });
    }
}

const WRONG_PASSWORD: Refusal = Refusal::Login("Invalid User Name or Password.");
const WRONG_KEYS: Refusal = Refusal::Login("Invalid credentials, please check username, password, keyid or apikey");
const LOCKED_OUT: Refusal = Refusal::Login("Too many failed attempts. Please try again later.");
const WRONG_CODE: Refusal = Refusal::Login("Invalid verification code");
const WRONG_SESSION: Refusal = Refusal::Login("Invalid session");

/// `POST /api/user/login`: keys, e-mail address and password; tokens, or what the second step needs.
pub(super) fn log_in(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let keys = [("keyid", world.settings.key_id.expose()), ("apikey", world.settings.api_key.expose())];
    let keys_fit = keys.into_iter().all(|(name, own)| call.header(name) == own);
    let allowed = if keys_fit { password_fits(world, call) } else { Err(WRONG_KEYS) };
    count_failures(world, allowed)?;
    match second_factor(world) {
        SecondFactor::None => Ok(welcome(world, false)),
        SecondFactor::Totp(_) => {
            let id = random_hex(32);
            world.account.verification(id.clone(), APP_CODE, None);
            Ok(step_two(APP_CODE, json!({"totp_apps": [{"app_id": id, "app_nickname": "Phone"}]}), Value::Null))
        }
        SecondFactor::Sms => {
            let session = random_hex(32);
            world.account.verification(session.clone(), "sms_session", None);
            Ok(step_two(SMS_CODE, Value::Null, Value::from(session)))
        }
    }
}

/// `POST /user/login/sendSmsCode`, its fields in the address or in a form: the session of the first step becomes
/// that of a message.
pub(super) fn send_sms(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let field = |name: &str| call.query.get(name).or_else(|| call.form.get(name)).map_or("", String::as_str);
    let known = world.account.verifications.iter().any(|v| v.kind == "sms_session" && v.id == field("sessionId"));
    if !known || field("mfaPhoneType") != "Primary" || field("userId") != USER_ID {
        return Err(WRONG_SESSION);
    }
    let digits: u32 = u32::from_str_radix(&random_hex(6), 16).unwrap_or_default();
    let (session, code) = (random_hex(32), format!("{:06}", digits % 1_000_000));
    world.account.verification(session.clone(), SMS_CODE, Some(code.clone()));
    world.tell(CloudEvent::SmsSent { code });
    Ok(json!({"session_id": session}))
}

/// `POST /user/login`: the second step, with the header of Wyze's own apps instead of keys.
pub(super) fn log_in_with_code(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    if call.header("x-api-key").is_empty() {
        return Err(WRONG_KEYS);
    }
    let allowed = password_fits(world, call).and_then(|()| code_fits(world, call));
    count_failures(world, allowed)?;
    let id = call.text("verification_id");
    world.account.verifications.retain(|verification| verification.id != id);
    Ok(welcome(world, true))
}

/// `POST /app/user/refresh_token`: each refresh token works once.
pub(super) fn refresh(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let token = call.text("refresh_token");
    let place = world.account.refresh.iter().position(|own| own == token);
    let Some(place) = place else { return Err(Refusal::REFRESH) };
    world.account.refresh.remove(place);
    let (access, refresh) = world.account.admit();
    world.tell(CloudEvent::Refresh);
    Ok(json!({"access_token": access, "refresh_token": refresh}))
}

pub(super) const USER_ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn second_factor(world: &World) -> SecondFactor {
    match world.fault_at("/api/user/login") {
        // Of a secret that no client was given.
        Some(Fault::MfaRequired) => SecondFactor::Totp(Password::new("")),
        _ => world.settings.second_factor.clone(),
    }
}

fn password_fits(world: &World, call: &Call) -> Result<(), Refusal> {
    let Settings { email, password, .. } = &world.settings;
    let fits = call.text("email").eq_ignore_ascii_case(email.expose())
        && call.text("password") == wyze::password_hash(password.expose());
    if fits { Ok(()) } else { Err(WRONG_PASSWORD) }
}

fn code_fits(world: &World, call: &Call) -> Result<(), Refusal> {
    let (id, code) = (call.text("verification_id"), call.text("verification_code"));
    let asked = world.account.verifications.iter().find(|v| v.id == id && v.kind == call.text("mfa_type"));
    let asked = asked.ok_or(WRONG_SESSION)?;
    let fits = match (&asked.code, &world.settings.second_factor) {
        (Some(sent), _) => sent == code,
        (None, SecondFactor::Totp(secret)) => {
            let seconds = world.now_ms() / 1_000;
            // The code before and the one after are taken too (RFC 6238 §5.2).
            [0, 30, 60]
                .into_iter()
                .any(|ago| totp(secret.expose(), (seconds + 30).saturating_sub(ago)).is_some_and(|own| own == code))
        }
        (None, _) => false,
    };
    if fits { Ok(()) } else { Err(WRONG_CODE) }
}

/// A login in the lock-out is refused even if it is right; five wrong ones in a row begin it.
fn count_failures(world: &mut World, allowed: Result<(), Refusal>) -> Result<(), Refusal> {
    match world.fault_at("/api/user/login") {
        Some(Fault::LoginRefused) => return Err(WRONG_PASSWORD),
        Some(Fault::LockedOut) => return Err(LOCKED_OUT),
        _ if world.account.is_locked_out() => return Err(LOCKED_OUT),
        _ => {}
    }
    match allowed {
        Ok(()) => world.account.failures = 0,
        Err(_) => world.account.failed(),
    }
    allowed
}

fn welcome(world: &mut World, second_factor: bool) -> Value {
    let (access, refresh) = world.account.admit();
    world.tell(CloudEvent::Login { second_factor });
    json!({
        "access_token": access,
        "refresh_token": refresh,
        "user_id": USER_ID,
        "mfa_options": null,
        "mfa_details": null,
        "sms_session_id": null,
        "email_session_id": null,
    })
}

fn step_two(option: &str, details: Value, sms_session: Value) -> Value {
    json!({
        "access_token": null,
        "refresh_token": null,
        "user_id": USER_ID,
        "mfa_options": [option],
        "mfa_details": details,
        "sms_session_id": sms_session,
        "email_session_id": null,
    })
}
