//! From Vivint's id token to one that the database takes: the exchange, Identity Toolkit, and the refresh (§6).

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::devices::merged;
use super::reply::{Refusal, Reply};
use super::tokens::Purpose;
use super::world::World;
use super::{Event, Fault};
use crate::sim::made_up::random_hex;

/// Of the service that signs custom tokens.
const ISSUER: &str = "virtual@example.iam.gserviceaccount.com";
const AUDIENCE: &str = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit";
/// Numeric, as Google tells it.
const PROJECT: &str = "000000000000";
/// Refresh tokens that are kept.
const KEPT: usize = 256;

/// `GET` or `POST /?custom-token=true`, with the id token as bearer.
pub(super) fn exchange(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    if world.has(Fault::ExchangePost) && call.method != "POST" {
        let body = json!({"error": "method not allowed"});
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, &body, "the exchange takes POST only"));
    }
    world.tokens.check(Purpose::Id, call.bearer()).map_err(|_| Refusal::unauthorized())?;
    let claims = claims(world);
    let custom = json!({
        "iss": ISSUER, "sub": ISSUER, "aud": AUDIENCE, "uid": world.settings.uid, "claims": claims,
    });
    let token = world.tokens.make(Purpose::Custom, world.settings.token_life, custom);
    world.tell(Event::Exchanged);
    Ok(Reply::json(&json!({"custom-token": token})))
}

/// `sig_server` and `devices`, by system.
fn claims(world: &World) -> Value {
    let settings = &world.settings;
    let panel = settings.panel.to_string();
    let devices: Vec<&str> = match world.has(Fault::NotListed) {
        true => Vec::new(),
        false => settings.signalled().collect(),
    };
    match world.has(Fault::NoClaims) {
        true => json!({}),
        false => json!({"sig_server": {&panel: world.database()}, "devices": {&panel: devices}}),
    }
}

fn refused(message: &'static str) -> Refusal {
    let errors = json!([{"message": message, "domain": "global", "reason": "invalid"}]);
    let body = json!({"error": {"code": 400, "message": message, "errors": errors}});
    Refusal::new(StatusCode::BAD_REQUEST, &body, message)
}

fn check_key(world: &World, call: &Call) -> Result<(), Refusal> {
    if call.query("key") == world.settings.firebase_api_key.expose() {
        return Ok(());
    }
    Err(refused("INVALID_API_KEY"))
}

/// `POST /v1/accounts:signInWithCustomToken`
pub(super) fn sign_in(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    check_key(world, call)?;
    let known = world.tokens.check(Purpose::Custom, call.text("token"));
    if known.is_err() || world.has(Fault::CustomTokenRefused) {
        return Err(refused("INVALID_CUSTOM_TOKEN"));
    }
    let (id_token, refresh_token) = firebase_tokens(world);
    world.tell(Event::SignedIn);
    Ok(Reply::json(&json!({
        "kind": "identitytoolkit#VerifyCustomTokenResponse", "idToken": id_token, "refreshToken": refresh_token,
        "expiresIn": world.settings.token_life.as_secs().to_string(), "isNewUser": false,
        "localId": world.settings.uid,
    })))
}

/// `POST /v1/token`; Google's refresh tokens stay good.
pub(super) fn refresh(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    check_key(world, call)?;
    if call.field("grant_type") != "refresh_token" {
        return Err(refused("INVALID_GRANT_TYPE"));
    }
    let given = call.field("refresh_token");
    if !world.firebase_refresh.iter().any(|own| own == given) {
        return Err(refused("INVALID_REFRESH_TOKEN"));
    }
    let id_token = firebase_token(world);
    Ok(Reply::json(&json!({
        "expires_in": world.settings.token_life.as_secs().to_string(), "token_type": "Bearer",
        "refresh_token": given, "id_token": id_token, "user_id": world.settings.uid, "project_id": PROJECT,
    })))
}

fn firebase_tokens(world: &mut World) -> (String, String) {
    let refresh = random_hex(64);
    if world.firebase_refresh.len() >= KEPT {
        world.firebase_refresh.remove(0);
    }
    world.firebase_refresh.push(refresh.clone());
    (firebase_token(world), refresh)
}

fn firebase_token(world: &mut World) -> String {
    let uid = world.settings.uid.clone();
    let payload = merged(json!({"sub": uid, "user_id": uid, "aud": PROJECT}), claims(world));
    world.tokens.make(Purpose::Firebase, world.settings.token_life, payload)
}
