//! The questions to the control plane and what is read out of its answers (kvs reference §2). Fields that are not known
//! are passed over; what a field holds is looked at before it is believed.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::call::Call;
use super::error::{Action, AwsError};
use super::{Channel, Role};
use crate::config::IotEndpoint;
use crate::net::http::{Answer, Method};
use crate::rtc::is_this_machine;
use crate::rtc::kvs_call::IceServer;
use crate::secret::Password;

/// What AWS says of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub channel: Channel,
    /// `ACTIVE`, neither being made nor deleted.
    pub active: bool,
    /// `SINGLE_MASTER`, the only type that doorbells use.
    pub single_master: bool,
    /// How long the service keeps what is said to a doorbell that is away.
    pub message_ttl: Option<Duration>,
}

/// Where one end of a channel is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    pub https: Url,
    pub wss: Url,
}

/// Relays and how long they are good for.
#[derive(Debug, Clone)]
pub struct IceServers {
    pub servers: Vec<IceServer>,
    pub ttl: Duration,
}

/// `base` with another path: it may end with a slash.
fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// A POST of `body` to the control plane or to a channel's own endpoint.
pub(super) fn post<'a>(action: Action, base: &Url, body: &'a str) -> Call<'a> {
    let path = match action {
        Action::DescribeSignalingChannel => "/describeSignalingChannel",
        Action::ListSignalingChannels => "/listSignalingChannels",
        Action::GetSignalingChannelEndpoint => "/getSignalingChannelEndpoint",
        Action::GetIceServerConfig => "/v1/get-ice-server-config",
        Action::AssumeRole | Action::AssumeRoleWithCertificate | Action::DescribeEndpoint => "/",
    };
    let (service, content_type) = ("kinesisvideo", Some("application/json"));
    Call { action, service, method: Method::POST, url: at(base, path), content_type, body }
}

pub(super) fn describe_iot_endpoint(base: &Url) -> Call<'static> {
    let mut url = at(base, "/endpoint");
    url.set_query(Some("endpointType=iot%3AData-ATS"));
    let action = Action::DescribeEndpoint;
    Call { action, service: "iot", method: Method::GET, url, content_type: None, body: "" }
}

/// `name_or_arn` of a channel.
pub(super) fn describe_body(name_or_arn: &str) -> String {
    let key = if name_or_arn.starts_with("arn:") { "ChannelARN" } else { "ChannelName" };
    json!({ key: name_or_arn }).to_string()
}

pub(super) fn list_body(next_token: Option<&str>) -> String {
    const PAGE: u32 = 1_000;
    match next_token {
        None => json!({ "MaxResults": PAGE }),
        Some(token) => json!({ "MaxResults": PAGE, "NextToken": token }),
    }
    .to_string()
}

pub(super) fn endpoint_body(channel: &Channel, role: Role) -> String {
    json!({
        "ChannelARN": channel.arn,
        "SingleMasterChannelEndpointConfiguration": { "Protocols": ["WSS", "HTTPS"], "Role": role.to_string() },
    })
    .to_string()
}

pub(super) fn ice_body(channel: &Channel, client_id: Option<&str>) -> String {
    match client_id {
        Some(id) => json!({ "ChannelARN": channel.arn, "ClientId": id, "Service": "TURN" }),
        None => json!({ "ChannelARN": channel.arn, "Service": "TURN" }),
    }
    .to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChannelInfo {
    channel_name: String,
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    #[serde(default)]
    channel_type: Option<String>,
    #[serde(default)]
    channel_status: Option<String>,
    #[serde(default)]
    single_master_configuration: Option<Value>,
}

impl ChannelInfo {
    /// `None` when the name or the ARN is none: they go into topics and addresses.
    fn read(self) -> Option<Described> {
        let message_ttl =
            self.single_master_configuration.as_ref().and_then(|it| it.get("MessageTtlSeconds")?.as_u64());
        let is_channel = is_name(&self.channel_name) && is_arn(&self.channel_arn);
        is_channel.then(|| Described {
            channel: Channel { name: self.channel_name, arn: self.channel_arn },
            active: self.channel_status.as_deref() == Some("ACTIVE"),
            single_master: self.channel_type.as_deref() == Some("SINGLE_MASTER"),
            message_ttl: message_ttl.map(Duration::from_secs),
        })
    }
}

pub fn described(answer: &Answer) -> Result<Described, AwsError> {
    const ACTION: Action = Action::DescribeSignalingChannel;
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        channel_info: ChannelInfo,
    }
    let reply: Reply = read(ACTION, answer)?;
    reply.channel_info.read().ok_or_else(|| AwsError::unreadable(ACTION, "the channel has no proper name or ARN"))
}

/// One page, and the token of the next one. A channel that cannot be read is left out: the others are none the worse.
/// A page of which nothing can be read has changed its form, and must not look like an account without channels.
pub fn listed(answer: &Answer) -> Result<(Vec<Described>, Option<String>), AwsError> {
    const ACTION: Action = Action::ListSignalingChannels;
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        channel_info_list: Vec<Value>,
        #[serde(default)]
        next_token: Option<String>,
    }
    let reply: Reply = read(ACTION, answer)?;
    let entries = reply.channel_info_list.len();
    let infos = reply.channel_info_list.into_iter();
    let channels: Vec<_> = infos.filter_map(|info| serde_json::from_value::<ChannelInfo>(info).ok()?.read()).collect();
    if channels.is_empty() && entries > 0 {
        return Err(AwsError::unreadable(ACTION, "no channel in it has a proper name and ARN"));
    }
    Ok((channels, reply.next_token.filter(|token| !token.is_empty())))
}

