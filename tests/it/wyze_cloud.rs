//! The client of Wyze's cloud against a virtual one: it logs in once, asks no more than it may, and comes through
//! whatever the cloud does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use doorstep::clock;
use doorstep::config::{WyzeEndpoints, WyzeLogin};
use doorstep::doorbell::VendorError;
use doorstep::doorbell::vendor::Retry;
use doorstep::net::http::HttpError;
use doorstep::proto::totp::totp;
use doorstep::proto::wyze::password_hash;
use doorstep::secret::{Email, Password, Token};
use doorstep::sim::wyze_cloud::{
    self, CloudCommand, CloudEvent, Fault, Rate, RunningCloud, SecondFactor, Settings, Trouble,
};
use doorstep::store::Store;
use doorstep::vendor::wyze::cloud::{App, Cloud, CloudError, CodeBy, Host, Method};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Level;
use url::Url;

use crate::support::log::Log;

const LIST: &str = "/app/v2/home_page/get_object_list";
const EVENTS: &str = "/app/v4/device/get_event_list";
const LOGIN: &str = "/api/user/login";
const REFRESH: &str = "/app/user/refresh_token";

/// A virtual cloud, and the data folder of an installation that has an account there.
pub(crate) struct Account {
    pub(crate) cloud: RunningCloud,
    pub(crate) folder: TempDir,
    pub(crate) login: WyzeLogin,
    _stop: DropGuard,
}

impl Account {
    pub(crate) async fn new() -> Self {
        Self::at(Settings::generate(1)).await
    }

    pub(crate) async fn at(mut settings: Settings) -> Self {
        settings.login_rate = Rate { requests: 1_000, per: Duration::from_secs(300) };
        let stop = CancellationToken::new();
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let login = login(&cloud);
        Self { cloud, folder, login, _stop: stop.drop_guard() }
    }

    /// A client as a new process would make it.
    pub(crate) fn client(&self) -> Cloud {
        Cloud::new(&self.login, &Store::open(self.folder.path()).unwrap())
    }

    fn trouble(&self, trouble: impl Into<Trouble>) {
        self.cloud.obey(CloudCommand::Trouble(Some(trouble.into()))).unwrap();
    }

    fn all_is_well(&self) {
        self.cloud.obey(CloudCommand::Trouble(None)).unwrap();
    }

    fn state_file(&self) -> std::path::PathBuf {
        self.folder.path().join("state.json")
    }
}

fn login(cloud: &RunningCloud) -> WyzeLogin {
    let base: Url = cloud.url().parse().unwrap();
    let settings = &cloud.settings;
    WyzeLogin {
        email: settings.email.clone(),
        password: settings.password.clone(),
        key_id: settings.key_id.clone(),
        api_key: settings.api_key.clone(),
        totp_secret: None,
        ring_events: vec![10],
        poll: Duration::from_secs(5),
        endpoints: WyzeEndpoints {
            auth: base.clone(),
            api: base.clone(),
            core: base.clone(),
            lock: base.clone(),
            mars: base.clone(),
            device_management: base,
        },
        gwell: Default::default(),
    }
}

async fn list(client: &Cloud) -> Result<usize, CloudError> {
    let data = client.app(LIST, json!({})).await?;
    Ok(data["device_list"].as_array().map_or(0, Vec::len))
}

async fn events(client: &Cloud) -> Result<Value, CloudError> {
    let body = json!({ "count": 20, "order_by": 2, "begin_time": 0, "end_time": 9_999_999_999_999_u64,
        "device_id_list": [], "event_value_list": [], "event_tag_list": [] });
    client.signed(App::Olive, Host::Core, EVENTS, body).await
}

#[tokio::test]
async fn a_restart_makes_no_login() {
    let account = Account::new().await;
    let devices = account.cloud.devices().len();
    for _ in 0..3 {
        let client = account.client();
        assert_eq!(list(&client).await, Ok(devices));
        events(&client).await.unwrap();
    }
    assert_eq!((account.cloud.counts().logins, account.cloud.counts().refreshes), (1, 0));
    // No token, then, of this account is used by another one.
    let other = WyzeLogin { email: Email::new("other@example.net"), ..account.login.clone() };
    let other = Cloud::new(&other, &Store::open(account.folder.path()).unwrap());
    assert_eq!(list(&other).await, Err(CloudError::LoginRefused));
}

