//! A picture goes on whatever becomes of the login that it was once asked for with (fault matrix, rows 14 and 17).

use std::time::Duration;

use doorstep::doorbell::Doorbell;
use doorstep::media::{Demand, FrameStream};
use doorstep::model::{AccountLink, DeviceId};
use doorstep::secret::Password;
use doorstep::sim::aws::{AwsCommand, Fault as AwsFault};
use doorstep::sim::kvs_doorbell::{Event, Profile};
use doorstep::sim::vivint::Command;
use doorstep::sim::wyze_cloud::{CloudCommand, Fault};
use tokio::time::timeout;

use crate::support::kvs_house::{CHANNEL, Cloud, DOORBELL};
use crate::support::service::Camera;
use crate::support::three_clouds::{At, Front, PATIENCE};
use crate::wyze_account::{Place, listed};

/// Two seconds of a picture and more.
const FRAMES: usize = 40;

/// Somebody who looks at a doorbell.
struct Look {
    frames: FrameStream,
    last: Option<Duration>,
    _demand: Demand,
}

impl Look {
    async fn at(doorbell: &Doorbell) -> Self {
        let _demand = doorbell.watch();
        let mut look = Self { frames: doorbell.media().listen(), last: None, _demand };
        look.goes_on().await;
        look
    }

    /// Nothing is missing of it, by the camera's own clock.
    async fn goes_on(&mut self) {
        for _ in 0..FRAMES {
            let frame = loop {
                let frame = timeout(PATIENCE, self.frames.next()).await.expect("there is no picture").unwrap();
                if frame.kind.is_video() {
                    break frame;
                }
            };
            let gap = self.last.map_or(Duration::ZERO, |last| frame.pts.saturating_sub(last));
            assert!(gap <= Duration::from_millis(200), "a gap of {gap:?}");
            self.last = Some(frame.pts);
        }
    }
}

fn waits(link: &AccountLink) -> bool {
    matches!(link, AccountLink::NeedsAttention { .. })
}

#[tokio::test]
async fn row_17_a_wyze_camera_on_the_lan_goes_on_over_a_renewal_and_without_a_login() {
    let camera = Camera::start(31, |_| {}).await;
    let place = Place::with(|settings| settings.devices = vec![listed(&camera.settings, camera.address)]).await;
    let house = place.house();
    house.ready().await;
    let mut look = Look::at(&house.doorbell(&place.cloud.devices().remove(0)).await).await;
    place.obey(CloudCommand::Trouble(Some(Fault::Expired.into())));
    house.accounts.rediscover();
    while place.cloud.counts().refreshes == 0 {
        look.goes_on().await;
    }
    look.goes_on().await;

    let logins = place.cloud.requests_to("/api/user/login");
    place.obey(CloudCommand::Trouble(Some(Fault::RefreshRevoked.into())));
    place.obey(CloudCommand::Password(Password::new("another one by now")));
    // The next login may be tried 20 s after the first.
    while !waits(&house.accounts.all()[0].2.borrow().link) {
        house.accounts.rediscover();
        look.goes_on().await;
    }
    look.goes_on().await;
    assert_eq!(place.cloud.requests_to("/api/user/login") - logins, 1);
    house.end().await;
}

#[tokio::test]
async fn row_17_a_vivint_camera_goes_on_while_its_accounts_tokens_are_renewed() {
    let front = Front::vivint().await;
    let house = front.house().await;
    let At::Vivint { account, .. } = &front.at else { unreachable!() };
    let id = DeviceId::parse(&format!("vivint_{}_27", account.cloud.settings.panel)).unwrap();
    let mut look = Look::at(&house.doorbells.get(&id).unwrap()).await;
    account.obey(Command::Expire);
    house.accounts.rediscover();
    while front.refreshes() == 0 {
        look.goes_on().await;
    }
    look.goes_on().await;
    front.is_revoked();
    house.accounts.rediscover();
    look.goes_on().await;
    house.end().await;
}

#[tokio::test]
async fn row_17_a_kvs_doorbell_goes_on_over_other_keys_and_without_any() {
    let mut cloud = Cloud::new().await;
    cloud.account.role_arn = Some(cloud.aws.settings.roles[0].arn.clone());
    let mut caller = cloud.doorbell(CHANNEL, Profile::Ameba);
    let house = cloud.house();
    house.is_ready().await;
    caller.is(Event::Online).await;
    let mut look = Look::at(&house.doorbell(DOORBELL).await).await;
    cloud.obey(AwsCommand::Trouble(Some(AwsFault::ExpiredToken.into())));
    house.accounts.rediscover();
    look.goes_on().await;
    cloud.obey(AwsCommand::Trouble(Some(AwsFault::AccessDenied.into())));
    house.accounts.rediscover();
    house.account_is("left to its owner", waits).await;
    look.goes_on().await;
    house.end().await;
}
