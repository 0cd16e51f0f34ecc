//! Calls to a Vivint camera over the virtual cloud and its signalling database. Real sockets; the camera is worked by
//! hand, so that it can do what no camera should.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::config;
use doorstep::doorbell::{ActionError, Question, TalkLine, VendorError};
use doorstep::media::convert::Converter;
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::proto::vivint::channel::Body;
use doorstep::proto::vivint::signaling::SdpType;
use doorstep::secret::Token;
use doorstep::sim::vivint::doorbell::{self, Codec, Event as Call};
use doorstep::sim::vivint::{self, Command, Event, Fault, Kind, RunningVivint, SecondFactor, Settings};
use doorstep::store::Store;
use doorstep::vendor::vivint::caller::Callers;
use doorstep::vendor::vivint::cloud::Cloud;
use doorstep::vendor::vivint::devices::{Camera, Place};
use doorstep::vendor::vivint::firebase::Firebase;
use doorstep::vendor::vivint::talk;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::viewer::speech;
use crate::support::vivint_camera_hand::{BOTH, EMPTY, Hand, PATIENCE, now_ms};

/// When ICE alone would tell that the other side is gone: 2 s, and 2 s of grace.
const ICE_WOULD: Duration = Duration::from_secs(4);

/// An account whose first doorbell is in our hands.
struct House {
    sim: RunningVivint,
    callers: Arc<Callers>,
    camera: Camera,
    hand: Hand,
    stop: CancellationToken,
    _stops: DropGuard,
    _store: tempfile::TempDir,
}

impl House {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With something of the account's configuration changed.
    async fn with(change: impl FnOnce(&mut config::Vivint)) -> Self {
        let stop = CancellationToken::new();
        let mut settings = Settings { second_factor: SecondFactor::None, ..Settings::generate(7) };
        for device in &mut settings.devices {
            if let Kind::Camera(camera) = &mut device.kind {
                camera.signalled = true;
            }
        }
        let sim = vivint::start(settings, stop.clone()).await.unwrap();
        let mut account = account(&sim);
        change(&mut account);
        let store = tempfile::tempdir().unwrap();
        let cloud = Cloud::new(&account, &Store::open(store.path()).unwrap());
        let key = account.firebase_api_key.clone();
        let firebase = key.map(|key| Firebase::new(key, account.endpoints.clone(), Arc::new(cloud)));
        let callers = Arc::new(Callers::new(firebase, &account.endpoints, stop.clone()));
        let camera = camera(&sim, Codec::Opus);
        let hand = Hand::new(sim.tree(), sim.settings.panel, camera.uuid.as_ref().unwrap());
        let house = Self { sim, callers, camera, hand, _stops: stop.clone().drop_guard(), stop, _store: store };
        // The hand answers in place of the account's own doorbell.
        house.doorbells_behave(Some(doorbell::Fault::NoAnswer));
        house
    }

    fn doorbells_behave(&self, fault: Option<doorbell::Fault>) {
        let command = doorbell::Command::Fault(fault);
        self.sim.obey(Command::Doorbell { device: None, command }).unwrap();
    }

    fn uid(&self) -> String {
        self.sim.settings.uid.clone()
    }

    fn press(&self) -> Press {
        Press::of(&self.callers, &self.camera, &self.stop)
    }

    /// Once the database is there.
    async fn warm(&self) {
        self.callers.warm(&self.camera).await;
        let listening = async {
            while self.sim.counts().authentications == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("the database is not connected");
    }

    fn misbehaves(&self, fault: Fault) {
        self.sim.obey(Command::Trouble(Some(fault.into()))).unwrap();
    }

    /// What was left on a node before anybody called.
    fn leave(&self, device: &str, message: Value) {
        self.hand.tree.put(&self.hand.path(device), message);
    }

    async fn is_empty(&self, device: &str) {
        let emptied = async {
            while !self.hand.tree.get(&self.hand.path(device)).is_null() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, emptied).await.expect("something was left behind");
    }
}

/// A talk that was asked for.
struct Press {
    answer: oneshot::Receiver<Result<TalkLine, ActionError>>,
    talk: JoinHandle<Result<(), VendorError>>,
    stop: CancellationToken,
}

impl Press {
    fn of(callers: &Arc<Callers>, camera: &Camera, stop: &CancellationToken) -> Self {
        let (reply, answer) = oneshot::channel();
        let (callers, camera, stop) = (callers.clone(), camera.clone(), stop.child_token());
        let stopped = stop.clone();
        let talk = tokio::spawn(async move { talk::talk(&callers, &camera, reply, stopped).await });
        Self { answer, talk, stop }
    }