#[tokio::test]
async fn row_13_fifty_calls_that_meet_a_worn_out_token_make_one_refresh() {
    for fault in [Fault::Unauthorized, Fault::Expired] {
        let account = Account::new().await;
        let client = account.client();
        let devices = list(&client).await.unwrap();
        account.trouble(fault);
        let before = account.cloud.requests_to(LIST);
        let answers = join_all((0..50).map(|_| list(&client))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(devices)), "{fault}: {answers:?}");
        let counts = account.cloud.counts();
        assert_eq!((counts.refreshes, counts.logins), (1, 1), "{fault}");
        assert!(account.cloud.requests_to(LIST) - before <= 100, "{fault}: a call was made more than twice");
        // What came of the refresh is what the next process finds.
        assert_eq!(list(&account.client()).await, Ok(devices), "{fault}");
        assert_eq!((account.cloud.counts().refreshes, account.cloud.counts().logins), (1, 1), "{fault}");
    }
}

#[tokio::test]
async fn tokens_that_live_for_a_moment_are_refreshed_and_need_no_login() {
    let settings = Settings { token_life: Duration::from_millis(300), ..Settings::generate(1) };
    let account = Account::at(settings).await;
    let client = account.client();
    let mut refreshed = 0;
    while refreshed < 3 {
        list(&client).await.unwrap();
        refreshed = account.cloud.counts().refreshes;
    }
    assert_eq!(account.cloud.counts().logins, 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_loses_no_new_token() {
    let account = Account::new().await;
    let client = account.client();
    list(&client).await.unwrap();
    account.trouble(Fault::Expired);
    let mut happens = account.cloud.events();
    let given_up = tokio::spawn({
        let client = client.clone();
        async move { list(&client).await }
    });
    while !matches!(happens.recv().await.unwrap(), CloudEvent::Refresh) {}
    given_up.abort();
    list(&client).await.unwrap();
    assert_eq!((account.cloud.counts().refreshes, account.cloud.counts().logins), (1, 1));
}

#[tokio::test]
async fn row_14_a_revoked_login_is_made_anew_once() {
    let account = Account::new().await;
    let client = account.client();
    let devices = list(&client).await.unwrap();
    // A login lately, so that the budget is what is asked.
    account.trouble(Fault::RefreshRevoked);
    let answers = join_all((0..20).map(|_| list(&client))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(CloudError::NotYet(_)))), "{answers:?}");
    assert_eq!(account.cloud.requests_to(LOGIN), 1, "two logins within 20 s");

    // The same when the last login is a while ago.
    let file = fs::read_to_string(account.state_file()).unwrap();
    let mut state: Value = serde_json::from_str(&file).unwrap();
    let entries = state["entries"].as_object_mut().unwrap();
    let entry = entries.iter_mut().find(|(key, _)| key.starts_with("wyze_account_")).unwrap().1;
    entry["logins"] = json!({ "in_a_row": 1, "at": 1_700_000_000, "wait": 20 });
    fs::write(account.state_file(), state.to_string()).unwrap();
    let client = account.client();
    let answers = join_all((0..20).map(|_| list(&client))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(devices)), "{answers:?}");
    assert_eq!(account.cloud.requests_to(LOGIN), 2);
}

#[tokio::test]
async fn row_14_a_refused_password_is_tried_once_and_never_again_until_it_is_another() {
    let mut account = Account::new().await;
    let right = std::mem::replace(&mut account.login.password, Password::new("wrong"));
    for _ in 0..3 {
        let client = account.client();
        for _ in 0..3 {
            let error = list(&client).await.unwrap_err();
            assert_eq!((&error, error.retry()), (&CloudError::LoginRefused, Retry::WaitForUser));
        }
    }
    assert_eq!(account.cloud.requests_to(LOGIN), 1);
    // Hashed beforehand it is another spelling of the right one. The budget makes it wait all the same.
    account.login.password = Password::new(format!("md5:{}", password_hash(right.expose())));
    assert!(matches!(list(&account.client()).await, Err(CloudError::NotYet(_))));
}

#[tokio::test]
async fn a_hashed_password_logs_in() {
    let mut account = Account::new().await;
    account.login.password = Password::new(format!("md5:{}", password_hash(account.login.password.expose())));
    list(&account.client()).await.unwrap();
}

