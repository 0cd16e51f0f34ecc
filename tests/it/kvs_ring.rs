//! Doorbells at AWS ring over AWS IoT: each ring is told once, by whichever way, and what keeps it away is said.

use std::time::Duration;

use doorstep::model::{AccountLink, Capability, Link};
use doorstep::sim::aws::{AwsCommand, ChannelSettings, Event, Fault};
use doorstep::sim::iot;
use doorstep::sim::kvs_doorbell::{self, Command, Profile};

use crate::support::kvs_house::{CHANNEL, Cloud, DOORBELL, House, rings, until};

const TOPIC: &str = "doorbell/doorbell-channel/ring";
/// As AmebaPro2 publishes it.
const AMEBA: &str = r#"{"event":"ring","device":"doorbell-master"}"#;

/// Waits until the house listens to this topic, the last one of all by its name; the id by which it does so.
async fn listens_to(cloud: &mut Cloud, topic: &str) -> String {
    let subscribed = |event: &Event| match event {
        Event::Iot(iot::Event::IotSubscribed { client_id, filter, .. }) if filter == topic => Some(client_id.clone()),
        _ => None,
    };
    cloud.happens("subscription", subscribed).await
}

async fn listens(cloud: &mut Cloud) -> String {
    listens_to(cloud, TOPIC).await
}

#[tokio::test]
async fn a_ring_is_told_at_once_with_keys_and_with_a_certificate() {
    for by_certificate in [false, true] {
        let mut cloud = Cloud::new().await;
        if by_certificate {
            cloud.by_certificate();
        }
        let house = cloud.house();
        let doorbell = house.doorbell(DOORBELL).await;
        let client_id = listens(&mut cloud).await;
        let expected = if by_certificate { "doorbell-thing-doorstep" } else { "doorstep-" };
        assert!(client_id.starts_with(expected), "{client_id}");
        cloud.obey(AwsCommand::Ring { channel: None });
        let ring = rings(&doorbell, 0).await;
        assert_eq!(ring.source, "push");
        assert!(ring.latency.is_some_and(|latency| latency < Duration::from_secs(30)), "{:?}", ring.latency);
        assert_eq!(house.link(), AccountLink::Ready);
        house.end().await;
    }
}

#[tokio::test]
async fn both_published_masters_are_heard() {
    let mut cloud = Cloud::with(|settings| settings.channels.push(ChannelSettings::named("back"))).await;
    let house = cloud.house();
    let (front, back) = (house.doorbell(DOORBELL).await, house.doorbell("kvs_back").await);
    listens(&mut cloud).await;
    for (channel, profile, doorbell) in [(CHANNEL, Profile::Ameba, &front), ("back", Profile::Linux, &back)] {
        let mut master = cloud.doorbell(channel, profile);
        master.is(kvs_doorbell::Event::BellConnected).await;
        master.obey(Command::Ring);
        rings(doorbell, 0).await;
    }
    assert_eq!((front.rings().len(), back.rings().len()), (1, 1));
    house.end().await;
}

/// How often it has rung by when a ring was heard at another doorbell, which was published behind all others.
async fn rings_before(other: &str, cloud: &Cloud, house: &House) -> usize {
    cloud.aws.broker().publish(&format!("doorbell/{other}/ring"), AMEBA, 1);
    rings(&house.doorbell(&format!("kvs_{other}")).await, 0).await;
    house.doorbell(DOORBELL).await.rings().len()
}