/// By protocol: their order is not promised, and there may be others.
pub fn endpoints(answer: &Answer) -> Result<Endpoints, AwsError> {
    const ACTION: Action = Action::GetSignalingChannelEndpoint;
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        resource_endpoint_list: Vec<Value>,
    }
    let reply: Reply = read(ACTION, answer)?;
    let endpoint = |protocol: &str, secure, plain| {
        let of_it =
            reply.resource_endpoint_list.iter().find(|one| one.get("Protocol").is_some_and(|it| it == protocol));
        let address = of_it.and_then(|one| one.get("ResourceEndpoint")?.as_str());
        let address =
            address.ok_or_else(|| AwsError::unreadable(ACTION, format!("it names no {protocol} endpoint")))?;
        service_url(address, secure, plain).ok_or_else(|| {
            AwsError::unreadable(ACTION, format!("its {protocol} endpoint is not a `{secure}://` address"))
        })
    };
    Ok(Endpoints { https: endpoint("HTTPS", "https", "http")?, wss: endpoint("WSS", "wss", "ws")? })
}

/// An address that things may be sent to: encrypted, or on this machine.
fn service_url(text: &str, secure: &str, plain: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= 1_024)?;
    let is_safe = url.scheme() == secure || url.scheme() == plain && is_this_machine(url.as_str());
    let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (is_safe && is_bare && url.password().is_none() && url.has_host()).then_some(url)
}

/// The relays. Which of their addresses our engine can use it knows itself: it speaks to `stun:` and to `turn:` over
/// UDP, and passes over `turns:`, be that DTLS (`transport=udp`) or TLS, and TURN over TCP. They are kept here, since
/// others are told of them who can.
pub fn ice_servers(answer: &Answer) -> Result<IceServers, AwsError> {
    const ACTION: Action = Action::GetIceServerConfig;
    const MOST_SERVERS: usize = 16;
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        ice_server_list: Vec<Value>,
    }
    let reply: Reply = read(ACTION, answer)?;
    let read: Vec<(IceServer, u64)> = reply.ice_server_list.iter().filter_map(ice_server).take(MOST_SERVERS).collect();
    let ttl = read.iter().map(|(_, ttl)| *ttl).min().unwrap_or(USUAL_TTL_S).min(LONGEST_TTL_S);
    Ok(IceServers { servers: read.into_iter().map(|(server, _)| server).collect(), ttl: Duration::from_secs(ttl) })
}

/// What `Ttl` is in practice, and at most (kvs reference §2).
const USUAL_TTL_S: u64 = 300;
const LONGEST_TTL_S: u64 = 86_400;

fn ice_server(server: &Value) -> Option<(IceServer, u64)> {
    const MOST_URIS: usize = 16;
    let uris = server.get("Uris")?.as_array()?.iter().filter_map(Value::as_str);
    let is_ice = |uri: &&str| uri.len() <= 512 && ["stun:", "turn:", "turns:"].iter().any(|it| uri.starts_with(it));
    let urls: Vec<String> = uris.filter(is_ice).take(MOST_URIS).map(str::to_owned).collect();
    let text = |key: &str| server.get(key).and_then(Value::as_str).unwrap_or_default();
    let server_of =
        |urls| IceServer { urls, username: text("Username").to_owned(), credential: Password::new(text("Password")) };
    let ttl = server.get("Ttl").and_then(Value::as_u64).unwrap_or(USUAL_TTL_S);
    (!urls.is_empty()).then(|| (server_of(urls), ttl))
}

pub fn iot_endpoint(answer: &Answer) -> Result<IotEndpoint, AwsError> {
    const ACTION: Action = Action::DescribeEndpoint;
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply {
        endpoint_address: String,
    }
    let reply: Reply = read(ACTION, answer)?;
    IotEndpoint::parse(&reply.endpoint_address)
        .map_err(|why| AwsError::unreadable(ACTION, format!("its endpoint is no address ({why})")))
}

/// What is wrong with it is not told in its own words, which may be anything.
fn read<T: DeserializeOwned>(action: Action, answer: &Answer) -> Result<T, AwsError> {
    let json = answer.json().map_err(|error| AwsError::unreadable(action, error.to_string()))?;
    serde_json::from_value(json).map_err(|_| AwsError::unreadable(action, "something is missing in it"))
}

fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// `arn:<partition>:kinesisvideo:<region>:<account>:channel/<name>/<made>`
fn is_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "kinesisvideo", region, account, resource] = parts[..] else { return false };
    let resource: Vec<&str> = resource.split('/').collect();
    let is_channel = matches!(resource[..], [_, name, made] if is_name(name) && is_number(made));
    text.len() <= 1_024 && is_name(partition) && is_name(region) && is_number(account) && is_channel
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
