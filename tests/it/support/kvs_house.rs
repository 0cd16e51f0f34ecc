//! An account at a virtual AWS, its doorbells at the other end, and the house that they belong to. Real sockets.

use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use doorstep::config::{self, DoorCommand, KvsIdentity, KvsLogin};
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Door, Doorbell, Options, Registry, door};
use doorstep::model::{AccountLink, DeviceId, Mechanism, OpenerEntity, Ring, State};
use doorstep::sim::aws::{self, AwsCommand, Event, Fault, RunningAws, Settings};
use doorstep::sim::kvs_doorbell::{self, Profile, RunningKvsDoorbell};
use doorstep::store::Store;
use doorstep::vendor::kvs::Kvs;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::told;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
pub(crate) const CHANNEL: &str = "doorbell-channel";
pub(crate) const DOORBELL: &str = "kvs_doorbell_channel";

/// A virtual AWS, and what an owner has written about it.
pub(crate) struct Cloud {
    pub(crate) aws: RunningAws,
    pub(crate) account: config::Kvs,
    pub(crate) happened: broadcast::Receiver<Event>,
    folder: TempDir,
    _stop: DropGuard,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Without encryption, with an access key, and with every channel of the account.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { quotas: aws::Quotas::GENEROUS, ..Settings::generate(11) };
        change(&mut settings);
        let stop = CancellationToken::new();
        let aws = aws::start(settings, stop.clone()).await.unwrap();
        let account = config::Kvs {
            region: aws.settings.region.clone(),
            channels: Vec::new(),
            login: aws.login().unwrap(),
            role_arn: None,
            identity: None,
            iot_endpoint: None,
            thing: None,
            client_id: None,
            ring_topics: vec![config::Kvs::RING_TOPIC.to_owned()],
            door_command: DoorCommand::default(),
            endpoints: aws.endpoints(),
        };
        let happened = aws.events();
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        Self { aws, account, happened, folder, _stop: stop.drop_guard() }
    }

    /// One certificate for everything, over TLS.
    pub(crate) fn by_certificate(&mut self) {
        self.account.endpoints = self.aws.secure_endpoints();
        self.account.login = self.aws.certificate_login().unwrap();
        self.account.identity = self.aws.identity();
        self.account.iot_endpoint = Some(self.aws.iot_endpoint());
        self.account.thing = self.aws.things.first().map(|thing| thing.name.clone());
    }

    pub(crate) fn trouble(&self, fault: Fault) {
        self.obey(AwsCommand::Trouble(Some(fault.into())));
    }

    pub(crate) fn all_is_well(&self) {
        self.obey(AwsCommand::Trouble(None));
    }

    pub(crate) fn obey(&self, command: AwsCommand) {
        self.aws.obey(command).unwrap();
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.folder.path()).unwrap()
    }

    pub(crate) fn kvs(&self) -> Arc<Kvs> {
        Arc::new(Kvs::new(&self.account, &[], &self.store()))
    }

    /// A doorbell of this channel, with the key of the account.
    pub(crate) fn doorbell(&self, channel: &str, profile: Profile) -> Caller {
        let stop = CancellationToken::new();
        let settings = kvs_doorbell::Settings::at(self.aws.client().unwrap(), channel);
        let settings = kvs_doorbell::Settings { profile, ..settings };
        let running = kvs_doorbell::start(settings, stop.clone()).unwrap();
        Caller { happened: running.events(), running, _stop: stop.drop_guard() }
    }

    pub(crate) async fn happens<T>(&mut self, what: &str, choose: impl Fn(&Event) -> Option<T>) -> T {
        told::first(&mut self.happened, what, choose).await
    }

    /// The house with this account, and with an opener at its first channel's doorbell.
    pub(crate) fn house(&self) -> House {
        let (stop, doorbells, locks) = (CancellationToken::new(), Registry::default(), Registry::default());
        let (audit, store) = (Arc::new(Audit::open(self.folder.path())), self.store());
        let id = DeviceId::parse(DOORBELL).unwrap();
        let mechanism = Mechanism::Opener(OpenerEntity::Lock);
        let settings = door::Settings { doorbell: id.clone(), mechanism: mechanism.clone(), secret: None };
        let door = Door::new(settings, locks.clone(), audit, store);
        let options = Options { doors: [(mechanism.kind(), door)].into(), ..Options::default() };
        let wishes = Wishes {
            options: HashMap::from([(id, options)]),
            locks: Default::default(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let kvs = self.kvs();
        let accounts = Accounts::start(vec![kvs], wishes, doorbells.clone(), locks, &stop);
        House::of(accounts, doorbells, stop)
    }
}

/// A doorbell at the other end.
pub(crate) struct Caller {
    pub(crate) running: RunningKvsDoorbell,
    pub(crate) happened: broadcast::Receiver<kvs_doorbell::Event>,
    _stop: DropGuard,
}

impl Caller {
    pub(crate) async fn happens<T>(&mut self, what: &str, choose: impl Fn(&kvs_doorbell::Event) -> Option<T>) -> T {
        told::first(&mut self.happened, what, choose).await
    }

    pub(crate) async fn is(&mut self, what: kvs_doorbell::Event) {
        self.happens(&format!("{what:?}"), |event| (*event == what).then_some(())).await;
    }

    pub(crate) fn obey(&self, command: kvs_doorbell::Command) {
        self.running.obey(command).unwrap();
    }
}

/// The service's account and doorbells, without its faces.
pub(crate) struct House {
    pub(crate) accounts: Accounts,
    pub(crate) doorbells: Registry,
    stop: DropGuard,
}

impl House {
    pub(crate) fn of(accounts: Accounts, doorbells: Registry, stop: CancellationToken) -> Self {
        Self { accounts, doorbells, stop: stop.drop_guard() }
    }

    pub(crate) fn link(&self) -> AccountLink {
        self.accounts.all()[0].2.borrow().link.clone()
    }

    pub(crate) async fn account_is(&self, what: &str, mut is_so: impl FnMut(&AccountLink) -> bool) -> AccountLink {
        let (.., mut status) = self.accounts.all().remove(0);
        match timeout(PATIENCE, status.wait_for(|account| is_so(&account.link))).await {
            Ok(status) => status.unwrap().link.clone(),
            Err(_) => panic!("the account never was {what}; it is {:?}", self.link()),
        }
    }

    pub(crate) async fn is_ready(&self) {
        self.account_is("ready", |link| *link == AccountLink::Ready).await;
    }

    /// What the account needs of its owner.
    pub(crate) async fn needs_attention(&self) -> String {
        let needs = |link: &AccountLink| matches!(link, AccountLink::NeedsAttention { .. });
        self.account_is("in need of its owner", needs).await.why().unwrap().to_owned()
    }

    pub(crate) async fn doorbell(&self, id: &str) -> Doorbell {
        let id = DeviceId::parse(id).unwrap();
        let mut changes = self.doorbells.changes();
        let found = timeout(PATIENCE, changes.wait_for(|doorbells| doorbells.contains_key(&id))).await;
        found.unwrap_or_else(|_| panic!("there is no {id}")).unwrap()[&id].clone()
    }

    pub(crate) async fn end(self) {
        self.stop.disarm().cancel();
        timeout(PATIENCE, self.accounts.stopped()).await.expect("the account did not stop");
    }
}

pub(crate) async fn until(doorbell: &Doorbell, what: &str, condition: impl FnMut(&State) -> bool) -> State {
    let mut state = doorbell.state();
    match timeout(PATIENCE, state.wait_for(condition)).await {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!("the doorbell never was {what}; it is {:?}", doorbell.state().borrow()),
    }
}

/// The next ring after this many.
pub(crate) async fn rings(doorbell: &Doorbell, before: usize) -> Ring {
    let mut state = doorbell.state();
    let rung = timeout(PATIENCE, state.wait_for(|_| doorbell.rings().len() > before)).await;
    assert!(rung.is_ok(), "it has rung {} times only", doorbell.rings().len());
    doorbell.rings()[0].clone()
}

/// What is amiss with a certificate.
pub(crate) fn without_certificate(account: &mut config::Kvs, file: &str) {
    let missing = || doorstep::secret::Pem::File(file.into());
    account.identity = Some(KvsIdentity { certificate: missing(), private_key: missing() });
    if let KvsLogin::Certificate { identity, .. } = &mut account.login {
        *identity = account.identity.clone().unwrap();
    }
}