#[tokio::test]
async fn a_lock_out_is_respected_over_restarts() {
    let account = Account::new().await;
    account.trouble(Fault::LockedOut);
    for _ in 0..3 {
        let client = account.client();
        for _ in 0..3 {
            let error = list(&client).await.unwrap_err();
            let Retry::After(wait) = error.retry() else { panic!("{error}") };
            assert!((800..=900).contains(&wait.as_secs()), "{error}");
        }
    }
    assert_eq!(account.cloud.requests_to(LOGIN), 1);
}

#[tokio::test]
async fn beside_a_running_service_its_tokens_are_used_and_left_alone() {
    let account = Account::new().await;
    let service = account.client();
    let devices = list(&service).await.unwrap();
    let before = fs::read(account.state_file()).unwrap();
    let beside = || Cloud::new(&account.login, &Store::read_only(account.folder.path()));
    assert_eq!(list(&beside()).await, Ok(devices));
    assert_eq!(account.cloud.counts().logins, 1);

    account.trouble(Fault::Expired);
    // The last login was just now, and the budget is for both.
    assert!(matches!(list(&beside()).await, Err(CloudError::NotYet(_))));
    assert_eq!((account.cloud.counts().logins, account.cloud.requests_to(REFRESH)), (1, 0));

    // Without any it makes one login, which it does not keep.
    let nowhere = tempfile::tempdir().unwrap();
    let alone = Cloud::new(&account.login, &Store::read_only(nowhere.path()));
    assert_eq!(list(&alone).await, Ok(devices));
    assert_eq!(account.cloud.counts().logins, 2);
    assert_eq!(fs::read_dir(nowhere.path()).unwrap().count(), 0);
    assert_eq!(fs::read(account.state_file()).unwrap(), before);
    assert_eq!(list(&service).await, Ok(devices));
}

#[tokio::test]
async fn a_code_of_the_authenticator_app_is_made_without_asking() {
    let settings = Settings { second_factor: SecondFactor::totp(5), ..Settings::generate(2) };
    let SecondFactor::Totp(secret) = settings.second_factor.clone() else { unreachable!() };
    let mut account = Account::at(settings).await;
    account.login.totp_secret = Some(secret.clone());
    list(&account.client()).await.unwrap();
    assert_eq!(account.cloud.counts().logins, 1);

    // Without the secret its owner is asked, and asked only.
    account.login.totp_secret = None;
    let fresh = tempfile::tempdir().unwrap();
    let client = Cloud::new(&account.login, &Store::open(fresh.path()).unwrap());
    for _ in 0..3 {
        assert_eq!(list(&client).await, Err(CloudError::CodeWanted(CodeBy::App)));
    }
    let now = clock::unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let code = totp(secret.expose(), now).unwrap();
    client.enter_code(Password::new(format!(" {code}\n"))).await.unwrap();
    list(&client).await.unwrap();
    assert_eq!((account.cloud.requests_to(LOGIN), account.cloud.counts().logins), (2, 2));
}

#[tokio::test]
async fn an_sms_is_sent_once_and_its_code_logs_in() {
    let account = Account::at(Settings { second_factor: SecondFactor::Sms, ..Settings::generate(3) }).await;
    let mut happens = account.cloud.events();
    let client = account.client();
    let answers = join_all((0..10).map(|_| list(&client))).await;
    assert!(answers.iter().all(|answer| *answer == Err(CloudError::CodeWanted(CodeBy::Sms))), "{answers:?}");
    let sent = loop {
        if let CloudEvent::SmsSent { code } = happens.recv().await.unwrap() {
            break code;
        }
    };
    assert_eq!(account.cloud.requests_to("/user/login/sendSmsCode"), 1);
    let wrong = if sent == "000000" { "000001" } else { "000000" };
    assert_eq!(client.enter_code(Password::new(wrong)).await, Err(CloudError::CodeRefused));
    assert_eq!(list(&client).await, Err(CloudError::CodeWanted(CodeBy::Sms)));
    client.enter_code(Password::new(sent.as_str())).await.unwrap();
    // Entered twice by mistake.
    client.enter_code(Password::new(sent)).await.unwrap();
    list(&client).await.unwrap();
    assert_eq!((account.cloud.counts().logins, account.cloud.requests_to(LOGIN)), (1, 1));
    assert_eq!(account.cloud.requests_to("/user/login/sendSmsCode"), 1);
    list(&account.client()).await.unwrap();
    assert_eq!(account.cloud.counts().logins, 1);
}

