//! An account at each of the three clouds, with a crooked one in front, so that one test asks the same of all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorstep::aws::{self, Aws};
use doorstep::config::{self, KvsEndpoints, VivintEndpoints, WyzeEndpoints, WyzeLogin};
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Registry, Vendor};
use doorstep::net::supervise::Retry;
use doorstep::secret::Password;
use doorstep::sim::wyze_cloud::{self as wyze_sim, Settings};
use doorstep::sim::{aws as aws_sim, vivint as vivint_sim};
use doorstep::store::Store;
use doorstep::vendor::kvs::Kvs;
use doorstep::vendor::vivint::{Vivint, cloud as vivint};
use doorstep::vendor::wyze::{Wyze, cloud as wyze};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::crooked_cloud::CrookedCloud;
use super::kvs_house::{self, House};
use crate::{vivint_account, wyze_cloud};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Why a cloud did not list anything.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) says: String,
    pub(crate) retry: Retry,
}

/// An account at one of them.
pub(crate) struct Front {
    pub(crate) crooked: CrookedCloud,
    pub(crate) at: At,
    /// How many clients were made of this account.
    clients: AtomicUsize,
}

pub(crate) enum At {
    Wyze {
        account: Box<wyze_cloud::Account>,
        login: Box<WyzeLogin>,
        client: wyze::Cloud,
    },
    Vivint {
        account: Box<vivint_account::Account>,
        login: Box<config::Vivint>,
        client: vivint::Cloud,
    },
    /// With a role that is taken on.
    Aws {
        cloud: Box<kvs_house::Cloud>,
        client: Aws,
    },
}

impl Front {
    pub(crate) async fn wyze() -> Self {
        Self::wyze_with(Settings::generate(1)).await
    }

    pub(crate) async fn wyze_with(settings: Settings) -> Self {
        let account = wyze_cloud::Account::at(settings).await;
        let crooked = CrookedCloud::before(account.cloud.address).await;
        let at = || crooked.url();
        let (auth, api, core, lock, mars, device_management) = (at(), at(), at(), at(), at(), at());
        let endpoints = WyzeEndpoints { auth, api, core, lock, mars, device_management };
        let login = Box::new(WyzeLogin { endpoints, ..account.login.clone() });
        let client = wyze::Cloud::new(&login, &Store::open(account.folder.path()).unwrap());
        Self { crooked, at: At::Wyze { account: Box::new(account), login, client }, clients: 1.into() }
    }

    pub(crate) async fn vivint() -> Self {
        Self::vivint_of(vivint_account::Account::simple().await).await
    }

    pub(crate) async fn vivint_of(account: vivint_account::Account) -> Self {
        let crooked = CrookedCloud::before(account.cloud.address).await;
        let (identity, api, pubnub) = (crooked.url(), crooked.url(), crooked.url());
        let endpoints = VivintEndpoints { identity, api, pubnub, ..account.login.endpoints.clone() };
        let login = Box::new(config::Vivint { endpoints, ..account.login.clone() });
        let client = vivint::Cloud::new(&login, &Store::open(account.folder.path()).unwrap());
        Self { crooked, at: At::Vivint { account: Box::new(account), login, client }, clients: 1.into() }
    }

    pub(crate) async fn aws() -> Self {
        let mut cloud = Box::new(kvs_house::Cloud::new().await);
        let crooked = CrookedCloud::before(cloud.aws.plain).await;
        // Where AWS IoT is, is told by the address that was asked; what stands in front speaks no WebSocket.
        let (kinesisvideo, sts) = (crooked.url(), crooked.url());
        let endpoints = KvsEndpoints { kinesisvideo, sts, ..cloud.account.endpoints.clone() };
        cloud.account.endpoints = endpoints.clone();
        cloud.account.role_arn = Some(cloud.aws.settings.roles[0].arn.clone());
        let config::Kvs { region, login, role_arn, .. } = cloud.account.clone();
        let client = Aws::new(aws::Settings { region, login, role_arn, endpoints, identity: None }).unwrap();
        Self { crooked, at: At::Aws { cloud, client }, clients: 1.into() }
    }

    pub(crate) async fn each() -> [Self; 3] {
        [Self::wyze().await, Self::vivint().await, Self::aws().await]
    }

