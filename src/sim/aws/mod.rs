//! AWS, as far as a doorbell and its viewers can tell (docs/protocol/kvs.md, whose sections the comments name): the
//! control plane of Kinesis Video Streams, its signaling service, TURN credentials, STS, and AWS IoT with its
//! credentials provider, of one account in one region.
//!
//! Every host of AWS answers on each of two listeners, without TLS and with it; a third is AWS IoT's for MQTT. Written
//! from the reference and not from our client. What the reference does not know is said where it is made up.

mod call;
mod certificates;
mod command;
pub(super) mod console;
mod control;
mod event;
mod exception;
mod fault;
mod options;
mod server;
mod settings;
mod signaling;
mod signature;
mod sts;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use super::signaling::Limits;
pub use certificates::ThingIdentity;
pub use command::{AwsCommand, NoSuchChannel, parse};
pub use event::Event;
pub use fault::{Fault, Trouble};
pub use options::AwsOptions;
pub use settings::{AccessKey, ChannelSettings, Quotas, Role, Settings, Turn, TurnServer};
pub use signaling::{Notice, To, What};

use super::iot::Broker;
use crate::config::{AwsKeys, IotEndpoint, KvsEndpoints, KvsIdentity, KvsLogin};
use crate::secret::{Password, Pem};
use crate::{aws, clock};
use certificates::Certificates;
use server::Secure;
use world::Cloud;

/// An AWS that runs until its token is cancelled.
pub struct RunningAws {
    /// HTTP and WebSocket without encryption.
    pub plain: SocketAddr,
    /// HTTPS, WebSocket over TLS, and MQTT by ALPN.
    pub tls: SocketAddr,
    /// MQTT over TLS with a client certificate.
    pub mqtts: SocketAddr,
    pub authority_pem: String,
    /// In the order of the settings.
    pub things: Vec<ThingIdentity>,
    pub settings: Settings,
    cloud: Arc<Cloud>,
    task: JoinHandle<()>,
}

impl RunningAws {
    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.cloud.world().events.subscribe()
    }

    /// AWS IoT, to look at who is there and to publish as somebody else would.
    pub fn broker(&self) -> &Broker {
        &self.cloud.broker
    }

    /// How many requests went to paths that begin so, whatever became of them.
    pub fn requests_to(&self, path: &str) -> u64 {
        let world = self.cloud.world();
        world.requests.iter().filter(|(own, _)| own.starts_with(path)).map(|(_, count)| count).sum()
    }

    /// A channel's ARN.
    pub fn arn(&self, channel: &str) -> Option<String> {
        let world = self.cloud.world();
        world.channels.iter().find(|own| own.settings.name == channel).map(|own| own.arn.clone())
    }

    /// Carries out a command at once.
    ///
    /// # Errors
    /// When it names a channel that the account does not have.
    pub fn obey(&self, command: AwsCommand) -> Result<(), NoSuchChannel> {
        self.cloud.obey(command)
    }

    /// In place of Amazon's: the listener without TLS, and no STUN server.
    pub fn endpoints(&self) -> KvsEndpoints {
        endpoints(url("http", self.plain), None)
    }

    /// The same over TLS.
    pub fn secure_endpoints(&self) -> KvsEndpoints {
        endpoints(url("https", self.tls), Some(Pem::Text(Password::new(&*self.authority_pem))))
    }

    /// With the first of the keys.
    pub fn login(&self) -> Option<KvsLogin> {
        let key = self.settings.keys.first()?;
        Some(KvsLogin::Keys(AwsKeys {
            access_key_id: key.id.clone(),
            secret_access_key: key.secret.clone(),
            session_token: key.token.clone(),
        }))
    }

    /// As its owner is a client of it: with that key, and without TLS.
    pub fn client(&self) -> Option<aws::Settings> {
        let region = self.settings.region.clone();
        Some(aws::Settings {
            region,
            login: self.login()?,
            role_arn: None,
            endpoints: self.endpoints(),
            identity: None,
        })
    }

    /// The certificate of the first of the things.
    pub fn identity(&self) -> Option<KvsIdentity> {
        let thing = self.things.first()?;
        let certificate = Pem::Text(Password::new(&*thing.certificate_pem));
        Some(KvsIdentity { certificate, private_key: Pem::Text(thing.private_key_pem.clone()) })
    }

    /// With that certificate, at the credentials provider.
    pub fn certificate_login(&self) -> Option<KvsLogin> {
        let thing = self.things.first()?.name.clone();
        let (role_alias, identity) = (self.settings.role_alias.clone(), self.identity()?);
        Some(KvsLogin::Certificate { endpoint: url("https", self.tls), role_alias, thing, identity })
    }

    /// AWS IoT with a certificate.
    pub fn iot_endpoint(&self) -> IotEndpoint {
        let at = reachable(self.mqtts);
        IotEndpoint { host: at.ip().to_string(), port: Some(at.port()), tls: true }
    }

    /// Writes `authority.pem`, and for each thing `<name>.certificate.pem` and `<name>.key.pem`, which its owner alone
    /// may read. What is there already is replaced.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_certificates(&self, folder: &Path) -> io::Result<Files> {
        std::fs::create_dir_all(folder)?;
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, &self.authority_pem)?;
        let things = self.things.iter().map(|thing| {
            let certificate = folder.join(format!("{}.certificate.pem", thing.name));
            let key = folder.join(format!("{}.key.pem", thing.name));
            std::fs::write(&certificate, &thing.certificate_pem)?;
            write_secret(&key, thing.private_key_pem.expose())?;
            Ok((certificate, key))
        });
        Ok(Files { authority, things: things.collect::<io::Result<_>>()? })
    }

    /// Waits until an AWS that was told to stop has let go of its clients.
    pub async fn stopped(self) {
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Where certificates were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub authority: PathBuf,
    /// Certificate and key of each thing.
    pub things: Vec<(PathBuf, PathBuf)>,
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    // One that was left over keeps its mode.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn endpoints(url: Url, authority: Option<Pem>) -> KvsEndpoints {
    KvsEndpoints { kinesisvideo: url.clone(), sts: url.clone(), iot: url, ice_servers: Vec::new(), authority }
}