#[tokio::test]
async fn no_code_is_sent_into_a_lock_out() {
    let account = Account::at(Settings { second_factor: SecondFactor::Sms, ..Settings::generate(4) }).await;
    let client = account.client();
    assert_eq!(list(&client).await, Err(CloudError::CodeWanted(CodeBy::Sms)));
    account.trouble(Fault::LockedOut);
    for _ in 0..3 {
        let refused = client.enter_code(Password::new("000000")).await;
        assert!(matches!(refused, Err(CloudError::LockedOut(_))), "{refused:?}");
    }
    let of_second_step = account.cloud.requests_to("/user/login");
    assert_eq!(of_second_step - account.cloud.requests_to("/user/login/sendSmsCode"), 1, "one code was tried");
    // Nor does anybody log in meanwhile, after a restart neither.
    assert!(matches!(list(&client).await, Err(CloudError::LockedOut(_))));
    assert!(matches!(list(&account.client()).await, Err(CloudError::NotYet(_))));
    assert_eq!(account.cloud.requests_to(LOGIN), 1);
}

#[tokio::test]
async fn nothing_of_an_account_is_left_once_it_is_forgotten() {
    let account = Account::new().await;
    list(&account.client()).await.unwrap();
    let secrets = tokens(&account);
    assert_eq!(secrets.len(), 2);
    // What an earlier run could not read has them, too.
    let damaged = account.folder.path().join("state.json.damaged");
    fs::copy(account.state_file(), &damaged).unwrap();

    doorstep::app::forget(&doorstep::config::Config::default(), account.folder.path().to_owned(), None).await.unwrap();

    let left = fs::read_to_string(account.state_file()).unwrap();
    assert!(secrets.iter().all(|secret| !left.contains(secret)) && !left.contains("wyze"), "{left}");
    assert!(!damaged.exists());
}

/// What a fault leads to.
struct Case {
    fault: Fault,
    is: fn(&CloudError) -> bool,
    /// Of the list, by three calls one after another.
    requests: u64,
    within: Duration,
}

const SOON: Duration = Duration::from_secs(5);
/// The deadline of a call, and some for a busy machine.
const DEADLINE: Duration = Duration::from_secs(25);

fn retries_after(error: &CloudError, seconds: std::ops::RangeInclusive<u64>) -> bool {
    matches!(error.retry(), Retry::After(wait) if seconds.contains(&wait.as_secs()))
}

const CASES: &[Case] = &[
    Case {
        fault: Fault::ForbiddenHtml,
        is: |error| matches!(error, CloudError::Blocked(_)) && retries_after(error, 3_500..=3_600),
        requests: 1,
        within: SOON,
    },
    Case {
        fault: Fault::TooMany,
        is: |error| matches!(error, CloudError::Limited(_)) && retries_after(error, 200..=300),
        requests: 1,
        within: SOON,
    },
    Case {
        fault: Fault::TooManySeconds,
        is: |error| matches!(error, CloudError::Limited(_)) && retries_after(error, 200..=300),
        requests: 1,
        within: SOON,
    },
    Case {
        fault: Fault::TooManyDate,
        is: |error| matches!(error, CloudError::Limited(_)) && retries_after(error, 200..=300),
        requests: 1,
        within: SOON,
    },
    Case {
        fault: Fault::TooManyAbsurd,
        is: |error| matches!(error, CloudError::Limited(_)) && retries_after(error, 3_500..=3_600),
        requests: 1,
        within: SOON,
    },
    Case {
        fault: Fault::ServerError,
        is: |error| matches!(error, CloudError::Trouble(what) if what == "HTTP 500"),
        requests: 3,
        within: SOON,
    },
    Case {
        fault: Fault::Reset,
        is: |error| matches!(error, CloudError::Http(HttpError::BrokenOff { .. })),
        requests: 3,
        within: SOON,
    },
    Case {
        fault: Fault::Endless,
        is: |error| matches!(error, CloudError::Http(HttpError::TooLarge { .. })),
        requests: 3,
        within: DEADLINE,
    },
    Case {
        fault: Fault::GzipBomb,
        is: |error| matches!(error, CloudError::Http(HttpError::Compressed { .. })),
        requests: 3,
        within: SOON,
    },
    Case {
        fault: Fault::Html,
        is: |error| matches!(error, CloudError::Http(HttpError::WebPage { .. })),
        requests: 3,
        within: SOON,
    },
    Case {
        fault: Fault::Truncated,
        is: |error| matches!(error, CloudError::Http(HttpError::NotJson { .. })),
        requests: 3,
        within: SOON,
    },
];