#[tokio::test]
async fn what_is_delivered_twice_bounces_or_is_no_ring_rings_once() {
    let others = ["east", "west"].map(ChannelSettings::named);
    let mut cloud = Cloud::with(|settings| settings.channels.extend(others)).await;
    let house = cloud.house();
    house.doorbell(DOORBELL).await;
    listens_to(&mut cloud, "doorbell/west/ring").await;
    let broker = cloud.aws.broker();
    for nonsense in ["", "ring", "{}", r#"{"event":"motion"}"#, r#"["ring"]"#, &"x".repeat(100_000)] {
        broker.publish(TOPIC, nonsense.to_owned(), 1);
    }
    assert_eq!(rings_before("east", &cloud, &house).await, 0);
    cloud.obey(AwsCommand::IotFault(Some(iot::Fault::DuplicateDelivery)));
    for _ in 0..5 {
        broker.publish(TOPIC, AMEBA, 0);
    }
    broker.publish(TOPIC, AMEBA, 1);
    assert_eq!(rings_before("west", &cloud, &house).await, 1);
    house.end().await;
}

#[tokio::test]
async fn a_legacy_topic_for_all_doorbells_is_heard_by_the_name_in_its_payload() {
    let mut cloud = Cloud::with(|settings| settings.channels.push(ChannelSettings::named("back"))).await;
    cloud.account.ring_topics = ["doorbell/ring", "doorbell/{channel}/ring"].map(str::to_owned).to_vec();
    let house = cloud.house();
    let (front, back) = (house.doorbell(DOORBELL).await, house.doorbell("kvs_back").await);
    listens_to(&mut cloud, "doorbell/ring").await;
    let broker = cloud.aws.broker();
    // Nobody's: there are two doorbells.
    broker.publish("doorbell/ring", AMEBA, 1);
    broker.publish("doorbell/ring", r#"{"event":"ring","channel":"back"}"#, 1);
    rings(&back, 0).await;
    assert_eq!(front.rings().len(), 0);
    house.end().await;
}

#[tokio::test]
async fn a_ring_in_the_middle_of_a_reconnection_is_not_lost() {
    let mut cloud = Cloud::new().await;
    let house = cloud.house();
    let doorbell = house.doorbell(DOORBELL).await;
    let client_id = listens(&mut cloud).await;
    assert!(cloud.aws.broker().disconnect(&client_id), "it is not connected");
    cloud.aws.broker().publish(TOPIC, AMEBA, 1);
    rings(&doorbell, 0).await;
    house.end().await;
}

#[tokio::test]
async fn the_client_id_is_the_same_after_a_restart_and_the_owners_own_where_there_is_one() {
    let mut cloud = Cloud::new().await;
    let mut seen = Vec::new();
    for client_id in [None, None, Some("viewer-7")] {
        cloud.account.client_id = client_id.map(str::to_owned);
        let house = cloud.house();
        seen.push(listens(&mut cloud).await);
        house.end().await;
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[2], "viewer-7");
}

#[tokio::test]
async fn a_policy_that_keeps_rings_away_is_explained_and_takes_no_picture_down() {
    for fault in [Fault::PolicyConnect, Fault::PolicySubscribe] {
        let cloud = Cloud::new().await;
        cloud.trouble(fault);
        let house = cloud.house();
        let doorbell = house.doorbell(DOORBELL).await;
        let why = house.needs_attention().await;
        assert!(why.to_lowercase().contains("policy") && why.ends_with('.'), "{fault}: {why}");
        until(&doorbell, "ready to be called", |state| state.link == Link::Ready).await;
        house.end().await;
    }
}

#[tokio::test]
async fn an_account_that_may_not_ask_where_it_rings_works_without_rings_and_says_so() {
    let cloud = Cloud::with(|settings| {
        settings.keys = settings.keys.drain(..).map(|key| key.without("iot:DescribeEndpoint")).collect();
    })
    .await;
    let house = cloud.house();
    house.is_ready().await;
    let doorbell = house.doorbell(DOORBELL).await;
    assert!(!doorbell.info().capabilities.contains(&Capability::Ring));
    let record = doorbell.diagnose(doorstep::doorbell::Question::Record).await.unwrap();
    assert!(record["rings"].as_str().unwrap().contains("iot_endpoint"), "{record}");
    assert_eq!(house.link(), AccountLink::Ready);
    house.end().await;
}
