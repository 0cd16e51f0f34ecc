//! The logins of an account at each of the three clouds: renewed once for all who wait, ahead of their end, and never
//! tried again and again, whatever the clock says (fault matrix, rows 13, 14, 17 and 39).

use std::time::Duration;

use doorstep::model::AccountLink;
use doorstep::net::supervise::Retry;
use doorstep::proto::totp::totp;
use doorstep::sim::aws::{AwsCommand, Fault as AwsFault};
use doorstep::sim::vivint::{self, SecondFactor};
use doorstep::sim::wyze_cloud::Settings;
use doorstep::store::Store;
use doorstep::vendor::vivint::cloud::Cloud;
use futures_util::future::join_all;
use serde_json::Value;

use crate::support::crooked_cloud::{Wrong, time_goes_by};
use crate::support::three_clouds::{At, Front};
use crate::vivint_account::Account;

const SUBMIT: &str = "/idp/api/submit";
const DAY: Duration = Duration::from_secs(86_400);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn row_13_fifty_calls_whose_keys_aws_takes_no_more_take_the_role_on_once() {
    let front = Front::aws().await;
    let channels = front.list().await.unwrap();
    // New keys are believed in for half a minute.
    time_goes_by(s(31)).await;
    let At::Aws { cloud, .. } = &front.at else { unreachable!() };
    cloud.obey(AwsCommand::Trouble(Some(AwsFault::ExpiredToken.into())));
    let before = front.crooked.asked(front.list_path());
    let all = join_all((0..50).map(|_| front.list())).await;
    assert!(all.iter().all(|listed| matches!(listed, Ok(now) if *now == channels)), "{all:?}");
    assert_eq!(front.refreshes(), 1, "the role was taken on for more than one");
    let asked = front.crooked.asked(front.list_path()) - before;
    assert!((51..=100).contains(&asked), "{asked} requests: no key was refused, or a call was made more than twice");
}

/// Weeks of asking: by the account itself, by a lock, by somebody who presses the button for a listing.
#[tokio::test]
async fn row_14_no_login_is_tried_again_before_its_owner_acts_however_long_that_takes() {
    for front in [Front::wyze().await, Front::vivint().await] {
        front.list().await.unwrap();
        // The login before that one is long ago.
        time_goes_by(s(3_000)).await;
        front.is_revoked();
        for _ in 0..20 {
            let all = join_all((0..5).map(|_| front.list())).await;
            for told in all.into_iter().map(Result::unwrap_err) {
                assert_eq!(told.retry, Retry::WaitForUser, "{}: {told:?}", front.name());
                assert!(told.says.contains("password"), "{}: {told:?}", front.name());
            }
            time_goes_by(s(29 * 3_600)).await;
        }
        assert_eq!(front.logins(), 2, "{}: one worked, one was refused", front.name());
    }
}

#[tokio::test]
async fn row_14_an_account_whose_login_was_revoked_says_so_and_its_doorbells_stay() {
    for front in Front::each().await {
        let house = front.house().await;
        let (there, before) = (house.doorbells.all().len(), front.logins());
        time_goes_by(s(3_000)).await;
        front.is_revoked();
        house.accounts.rediscover();
        let waits = |link: &AccountLink| matches!(link, AccountLink::NeedsAttention { .. });
        let link = house.account_is("left to its owner", waits).await;
        assert!(link.why().unwrap().ends_with('.'), "{}: {link:?}", front.name());
        for _ in 0..5 {
            house.accounts.rediscover();
            time_goes_by(s(600)).await;
        }
        // What was asked while the time went by has timed out.
        house.accounts.rediscover();
        house.account_is("left to its owner still", waits).await;
        assert_eq!(house.doorbells.all().len(), there, "{}", front.name());
        // AWS locks nobody out, and is asked now and then whether it has been mended.
        let most = if matches!(front.at, At::Aws { .. }) { 3 } else { 1 };
        assert!(front.logins() - before <= most, "{}: {} logins", front.name(), front.logins() - before);
        house.end().await;
    }
}

