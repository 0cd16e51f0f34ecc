//! Temporary credentials: STS, which speaks XML, and AWS IoT's credentials provider (kvs reference §8).

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::event::Event;
use super::exception::{Exception, STS};
use super::fault::Fault;
use super::settings::Role;
use super::signature::{Caller, Key, authenticate};
use super::world::World;
use crate::secret::Token;
use crate::sim::made_up::random_hex;

/// `POST /` with a form; the answer's text.
pub(super) fn answer(world: &mut World, call: &Call) -> Result<String, Exception> {
    let caller = authenticate(world, call, "sts")?;
    let form = call.form();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("Version") != "2011-06-15" {
        return Err(bad("InvalidAction", format!("Could not find operation {} for version", field("Action"))));
    }
    match field("Action") {
        "GetCallerIdentity" => Ok(caller_identity(world, &caller)),
        "AssumeRole" => {
            let duration = form.get("DurationSeconds").map(String::as_str);
            assume_role(world, &caller, field("RoleArn"), field("RoleSessionName"), duration)
        }
        other => Err(bad("InvalidAction", format!("Could not find operation {other} for version 2011-06-15"))),
    }
}

fn caller_identity(world: &World, caller: &Caller) -> String {
    world.tell(Event::Called { action: "sts:GetCallerIdentity".to_owned(), by: caller.key_id.clone() });
    let (arn, account) = (&caller.arn, &world.settings.account);
    let result = format!("<Arn>{arn}</Arn><UserId>{}</UserId><Account>{account}</Account>", caller.key_id);
    envelope("GetCallerIdentity", &result)
}

fn assume_role(
    world: &mut World,
    caller: &Caller,
    role_arn: &str,
    session: &str,
    duration: Option<&str>,
) -> Result<String, Exception> {
    let is_session = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(is_session) || role_arn.len() < 20 {
        return Err(bad("ValidationError", "RoleArn or RoleSessionName is missing or is none".to_owned()));
    }
    let life = match duration.map(str::parse) {
        None => world.settings.credentials_life,
        Some(Ok(seconds @ 900..=43_200)) => Duration::from_secs(seconds),
        Some(_) => return Err(bad("ValidationError", "DurationSeconds is not between 900 and 43200".to_owned())),
    };
    caller.may("sts:AssumeRole", role_arn)?;
    // A role that is not there looks like one that is not allowed.
    let role = world.settings.roles.iter().find(|role| role.arn == role_arn).cloned();
    let role = role.ok_or_else(|| caller.denial("sts:AssumeRole", role_arn))?;
    world.tell(Event::Called { action: "sts:AssumeRole".to_owned(), by: caller.key_id.clone() });
    let arn = assumed(world, &role, session);
    let key = world.issue(arn.clone(), role.denied, life);
    let (id, secret, token, until) = (&key.id, key.secret.expose(), token(&key), expiration(&key));
    let result = format!(
        "<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:{session}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>{until}</Expiration></Credentials>"
    );
    Ok(envelope("AssumeRole", &result))
}

/// `arn:aws:sts::123456789012:assumed-role/doorbell-viewer/session`
fn assumed(world: &World, role: &Role, session: &str) -> String {
    let name = role.arn.rsplit('/').next().unwrap_or_default();
    format!("arn:aws:sts::{}:assumed-role/{name}/{session}", world.settings.account)
}

fn envelope(action: &str, result: &str) -> String {
    let id = random_hex(32);
    format!(
        "<{action}Response xmlns=\"{STS}\">\n<{action}Result>{result}</{action}Result>\n\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>\n</{action}Response>\n"
    )
}

fn bad(kind: &'static str, message: String) -> Exception {
    Exception::new(StatusCode::BAD_REQUEST, kind, message)
}

fn token(key: &Key) -> &str {
    key.token.as_ref().map_or("", Token::expose)
}

fn expiration(key: &Key) -> String {
    key.expires.map(|at| humantime::format_rfc3339_seconds(at).to_string()).unwrap_or_default()
}

/// `GET /role-aliases/<alias>/credentials` with the certificate of a thing, named in `x-amzn-iot-thingname`.
///
/// What AWS says of a wrong certificate, thing or alias is 403; its words are made up.
pub(super) fn for_thing(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let denied = || Exception::forbidden("AccessDeniedException", "Access Denied");
    if world.fault_at(&call.path) == Some(Fault::ProviderForbidden) {
        return Err(denied());
    }
    let thing = call.line.thing.clone().ok_or_else(denied)?;
    let alias = call.path.strip_prefix("/role-aliases/").and_then(|rest| rest.strip_suffix("/credentials"));
    if alias != Some(world.settings.role_alias.as_str()) || call.header("x-amzn-iot-thingname") != &*thing {
        return Err(denied());
    }
    let role = world.settings.roles.first().cloned().ok_or_else(denied)?;
    world.tell(Event::Called { action: "iot:AssumeRoleWithCertificate".to_owned(), by: thing.to_string() });
    let arn = assumed(world, &role, &thing);
    let key = world.issue(arn, role.denied, world.settings.credentials_life);
    Ok(json!({ "credentials": {
        "accessKeyId": key.id,
        "secretAccessKey": key.secret.expose(),
        "sessionToken": token(&key),
        "expiration": expiration(&key),
    }}))
}
