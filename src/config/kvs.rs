//! Accounts at AWS with doorbells on Kinesis Video Streams: how to log in, which channels there are, and where the
//! ring is heard.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use url::Url;

use super::account::Taken;
use super::section::Section;
use super::values::{self, aws};
use crate::secret::{Password, Pem, Token};

/// Doorbells of one AWS account in one region.
#[derive(Debug, Clone)]
pub struct Kvs {
    /// `us-east-1`
    pub region: String,
    /// Names or ARNs; none: every channel of the account.
    pub channels: Vec<String>,
    pub login: KvsLogin,
    /// A role that is taken on with the login (STS AssumeRole).
    pub role_arn: Option<String>,
    /// The X.509 identity of a thing: logs in to AWS IoT, and to its credentials provider.
    pub identity: Option<KvsIdentity>,
    /// Where the ring is heard; asked for where it is missing.
    pub iot_endpoint: Option<IotEndpoint>,
    pub thing: Option<String>,
    /// In place of `<thing>-doorstep`: what an IoT policy lets connect.
    pub client_id: Option<String>,
    /// Topic filters; `{channel}` stands for each channel's name.
    pub ring_topics: Vec<String>,
    pub door_command: DoorCommand,
    pub endpoints: KvsEndpoints,
}

impl Kvs {
    /// What every published doorbell uses (kvs reference §6).
    pub const RING_TOPIC: &str = "doorbell/{channel}/ring";

    /// Of those that it names.
    pub(super) fn channel_names(&self) -> impl Iterator<Item = String> {
        self.channels.iter().map(|channel| name_of(channel).to_owned())
    }
}

/// How to come by credentials.
#[derive(Debug, Clone)]
pub enum KvsLogin {
    Keys(AwsKeys),
    /// AWS IoT's credentials provider gives temporary ones for the X.509 identity (kvs reference §8).
    Certificate {
        /// `https://<id>.credentials.iot.<region>.amazonaws.com`
        endpoint: Url,
        role_alias: String,
        thing: String,
        identity: KvsIdentity,
    },
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Environment,
}

#[derive(Debug, Clone)]
pub struct AwsKeys {
    pub access_key_id: String,
    pub secret_access_key: Password,
    pub session_token: Option<Token>,
}

#[derive(Debug, Clone)]
pub struct KvsIdentity {
    /// The leaf first.
    pub certificate: Pem,
    pub private_key: Pem,
}

/// `host`, `host:443`, `mqtts://host:8883`, `wss://host`, and on this machine `ws://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IotEndpoint {
    /// A name or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Without one it is 8883 with a certificate and 443 with a signed address.
    pub port: Option<u16>,
    pub tls: bool,
}

/// What is said to a doorbell to make it open its door (kvs reference §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoorCommand {
    /// `{"action":"open_door"}`
    #[default]
    OpenDoor,
    /// `{"command":"OPEN_DOOR"}`, of an older viewer.
    Legacy,
}

/// Where AWS is. Other addresses are a virtual AWS or a proxy.
#[derive(Debug, Clone)]
pub struct KvsEndpoints {
    /// The control plane.
    pub kinesisvideo: Url,
    pub sts: Url,
    /// `iot:DescribeEndpoint`
    pub iot: Url,
    /// In place of the region's own; an empty list means none.
    pub ice_servers: Vec<String>,
    /// Trusted in place of the machine's authorities.
    pub authority: Option<Pem>,
}

impl KvsEndpoints {
    /// Amazon's own, China's too (kvs reference §1).
    pub fn of(region: &str) -> Self {
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = |service: &str| {
            let text = format!("https://{service}.{region}.{suffix}");
            Url::parse(&text).unwrap_or_else(|_| unreachable!("{text} is an address: the region was looked at"))
        };
        Self {
            kinesisvideo: url("kinesisvideo"),
            sts: url("sts"),
            iot: url("iot"),
            ice_servers: vec![format!("stun:stun.kinesisvideo.{region}.{suffix}:443")],
            authority: None,
        }
    }
}

impl IotEndpoint {
    /// # Errors
    /// With what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, _) = text.split_once("://").unwrap_or(("mqtts", text));
        let place = text.split_once("://").map_or(text, |(_, place)| place);
        let url = Url::parse(&format!("mqtts://{place}")).map_err(|_| "not a host")?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !matches!(url.path(), "" | "/" | "/mqtt") || url.query().is_some() || !url.username().is_empty() {
            return Err("more than a host and a port");
        }
        let tls = match scheme {
            "mqtts" | "wss" => true,
            "ws" if is_local(&host) => false,
            "ws" | "mqtt" => return Err("rings would go there unencrypted"),
            _ => return Err("not a protocol of AWS IoT"),
        };
        Ok(Self { host, port: url.port(), tls })
    }
}

fn is_local(host: &str) -> bool {
    let ip4 = host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback());
    ip4 || host.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback()) || host == "localhost"
}