#[tokio::test]
async fn row_14_a_second_factor_that_vivint_wants_anew_is_left_to_the_owner() {
    let front = Front::vivint().await;
    let At::Vivint { account, login, .. } = &front.at else { unreachable!() };
    let devices = front.list().await.unwrap();
    account.obey(vivint::Command::Trouble(Some(vivint::Fault::CodeDemanded.into())));
    for _ in 0..10 {
        let told = front.list().await.unwrap_err();
        assert_eq!(told.retry, Retry::WaitForUser);
        assert!(told.says.contains("second factor"), "{told:?}");
        time_goes_by(s(7 * 3_600)).await;
    }
    assert_eq!((front.logins(), front.refreshes()), (1, 0), "a login was tried without its owner");
    // He starts Doorstep again.
    account.obey(vivint::Command::Trouble(None));
    assert!(front.list().await.is_err(), "this process has given up");
    let restarted = Cloud::new(login, &Store::open(account.folder.path()).unwrap());
    restarted.authuser().await.unwrap();
    assert_eq!((front.logins(), devices > 0), (2, true));
}

#[tokio::test]
async fn row_17_tokens_are_renewed_ahead_of_their_end_and_serve_while_they_cannot_be() {
    // Of a life of an hour, and of Wyze's of a day: too soon, and late enough.
    for (front, soon, late, end) in [
        (
            Front::wyze_with(Settings { token_life: DAY, ..Settings::generate(1) }).await,
            17 * 3_600,
            4 * 3_600,
            3 * 3_600,
        ),
        (Front::vivint().await, 2_820, 120, 900),
        (Front::aws().await, 2_820, 120, 900),
    ] {
        let (name, devices) = (front.name(), front.list().await.unwrap());
        time_goes_by(s(soon)).await;
        front.list().await.unwrap();
        assert_eq!(front.refreshes(), 0, "{name}: renewed before 75 % of their life");
        time_goes_by(s(late)).await;
        // Nobody renews them now; they are still good.
        let renewal = match front.at {
            At::Wyze { .. } => "/app/user/refresh_token",
            At::Vivint { .. } => "/oauth2/token",
            At::Aws { .. } => "/",
        };
        front.crooked.answers(move |asked| (asked.path == renewal).then(|| Wrong::status(500, &[])));
        let tried = front.crooked.asked_at(renewal);
        let all = join_all((0..20).map(|_| front.list())).await;
        assert!(all.iter().all(|listed| matches!(listed, Ok(now) if *now == devices)), "{name}: {all:?}");
        assert_eq!(front.crooked.asked_at(renewal) - tried, 1, "{name}: not tried, or by everybody");
        front.crooked.is_honest_again();
        time_goes_by(s(120)).await;
        front.list().await.unwrap();
        time_goes_by(s(end)).await;
        // The old ones are worth nothing by now.
        assert!(matches!(front.list().await, Ok(now) if now == devices), "{name}");
        let renewed = front.crooked.asked_at(renewal) - tried - 1;
        assert_eq!(renewed, 1, "{name}: renewed {renewed} times");
    }
}

