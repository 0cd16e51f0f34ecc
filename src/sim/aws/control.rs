//! The control plane of Kinesis Video Streams, TURN credentials, and where AWS IoT is (kvs reference §2, §6).

use std::time::{Duration, UNIX_EPOCH};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;

use super::call::Call;
use super::event::Event;
use super::exception::Exception;
use super::fault::Fault;
use super::settings::{ChannelSettings, Turn, TurnServer};
use super::signature::{Caller, authenticate};
use super::world::{Channel, World};
use crate::secret::Password;
use crate::sim::signaling::is_id;

/// More are not made (an account's quota at Amazon).
const MAX_CHANNELS: usize = 10_000;

/// Who is allowed to do this; whoever is not is told with 401, as the service's model has it.
fn allowed(world: &World, call: &Call, action: &str, resource: &str) -> Result<Caller, Exception> {
    let caller = authenticate(world, call, "kinesisvideo")?;
    let denied_to_all = match world.fault_at(&call.path) {
        Some(Fault::AccessDenied) => true,
        Some(Fault::AccessDeniedList) => action == "kinesisvideo:ListSignalingChannels",
        _ => false,
    };
    let outcome = if denied_to_all { Err(caller.denial(action, resource)) } else { caller.may(action, resource) };
    outcome.map_err(|denied| Exception { status: StatusCode::UNAUTHORIZED, ..denied })?;
    world.tell(Event::Called { action: action.to_owned(), by: caller.key_id.clone() });
    Ok(caller)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneChannel {
    channel_name: Option<String>,
    #[serde(rename = "ChannelARN")]
    channel_arn: Option<String>,
}

/// `POST /describeSignalingChannel`
pub(super) fn describe(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let asked: OneChannel = call.json()?;
    let resource = match (&asked.channel_name, &asked.channel_arn) {
        (Some(name), None) => {
            check_name("channelName", name)?;
            format!("{}channel/{name}/*", world.arn_of("kinesisvideo"))
        }
        (None, Some(arn)) => {
            check_arn(arn)?;
            arn.clone()
        }
        _ => return Err(Exception::invalid_argument("Specify either ChannelName or ChannelARN.")),
    };
    allowed(world, call, "kinesisvideo:DescribeSignalingChannel", &resource)?;
    let is_it = |channel: &&Channel| match &asked.channel_name {
        Some(name) => channel.settings.name == *name,
        None => channel.arn == resource,
    };
    let found = world.channels.iter().find(is_it).map(|channel| (info(world, channel), channel.arn.clone()));
    let (info, arn) = found.ok_or_else(no_such_channel)?;
    world.spend("describe", &arn, world.settings.quotas.describes)?;
    Ok(json!({ "ChannelInfo": info }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListOf {
    max_results: Option<i64>,
    next_token: Option<String>,
    channel_name_condition: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    comparison_operator: Option<String>,
    comparison_value: Option<String>,
}

/// `POST /listSignalingChannels`
pub(super) fn list(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let asked: ListOf = call.json()?;
    allowed(world, call, "kinesisvideo:ListSignalingChannels", "*")?;
    world.spend("list", "", world.settings.quotas.lists)?;
    let page = match asked.max_results {
        None => world.settings.page,
        Some(most @ 1..=10_000) => most as usize,
        Some(_) => return Err(constraint("maxResults", "Member must have value between 1 and 10000")),
    };
    let beginning = match asked.channel_name_condition {
        None => String::new(),
        Some(Condition { comparison_operator: Some(operator), comparison_value }) if operator == "BEGINS_WITH" => {
            comparison_value.unwrap_or_default()
        }
        Some(_) => return Err(constraint("comparisonOperator", "Member must satisfy enum value set: [BEGINS_WITH]")),
    };
    let from = match asked.next_token.as_deref() {
        None | Some("") => 0,
        Some(token) => {
            usize::from_str_radix(token, 16).map_err(|_| Exception::invalid_argument("Invalid NextToken"))?
        }
    };
    let mut named = world.channels.iter().filter(|channel| channel.settings.name.starts_with(&beginning)).skip(from);
    let infos: Vec<Value> = named.by_ref().take(page).map(|channel| info(world, channel)).collect();
    let next = named.next().map(|_| format!("{:016x}", from + page));
    Ok(json!({ "ChannelInfoList": infos, "NextToken": next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointOf {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    single_master_channel_endpoint_configuration: Option<EndpointConfiguration>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointConfiguration {
    protocols: Option<Vec<String>>,
    role: Option<String>,
}

/// `POST /getSignalingChannelEndpoint`: always the address that was asked. Master and viewer go by other hosts at
/// Amazon; here the client id tells them apart (kvs reference §3).
pub(super) fn endpoint(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let asked: EndpointOf = call.json()?;
    check_arn(&asked.channel_arn)?;
    let configuration = asked.single_master_channel_endpoint_configuration.unwrap_or_default();
    if !matches!(configuration.role.as_deref(), None | Some("MASTER" | "VIEWER")) {
        return Err(constraint("role", "Member must satisfy enum value set: [MASTER, VIEWER]"));
    }
    let protocols = configuration.protocols.unwrap_or_else(|| vec!["HTTPS".to_owned(), "WSS".to_owned()]);
    let is_known = |protocol: &String| matches!(protocol.as_str(), "HTTPS" | "WSS" | "WEBRTC");
    if protocols.is_empty() || !protocols.iter().all(is_known) {
        return Err(constraint("protocols", "Member must satisfy enum value set: [WSS, HTTPS, WEBRTC]"));
    }
    allowed(world, call, "kinesisvideo:GetSignalingChannelEndpoint", &asked.channel_arn)?;
    world.spend("call", "", world.settings.quotas.calls)?;
    let creating = world.has(Fault::Creating);
    let channel = world.channel(&asked.channel_arn).ok_or_else(no_such_channel)?;
    if creating || !channel.settings.active {
        let message = "The channel is not available for this operation.";
        return Err(Exception::new(StatusCode::BAD_REQUEST, "ResourceInUseException", message));
    }
    let resource = |protocol: &String| match protocol.as_str() {
        "HTTPS" => Some(json!({ "Protocol": "HTTPS", "ResourceEndpoint": call.address("http") })),
        "WSS" => Some(json!({ "Protocol": "WSS", "ResourceEndpoint": call.address("ws") })),
        // Storage sessions, of which there are none.
        _ => None,
    };
    let list: Vec<Value> = protocols.iter().filter_map(resource).collect();
    Ok(json!({ "ResourceEndpointList": list }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewChannel {
    channel_name: String,
    channel_type: Option<String>,
    single_master_configuration: Option<NewConfiguration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewConfiguration {
    message_ttl_seconds: Option<u64>,
}

/// `POST /createSignalingChannel`
pub(super) fn create(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let asked: NewChannel = call.json()?;
    check_name("channelName", &asked.channel_name)?;
    let single_master = match asked.channel_type.as_deref() {
        None | Some("SINGLE_MASTER") => true,
        Some("FULL_MESH") => false,
        Some(_) => {
            return Err(constraint("channelType", "Member must satisfy enum value set: [SINGLE_MASTER, FULL_MESH]"));
        }
    };
    let ttl = asked.single_master_configuration.and_then(|own| own.message_ttl_seconds).unwrap_or(60);
    if !(5..=120).contains(&ttl) {
        return Err(constraint("messageTtlSeconds", "Member must have value between 5 and 120"));
    }
    let resource = format!("{}channel/{}/*", world.arn_of("kinesisvideo"), asked.channel_name);
    allowed(world, call, "kinesisvideo:CreateSignalingChannel", &resource)?;
    if world.channels.iter().any(|channel| channel.settings.name == asked.channel_name) {
        let message = format!("The channel {} already exists.", asked.channel_name);
        return Err(Exception::new(StatusCode::BAD_REQUEST, "ResourceInUseException", message));
    }
    if world.channels.len() >= MAX_CHANNELS {
        let message = "You have reached the limit of signaling channels for this account.";
        return Err(Exception::new(StatusCode::BAD_REQUEST, "AccountChannelLimitExceededException", message));
    }
    let message_ttl = Duration::from_secs(ttl);
    let arn = world.open(ChannelSettings { single_master, message_ttl, ..ChannelSettings::named(&asked.channel_name) });
    Ok(json!({ "ChannelARN": arn }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OldChannel {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    current_version: Option<String>,
}

/// `POST /deleteSignalingChannel`: whoever is connected is cut off.
pub(super) fn delete(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let asked: OldChannel = call.json()?;
    check_arn(&asked.channel_arn)?;
    allowed(world, call, "kinesisvideo:DeleteSignalingChannel", &asked.channel_arn)?;
    let channel = world.channel(&asked.channel_arn).ok_or_else(no_such_channel)?;
    if asked.current_version.is_some_and(|version| version != channel.version) {
        let message = "The channel's version is another.";
        return Err(Exception::new(StatusCode::BAD_REQUEST, "VersionMismatchException", message));
    }
    world.close(&asked.channel_arn);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IceServersOf {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    client_id: Option<String>,
    service: Option<String>,
    username: Option<String>,
}

/// `POST /v1/get-ice-server-config`
pub(super) fn ice_servers(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let asked: IceServersOf = call.json()?;
    check_arn(&asked.channel_arn)?;
    if let Some(client_id) = &asked.client_id {
        check_client(client_id)?;
    }
    if let Some(username) = &asked.username {
        check_name("username", username)?;
    }
    if asked.service.as_deref().is_some_and(|service| service != "TURN") {
        return Err(constraint("service", "Member must satisfy enum value set: [TURN]"));
    }
    allowed(world, call, "kinesisvideo:GetIceServerConfig", &asked.channel_arn)?;
    world.channel(&asked.channel_arn).ok_or_else(no_such_channel)?;
    world.spend("ice", &asked.channel_arn, world.settings.quotas.ice_servers)?;
    match world.fault_at(&call.path) {
        Some(Fault::IceServerError) => return Err(Exception::internal()),
        Some(Fault::NoIce) => return Ok(json!({ "IceServerList": [] })),
        _ => {}
    }
    let until_s = (world.now() + world.settings.turn_life).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let servers = match &world.settings.turn {
        None => Vec::new(),
        Some(Turn::Fixed(servers)) => servers.clone(),
        Some(Turn::Secret { uris, secret }) => {
            let username = format!("{until_s}:{}", asked.client_id.as_deref().unwrap_or("master"));
            let password = Password::new(turn_password(secret, &username));
            vec![TurnServer { uris: uris.clone(), username, password }]
        }
    };
    let ttl = world.settings.turn_life.as_secs();
    let row = |server: &TurnServer| {
        let (uris, password) = (&server.uris, server.password.expose());
        json!({ "Uris": uris, "Username": server.username, "Password": password, "Ttl": ttl })
    };
    Ok(json!({ "IceServerList": servers.iter().map(row).collect::<Vec<_>>() }))
}

/// What coturn's `use-auth-secret` expects.
fn turn_password(secret: &Password, username: &str) -> String {
    let mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes());
    let mac = mac.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    STANDARD.encode(mac.chain_update(username).finalize().into_bytes())
}

/// `GET /endpoint?endpointType=iot:Data-ATS` (iot:DescribeEndpoint). At Amazon an answer has neither scheme nor port;
/// here it leads back to where it was asked.
pub(super) fn iot_endpoint(world: &mut World, call: &Call) -> Result<Value, Exception> {
    let caller = authenticate(world, call, "iot")?;
    caller.may("iot:DescribeEndpoint", "*")?;
    world.tell(Event::Called { action: "iot:DescribeEndpoint".to_owned(), by: caller.key_id });
    let kind = call.parameter("endpointType");
    if !matches!(kind.as_deref(), None | Some("iot:Data" | "iot:Data-ATS" | "iot:CredentialProvider")) {
        let message = "Invalid endpointType";
        return Err(Exception::new(StatusCode::BAD_REQUEST, "InvalidRequestException", message));
    }
    let here = if call.line.tls { call.host().to_owned() } else { call.address("ws") };
    Ok(json!({ "endpointAddress": world.settings.iot_address.clone().unwrap_or(here) }))
}

fn info(world: &World, channel: &Channel) -> Value {
    let settings = &channel.settings;
    let active = settings.active && !world.has(Fault::Creating);
    let mut info = json!({
        "ChannelName": settings.name,
        "ChannelARN": channel.arn,
        "ChannelType": if settings.single_master { "SINGLE_MASTER" } else { "FULL_MESH" },
        "ChannelStatus": if active { "ACTIVE" } else { "CREATING" },
        "CreationTime": channel.created_ms as f64 / 1_000.0,
        "Version": channel.version,
    });
    if settings.single_master {
        info["SingleMasterConfiguration"] = json!({ "MessageTtlSeconds": settings.message_ttl.as_secs() });
    }
    info
}

pub(super) fn no_such_channel() -> Exception {
    Exception::not_found("The requested channel is not found or not active.")
}

fn constraint(member: &str, constraint: &str) -> Exception {
    let message =
        format!("1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}");
    Exception::invalid_argument(message)
}

fn check_name(member: &str, name: &str) -> Result<(), Exception> {
    let pattern = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
    if is_id(name) { Ok(()) } else { Err(constraint(member, pattern)) }
}

/// What a client may call itself.
pub(super) fn check_client(client_id: &str) -> Result<(), Exception> {
    check_name("clientId", client_id)?;
    let is_amazons = client_id.get(..4).is_some_and(|beginning| beginning.eq_ignore_ascii_case("AWS_"));
    let message = "The client id must not begin with AWS_.";
    if is_amazons { Err(Exception::new(StatusCode::BAD_REQUEST, "InvalidClientException", message)) } else { Ok(()) }
}

/// `arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+`
pub(super) fn check_arn(arn: &str) -> Result<(), Exception> {
    let all = |text: &str, allowed: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| allowed(&b));
    let is_word = |text: &str| all(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    let is_number = |text: &str| all(text, u8::is_ascii_digit);
    let is_resource = |text: &str| match text.split('/').collect::<Vec<_>>()[..] {
        [kind, name, made] => all(kind, u8::is_ascii_lowercase) && is_id(name) && is_number(made),
        _ => false,
    };
    let fits = match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", partition, "kinesisvideo", region, account, resource] => {
            is_word(partition) && is_word(region) && is_number(account) && is_resource(resource)
        }
        _ => false,
    };
    let pattern = "Member must satisfy regular expression pattern: \
        arn:[a-z\\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+";
    if fits && arn.len() <= 1_024 { Ok(()) } else { Err(constraint("channelARN", pattern)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_what_the_models_pattern_says() {
        for (arn, fits) in [
            ("arn:aws:kinesisvideo:us-east-1:123456789012:channel/doorbell-channel/1700000000000", true),
            ("arn:aws-cn:kinesisvideo:cn-north-1:1:channel/a.b_c-d/1", true),
            ("arn:aws:kinesisvideo:us-east-1:123456789012:channel/doorbell-channel", false),
            ("arn:aws:kinesisvideo:us-east-1:123456789012:channel/a b/1", false),
            ("arn:aws:kinesis:us-east-1:123456789012:channel/a/1", false),
            ("arn:AWS:kinesisvideo:us-east-1:123456789012:channel/a/1", false),
            ("arn:aws:kinesisvideo:us-east-1:x:channel/a/1", false),
            ("arn:aws:kinesisvideo:us-east-1:1:channel/a/1/2", false),
            ("doorbell-channel", false),
        ] {
            assert_eq!(check_arn(arn).is_ok(), fits, "{arn}");
        }
    }

    /// RFC 2202, case 2: an HMAC-SHA1 that others agree on.
    #[test]
    fn a_turn_password_is_the_hmac_sha1_of_the_user() {
        let password = turn_password(&Password::new("Jefe"), "what do ya want for nothing?");
        assert_eq!(STANDARD.decode(password).unwrap(), hex_literal::hex!("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    }
}