/// `taken` is what the accounts before this one have.
pub(super) fn read(account: &mut Section<'_>, taken: &mut Taken) -> Option<Kvs> {
    let region = account.required("region", &aws::REGION);
    let channels = account.texts("channels", &aws::CHANNEL);
    let names: HashSet<String> = channels.iter().map(|channel| name_of(channel).to_owned()).collect();
    if !taken.channels.is_disjoint(&names) {
        account.report_value(
            "channels",
            "an account before this one names a channel that is called the same, and a doorbell's id is its channel's \
             name; expected each name in one account",
        );
    }
    taken.channels.extend(names);
    let identity = read_identity(account);
    let thing = account.optional("thing", &aws::AWS_NAME);
    let login = read_login(account, identity.as_ref(), thing.as_deref());
    let role_arn = account.optional("role_arn", &aws::ROLE_ARN);
    let iot_endpoint = account.optional("iot_endpoint", &aws::IOT_ENDPOINT);
    let client_id = account.optional("client_id", &aws::AWS_NAME);
    let has_topics = account.has("ring_topics");
    let mut ring_topics = account.texts("ring_topics", &aws::RING_TOPIC);
    if !has_topics {
        ring_topics.push(Kvs::RING_TOPIC.to_owned());
    }
    let door_command = account.optional("door_command", &aws::DOOR_COMMAND).unwrap_or_default();
    let region = region?;
    let usual = KvsEndpoints::of(&region);
    let endpoints = account.section("endpoints", |endpoints| read_endpoints(endpoints, usual.clone())).unwrap_or(usual);
    let login = login?;
    Some(Kvs {
        region,
        channels,
        login,
        role_arn,
        identity,
        iot_endpoint,
        thing,
        client_id,
        ring_topics,
        door_command,
        endpoints,
    })
}

/// A channel's name, which is in its ARN too (`arn:…:channel/<name>/<creation time>`).
fn name_of(channel: &str) -> &str {
    channel.rsplit('/').nth(1).unwrap_or(channel)
}

fn read_identity(account: &mut Section<'_>) -> Option<KvsIdentity> {
    if !account.has("certificate") && !account.has("private_key") {
        return None;
    }
    let certificate = account.required("certificate", &aws::PEM);
    let private_key = account.required("private_key", &aws::PEM);
    Some(KvsIdentity { certificate: certificate?, private_key: private_key? })
}

/// What the owner has written is used before what the environment happens to hold.
fn read_login(account: &mut Section<'_>, identity: Option<&KvsIdentity>, thing: Option<&str>) -> Option<KvsLogin> {
    let keys = ["access_key_id", "secret_access_key", "session_token"].into_iter().any(|key| account.has(key));
    let provider = account.has("role_alias") || account.has("credentials_endpoint");
    if keys && provider {
        account.report_value("role_alias", "there are keys beside it; expected one way to log in");
    }
    if keys {
        return read_keys(account).map(KvsLogin::Keys);
    }
    if !provider {
        return Some(KvsLogin::Environment);
    }
    let endpoint = account.required("credentials_endpoint", &aws::AWS_HOST);
    let role_alias = account.required("role_alias", &aws::AWS_NAME);
    let has_identity = account.has("certificate") || account.has("private_key");
    let missing = [("certificate", has_identity), ("thing", account.has("thing"))];
    for (key, _) in missing.into_iter().filter(|(_, there)| !there) {
        account.report_value(key, "missing; the credentials provider asks for it");
    }
    let (identity, thing) = (identity?.clone(), thing?.to_owned());
    Some(KvsLogin::Certificate { endpoint: endpoint?, role_alias: role_alias?, thing, identity })
}

fn read_keys(account: &mut Section<'_>) -> Option<AwsKeys> {
    let access_key_id = account.required("access_key_id", &aws::ACCESS_KEY_ID);
    let secret_access_key = account.required("secret_access_key", &aws::SECRET_ACCESS_KEY);
    let session_token = account.optional("session_token", &aws::SESSION_TOKEN);
    Some(AwsKeys { access_key_id: access_key_id?, secret_access_key: secret_access_key?, session_token })
}

fn read_endpoints(endpoints: &mut Section<'_>, usual: KvsEndpoints) -> Option<KvsEndpoints> {
    let mut read = |key, usual| endpoints.optional(key, &values::ENDPOINT).unwrap_or(usual);
    let kinesisvideo = read("kinesisvideo", usual.kinesisvideo);
    let sts = read("sts", usual.sts);
    let iot = read("iot", usual.iot);
    let has_servers = endpoints.has("ice_servers");
    let ice_servers = endpoints.texts("ice_servers", &values::ICE_SERVER);
    let authority = endpoints.optional("authority", &aws::PEM);
    let ice_servers = if has_servers { ice_servers } else { usual.ice_servers };
    Some(KvsEndpoints { kinesisvideo, sts, iot, ice_servers, authority })
}