    async fn opens(&mut self) -> TalkLine {
        self.is_answered().await.expect("the speaker opens")
    }

    async fn is_answered(&mut self) -> Result<TalkLine, ActionError> {
        timeout(PATIENCE, &mut self.answer).await.expect("nothing is answered").expect("an answer")
    }

    async fn ends(self) -> Result<(), VendorError> {
        timeout(PATIENCE, self.talk).await.expect("the talk goes on").unwrap()
    }
}

fn account(sim: &RunningVivint) -> config::Vivint {
    let url: url::Url = sim.url().parse().unwrap();
    config::Vivint {
        username: sim.settings.username.clone(),
        password: Some(sim.settings.password.clone()),
        totp_secret: None,
        firebase_api_key: Some(sim.settings.firebase_api_key.clone()),
        ring_quiet: Duration::from_secs(5),
        endpoints: config::VivintEndpoints {
            identity: url.clone(),
            api: url.clone(),
            pubnub: url.clone(),
            exchange: url.clone(),
            identity_toolkit: url.clone(),
            secure_token: url,
            ice_servers: vec![],
            ..config::VivintEndpoints::default()
        },
    }
}

/// The doorbell of the account that takes sound so: the first one, or the older one.
fn camera(sim: &RunningVivint, codec: Codec) -> Camera {
    let mut cameras = sim.settings.devices.iter().filter_map(|device| Some((device.id, device.camera()?)));
    let (id, camera) = cameras.nth(usize::from(codec == Codec::Pcmu)).unwrap();
    Camera {
        place: Place { panel: sim.settings.panel, partition: Settings::PARTITION, device: id },
        uuid: Some(camera.uuid.clone()),
        actual_type: camera.actual_type.clone(),
        lan: None,
        panel: Default::default(),
        external: Default::default(),
        thumbnail_at: None,
        speaks: true,
        rings: true,
        online: Some(true),
    }
}

/// Speaks the tests' tone until nobody takes it any more.
fn speak(line: TalkLine) -> JoinHandle<()> {
    let mut converter = Converter::new(AudioFormat::PCMU, line.format).unwrap();
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        loop {
            beat.tick().await;
            for piece in converter.push(&speech()) {
                if line.audio.send(piece).await.is_err() {
                    return;
                }
            }
        }
    })
}

/// Lets go of the line.
async fn hush(speaking: JoinHandle<()>) {
    speaking.abort();
    let _aborted = speaking.await;
}

#[tokio::test]
async fn speech_is_heard_once_the_camera_listens_and_the_end_is_told() {
    for (takes, format) in [(BOTH, AudioFormat::OPUS), (&[AudioFormat::PCMU][..], AudioFormat::PCMU)] {
        let mut house = House::start().await;
        let uid = house.uid();
        let mut press = house.press();
        let mut line = house.hand.picks_up(&uid, takes).await;
        line.consents().await;
        let talk_line = press.opens().await;
        assert_eq!(talk_line.format, format);
        let speaking = speak(talk_line);
        line.hears(format).await;
        hush(speaking).await;
        line.hears_farewell().await;
        press.ends().await.unwrap();
        house.is_empty(&uid).await;
        let camera = house.hand.uuid.clone();
        assert!(!house.hand.tree.get(&house.hand.path(&camera)).is_null(), "the camera's node is not ours to empty");
    }
}