    pub(crate) fn name(&self) -> &'static str {
        match &self.at {
            At::Wyze { .. } => "Wyze",
            At::Vivint { .. } => "Vivint",
            At::Aws { .. } => "AWS",
        }
    }

    /// Where devices are listed.
    pub(crate) fn list_path(&self) -> &'static str {
        match &self.at {
            At::Wyze { .. } => "/app/v2/home_page/get_object_list",
            At::Vivint { .. } => "/api/systems",
            At::Aws { .. } => "/listSignalingChannels",
        }
    }

    /// How many devices there are.
    pub(crate) async fn list(&self) -> Result<usize, Failure> {
        match &self.at {
            At::Wyze { client, .. } => {
                let listed = client.app(self.list_path(), json!({})).await;
                let listed = listed.map_err(|error| Failure { says: error.to_string(), retry: error.retry() })?;
                Ok(listed["device_list"].as_array().map_or(0, Vec::len))
            }
            At::Vivint { account, client, .. } => {
                let failure = |error: vivint::CloudError| Failure { says: error.to_string(), retry: error.retry() };
                client.authuser().await.map_err(failure)?;
                let system = client.system(account.cloud.settings.panel).await.map_err(failure)?;
                Ok(system["system"]["par"][0]["d"].as_array().map_or(0, Vec::len))
            }
            At::Aws { client, .. } => {
                let listed = client.list().await;
                listed
                    .map(|channels| channels.len())
                    .map_err(|error| Failure { says: error.to_string(), retry: error.retry() })
            }
        }
    }

    /// How many logins the cloud has seen, whatever came of them; at AWS, how often the role was asked for.
    pub(crate) fn logins(&self) -> usize {
        match &self.at {
            At::Wyze { .. } => self.crooked.asked("/api/user/login"),
            At::Vivint { .. } => self.crooked.asked("/idp/api/submit"),
            At::Aws { .. } => self.crooked.asked_at("/"),
        }
    }

    /// How many times tokens were renewed without a login.
    pub(crate) fn refreshes(&self) -> u64 {
        match &self.at {
            At::Wyze { account, .. } => account.cloud.counts().refreshes,
            At::Vivint { account, .. } => account.cloud.counts().refreshes,
            At::Aws { .. } => (self.logins() as u64).saturating_sub(1),
        }
    }

    /// How often the cloud was told to open anything.
    fn opened(&self) -> u64 {
        match &self.at {
            At::Wyze { account, .. } => account.cloud.counts().unlocks,
            At::Vivint { account, .. } => account.cloud.counts().unlocks + account.cloud.counts().door_opens,
            At::Aws { .. } => 0,
        }
    }

    fn folder(&self) -> Store {
        match &self.at {
            At::Wyze { account, .. } => Store::open(account.folder.path()).unwrap(),
            At::Vivint { account, .. } => Store::open(account.folder.path()).unwrap(),
            At::Aws { cloud, .. } => cloud.store(),
        }
    }

    /// The account as the service has it.
    pub(crate) fn vendor(&self) -> Arc<dyn Vendor> {
        self.clients.fetch_add(1, Ordering::SeqCst);
        match &self.at {
            At::Wyze { login, .. } => {
                let account = config::Wyze { login: Some((**login).clone()), cameras: Vec::new() };
                Arc::new(Wyze::new(&account, &[], &self.folder()))
            }
            At::Vivint { login, .. } => Arc::new(Vivint::new(login, &[], &self.folder())),
            At::Aws { cloud, .. } => Arc::new(Kvs::new(&cloud.account, &[], &cloud.store())),
        }
    }

    /// A house with this account, in which every lock that it lists may be worked.
    pub(crate) async fn house(&self) -> House {
        // Its login is what all others find in the store.
        self.list().await.unwrap();
        let found = self.vendor().discover().await.unwrap();
        let (doorbells, locks, stop) = (Registry::default(), Registry::default(), CancellationToken::new());
        let wishes = Wishes {
            options: HashMap::new(),
            locks: found.into_iter().map(|found| found.info.id).collect(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let accounts = Accounts::start(vec![self.vendor()], wishes, doorbells.clone(), locks, &stop);
        let house = House::of(accounts, doorbells, stop);
        house.is_ready().await;
        house
    }

    /// The account's password has been changed, and every token is worth nothing.
    pub(crate) fn is_revoked(&self) {
        let password = Password::new("another one by now");
        match &self.at {
            At::Wyze { account, .. } => {
                account
                    .cloud
                    .obey(wyze_sim::CloudCommand::Trouble(Some(wyze_sim::Fault::RefreshRevoked.into())))
                    .unwrap();
                account.cloud.obey(wyze_sim::CloudCommand::Password(password)).unwrap();
            }
            At::Vivint { account, .. } => {
                account.obey(vivint_sim::Command::Trouble(Some(vivint_sim::Fault::RefreshRevoked.into())));
                account.obey(vivint_sim::Command::Password(password));
            }
            At::Aws { cloud, .. } => {
                cloud.obey(aws_sim::AwsCommand::Trouble(Some(aws_sim::Fault::AccessDenied.into())))
            }
        }
    }

    /// After whatever the cloud has done: it is asked and answers again, nobody has logged in again and again, and
    /// nothing was opened.
    pub(crate) async fn is_none_the_worse(&self, devices: usize) {
        self.crooked.is_honest_again();
        let listed = self.list().await;
        assert!(matches!(listed, Ok(now) if now == devices), "{}: {listed:?}", self.name());
        // Of a role nothing is kept, so that each client takes it on once.
        let most = if matches!(self.at, At::Aws { .. }) { self.clients.load(Ordering::SeqCst) } else { 1 };
        assert!(self.logins() <= most, "{}: {} logins", self.name(), self.logins());
        assert_eq!(self.opened(), 0, "{}", self.name());
    }
}

/// An answer with this list in the place where the cloud has its devices.
pub(crate) fn listing(front: &Front, devices: Vec<Value>) -> Value {
    match &front.at {
        At::Wyze { .. } => json!({"code": "1", "msg": "SUCCESS", "data": {"device_list": devices}}),
        At::Vivint { account, .. } => {
            let panel = account.cloud.settings.panel;
            json!({"system": {"panid": panel, "par": [{"parid": 1, "panid": panel, "d": devices}]}})
        }
        At::Aws { .. } => json!({"ChannelInfoList": devices}),
    }
}

/// The address of nobody: whoever connects is counted.
pub(crate) struct Bystander {
    url: Url,
    visits: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Bystander {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let visits = Arc::<AtomicUsize>::default();
        let counted = visits.clone();
        let counting = async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        };
        Self { url, visits, _task: AbortOnDropHandle::new(tokio::spawn(counting)) }
    }

    pub(crate) fn url(&self) -> String {
        self.url.to_string()
    }

    pub(crate) fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}
