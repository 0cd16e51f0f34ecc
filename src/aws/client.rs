//! One account at AWS in one region, as everybody here asks it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use url::Url;

use super::call::{Call, Caller};
use super::control::{self, Described, Endpoints};
use super::credentials::{Credentials, Login, RoleToAssume};
use super::error::{Action, AwsError};
use super::{Channel, Role};
use crate::clock::{self, Instant};
use crate::config::{IotEndpoint, KvsEndpoints, KvsIdentity, KvsLogin};
use crate::net::http::{self, Answer, Client};
use crate::net::tls::{Authority, Identity, Trust};
use crate::proto::kvs::sigv4::{self, Request, Scope, TokenMode};
use crate::rtc::kvs_call::{IceServer, Signalling};
use crate::secret::{Password, SignedUrl};

/// What the owner says of an account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `us-east-1`
    pub region: String,
    pub login: KvsLogin,
    /// Taken on with the login.
    pub role_arn: Option<String>,
    pub endpoints: KvsEndpoints,
    /// For AWS IoT; without one that of the login, if it has one.
    pub identity: Option<KvsIdentity>,
}

/// One account. Cheap to clone; clones share credentials, connections and what they remember.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    caller: Caller,
    login: Login,
    endpoints: KvsEndpoints,
    trust: Trust,
    known: Mutex<Known>,
}

/// What need not be asked for again until then. As many entries as channels are asked about; those that are no longer
/// good go with the next that comes.
#[derive(Default)]
struct Known {
    endpoints: HashMap<(String, Role), (Endpoints, Instant)>,
    ice_servers: HashMap<(String, Role), (Vec<IceServer>, Instant)>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aws({})", self.0.caller.region())
    }
}

impl Aws {
    /// As AWS's own client keeps them (kvs reference §1).
    const ENDPOINTS_GOOD_FOR: Duration = Duration::from_secs(10 * 3_600);
    /// So long before they expire, ICE servers are taken for expired.
    const ICE_MARGIN: Duration = Duration::from_secs(30);
    /// A presigned address is good for so many seconds.
    const EXPIRES_S: u64 = 299;

    /// Reads certificates and the environment; asks nobody.
    ///
    /// # Errors
    /// `Pem`, `NoLogin`.
    pub fn new(settings: Settings) -> Result<Self, AwsError> {
        let Settings { region, login, role_arn, endpoints, identity } = settings;
        let authority = endpoints.authority.as_ref().map(Authority::load).transpose()?;
        let identity = identity.or_else(|| match &login {
            KvsLogin::Certificate { identity, .. } => Some(identity.clone()),
            KvsLogin::Keys(_) | KvsLogin::Environment => None,
        });
        let identity = identity.map(|own| Identity::load(&own.certificate, &own.private_key)).transpose()?;
        let role = role_arn.map(|arn| RoleToAssume { arn, sts: endpoints.sts.clone() });
        let login = Login::new(&login, role, authority.as_ref())?;
        // Who has signed needs to show no certificate.
        let http = Client::with(&Trust { authority: authority.clone(), identity: None });
        let (caller, trust) = (Caller::new(http, region), Trust { authority, identity });
        Ok(Self(Arc::new(Inner { caller, login, endpoints, trust, known: Mutex::default() })))
    }

    /// Whom to believe, and the certificate to show to AWS IoT.
    pub fn trust(&self) -> Trust {
        self.0.trust.clone()
    }

    /// The time at AWS: this machine's, corrected by what AWS's answers said.
    pub fn now(&self) -> SystemTime {
        self.0.caller.now()
    }

    /// Credentials that are good for some minutes more.
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn credentials(&self) -> Result<Credentials, AwsError> {
        self.0.login.credentials(&self.0.caller).await
    }

    /// # Errors
    /// [`AwsError`]; `NoSuchChannel` where there is none of this name or ARN.
    pub async fn describe(&self, name_or_arn: &str) -> Result<Described, AwsError> {
        let body = control::describe_body(name_or_arn);
        let call = control::post(Action::DescribeSignalingChannel, &self.0.endpoints.kinesisvideo, &body);
        let answer = self.ask(&call).await.map_err(|error| self.of_channel(name_or_arn, error))?;
        control::described(&answer)
    }