fn url(scheme: &str, at: SocketAddr) -> Url {
    let text = format!("{scheme}://{}", reachable(at));
    Url::parse(&text).unwrap_or_else(|_| unreachable!("{text} is an address"))
}

fn reachable(mut at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    at
}

/// Makes certificates, binds the listeners and serves in a task of its own.
///
/// # Errors
/// When an address cannot be bound, a name is none, or the operating system has no randomness.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningAws> {
    let certificates = Arc::new(Certificates::generate(&settings.names, &settings.things)?);
    let plain = TcpListener::bind(settings.listen).await?;
    let tls = TcpListener::bind(settings.tls_listen).await?;
    let mqtts = TcpListener::bind(settings.mqtts_listen).await?;
    let addresses = (plain.local_addr()?, tls.local_addr()?, mqtts.local_addr()?);
    let cloud = Arc::new(Cloud::new(settings.clone(), stop));
    let (authority_pem, things) = (certificates.authority_pem.clone(), certificates.things.clone());
    let serving = {
        let cloud = || Arc::clone(&cloud);
        let secure = |listener, kind| server::serve_secure(listener, cloud(), Arc::clone(&certificates), kind);
        let listening = (server::serve_plain(plain, cloud()), secure(tls, Secure::Https), secure(mqtts, Secure::Mqtts));
        let (sweeping, listening_in) = (sweep(cloud()), pass_on(cloud()));
        async move {
            let (plain, tls, mqtts) = listening;
            tokio::join!(plain, tls, mqtts, sweeping, listening_in);
        }
    };
    let task = tokio::spawn(serving);
    let (plain, tls, mqtts) = addresses;
    Ok(RunningAws { plain, tls, mqtts, authority_pem, things, settings, cloud, task })
}

/// Lets go in time of frames that are kept for absent clients.
async fn sweep(cloud: Arc<Cloud>) {
    loop {
        let next = cloud.world().sweep(clock::now());
        let over = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cloud.stop.cancelled() => return,
            () = cloud.kept.notified() => {}
            () = over => {}
        }
    }
}

/// What happens at AWS IoT happens at AWS.
async fn pass_on(cloud: Arc<Cloud>) {
    let mut events = cloud.broker.events();
    loop {
        tokio::select! {
            () = cloud.stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => cloud.world().tell(Event::Iot(event)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}
