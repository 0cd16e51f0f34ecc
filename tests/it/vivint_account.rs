//! A Vivint account against a virtual cloud: one login that lasts, devices that follow, and rings that are told once.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::config::{self, VivintEndpoints};
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::vendor::Retry;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Doorbell, Registry, VendorError};
use doorstep::model::{AccountLink, Capability, DeviceId, Event, Role};
use doorstep::net::http::HttpError;
use doorstep::secret::Password;
use doorstep::sim::vivint::{
    self, Command, Event as CloudEvent, Fault, RunningVivint, SecondFactor, Settings, Trouble,
};
use doorstep::store::Store;
use doorstep::vendor::vivint::cloud::{Cloud, CloudError, CodeBy};
use doorstep::vendor::vivint::devices::Place;
use doorstep::vendor::vivint::{IdTokens, Vivint};
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const DOORBELL: i64 = 27;
const LOCK: i64 = 40;
const SUBMIT: &str = "/idp/api/submit";
const TOKEN: &str = "/oauth2/token";

/// A virtual cloud, and the data folder of an installation that has an account there.
pub(crate) struct Account {
    pub(crate) cloud: RunningVivint,
    pub(crate) folder: TempDir,
    pub(crate) login: config::Vivint,
    _stop: DropGuard,
}

impl Account {
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let quick = Duration::from_millis(50);
        let mut settings = Settings { travel: quick, exposure: quick, ..Settings::generate(4) };
        change(&mut settings);
        let stop = CancellationToken::new();
        let cloud = vivint::start(settings, stop.clone()).await.unwrap();
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let login = login(&cloud);
        Self { cloud, folder, login, _stop: stop.drop_guard() }
    }

    /// Where nothing but the password is asked for.
    pub(crate) async fn simple() -> Self {
        Self::with(|settings| settings.second_factor = SecondFactor::None).await
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path()).unwrap()
    }

    /// A client as a new process would make it.
    pub(crate) fn client(&self) -> Cloud {
        Cloud::new(&self.login, &self.store())
    }

    fn trouble(&self, fault: Fault, at: &str) {
        self.obey(Command::Trouble(Some(Trouble { fault, at: at.to_owned() })));
    }

    fn all_is_well(&self) {
        self.obey(Command::Trouble(None));
    }

    pub(crate) fn obey(&self, command: Command) {
        self.cloud.obey(command).unwrap();
    }

    fn place(&self, device: i64) -> Place {
        Place { panel: self.cloud.settings.panel, partition: Settings::PARTITION, device }
    }

    fn house(&self) -> House {
        let vivint = Arc::new(Vivint::new(&self.login, &[], &self.store()));
        let stop = CancellationToken::new();
        let (doorbells, locks) = (Registry::default(), Registry::default());
        let wishes = Wishes {
            options: Default::default(),
            locks: [self.place(LOCK).id()].into(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let accounts = Accounts::start(vec![vivint.clone()], wishes, doorbells.clone(), locks.clone(), &stop);
        House { vivint, accounts, doorbells, locks, stop: stop.drop_guard() }
    }
}

fn login(cloud: &RunningVivint) -> config::Vivint {
    let base: Url = cloud.url().parse().unwrap();
    let settings = &cloud.settings;
    config::Vivint {
        username: settings.username.clone(),
        password: Some(settings.password.clone()),
        totp_secret: None,
        firebase_api_key: None,
        ring_quiet: Duration::from_secs(5),
        endpoints: VivintEndpoints {
            identity: base.clone(),
            api: base.clone(),
            pubnub: base.clone(),
            pubnub_key: settings.pubnub_key.clone(),
            exchange: base.clone(),
            identity_toolkit: base.clone(),
            secure_token: base,
            ..VivintEndpoints::default()
        },
    }
}

/// The service's account and doorbells, without its faces.
struct House {
    vivint: Arc<Vivint>,
    accounts: Accounts,
    doorbells: Registry,
    locks: Registry,
    stop: DropGuard,
}

impl House {
    async fn account_is(&self, what: &str, mut is_so: impl FnMut(&AccountLink) -> bool) -> AccountLink {
        let (.., mut status) = self.accounts.all().remove(0);
        let waited = tokio::time::timeout(PATIENCE, status.wait_for(|account| is_so(&account.link))).await;
        match waited.map(|status| status.unwrap().link.clone()) {
            Ok(link) => link,
            Err(_) => panic!("the account never was {what}; it is {:?}", self.accounts.all()[0].2.borrow()),
        }
    }

    async fn ready(&self) {
        self.account_is("ready", |link| *link == AccountLink::Ready).await;
    }

    async fn doorbell(&self, id: &DeviceId) -> Doorbell {
        until("the doorbell is there", || self.doorbells.get(id)).await
    }

    async fn end(self) {
        self.stop.disarm().cancel();
        tokio::time::timeout(PATIENCE, self.accounts.stopped()).await.expect("the account did not stop");
    }
}

async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

async fn happens<T>(
    happened: &mut broadcast::Receiver<CloudEvent>,
    what: &str,
    choose: impl Fn(CloudEvent) -> Option<T>,
) -> T {
    let chosen = async {
        loop {
            if let Some(chosen) = choose(happened.recv().await.unwrap()) {
                return chosen;
            }
        }
    };
    tokio::time::timeout(PATIENCE, chosen).await.unwrap_or_else(|_| panic!("it never came to {what}"))
}

async fn code(happened: &mut broadcast::Receiver<CloudEvent>) -> String {
    let sent = |event| if let CloudEvent::SmsSent { code } = event { Some(code) } else { None };
    happens(happened, "a text message", sent).await
}

fn wrong(code: &str) -> Password {
    Password::new(if code == "000000" { "111111" } else { "000000" })
}

#[tokio::test]
async fn a_login_takes_one_code_and_outlasts_restarts_and_the_password() {
    let mut account = Account::with(|_| {}).await;
    let mut happened = account.cloud.events();
    let client = account.client();
    for _ in 0..3 {
        assert_eq!(client.authuser().await, Err(CloudError::CodeWanted(CodeBy::Sms)), "one message is enough");
    }
    let code = code(&mut happened).await;
    assert_eq!(client.enter_code(Password::new("12345")).await, Err(CloudError::NotACode));
    assert_eq!(client.enter_code(wrong(&code)).await, Err(CloudError::CodeRefused));
    client.enter_code(Password::new(format!(" {code}\n"))).await.unwrap();
    client.authuser().await.unwrap();

    account.login.password = None;
    let restarted = account.client();
    restarted.authuser().await.unwrap();
    account.obey(Command::Expire);
    restarted.authuser().await.unwrap();
    account.client().system(account.cloud.settings.panel).await.unwrap();
    let counts = account.cloud.counts();
    assert_eq!((counts.logins, counts.refreshes, account.cloud.requests_to(SUBMIT)), (1, 1, 1));
}

#[tokio::test]
async fn an_authenticator_app_is_asked_for_or_answers_by_itself() {
    let mut account = Account::with(|settings| settings.second_factor = SecondFactor::totp(7)).await;
    let SecondFactor::Totp(secret) = account.cloud.settings.second_factor.clone() else { unreachable!() };
    assert_eq!(account.client().authuser().await, Err(CloudError::CodeWanted(CodeBy::App)));
    account.folder = tempfile::tempdir().unwrap();
    account.login.totp_secret = Some(secret);
    account.client().authuser().await.unwrap();
    assert_eq!(account.cloud.counts().logins, 1);
}

#[tokio::test]
async fn both_answers_without_a_second_factor_are_logins() {
    for second_factor in [SecondFactor::None, SecondFactor::NoneAndTokensAtOnce] {
        let account = Account::with(|settings| settings.second_factor = second_factor).await;
        account.client().authuser().await.unwrap();
        assert_eq!(account.cloud.counts().logins, 1);
    }
}

#[tokio::test]
async fn row_14_a_rejected_password_is_never_tried_again_until_it_is_another() {
    let mut account = Account::simple().await;
    let right = account.login.password.replace(Password::new("mistyped")).unwrap();
    for _ in 0..3 {
        let client = account.client();
        let refused = join_all((0..4).map(|_| client.authuser())).await;
        assert!(refused.iter().all(|outcome| *outcome == Err(CloudError::LoginRefused)), "{refused:?}");
        let error = VendorError::from(CloudError::LoginRefused);
        assert_eq!(error.retry, Retry::WaitForUser);
    }
    assert_eq!(account.cloud.requests_to(SUBMIT), 1);
    account.login.password = Some(right);
    let waits = account.client().authuser().await;
    assert!(matches!(waits, Err(CloudError::NotYet(wait)) if wait <= Duration::from_secs(60)), "{waits:?}");
    assert_eq!(account.cloud.requests_to(SUBMIT), 1);
}

#[tokio::test]
async fn a_login_that_failed_otherwise_waits_a_minute_also_over_a_restart() {
    for (fault, at) in [(Fault::ServerError, "/oauth2/auth"), (Fault::Blocked, SUBMIT), (Fault::Html, SUBMIT)] {
        let account = Account::simple().await;
        account.trouble(fault, at);
        let client = account.client();
        let first = client.authuser().await.unwrap_err();
        account.all_is_well();
        assert!(client.authuser().await.is_err());
        let restarted = account.client().authuser().await;
        assert!(matches!(restarted, Err(CloudError::NotYet(wait)) if wait > Duration::from_secs(50)), "{restarted:?}");
        assert_eq!(account.cloud.requests_to("/oauth2/auth"), 1, "{fault}: {first}");
        assert!(!first.to_string().contains("/oauth2"), "{first}");
    }
}

#[tokio::test]
async fn a_login_that_never_reached_the_cloud_does_not_count() {
    let account = Account::simple().await;
    let (address, settings) = (account.cloud.address, account.cloud.settings.clone());
    let nowhere = config::Vivint {
        endpoints: VivintEndpoints {
            identity: "http://127.0.0.1:9".parse().unwrap(),
            ..account.login.endpoints.clone()
        },
        ..account.login.clone()
    };
    let error = Cloud::new(&nowhere, &account.store()).authuser().await.unwrap_err();
    assert!(matches!(error, CloudError::Http(_)), "{error:?} at {address} of {}", settings.panel);
    let again = Cloud::new(&nowhere, &account.store()).authuser().await.unwrap_err();
    assert!(matches!(again, CloudError::Http(_)), "{again:?}");
}

#[tokio::test]
async fn a_login_that_broke_off_half_way_counts() {
    let account = Account::simple().await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let identity = format!("http://{}", server.local_addr().unwrap()).parse().unwrap();
    let login = config::Vivint {
        endpoints: VivintEndpoints { identity, ..account.login.endpoints.clone() },
        ..account.login.clone()
    };
    // Answers the first request, and then there is nobody any more.
    let first = async move {
        let (mut connection, _) = server.accept().await.unwrap();
        drop(server);
        let _request = connection.read(&mut [0; 4_096]).await.unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
    };
    let client = Cloud::new(&login, &account.store());
    let (outcome, ()) = tokio::join!(client.authuser(), first);
    assert!(matches!(outcome, Err(CloudError::Http(HttpError::Unreachable { .. }))), "{outcome:?}");
    let restarted = Cloud::new(&login, &account.store()).authuser().await;
    assert!(matches!(restarted, Err(CloudError::NotYet(wait)) if wait > Duration::from_secs(50)), "{restarted:?}");
}

#[tokio::test]
async fn a_code_that_is_refused_in_unknown_words_is_a_wrong_one_too() {
    let account = Account::with(|_| {}).await;
    let client = account.client();
    assert_eq!(client.authuser().await, Err(CloudError::CodeWanted(CodeBy::Sms)));
    account.trouble(Fault::Html, "/idp/api/validate");
    for _ in 0..3 {
        let outcome = client.enter_code(Password::new("000000")).await;
        assert!(matches!(outcome, Err(CloudError::Misunderstood(_))), "{outcome:?}");
    }
    let outcome = client.enter_code(Password::new("000000")).await;
    assert!(matches!(outcome, Err(CloudError::NotYet(_))), "{outcome:?}");
    assert_eq!(account.cloud.requests_to("/idp/api/validate"), 3);
}

#[tokio::test]
async fn a_process_that_looks_in_has_no_second_code_sent() {
    let account = Account::with(|_| {}).await;
    assert_eq!(account.client().authuser().await, Err(CloudError::CodeWanted(CodeBy::Sms)));
    let visitor = Cloud::new(&account.login, &Store::read_only(account.folder.path()));
    assert_eq!(visitor.authuser().await, Err(CloudError::Borrowed));
    assert_eq!(account.cloud.requests_to(SUBMIT), 1);
}

#[tokio::test]
async fn three_wrong_codes_have_a_new_one_sent_and_a_broken_code_server_none() {
    let account = Account::with(|_| {}).await;
    let mut happened = account.cloud.events();
    let client = account.client();
    assert_eq!(client.authuser().await, Err(CloudError::CodeWanted(CodeBy::Sms)));
    let code = code(&mut happened).await;
    account.trouble(Fault::CodeServerError, "/idp/api/validate");
    assert!(matches!(client.enter_code(Password::new(code.as_str())).await, Err(CloudError::Trouble(_))));
    assert_eq!(client.authuser().await, Err(CloudError::CodeWanted(CodeBy::Sms)), "the code may still be good");
    account.all_is_well();
    for _ in 0..3 {
        assert_eq!(client.enter_code(wrong(&code)).await, Err(CloudError::CodeRefused));
    }
    let outcome = client.authuser().await;
    assert!(matches!(outcome, Err(CloudError::NotYet(_))), "a minute later there is a new one: {outcome:?}");
    assert_eq!(account.cloud.requests_to(SUBMIT), 1);
}

#[tokio::test]
async fn row_13_fifty_calls_with_a_worn_out_token_make_one_refresh() {
    let account = Account::simple().await;
    let client = account.client();
    client.authuser().await.unwrap();
    account.obey(Command::Expire);
    let outcomes = join_all((0..50).map(|_| client.authuser())).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let counts = account.cloud.counts();
    assert_eq!((counts.logins, counts.refreshes, account.cloud.requests_to(TOKEN)), (1, 1, 2));
}

#[tokio::test]
async fn a_caller_that_is_cut_off_loses_no_token() {
    let account = Account::simple().await;
    let client = account.client();
    client.authuser().await.unwrap();
    account.obey(Command::Expire);
    let mut happened = account.cloud.events();
    let cut_off = client.clone();
    let call = tokio::spawn(async move { cut_off.authuser().await });
    happens(&mut happened, "a refresh", |event| (event == CloudEvent::Refresh).then_some(())).await;
    call.abort();
    client.authuser().await.unwrap();
    account.obey(Command::Expire);
    account.client().authuser().await.unwrap();
    assert_eq!(account.cloud.counts().logins, 1);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_replaced_stays_good() {
    let account = Account::simple().await;
    account.client().authuser().await.unwrap();
    account.trouble(Fault::RefreshKept, "");
    for _ in 0..2 {
        account.obey(Command::Expire);
        account.client().authuser().await.unwrap();
    }
    assert_eq!((account.cloud.counts().logins, account.cloud.counts().refreshes), (1, 2));
}

#[tokio::test]
async fn row_14_a_login_that_vivint_has_ended_is_made_anew_with_a_password_and_left_to_the_owner_without() {
    let mut account = Account::simple().await;
    account.client().authuser().await.unwrap();
    account.trouble(Fault::RefreshRevoked, "");
    account.client().authuser().await.unwrap();
    assert_eq!(account.cloud.counts().logins, 2);

    account.all_is_well();
    account.trouble(Fault::RefreshRevoked, "");
    account.login.password = None;
    for _ in 0..2 {
        let error = account.client().authuser().await.unwrap_err();
        assert_eq!((&error, error.retry()), (&CloudError::NoLogin, Retry::WaitForUser));
        assert!(error.to_string().contains("`password` under `vivint`"), "{error}");
    }
    assert_eq!(account.cloud.counts().logins, 2);
}

#[tokio::test]
async fn trouble_at_a_refresh_ends_no_login() {
    let account = Account::simple().await;
    let client = account.client();
    client.authuser().await.unwrap();
    account.obey(Command::Expire);
    account.trouble(Fault::ServerError, TOKEN);
    assert!(matches!(client.authuser().await, Err(CloudError::Trouble(_))));
    account.all_is_well();
    account.client().authuser().await.unwrap();
    assert_eq!((account.cloud.counts().logins, account.cloud.counts().refreshes), (1, 1));
}

#[tokio::test]
async fn a_process_that_only_looks_in_takes_no_token_away() {
    let account = Account::simple().await;
    account.client().authuser().await.unwrap();
    let visitor = Cloud::new(&account.login, &Store::read_only(account.folder.path()));
    visitor.authuser().await.unwrap();
    account.obey(Command::Expire);
    assert_eq!(visitor.authuser().await, Err(CloudError::Borrowed));
    account.client().authuser().await.unwrap();
    assert_eq!((account.cloud.counts().logins, account.cloud.counts().refreshes), (1, 1));
}

#[tokio::test]
async fn other_clouds_get_an_id_token_that_is_renewed_when_they_refuse_it() {
    let account = Account::simple().await;
    let client = account.client();
    let first = client.id_token(false).await.unwrap();
    assert_eq!(client.id_token(false).await.unwrap().expose(), first.expose());
    assert_ne!(client.id_token(true).await.unwrap().expose(), first.expose());
    assert_eq!(account.cloud.counts().refreshes, 1);
}

#[tokio::test]
async fn the_store_names_nobody_and_keeps_no_password() {
    let account = Account::simple().await;
    account.client().authuser().await.unwrap();
    let file = std::fs::read_to_string(account.folder.path().join("state.json")).unwrap();
    for secret in [account.login.username.expose(), account.cloud.settings.password.expose()] {
        assert!(!file.contains(secret), "{file}");
    }
}

#[tokio::test]
async fn the_panels_login_is_kept_until_it_is_refused() {
    let account = Account::simple().await;
    let (client, panel) = (account.client(), account.cloud.settings.panel);
    for _ in 0..3 {
        let login = client.panel_login(panel, false).await.unwrap();
        assert_eq!(login.password.expose(), account.cloud.panel_login().password.expose());
    }
    assert_eq!(account.cloud.counts().panel_logins, 1);
    account.obey(Command::Rotate);
    let login = client.panel_login(panel, true).await.unwrap();
    assert_eq!(login.password.expose(), account.cloud.panel_login().password.expose());
    assert_eq!(format!("{login:?}"), "PanelLogin(***)");
}

#[tokio::test]
async fn a_still_picture_is_fetched_without_the_token() {
    let account = Account::simple().await;
    let (client, camera) = (account.client(), account.place(DOORBELL));
    let mut happened = account.cloud.events();
    client.request_thumbnail(camera).await.unwrap();
    happens(&mut happened, "a picture", |event| matches!(event, CloudEvent::ThumbnailTaken { .. }).then_some(())).await;
    let picture = client.thumbnail(camera, clock::unix_now()).await.unwrap();
    assert!(picture.starts_with(&[0xff, 0xd8]), "no JPEG");
    account.trouble(Fault::ServerError, "/images");
    let error = client.thumbnail(camera, clock::unix_now()).await.unwrap_err();
    assert!(matches!(error, CloudError::Trouble(_)) && !error.to_string().contains("Signature"), "{error}");
}

#[tokio::test]
async fn the_owner_is_asked_for_the_code_and_the_house_fills_when_it_is_right() {
    let account = Account::with(|_| {}).await;
    let mut happened = account.cloud.events();
    let house = account.house();
    let sms = code(&mut happened).await;
    let waits = |link: &AccountLink| matches!(link, AccountLink::NeedsCode { why } if why.contains("SMS"));
    house.account_is("waiting for a code", waits).await;
    house.accounts.answer(0, wrong(&sms));
    let refused =
        |link: &AccountLink| matches!(link, AccountLink::NeedsCode { why } if why.contains("refused that code"));
    house.account_is("told that it was wrong", refused).await;
    house.accounts.answer(0, Password::new(format!(" {sms} ")));
    house.ready().await;
    let names: Vec<String> = house.doorbells.all().iter().map(|doorbell| doorbell.info().name.clone()).collect();
    assert_eq!(names, ["Front Doorbell", "Side Doorbell"]);
    assert_eq!(house.locks.all().len(), 1, "no lock but the one that a door names");
    let capabilities = house.doorbell(&account.place(DOORBELL).id()).await.info().capabilities.clone();
    assert!(capabilities.contains(&Capability::Ring) && capabilities.contains(&Capability::Snapshot));
    assert_eq!(account.cloud.counts().logins, 1);
}

#[tokio::test]
async fn row_14_the_account_waits_for_its_owner_when_the_password_is_wrong() {
    let mut account = Account::simple().await;
    account.login.password = Some(Password::new("mistyped"));
    let house = account.house();
    let attention =
        |link: &AccountLink| matches!(link, AccountLink::NeedsAttention { why } if why.contains("password"));
    house.account_is("left to its owner", attention).await;
    assert_eq!(account.cloud.requests_to(SUBMIT), 1);
}

#[tokio::test]
async fn a_ring_is_heard_by_push_once_and_says_how_long_it_took() {
    let account = Account::simple().await;
    let mut happened = account.cloud.events();
    let house = account.house();
    house.ready().await;
    listens(&mut happened).await;
    for fault in [Fault::DuplicateRings, Fault::PubnubNoise] {
        account.trouble(fault, "");
        let device = if fault == Fault::DuplicateRings { DOORBELL } else { 28 };
        let mut events = house.doorbell(&account.place(device).id()).await.events();
        account.obey(Command::Ring { device: Some(device) });
        account.obey(Command::Motion { device: Some(device) });
        let Event::Ring(ring) = next(&mut events).await else { panic!("{fault}: no ring") };
        assert_eq!(ring.source, "push");
        assert!(ring.latency.unwrap() < Duration::from_secs(5), "{ring:?}");
        assert!(matches!(next(&mut events).await, Event::Motion(_)), "{fault}: the ring came twice");
    }
    house.end().await;
    happens(&mut happened, "a farewell", |event| (event == CloudEvent::Left).then_some(())).await;
}

async fn next(events: &mut broadcast::Receiver<Event>) -> Event {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("nothing was told").unwrap()
}

/// Waits until the account hears what is told from now on.
async fn listens(happened: &mut broadcast::Receiver<CloudEvent>) {
    let waits = |event| matches!(event, CloudEvent::Subscribed { from_now: false }).then_some(());
    happens(happened, "a poll", waits).await;
}

#[tokio::test]
async fn the_time_of_a_new_picture_is_known_as_soon_as_it_is_told() {
    let account = Account::simple().await;
    let mut happened = account.cloud.events();
    let house = account.house();
    house.ready().await;
    listens(&mut happened).await;
    let id = account.place(DOORBELL).id();
    let mut thumbnails = house.vivint.thumbnails();
    let before = thumbnails.borrow_and_update().get(&id).copied();
    account.obey(Command::Picture { device: Some(DOORBELL) });
    let newer = thumbnails.wait_for(|thumbnails| thumbnails.get(&id).copied() > before);
    tokio::time::timeout(PATIENCE, newer).await.expect("no picture was told").unwrap();
    assert_eq!(house.vivint.camera(&id).unwrap().thumbnail_at, thumbnails.borrow().get(&id).copied());
    let record = house.vivint.raw(&id).unwrap();
    assert_eq!(record["act"], "vivint_dbc350_camera_device");
    let camera = account.cloud.settings.devices.iter().find_map(|device| device.camera()).unwrap();
    for secret in [camera.uuid.as_str(), camera.user.as_str(), camera.password.expose(), "rtsp", "Front Doorbell"] {
        assert!(!record.to_string().contains(secret), "{secret}: {record}");
    }
}

#[tokio::test]
async fn an_account_without_a_channel_says_so_and_is_asked_all_the_same() {
    let account = Account::simple().await;
    account.trouble(Fault::NoMessageChannel, "");
    let house = account.house();
    let said = |link: &AccountLink| matches!(link, AccountLink::Failing { why } if why.contains("no message channel"));
    house.account_is("without push", said).await;
    house.doorbell(&account.place(DOORBELL).id()).await;
    assert_eq!(account.cloud.counts().polls, 0);
    account.all_is_well();
    house.accounts.rediscover();
    house.ready().await;
    until("it polls", || (account.cloud.counts().polls > 0).then_some(())).await;
}

#[tokio::test]
async fn a_push_channel_in_trouble_is_told_and_comes_back() {
    let account = Account::simple().await;
    let mut happened = account.cloud.events();
    account.trouble(Fault::ServerError, "/v2/subscribe");
    let house = account.house();
    let said = |link: &AccountLink| matches!(link, AccountLink::Failing { why } if why.contains("HTTP 500"));
    house.account_is("without push", said).await;
    account.all_is_well();
    house.ready().await;
    listens(&mut happened).await;
    let mut events = house.doorbell(&account.place(DOORBELL).id()).await.events();
    account.obey(Command::Ring { device: Some(DOORBELL) });
    assert!(matches!(next(&mut events).await, Event::Ring(_)));
}

#[tokio::test]
async fn devices_are_there_at_the_next_start_while_the_cloud_is_away() {
    let account = Account::simple().await;
    let house = account.house();
    house.ready().await;
    house.end().await;
    account.obey(Command::Online { device: None, online: false });
    let house = account.house();
    let doorbell = house.doorbell(&account.place(DOORBELL).id()).await;
    assert_eq!(doorbell.info().name, "Front Doorbell");
    house.account_is("failing", |link| matches!(link, AccountLink::Failing { .. })).await;
    account.obey(Command::Online { device: None, online: true });
    house.accounts.rediscover();
    house.ready().await;
    assert_eq!(account.cloud.counts().logins, 1, "a restart makes no login");
}

#[tokio::test]
async fn row_16_a_listing_that_is_odd_loses_no_device() {
    let account = Account::simple().await;
    let house = account.house();
    house.ready().await;
    for fault in [Fault::UserList, Fault::BrokenDevice, Fault::WrongTypes, Fault::BadJson] {
        account.trouble(fault, "/api");
        let lists = account.cloud.requests_to("/api/authuser");
        house.accounts.rediscover();
        until("it was listed", || (account.cloud.requests_to("/api/authuser") > lists).then_some(())).await;
        assert_eq!(house.doorbells.all().len(), 2, "{fault}");
    }
    account.all_is_well();
}

#[tokio::test]
async fn what_was_renamed_or_removed_follows_when_it_is_told() {
    let account = Account::simple().await;
    let mut happened = account.cloud.events();
    let house = account.house();
    house.ready().await;
    listens(&mut happened).await;
    let lists = account.cloud.counts().lists;
    account.obey(Command::Remove { device: 28 });
    until("it is listed anew", || (account.cloud.counts().lists > lists).then_some(())).await;
    house.accounts.rediscover();
    until("the doorbell is gone", || (house.doorbells.all().len() == 1).then_some(())).await;
    account.obey(Command::Rename { device: DOORBELL, name: "Porch".to_owned() });
    house.accounts.rediscover();
    let doorbell = house.doorbell(&account.place(DOORBELL).id()).await;
    until("it is called otherwise", || (doorbell.info().name == "Porch").then_some(())).await;
}

#[tokio::test]
async fn everything_on_the_account_is_listed_and_what_is_of_no_use_says_so() {
    use doorstep::doorbell::Vendor;
    let account = Account::simple().await;
    let vivint = Vivint::new(&account.login, &[], &account.store());
    let found = vivint.discover().await.unwrap();
    let mut roles: Vec<_> = found.iter().map(|found| (found.role, found.obstacle.is_some())).collect();
    roles.sort_by_key(|(role, _)| format!("{role:?}"));
    let wanted = [
        (Role::Doorbell, false),
        (Role::Doorbell, false),
        (Role::Garage, false),
        (Role::Lock, false),
        (Role::Other, true),
    ];
    assert_eq!(roles, wanted);
    assert!(found.iter().all(|found| found.info.id.as_str().starts_with("vivint_")));
    assert!(!json!(found).to_string().contains("password"));
}