#[tokio::test]
async fn row_16_whatever_the_cloud_does_is_a_typed_error_in_time_and_asked_no_more_than_that() {
    for Case { fault, is, requests, within } in CASES {
        let account = Account::new().await;
        let client = account.client();
        let devices = list(&client).await.unwrap();
        account.trouble(Trouble { fault: *fault, at: LIST.to_owned() });
        let before = account.cloud.requests_to(LIST);
        for _ in 0..3 {
            let error = tokio::time::timeout(*within, list(&client)).await.expect("in time").unwrap_err();
            assert!(is(&error), "{fault}: {error:?}");
            let sentence = error.to_string();
            assert!(sentence.ends_with('.') && sentence.starts_with(char::is_uppercase), "{fault}: {sentence}");
            assert!(!VendorError::from(error).what.is_empty());
        }
        assert_eq!(account.cloud.requests_to(LIST) - before, *requests, "{fault}");
        account.all_is_well();
        if *requests == 3 {
            assert_eq!(list(&client).await, Ok(devices), "{fault}: it did not get over it");
        }
        assert_eq!((account.cloud.counts().logins, account.cloud.requests_to(REFRESH)), (1, 0), "{fault}");
    }
}

#[tokio::test]
async fn row_16_an_answer_that_does_not_come_is_given_up_after_15_s() {
    let stall = async |fault| {
        let account = Account::new().await;
        let client = account.client();
        list(&client).await.unwrap();
        account.trouble(Trouble { fault, at: LIST.to_owned() });
        let error = tokio::time::timeout(DEADLINE, list(&client)).await.expect("in time").unwrap_err();
        assert!(matches!(error, CloudError::Http(HttpError::TimedOut { .. })), "{fault}: {error:?}");
    };
    tokio::join!(stall(Fault::Stall), stall(Fault::Drip));
}

#[tokio::test]
async fn row_16_values_of_other_types_than_expected_end_nothing() {
    for fault in [Fault::WrongTypes, Fault::UnknownEnums, Fault::MissingFields, Fault::BrokenDevice] {
        let account = Account::new().await;
        account.trouble(fault);
        let client = account.client();
        // Where the login itself cannot be read there is one, and an error.
        let outcome = list(&client).await;
        assert!(matches!(outcome, Ok(_) | Err(CloudError::Misunderstood(_))), "{fault}: {outcome:?}");
        drop(list(&client).await);
        assert!(account.cloud.requests_to(LOGIN) <= 1, "{fault}");
    }
}

#[tokio::test]
async fn row_39_a_clock_that_is_wrong_by_a_day_is_set_by_the_clouds() {
    let account = Account::new().await;
    account.trouble(Fault::ClockSkew);
    let client = account.client();
    list(&client).await.unwrap();
    let ahead = client.server_now().duration_since(clock::unix_now()).unwrap();
    assert!((86_390..=86_410).contains(&ahead.as_secs()), "{ahead:?}");
    events(&client).await.unwrap();
    let lock = account.cloud.devices().into_iter().find(|device| device.model == "YD.LO1").unwrap();
    let uuid = lock.mac.rsplit('.').next().unwrap().to_owned();
    client.ford(Method::GET, "/openapi/lock/v1/info", [("uuid", uuid)].into()).await.unwrap();
}

#[tokio::test]
async fn a_house_without_a_network_logs_in_as_soon_as_there_is_one() {
    let account = Account::new().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut login = account.login.clone();
    login.endpoints.auth = format!("http://{}", nobody.local_addr().unwrap()).parse().unwrap();
    drop(nobody);
    for _ in 0..5 {
        let client = Cloud::new(&login, &Store::open(account.folder.path()).unwrap());
        for _ in 0..2 {
            let error = list(&client).await.unwrap_err();
            assert!(matches!(error, CloudError::Http(HttpError::Unreachable { .. })), "{error:?}");
            assert_eq!(error.retry(), Retry::Backoff);
        }
    }
    let state: Value = serde_json::from_slice(&fs::read(account.state_file()).unwrap()).unwrap();
    let entry = state["entries"].as_object().unwrap().iter().find(|(key, _)| key.starts_with("wyze_account_")).unwrap();
    assert_eq!(entry.1["logins"], json!({ "in_a_row": 0, "at": 0, "wait": 0 }), "an attempt was counted");
}

