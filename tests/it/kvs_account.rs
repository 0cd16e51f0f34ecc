//! An AWS account against a virtual AWS: its channels are its doorbells, and what is amiss is said.

use doorstep::doorbell::Vendor;
use doorstep::doorbell::vendor::Retry;
use doorstep::model::{AccountLink, Capability, Found, Link};
use doorstep::sim::aws::{AccessKey, AwsCommand, ChannelSettings, Event, Fault};

use crate::support::kvs_house::{CHANNEL, Cloud, DOORBELL, until, without_certificate};

fn ids(found: &[Found]) -> Vec<&str> {
    found.iter().map(|found| found.info.id.as_str()).collect()
}

#[tokio::test]
async fn every_channel_of_the_account_that_has_a_master_is_a_doorbell() {
    let cloud = Cloud::with(|settings| {
        settings.channels.push(ChannelSettings::named("Garden.Gate"));
        settings.channels.push(ChannelSettings { single_master: false, ..ChannelSettings::named("conference") });
        settings.page = 1;
    })
    .await;
    let found = cloud.kvs().discover().await.unwrap();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(found[0].info.id.as_str(), DOORBELL);
    assert!(found[1].info.id.as_str().starts_with("kvs_garden_gate_"), "{}", found[1].info.id);
    assert_eq!(found[0].info.name, CHANNEL);
    assert_eq!((found[0].transport, &found[0].obstacle), (Some("webrtc"), &None));
    let can: Vec<_> = found[0].info.capabilities.iter().copied().collect();
    assert_eq!(can, [Capability::Ring, Capability::Stream, Capability::Talk, Capability::Unlock]);
}

#[tokio::test]
async fn channels_that_are_named_are_looked_at_one_by_one_and_what_is_amiss_with_one_costs_no_other() {
    let mut cloud = Cloud::with(|settings| {
        settings.keys = settings.keys.drain(..).map(|key| key.without("kinesisvideo:ListSignalingChannels")).collect();
        settings.channels.push(ChannelSettings { single_master: false, ..ChannelSettings::named("conference") });
        settings.channels.push(ChannelSettings { active: false, ..ChannelSettings::named("new") });
    })
    .await;
    let arn = cloud.aws.arn(CHANNEL).unwrap();
    cloud.account.channels = ["missing", "conference", &arn, "new", CHANNEL].map(str::to_owned).to_vec();
    let found = cloud.kvs().discover().await.unwrap();
    assert_eq!(ids(&found), ["kvs_conference", DOORBELL, "kvs_missing", "kvs_new"], "the ARN is the same doorbell");
    let obstacles = found.iter().map(|found| found.obstacle.as_deref().unwrap_or_default());
    for (obstacle, what) in obstacles.zip(["FULL_MESH", "", "no signaling channel `missing`", "being made"]) {
        assert!(obstacle.contains(what) && obstacle.is_empty() == what.is_empty(), "{obstacle:?}, not {what:?}");
        assert!(!obstacle.contains("123456789012"), "{obstacle}");
    }
    assert!(!found[2].info.capabilities.contains(&Capability::Ring), "what is not there rings");
}

#[tokio::test]
async fn a_login_that_may_not_list_is_told_to_name_its_channels_and_is_tried_again() {
    let cloud = Cloud::new().await;
    cloud.trouble(Fault::AccessDeniedList);
    let house = cloud.house();
    let why = house.needs_attention().await;
    assert!(why.contains("kvs[].channels"), "{why}");
    cloud.all_is_well();
    house.accounts.rediscover();
    house.is_ready().await;
    house.doorbell(DOORBELL).await;
    house.end().await;
}

