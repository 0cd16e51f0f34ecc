//! A doorbell of one's own at Amazon: whoever may call it sees, hears, talks and opens the door, and its ring arrives.
//! The virtual AWS between real sockets; the viewer is ours. (Foreign viewers are in `tests/peers`.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::aws::iot::{self, Iot, News, Way};
use doorstep::aws::{self, Aws, Role};
use doorstep::clock;
use doorstep::media::{AudioFormat, Frame, FrameKind, FrameStream, MediaHub};
use doorstep::rtc::kvs_call::{AskError, CallError, Exchange, KvsCall, Signalling, Wish};
use doorstep::sim::aws::{self as aws_sim, AwsCommand, Notice, Quotas, RunningAws, To, What};
use doorstep::sim::kvs_doorbell::{self, Command, Event, Fault, Profile, Ring, RunningKvsDoorbell, Settings};
use doorstep::sim::sound::Sound;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::time::{interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::told;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// What our doorbells wait for a reply.
const REPLY_WITHIN: Duration = Duration::from_secs(3);
const CHANNEL: &str = "doorbell-channel";
const OPEN_DOOR: &str = r#"{"action":"open_door"}"#;

struct House {
    aws: RunningAws,
    doorbell: RunningKvsDoorbell,
    happened: broadcast::Receiver<Event>,
    viewer: Aws,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl House {
    async fn with(profile: Profile, change: impl FnOnce(&mut Settings)) -> Self {
        let stop = CancellationToken::new();
        let settings =
            doorstep::sim::aws::Settings { quotas: Quotas::GENEROUS, ..doorstep::sim::aws::Settings::generate(7) };
        let aws = doorstep::sim::aws::start(settings, stop.clone()).await.unwrap();
        let account = aws.client().unwrap();
        let mut settings = Settings { profile, ..Settings::at(account.clone(), CHANNEL) };
        change(&mut settings);
        let doorbell = kvs_doorbell::start(settings, stop.clone()).unwrap();
        let happened = doorbell.events();
        let viewer = Aws::new(account).unwrap();
        Self { aws, doorbell, happened, viewer, stop: stop.clone(), _stops: stop.drop_guard() }
    }

    /// Connected to its channel.
    async fn online(profile: Profile) -> Self {
        let mut house = Self::with(profile, |_| {}).await;
        if profile == Profile::Linux {
            house.doorbell.obey(Command::Ring).unwrap();
        }
        house.tells(|event| *event == Event::Online).await;
        house
    }

    async fn faulty(fault: Fault) -> Self {
        let mut house = Self::with(Profile::Ameba, |settings| settings.fault = Some(fault)).await;
        house.tells(|event| *event == Event::Online).await;
        house
    }

    async fn tells(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        told::happens(&mut self.happened, "it", is_it).await
    }

    async fn exchange(&self) -> Arc<Caller> {
        let channel = self.viewer.describe(CHANNEL).await.unwrap().channel;
        Arc::new(Caller { aws: self.viewer.clone(), channel })
    }

    async fn call(&self) -> Result<Seen, CallError> {
        let hub = MediaHub::new();
        let wish = Wish { hub: hub.clone(), talk: true, channel: Some("commands") };
        let call =
            timeout(PATIENCE, KvsCall::place_by(self.exchange().await, wish)).await.expect("it takes too long")?;
        Ok(Seen { call, hub })
    }

    /// Somebody who hears what is rung.
    async fn listener(&self) -> Iot {
        let mut iot = Iot::start(
            iot::Settings {
                endpoint: self.viewer.iot_endpoint().await.unwrap(),
                way: Way::Signed(self.viewer.clone()),
                client_id: "listener".to_owned(),
                filters: vec!["doorbell/+/ring".to_owned()],
                clean_session: true,
            },
            self.stop.clone(),
        );
        while timeout(PATIENCE, iot.next()).await.expect("no connection") != News::Connected {}
        iot
    }
}

struct Caller {
    aws: Aws,
    channel: aws::Channel,
}

impl Exchange for Caller {
    fn signalling<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        Box::pin(async move {
            let signalling = self.aws.signalling(&self.channel, Role::Viewer, client_id).await;
            signalling.map_err(|error| CallError::Exchange(Box::new(error)))
        })
    }
}

/// A call as its viewer has it.
struct Seen {
    call: KvsCall,
    hub: MediaHub,
}

impl Seen {
    async fn says(&self, text: &str) -> Result<String, AskError> {
        let commands = self.call.commands().unwrap();
        commands.opened(PATIENCE).await.unwrap();
        commands.ask(text, |_| true, REPLY_WITHIN).await
    }
}

async fn next(frames: &mut FrameStream, is_it: impl Fn(&Frame) -> bool) -> Arc<Frame> {
    let found = async {
        loop {
            let frame = frames.next().await.expect("the hub is there");
            if is_it(&frame) {
                return frame;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("nothing like it comes")
}

async fn heard_ring(iot: &mut Iot) -> (String, Bytes) {
    loop {
        let news = timeout(PATIENCE, iot.next()).await.expect("nothing rings");
        if let News::Message { topic, payload, retained, .. } = news {
            assert!(!retained);
            return (topic, payload);
        }
    }
}

#[tokio::test]
async fn each_profile_is_seen_heard_and_talked_to_in_its_own_way() {
    for (profile, format) in
        [(Profile::Ameba, AudioFormat::PCMU), (Profile::Linux, AudioFormat::OPUS), (Profile::Python, AudioFormat::OPUS)]
    {
        let mut house = House::online(profile).await;
        let seen = house.call().await.unwrap();
        let mut frames = seen.hub.listen();
        assert!(next(&mut frames, |frame| frame.kind.is_video()).await.kind.is_keyframe());
        assert_eq!(next(&mut frames, |frame| !frame.kind.is_video()).await.kind, FrameKind::Audio(format));
        assert_eq!(seen.call.talk_format(), Some(format), "{profile:?}");
        let sound = Sound::new(format).unwrap();
        let mut beat = interval(Duration::from_millis(20));
        for n in 0..70 {
            beat.tick().await;
            seen.call.send_audio(sound.packet(n).data);
        }
        house.tells(|event| matches!(event, Event::TalkStarted { .. })).await;
        let heard = house.tells(|event| matches!(event, Event::TalkAudio { .. })).await;
        let Event::TalkAudio { codec, tone_hz: Some(hz), .. } = heard else { panic!("{heard:?}") };
        assert!(codec == format.codec && (hz - Sound::TONE_HZ).abs() < 20.0, "{hz}");
        house.tells(|event| matches!(event, Event::TalkEnded { .. })).await;
        seen.call.close().await;
        house.tells(|event| matches!(event, Event::Left { why, .. } if why == "the viewer hung up")).await;
    }
}

#[tokio::test]
async fn the_command_opens_the_door_and_lights_the_led_and_nothing_else_does() {
    let mut house = House::online(Profile::Ameba).await;
    let seen = house.call().await.unwrap();
    let spaced = r#"{"action": "open_door"}"#;
    assert_eq!(seen.says(spaced).await, Ok(format!("Received 23 bytes, ECHO: {spaced}")));
    let mut happened = house.doorbell.events();
    assert_eq!(seen.says(OPEN_DOOR).await.as_deref(), Ok("Door opened successfully"));
    let told: Vec<Event> = std::iter::from_fn(|| happened.try_recv().ok()).collect();
    assert!(told.contains(&Event::Led { on: true }), "{told:?}");
    assert!(told.iter().any(|event| matches!(event, Event::DoorOpened { .. })), "{told:?}");
    // The light goes out with the channel, before its time.
    let begun = clock::now();
    seen.call.close().await;
    house.tells(|event| *event == Event::Led { on: false }).await;
    assert!(begun.elapsed() < Duration::from_millis(1_900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_door_is_open_when_the_opener_says_so() {
    for (opener, reply) in [("true", "Door opened successfully"), ("false", "Door did not open")] {
        let mut house = House::with(Profile::Ameba, |settings| settings.opener = opener.parse().ok()).await;
        house.tells(|event| *event == Event::Online).await;
        let seen = house.call().await.unwrap();
        assert_eq!(seen.says(OPEN_DOOR).await.as_deref(), Ok(reply));
        let opened = house.tells(|event| matches!(event, Event::DoorOpened { .. } | Event::DoorNotOpened { .. })).await;
        assert_eq!(matches!(opened, Event::DoorOpened { .. }), opener == "true");
    }
}

#[tokio::test]
async fn the_master_on_linux_echoes_and_the_python_sample_tells_everybody() {
    let house = House::online(Profile::Linux).await;
    let seen = house.call().await.unwrap();
    assert_eq!(seen.says(OPEN_DOOR).await, Ok(format!("Received 22 bytes, ECHO: {OPEN_DOOR}")));
    let mut house = House::online(Profile::Python).await;
    let seen = house.call().await.unwrap();
    // It answers over a channel of its own, which our viewer has not asked for.
    assert_eq!(seen.says(OPEN_DOOR).await, Err(AskError::NoReply));
    house.tells(|event| matches!(event, Event::Message { bytes: 22, .. })).await;
}

#[tokio::test]
async fn a_ring_arrives_byte_for_byte_with_a_certificate_and_with_signed_addresses() {
    for by_certificate in [false, true] {
        for profile in [Profile::Ameba, Profile::Linux] {
            let stop = CancellationToken::new();
            let mut house = House::with(profile, |_| {}).await;
            if by_certificate {
                let (login, endpoints) = (house.aws.certificate_login().unwrap(), house.aws.secure_endpoints());
                let aws = aws::Settings { login, endpoints, ..house.doorbell.settings.aws.clone() };
                let ring = Ring { endpoint: Some(house.aws.iot_endpoint()), client_id: "doorbell-thing".to_owned() };
                let settings = Settings { aws, ring, ..house.doorbell.settings.clone() };
                house.doorbell = kvs_doorbell::start(settings, stop.clone()).unwrap();
                house.happened = house.doorbell.events();
            }
            let mut listener = house.listener().await;
            house.tells(|event| *event == Event::BellConnected).await;
            house.doorbell.obey(Command::Ring).unwrap();
            let (topic, payload) = heard_ring(&mut listener).await;
            assert_eq!(topic, "doorbell/doorbell-channel/ring");
            let payload = String::from_utf8(payload.to_vec()).unwrap();
            match profile {
                Profile::Ameba => assert_eq!(payload, r#"{"event":"ring","device":"doorbell-master"}"#),
                _ => assert!(
                    payload.starts_with(r#"{"event": "ring", "channel": "doorbell-channel", "timestamp": 1"#),
                    "{payload}"
                ),
            }
            house.tells(|event| matches!(event, Event::Rang { .. })).await;
            stop.cancel();
        }
    }
}

#[tokio::test]
async fn there_are_two_places_and_who_leaves_frees_one() {
    let mut house = House::online(Profile::Ameba).await;
    let (first, _second) = (house.call().await.unwrap(), house.call().await.unwrap());
    let third = timeout(Duration::from_millis(500), house.call()).await;
    assert!(third.is_err(), "there was a third place");
    house.tells(|event| matches!(event, Event::NotAnswered { why: "every place is taken", .. })).await;
    first.call.close().await;
    house.tells(|event| matches!(event, Event::Left { .. })).await;
    house.call().await.unwrap();
}

#[tokio::test]
async fn another_offer_of_a_viewer_takes_the_place_of_its_first() {
    let mut house = House::online(Profile::Ameba).await;
    let exchange = house.exchange().await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        let signalling = exchange.signalling("viewer-1").await.unwrap();
        calls.push(KvsCall::place(&signalling, MediaHub::new(), false).await.unwrap());
    }
    for _ in 0..2 {
        house.tells(|event| matches!(event, Event::Left { why, .. } if why == "it has made another offer")).await;
    }
    let ended = timeout(PATIENCE, calls[0].ended()).await.expect("the first call goes on");
    assert!(matches!(ended, CallError::Ended(_)), "{ended:?}");
}

#[tokio::test]
async fn the_service_goes_away_and_no_picture_is_lost() {
    let mut house = House::online(Profile::Ameba).await;
    let seen = house.call().await.unwrap();
    let mut frames = seen.hub.listen();
    next(&mut frames, |frame| frame.kind.is_video()).await;
    house.aws.obey(AwsCommand::Notice(Notice { what: What::GoAway, to: To::Masters })).unwrap();
    house.tells(|event| *event == Event::GoAway).await;
    house.tells(|event| *event == Event::Online).await;
    let mut shown = Vec::new();
    while shown.len() < 40 {
        shown.push(next(&mut frames, |frame| frame.kind.is_video()).await.pts);
    }
    // What was shown at once behind the first is not counted: the clip has a picture each 50 ms from then on.
    let apart = shown.windows(2).skip(20).map(|pair| pair[1] - pair[0]);
    let longest = apart.max().unwrap();
    assert!(longest < Duration::from_millis(100), "a picture is missing: {longest:?}");
    // And it can be called again.
    house.call().await.unwrap();
}

#[tokio::test]
async fn it_comes_back_whenever_its_channel_can_be_reached_again() {
    let mut house = House::online(Profile::Ameba).await;
    house.aws.obey(AwsCommand::Online(false)).unwrap();
    house.tells(|event| matches!(event, Event::Offline { .. })).await;
    house.aws.obey(AwsCommand::Online(true)).unwrap();
    house.tells(|event| *event == Event::Online).await;
    house.call().await.unwrap();
}

#[tokio::test]
async fn why_it_is_not_online_is_told_once_however_often_it_tries() {
    let mut house = House::with(Profile::Ameba, |settings| settings.channel = "elsewhere".to_owned()).await;
    let mut asked = house.aws.events();
    for _ in 0..4 {
        let refused = async {
            while !matches!(asked.recv().await.unwrap(), aws_sim::Event::Refused { path, .. } if path.contains("describe"))
            {
            }
        };
        timeout(PATIENCE, refused).await.expect("it does not try again");
    }
    house.tells(|event| matches!(event, Event::Offline { why } if why.contains("`elsewhere`"))).await;
    let again =
        std::iter::from_fn(|| house.happened.try_recv().ok()).find(|event| matches!(event, Event::Offline { .. }));
    assert_eq!(again, None);
}

#[tokio::test]
async fn a_master_that_comes_late_is_reached_by_a_call_that_was_placed_at_the_ring() {
    let mut house = House::with(Profile::Linux, |_| {}).await;
    let mut listener = house.listener().await;
    house.tells(|event| *event == Event::BellConnected).await;
    let begun = clock::now();
    house.doorbell.obey(Command::Ring).unwrap();
    heard_ring(&mut listener).await;
    let seen = house.call().await.unwrap();
    assert!(begun.elapsed() > Duration::from_secs(1), "it was there at once");
    next(&mut seen.hub.listen(), |frame| frame.kind.is_video()).await;
}

#[tokio::test]
async fn answers_that_are_odd_are_answers() {
    for fault in [Fault::AnswersTwice, Fault::EarlyCandidates, Fault::LateAnswer] {
        let house = House::faulty(fault).await;
        let seen = house.call().await.unwrap_or_else(|error| panic!("{fault}: {error}"));
        next(&mut seen.hub.listen(), |frame| frame.kind.is_video()).await;
    }
}

#[tokio::test]
async fn doors_that_do_not_do_as_they_are_told() {
    let mut house = House::faulty(Fault::Echo).await;
    let seen = house.call().await.unwrap();
    assert_eq!(seen.says(OPEN_DOOR).await, Ok(format!("Received 22 bytes, ECHO: {OPEN_DOOR}")));
    house.doorbell.obey(Command::Fault(Some(Fault::SilentDoor))).unwrap();
    house.tells(|event| *event == Event::Fault { name: "silent-door" }).await;
    assert_eq!(seen.says(OPEN_DOOR).await, Err(AskError::NoReply));
    house.tells(|event| matches!(event, Event::DoorOpened { .. })).await;
}

#[tokio::test]
async fn a_doorbell_that_vanishes_shows_and_answers_nothing_and_one_that_leaves_goes_on_showing() {
    let mut house = House::online(Profile::Ameba).await;
    let seen = house.call().await.unwrap();
    let mut frames = seen.hub.listen();
    next(&mut frames, |frame| frame.kind.is_video()).await;
    house.doorbell.obey(Command::Fault(Some(Fault::Leaves))).unwrap();
    house.tells(|event| matches!(event, Event::Offline { .. })).await;
    for _ in 0..20 {
        next(&mut frames, |frame| frame.kind.is_video()).await;
    }
    house.doorbell.obey(Command::Fault(Some(Fault::Vanish))).unwrap();
    house.tells(|event| *event == Event::Fault { name: "vanish" }).await;
    let nothing = async { while timeout(Duration::from_millis(500), frames.next()).await.is_ok() {} };
    timeout(PATIENCE, nothing).await.expect("pictures go on");
    assert_eq!(seen.says(OPEN_DOOR).await, Err(AskError::NoReply));
}