#[tokio::test]
async fn the_last_requests_of_a_window_are_not_used_up() {
    let mut settings = Settings::generate(4);
    settings.api_rate = Rate { requests: 15, per: Duration::from_secs(300) };
    let account = Account::at(settings).await;
    let client = account.client();
    let limits = client.limits();
    assert_eq!(*limits.borrow(), None);
    let mut served = 0;
    let refusal = loop {
        match list(&client).await {
            Ok(_) => served += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, CloudError::Limited(_)) && retries_after(&refusal, 200..=300), "{refusal:?}");
    assert_eq!((served, limits.borrow().unwrap().remaining), (5, 10));
    assert_eq!(account.cloud.requests_to(LIST), 5);
}

#[tokio::test]
async fn a_state_file_that_was_cut_off_costs_a_login_and_nothing_else() {
    let account = Account::new().await;
    list(&account.client()).await.unwrap();
    let whole = fs::read(account.state_file()).unwrap();
    let end = String::from_utf8_lossy(&whole).trim_end().len();
    // What the store makes of a file that ends at any byte is shown with the store.
    for cut in (0..end).step_by(37) {
        fs::write(account.state_file(), &whole[..cut]).unwrap();
        let logins = account.cloud.counts().logins;
        for _ in 0..2 {
            list(&account.client()).await.unwrap();
            assert_eq!(account.cloud.counts().logins, logins + 1, "after {cut} bytes");
        }
    }
}

#[tokio::test]
async fn no_secret_of_the_account_is_logged_or_told() {
    let settings = Settings { second_factor: SecondFactor::totp(7), ..Settings::generate(6) };
    let SecondFactor::Totp(secret) = settings.second_factor.clone() else { unreachable!() };
    let mut account = Account::at(settings).await;
    account.login.totp_secret = Some(secret.clone());
    let (log, guard) = Log::capture(Level::TRACE);

    let client = account.client();
    let mut told = String::new();
    let mut secrets = vec![];
    for fault in [None, Some(Fault::Expired), Some(Fault::Html), Some(Fault::Reset), Some(Fault::RefreshRevoked)] {
        account.cloud.obey(CloudCommand::Trouble(fault.map(Trouble::from))).unwrap();
        let lock = [("uuid", "0123456789abcdef".to_owned())].into();
        let answers = (
            list(&client).await,
            client.ford(Method::GET, "/openapi/lock/v1/info", lock).await.map(drop),
            events(&client).await.map(drop),
        );
        told += &format!("{answers:?}");
        secrets.extend(tokens(&account));
    }
    let mut wrong = account.login.clone();
    wrong.api_key = Token::new("an-api-key-that-is-wrong");
    let elsewhere = tempfile::tempdir().unwrap();
    let error = list(&Cloud::new(&wrong, &Store::open(elsewhere.path()).unwrap())).await.unwrap_err();
    told += &format!("{error} {error:?} {:?}", account.login);
    drop(guard);

    let logged = log.text();
    assert!(logged.contains("logging in at Wyze") && logged.contains("TRACE"), "nothing was logged");
    let login = &account.login;
    secrets.extend([
        login.email.expose().to_owned(),
        login.password.expose().to_owned(),
        password_hash(login.password.expose()),
        login.key_id.expose().to_owned(),
        login.api_key.expose().to_owned(),
        secret.expose().to_owned(),
        "an-api-key-that-is-wrong".to_owned(),
        client.phone_id().to_owned(),
    ]);
    assert!(secrets.len() >= 12, "too few tokens were seen");
    for secret in secrets {
        for text in [&logged, &told] {
            if let Some(line) = text.lines().find(|line| line.contains(&secret)) {
                panic!("a secret is shown: {line}");
            }
        }
    }
}

/// The tokens that are stored now.
fn tokens(account: &Account) -> Vec<String> {
    let state: Value = serde_json::from_slice(&fs::read(account.state_file()).unwrap()).unwrap();
    let entries = state["entries"].as_object().unwrap().iter();
    let kept = entries.filter(|(key, _)| key.starts_with("wyze_account_")).map(|(_, entry)| &entry["tokens"]);
    kept.flat_map(|tokens| ["access", "refresh"].map(|key| tokens[key].as_str().unwrap().to_owned())).collect()
}