#[tokio::test]
async fn stopping_in_mid_call_is_told_to_the_camera() {
    let mut house = House::start().await;
    let mut press = house.press();
    let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
    line.consents().await;
    let speaking = speak(press.opens().await);
    line.hears(AudioFormat::OPUS).await;
    press.stop.cancel();
    line.hears_farewell().await;
    press.ends().await.unwrap();
    timeout(PATIENCE, speaking).await.expect("the line stays open").unwrap();
}

#[tokio::test]
async fn a_camera_that_hangs_up_ends_the_talk_at_once() {
    let mut house = House::start().await;
    let mut press = house.press();
    let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
    line.consents().await;
    let talk_line = press.opens().await;
    let hung_up = clock::now();
    drop(line);
    timeout(PATIENCE, talk_line.audio.closed()).await.expect("the line stays open");
    assert!(hung_up.elapsed() < ICE_WOULD, "noticed after {:?}", hung_up.elapsed());
    let error = press.ends().await.unwrap_err();
    assert!(error.what.starts_with("The doorbell ended the talk. Somebody else of the household"), "{error}");
}

#[tokio::test]
async fn row_27_what_yesterdays_call_left_and_what_others_say_is_passed_over() {
    let mut house = House::start().await;
    let (uid, uuid) = (house.uid(), house.hand.uuid.clone());
    let yesterday = now_ms() - 86_400_000;
    let left = json!({ "type": "sdp", "sdpType": "answer", "sdp": "v=0\r\n", "transactionUuid": "of-yesterday",
                       "from": uuid, "_timestamp": yesterday });
    house.leave(&uid, left.clone());
    let of_another = json!({ "type": "sdp", "sdpType": "offer", "sdp": "v=0\r\n", "transactionUuid": "of-another",
                             "from": "another-uid", "_timestamp": now_ms() });
    house.leave(&uuid, of_another.clone());
    let mut press = house.press();
    let offer = house.hand.called_by(&uid).await;
    // The same once more while we wait; one without a transaction too, one of another transaction, and others'.
    let mut nameless = left.clone();
    nameless.as_object_mut().unwrap().remove("transactionUuid");
    let mut recent = left.clone();
    recent["_timestamp"] = json!(now_ms());
    let mut of_anothers_camera = recent.clone();
    (of_anothers_camera["from"], of_anothers_camera["transactionUuid"]) = (json!("x"), json!(offer.transaction_uuid));
    for message in [left, nameless, recent, of_anothers_camera, json!(7), json!({ "type": "new" }), Value::Null] {
        house.leave(&uid, message);
    }
    house.leave(&uuid, of_another);
    let early = house.hand.ice("candidate:1 1 udp 2130706431 192.0.2.7 9 typ host\r\n");
    house.hand.tells(&uid, early);
    let mut line = house.hand.answers(&offer, BOTH).await;
    line.consents().await;
    drop(press.opens().await);
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

#[tokio::test]
async fn row_27_a_talk_outlives_the_database() {
    let mut house = House::start().await;
    let mut press = house.press();
    let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
    line.consents().await;
    let speaking = speak(press.opens().await);
    for fault in [Fault::ListenRevoked, Fault::AuthExpired, Fault::Drop, Fault::AuthRefused] {
        house.misbehaves(fault);
        line.hears(AudioFormat::OPUS).await;
    }
    hush(speaking).await;
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

#[tokio::test]
async fn row_27_a_call_whose_database_was_lost_is_placed_anew() {
    let mut house = House::start().await;
    let uid = house.uid();
    let mut press = house.press();
    let lost = house.hand.called_by(&uid).await;
    house.misbehaves(Fault::Drop);
    let again = house.hand.called_by(&uid).await;
    assert_ne!(again.transaction_uuid, lost.transaction_uuid);
    let mut line = house.hand.answers(&again, BOTH).await;
    line.consents().await;
    drop(press.opens().await);
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

/// How a call goes when the trouble is over: 5 s from the press to the open speaker.
async fn is_called_within_5_s(house: &mut House, after: &str) {
    let uid = house.uid();
    let pressed = clock::now();
    let mut press = house.press();
    let mut line = house.hand.picks_up(&uid, BOTH).await;
    line.consents().await;
    let talk_line = press.opens().await;
    let took = pressed.elapsed();
    println!("after {after}: {took:?}");
    assert!(took <= Duration::from_secs(5), "after {after} it took {took:?}");
    drop(talk_line);
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

#[tokio::test]
async fn row_27_a_call_works_within_5_s_of_a_redirect_a_revoked_login_a_cut_and_what_was_left() {
    for fault in [Fault::Redirect, Fault::AuthExpired, Fault::ListenRevoked, Fault::Drop, Fault::Stale] {
        let mut house = House::start().await;
        // Whoever connects is sent on; the others happen to a connection that is there.
        let is_met_first = fault == Fault::Redirect;
        if !is_met_first {
            house.warm().await;
            is_called_within_5_s(&mut house, "nothing").await;
        }
        let before = house.sim.counts();
        house.misbehaves(fault);
        if is_met_first {
            house.warm().await;
        }
        let is_felt = |house: &House| {
            let now = house.sim.counts();
            match fault {
                Fault::Redirect => now.connections >= before.connections + 2,
                Fault::AuthExpired => now.authentications > before.authentications,
                Fault::Drop => now.connections > before.connections,
                // By the next call, which listens anew, to what was left or was taken away.
                _ => true,
            }
        };
        let felt = async {
            while !is_felt(&house) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, felt).await.unwrap_or_else(|_| panic!("{fault} was not felt: {:?}", house.sim.counts()));
        if fault != Fault::Stale {
            house.sim.obey(Command::Trouble(None)).unwrap();
            house.doorbells_behave(Some(doorbell::Fault::NoAnswer));
        }
        is_called_within_5_s(&mut house, &fault.to_string()).await;
        assert!(house.sim.counts().listens > before.listens, "{fault}: the call has listened to nothing");
    }
}

/// Both clocks leap; nothing else is asked of the time, so that what is said over the sockets in between is heard.
async fn a_while_passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn row_27_sixty_seconds_of_silence_are_noticed_and_a_call_works_within_5_s() {
    let mut house = House::start().await;
    house.warm().await;
    // A database that has nothing to say is asked whether it is there, and stays.
    let before = house.sim.counts().connections;
    for _ in 0..2 {
        a_while_passes(Duration::from_secs(31)).await;
    }
    assert_eq!(house.sim.counts().connections, before, "a healthy connection was given up");
    is_called_within_5_s(&mut house, "a silence of nobody's making").await;
    // One that says nothing at all any more is not waited for by the next call.
    house.misbehaves(Fault::Mute);
    for _ in 0..2 {
        a_while_passes(Duration::from_secs(31)).await;
    }
    let again = async {
        while house.sim.counts().connections == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("nobody has noticed");
    house.sim.obey(Command::Trouble(None)).unwrap();
    house.doorbells_behave(Some(doorbell::Fault::NoAnswer));
    is_called_within_5_s(&mut house, "60 s of silence").await;
}

#[tokio::test]
async fn a_camera_that_calls_first_is_answered() {
    let mut house = House::start().await;
    let uid = house.uid();
    // It has called before anybody pressed.
    let (mut press, mut line) = {
        let calling = house.hand.calls(&uid);
        let mut calling = std::pin::pin!(calling);
        let begun = timeout(Duration::from_millis(300), &mut calling).await;
        assert!(begun.is_err(), "nobody has pressed");
        let press = Press::of(&house.callers, &house.camera, &house.stop);
        (press, calling.await)
    };
    line.consents().await;
    let speaking = speak(press.opens().await);
    line.hears(AudioFormat::OPUS).await;
    hush(speaking).await;
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

/// A talk with a virtual doorbell of the account, from the press to the end, which measures what it hears.
async fn talks_with_a_doorbell(codec: Codec, fault: Option<doorbell::Fault>) {
    let mut house = House::start().await;
    house.camera = camera(&house.sim, codec);
    house.doorbells_behave(fault);
    let mut happened = house.sim.events();
    let mut press = house.press();
    let speaking = speak(press.opens().await);
    let mut broken = Vec::new();
    let mut sound = None;
    let told = async {
        loop {
            let Event::Call { event, .. } = happened.recv().await.unwrap() else { continue };
            match event {
                Call::TalkAudio { tone_hz: Some(hz), codec, .. } if (hz - 1_000.0).abs() < 20.0 => {
                    sound = Some(codec);
                    speaking.abort();
                }
                Call::Check { ok: false, name, .. } => broken.push(name),
                Call::CallEnded { unheard, .. } => return unheard,
                _ => {}
            }
        }
    };
    let unheard = timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{fault:?}: the call goes on"));
    press.ends().await.unwrap();
    let spoken = if codec == Codec::Opus { AudioCodec::Opus } else { AudioCodec::Pcmu };
    assert_eq!((sound, unheard, &broken[..]), (Some(spoken), 0, &[][..]), "{codec:?}, {fault:?}");
}

#[tokio::test]
async fn the_virtual_doorbell_hears_a_talk_from_its_consent_to_the_farewell() {
    tokio::join!(talks_with_a_doorbell(Codec::Opus, None), talks_with_a_doorbell(Codec::Pcmu, None));
}

#[tokio::test]
async fn a_talk_comes_about_however_the_doorbell_misbehaves() {
    use doorbell::Fault::*;
    let tolerable =
        [LateAnswer, NoConsent, ConsentWithBody, NoPong, Pings, Stale, ForeignOffer, CandidateLineEnds, Garbage];
    for faults in tolerable.chunks(5) {
        join_all(faults.iter().map(|fault| talks_with_a_doorbell(Codec::Opus, Some(*fault)))).await;
    }
}

#[tokio::test]
async fn a_camera_that_never_answers_is_told_of() {
    let house = House::start().await;
    house.warm().await;
    let mut press = house.press();
    let error = press.is_answered().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Calling the doorbell failed: the doorbell did not answer. Check its power and its Wi-Fi if this goes on."
    );
    press.ends().await.unwrap();
    house.is_empty(&house.uid()).await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_told() {
    let mut house = House::start().await;
    let uid = house.uid();
    let mut press = house.press();
    let offer = house.hand.called_by(&uid).await;
    house.hand.tells(&uid, house.hand.sdp(SdpType::Answer, "v=0\r\n".to_owned(), offer.transaction_uuid));
    let error = press.is_answered().await.unwrap_err();
    assert!(error.to_string().starts_with("Calling the doorbell failed: "), "{error}");
    press.ends().await.unwrap();
}

#[tokio::test]
async fn who_presses_while_another_talks_is_told_that_it_is_busy() {
    let mut house = House::start().await;
    let mut press = house.press();
    let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
    line.consents().await;
    let talk_line = press.opens().await;
    let mut second = house.press();
    assert_eq!(second.is_answered().await.unwrap_err(), ActionError::Busy);
    second.ends().await.unwrap();
    drop(talk_line);
    line.hears_farewell().await;
    press.ends().await.unwrap();
    // And then it is free.
    let mut third = house.press();
    let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
    line.consents().await;
    drop(third.opens().await);
    line.hears_farewell().await;
    third.ends().await.unwrap();
}

#[tokio::test]
async fn who_gives_up_while_it_rings_leaves_nothing_behind() {
    let mut house = House::start().await;
    let uid = house.uid();
    let Press { answer, talk, .. } = house.press();
    let offer = house.hand.called_by(&uid).await;
    house.hand.tells(&uid, house.hand.ice("candidate:1 1 udp 2130706431 192.0.2.7 9 typ host"));
    drop(answer);
    timeout(PATIENCE, talk).await.expect("the talk goes on").unwrap().unwrap();
    house.is_empty(&uid).await;
    assert!(offer.transaction_uuid.is_some());
}

#[tokio::test]
async fn what_a_camera_knows_can_be_asked() {
    for (question, asked, answer, told) in [
        (Question::OldestTimestamp, Body::GetOldestTimestamp(EMPTY), &b"\x8a\x01\x02\x08\x01"[..], (17, "0801")),
        (Question::Metadata, Body::GetMetadataRequest(EMPTY), &b"\xaa\x01\x00"[..], (21, "")),
    ] {
        let mut house = House::start().await;
        let (callers, camera) = (house.callers.clone(), house.camera.clone());
        let asking = tokio::spawn(async move { talk::ask(&callers, &camera, question).await });
        let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
        let name = asked.name();
        assert_eq!(line.is_told().await, Some(asked));
        line.sends(Bytes::from_static(answer)).await;
        let known = timeout(PATIENCE, asking).await.expect("no answer").unwrap().unwrap();
        let expected = json!({ "asked": name, "answered_by": format!("field {}", told.0), "hex": told.1 });
        assert_eq!(known, expected);
        assert_eq!(line.is_told().await, None, "the call goes on");
    }
}

#[tokio::test]
async fn why_nobody_can_talk_is_told_in_sentences() {
    let house = House::with(|account| account.firebase_api_key = None).await;
    let why = house.callers.obstacle(&house.camera).unwrap();
    assert!(why.contains("`firebase_api_key`") && why.contains("`AIza`") && why.contains("docs/troubleshooting.md"));
    assert_eq!(house.press().is_answered().await.unwrap_err().to_string(), why);

    let mut house = House::start().await;
    assert_eq!(house.callers.obstacle(&house.camera), None);
    house.camera.uuid = None;
    let why = house.callers.obstacle(&house.camera).unwrap();
    assert!(why.starts_with("The account does not say how it is to be called"), "{why}");
    assert_eq!(house.press().is_answered().await.unwrap_err().to_string(), why);

    let mut house = House::start().await;
    house.camera.uuid = Some("00000000-0000-4000-8000-000000000000".to_owned());
    house.callers.warm(&house.camera).await;
    let why = house.callers.obstacle(&house.camera).unwrap();
    assert!(why.starts_with("Vivint does not let this account call it"), "{why}");
    assert_eq!(house.press().is_answered().await.unwrap_err().to_string(), why);

    let house = House::with(|account| account.firebase_api_key = Some(Token::new("AIza-of-another-app"))).await;
    house.callers.warm(&house.camera).await;
    let why = house.callers.obstacle(&house.camera).unwrap();
    assert!(why.starts_with("Google refused `firebase_api_key`"), "{why}");
    assert_eq!(house.press().is_answered().await.unwrap_err().to_string(), why);
}

#[tokio::test]
async fn a_warm_press_needs_an_offer_and_ice_only() {
    let mut house = House::start().await;
    house.warm().await;
    let before = (house.sim.counts().exchanges, house.sim.counts().connections);
    let pressed = clock::now();
    let mut press = house.press();
    let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
    line.consents().await;
    drop(press.opens().await);
    println!("from the press to an open speaker: {:?}", pressed.elapsed());
    assert_eq!((house.sim.counts().exchanges, house.sim.counts().connections), before);
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

#[tokio::test]
async fn a_call_comes_about_and_ends_well_under_loss() {
    let seed = getrandom::u64().unwrap();
    println!("seed {seed}");
    let mut house = House::start().await;
    house.warm().await;
    let mut press = house.press();
    let (mut line, _way) = house.hand.picks_up_far_away(&house.uid(), 0.1, seed).await;
    line.consents().await;
    let speaking = speak(press.opens().await);
    for _ in 0..5 {
        line.hears(AudioFormat::OPUS).await;
    }
    hush(speaking).await;
    line.hears_farewell().await;
    press.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_leave_no_task_and_no_socket_behind() {
    let mut house = House::start().await;
    house.warm().await;
    let sockets = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = (sockets(), tasks());
    for _ in 0..100 {
        let mut press = house.press();
        let mut line = house.hand.picks_up(&house.uid(), BOTH).await;
        line.consents().await;
        drop(press.opens().await);
        line.hears_farewell().await;
        press.ends().await.unwrap();
    }
    let all_gone = async {
        while sockets() > before.0 || tasks() > before.1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = timeout(PATIENCE, all_gone).await;
    gone.unwrap_or_else(|_| panic!("{} sockets and {} tasks are left of {before:?}", sockets(), tasks()));
}