    /// Every channel of the account in this region, whatever its type and status.
    ///
    /// # Errors
    /// [`AwsError`]; `AccessDenied` where the owner has to name the channels.
    pub async fn list(&self) -> Result<Vec<Described>, AwsError> {
        /// More channels are left out, with a warning: each is a doorbell to Home Assistant.
        const MOST: usize = 1_000;
        const MOST_PAGES: usize = 50;
        let (mut channels, mut next) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let body = control::list_body(next.as_deref());
            let call = control::post(Action::ListSignalingChannels, &self.0.endpoints.kinesisvideo, &body);
            let (page, token) = control::listed(&self.ask(&call).await?)?;
            channels.extend(page);
            if channels.len() > MOST {
                channels.truncate(MOST);
                break;
            }
            if token.is_none() || token == next {
                return Ok(channels);
            }
            next = token;
        }
        tracing::warn!(channels = channels.len(), "the account has more signaling channels than are looked at");
        Ok(channels)
    }

    /// All that is needed to connect to `channel`, presigned for the next minutes. The region's STUN server, or what is
    /// configured in its place, is among the ICE servers; without relays, which AWS may not give, calls at home work.
    /// A MASTER sends no client id.
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn signalling(&self, channel: &Channel, role: Role, client_id: &str) -> Result<Signalling, AwsError> {
        let ice_servers = match self.known_ice_servers(channel, role) {
            Some(servers) => servers,
            None => self.ice_servers_if_given(channel, role, client_id).await?,
        };
        let endpoints = self.endpoints(channel, role).await?;
        let credentials = self.credentials().await?;
        let mut parameters = vec![("X-Amz-ChannelARN", &*channel.arn)];
        parameters.extend((role == Role::Viewer).then_some(("X-Amz-ClientId", client_id)));
        let (service, expires) = ("kinesisvideo", Some(Self::EXPIRES_S));
        let url = self.presigned(&endpoints.wss, service, &sigv4::query(&parameters), expires, &credentials);
        Ok(Signalling { url, client_id: client_id.to_owned(), ice_servers, authority: self.0.trust.authority.clone() })
    }

    /// Fresh ICE servers, for a call whose relay goes away too. As with [`Aws::signalling`], STUN is among them.
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn ice_servers(
        &self,
        channel: &Channel,
        role: Role,
        client_id: &str,
    ) -> Result<Vec<IceServer>, AwsError> {
        let was_known = self.known_endpoints(channel, role).is_some();
        match self.ask_for_ice_servers(channel, role, client_id).await {
            Err(error) if was_known && !matches!(error, AwsError::Throttled { .. }) => {
                tracing::debug!(%error, "asking for the channel's endpoints again");
                self.forget(channel);
                self.ask_for_ice_servers(channel, role, client_id).await
            }
            outcome => outcome,
        }
    }

    /// Forgets where `channel` is served and its ICE servers: what was given out has been refused, or leads nowhere.
    pub fn forget(&self, channel: &Channel) {
        let mut known = self.known();
        known.endpoints.retain(|(arn, _), _| *arn != channel.arn);
        known.ice_servers.retain(|(arn, _), _| *arn != channel.arn);
    }

    /// Where the account's devices ring (`iot:DescribeEndpoint`).
    ///
    /// # Errors
    /// [`AwsError`]; `AccessDenied` where the owner has to write it down.
    pub async fn iot_endpoint(&self) -> Result<IotEndpoint, AwsError> {
        let answer = self.ask(&control::describe_iot_endpoint(&self.0.endpoints.iot)).await?;
        control::iot_endpoint(&answer)
    }

    /// The address of AWS IoT's MQTT over WebSocket, presigned for one connection: `wss://host/mqtt?…`. The port of
    /// `endpoint` is used where it is not 8883, at which certificates are wanted.
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn iot_url(&self, endpoint: &IotEndpoint) -> Result<SignedUrl, AwsError> {
        let unreadable = || AwsError::unreadable(Action::DescribeEndpoint, "its endpoint is no address");
        let url = websocket(endpoint).ok_or_else(unreadable)?;
        let credentials = self.credentials().await?;
        Ok(self.presigned(&url, "iotdevicegateway", "", None, &credentials))
    }

    /// `base` with `query` and the signature behind it.
    fn presigned(
        &self,
        base: &Url,
        service: &str,
        query: &str,
        expires: Option<u64>,
        credentials: &Credentials,
    ) -> SignedUrl {
        let (host, amz_date) = (http::host(base), self.0.caller.skew().amz_date());
        let headers = [("host", &*host)];
        let request = Request { method: "GET", path: base.path(), query, headers: &headers, body: b"" };
        let scope = Scope { region: self.0.caller.region(), service, amz_date: &amz_date };
        let mode = TokenMode::of(service);
        let query = sigv4::presigned_query(&request, &credentials.keys(), &scope, expires, mode);
        SignedUrl::new(format!("{}://{host}{}?{query}", base.scheme(), base.path()))
    }

    /// Asks with credentials of now, and once more with new ones if AWS does not take these and others can be had.
    async fn ask(&self, call: &Call<'_>) -> Result<Answer, AwsError> {
        let credentials = self.credentials().await?;
        match self.0.caller.ask(call, &credentials).await {
            Err(AwsError::Credentials { .. }) if self.0.login.refused(&credentials) => {
                let credentials = self.credentials().await?;
                self.0.caller.ask(call, &credentials).await
            }
            outcome => outcome,
        }
    }

    async fn endpoints(&self, channel: &Channel, role: Role) -> Result<Endpoints, AwsError> {
        if let Some(endpoints) = self.known_endpoints(channel, role) {
            return Ok(endpoints);
        }
        let body = control::endpoint_body(channel, role);
        let call = control::post(Action::GetSignalingChannelEndpoint, &self.0.endpoints.kinesisvideo, &body);
        let answer = self.ask(&call).await.map_err(|error| self.of_channel(&channel.name, error))?;
        let endpoints = control::endpoints(&answer)?;
        let until = clock::now() + Self::ENDPOINTS_GOOD_FOR;
        self.known().endpoints.insert((channel.arn.clone(), role), (endpoints.clone(), until));
        Ok(endpoints)
    }

    async fn ask_for_ice_servers(
        &self,
        channel: &Channel,
        role: Role,
        client_id: &str,
    ) -> Result<Vec<IceServer>, AwsError> {
        let endpoints = self.endpoints(channel, role).await?;
        let body = control::ice_body(channel, (role == Role::Viewer).then_some(client_id));
        let call = control::post(Action::GetIceServerConfig, &endpoints.https, &body);
        let answer = self.ask(&call).await.map_err(|error| self.of_channel(&channel.name, error))?;
        let given = control::ice_servers(&answer)?;
        let mut servers = self.own_ice_servers();
        servers.extend(given.servers);
        let until = clock::now() + given.ttl.saturating_sub(Self::ICE_MARGIN);
        self.known().ice_servers.insert((channel.arn.clone(), role), (servers.clone(), until));
        Ok(servers)
    }

    /// Without relays where AWS gives none: most calls need none.
    async fn ice_servers_if_given(
        &self,
        channel: &Channel,
        role: Role,
        client_id: &str,
    ) -> Result<Vec<IceServer>, AwsError> {
        match self.ice_servers(channel, role, client_id).await {
            Err(error) if error.is_of_relays() => {
                tracing::warn!(channel = channel.name, %error, "there are no relays for this call");
                Ok(self.own_ice_servers())
            }
            outcome => outcome,
        }
    }

    /// The region's STUN server, or what is configured.
    fn own_ice_servers(&self) -> Vec<IceServer> {
        let urls = self.0.endpoints.ice_servers.clone();
        let server = IceServer { urls, username: String::new(), credential: Password::new("") };
        if server.urls.is_empty() { Vec::new() } else { vec![server] }
    }

    fn known_endpoints(&self, channel: &Channel, role: Role) -> Option<Endpoints> {
        self.known().endpoints.get(&(channel.arn.clone(), role)).map(|(endpoints, _)| endpoints.clone())
    }

    fn known_ice_servers(&self, channel: &Channel, role: Role) -> Option<Vec<IceServer>> {
        self.known().ice_servers.get(&(channel.arn.clone(), role)).map(|(servers, _)| servers.clone())
    }

    /// What is known and still good.
    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        known.endpoints.retain(|_, (_, until)| now < *until);
        known.ice_servers.retain(|_, (_, until)| now < *until);
        known
    }

    /// What is not found is this channel.
    fn of_channel(&self, channel: &str, error: AwsError) -> AwsError {
        match error {
            AwsError::NotFound { .. } => {
                let (channel, region) = (channel.to_owned(), self.0.caller.region().to_owned());
                AwsError::NoSuchChannel { channel, region }
            }
            error => error,
        }
    }
}

fn websocket(endpoint: &IotEndpoint) -> Option<Url> {
    const CERTIFICATES_ONLY: u16 = 8883;
    let scheme = if endpoint.tls { "wss" } else { "ws" };
    let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    let mut url = Url::parse(&format!("{scheme}://{host}/mqtt")).ok()?;
    url.set_port(endpoint.port.filter(|port| *port != CERTIFICATES_ONLY)).ok()?;
    Some(url)
}