#[tokio::test]
async fn row_16_an_account_whose_trouble_passes_is_ready_again_and_keeps_its_doorbells() {
    let cloud = Cloud::new().await;
    let house = cloud.house();
    house.is_ready().await;
    let doorbell = house.doorbell(DOORBELL).await;
    for fault in [Fault::ServerError, Fault::Throttled, Fault::EndpointHtml] {
        cloud.trouble(fault);
        house.accounts.rediscover();
        let link = house.account_is("in trouble", |link| link.why().is_some()).await;
        let why = link.why().unwrap();
        assert!(why.ends_with('.'), "{fault}: {why}");
        cloud.all_is_well();
        house.accounts.rediscover();
        house.is_ready().await;
    }
    assert_eq!(doorbell.state().borrow().link, Link::Ready);
    assert_eq!(house.doorbells.all().len(), 1);
    house.end().await;
}

#[tokio::test]
async fn row_14_a_wrong_key_is_its_owners_to_correct() {
    let mut cloud = Cloud::new().await;
    let stranger = AccessKey::generate(&mut doorstep::sim::dice::Dice::new(99));
    let doorstep::config::KvsLogin::Keys(keys) = &mut cloud.account.login else { panic!("no keys") };
    keys.secret_access_key = stranger.secret.clone();
    let house = cloud.house();
    let why = house.needs_attention().await;
    assert!(why.contains("secret_access_key") && !why.contains(stranger.secret.expose()), "{why}");
    house.end().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_named_and_stops_nothing_else() {
    let mut cloud = Cloud::new().await;
    cloud.by_certificate();
    without_certificate(&mut cloud.account, "/nowhere/doorbell.pem");
    let error = cloud.kvs().discover().await.unwrap_err();
    assert_eq!(error.retry, Retry::WaitForUser);
    assert!(error.what.contains("/nowhere/doorbell.pem"), "{}", error.what);
    let house = cloud.house();
    assert_eq!(house.needs_attention().await, error.what);
    house.end().await;
}

#[tokio::test]
async fn a_channel_that_becomes_active_can_be_called_soon_after() {
    let cloud = Cloud::new().await;
    cloud.trouble(Fault::Creating);
    let house = cloud.house();
    let doorbell = house.doorbell(DOORBELL).await;
    let made = |state: &doorstep::model::State| state.last_error.as_ref().is_some_and(|why| why.contains("being made"));
    until(&doorbell, "told to be in the making", made).await;
    let refused = doorbell.start_talk(1).await.unwrap_err().to_string();
    assert!(refused.contains("being made"), "{refused}");
    cloud.all_is_well();
    house.accounts.rediscover();
    until(&doorbell, "free of errors", |state| state.last_error.is_none()).await;
    house.end().await;
}

#[tokio::test]
async fn what_was_known_is_there_at_the_next_start_although_aws_is_away() {
    let mut cloud = Cloud::new().await;
    let house = cloud.house();
    house.is_ready().await;
    house.end().await;
    cloud.obey(AwsCommand::Online(false));
    let house = cloud.house();
    let doorbell = house.doorbell(DOORBELL).await;
    assert!(doorbell.info().capabilities.contains(&Capability::Ring));
    house.account_is("failing", |link| matches!(link, AccountLink::Failing { .. })).await;
    cloud.obey(AwsCommand::Online(true));
    house.accounts.rediscover();
    house.is_ready().await;
    let listed =
        |event: &Event| matches!(event, Event::Called { action, .. } if action.ends_with("ListSignalingChannels"));
    cloud.happens("listing", |event| listed(event).then_some(())).await;
    house.end().await;
}

#[tokio::test]
async fn what_is_told_of_a_channel_for_a_diagnosis_does_not_say_whose_it_is() {
    let cloud = Cloud::new().await;
    let house = cloud.house();
    house.is_ready().await;
    let doorbell = house.doorbell(DOORBELL).await;
    let record = doorbell.diagnose(doorstep::doorbell::Question::Record).await.unwrap();
    assert!(record["channel"].as_str().unwrap().starts_with(CHANNEL), "{record}");
    assert_eq!((&record["active"], &record["single_master"]), (&true.into(), &true.into()));
    assert_eq!((&record["message_ttl_s"], &record["rings"]), (&60.into(), &"over AWS IoT".into()));
    assert!(!record.to_string().contains(&cloud.aws.settings.account), "{record}");
    house.end().await;
}