/// By the clock of whoever checks it, even when the first thing that Vivint says is when it is there.
#[tokio::test]
async fn row_39_codes_of_an_authenticator_app_go_by_vivints_clock() {
    for (date, seconds) in [
        ("Sat, 12 Oct 2024 19:50:31 GMT", 1_728_762_631),
        ("Thu, 01 Jan 1970 00:10:00 GMT", 600),
        ("Thu, 29 Feb 2024 23:59:60 GMT", 1_709_251_200),
        ("Fri, 31 Dec 2049 23:59:59 GMT", 2_524_607_999),
    ] {
        let mut account = Account::with(|settings| settings.second_factor = SecondFactor::totp(7)).await;
        let SecondFactor::Totp(secret) = account.cloud.settings.second_factor.clone() else { unreachable!() };
        account.login.totp_secret = Some(secret.clone());
        let front = Front::vivint_of(account).await;
        front.crooked.answers(move |_| Some(Wrong::Dated(date.to_owned())));
        // The cloud's own clock is another one, so that it refuses what is right by the date it tells.
        front.list().await.unwrap_err();
        let body: Value = serde_json::from_slice(&front.crooked.last(SUBMIT).body).unwrap();
        let codes = [0, 1, 2, 3].map(|late| totp(secret.expose(), seconds + 10 * late).unwrap());
        assert!(codes.iter().any(|code| body["mfa"] == **code), "{date}: {body:?} is none of {codes:?}");
    }
}

#[tokio::test]
async fn row_39_no_date_makes_a_storm_of_logins_or_of_refreshes() {
    for date in [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Sat, 12 Oct 2024 23:59:60 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sun, 99 Foo 20240 99:99:99 GMT",
        "",
    ] {
        for front in [Front::wyze().await, Front::vivint().await] {
            front.crooked.answers(move |_| Some(Wrong::Dated(date.to_owned())));
            for _ in 0..10 {
                front.list().await.unwrap();
                time_goes_by(s(60)).await;
            }
            assert_eq!((front.logins(), front.refreshes()), (1, 0), "{}, {date}", front.name());
        }
    }
}

/// The machine's clock is another one at the next start: what was kept says a time that is to come, or long ago.
#[tokio::test]
async fn row_39_a_clock_that_is_a_day_off_or_at_1970_at_the_start_costs_one_refresh_at_most() {
    for off in [-86_400, 86_400, 40 * 365 * 86_400] {
        for front in [Front::wyze().await, Front::vivint().await] {
            let devices = front.list().await.unwrap();
            front.kept_times_are_off(off);
            let front = front.restarted();
            for _ in 0..10 {
                assert!(matches!(front.list().await, Ok(now) if now == devices), "{}, {off}", front.name());
                time_goes_by(s(30)).await;
            }
            assert_eq!(front.logins(), 1, "{}, {off}", front.name());
            assert!(front.refreshes() <= 1, "{}, {off}: {} refreshes", front.name(), front.refreshes());
        }
    }
}

impl Front {
    /// In the store, by so many seconds.
    fn kept_times_are_off(&self, off_s: i64) {
        let folder = match &self.at {
            At::Wyze { account, .. } => &account.folder,
            At::Vivint { account, .. } => &account.folder,
            At::Aws { .. } => unreachable!("nothing of AWS's keys is kept"),
        };
        let file = folder.path().join("state.json");
        let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut changed = 0;
        for (_, entry) in
            state["entries"].as_object_mut().unwrap().iter_mut().filter(|(key, _)| key.contains("_account_"))
        {
            for pointer in ["/tokens/at", "/tokens/until", "/logins/at"] {
                let Some(at) = entry.pointer_mut(pointer).filter(|at| at.as_u64().is_some_and(|at| at > 0)) else {
                    continue;
                };
                *at = at.as_u64().unwrap().saturating_add_signed(off_s).into();
                changed += 1;
            }
        }
        assert!(changed >= 1, "{state}");
        std::fs::write(&file, state.to_string()).unwrap();
    }

    /// With a client as a new process would make it.
    fn restarted(mut self) -> Self {
        let store = |folder: &tempfile::TempDir| Store::open(folder.path()).unwrap();
        match &mut self.at {
            At::Wyze { account, login, client } => {
                *client = doorstep::vendor::wyze::cloud::Cloud::new(login, &store(&account.folder));
            }
            At::Vivint { account, login, client } => *client = Cloud::new(login, &store(&account.folder)),
            At::Aws { .. } => {}
        }
        self
    }
}
