//! A door opener over a call that is not there, in virtual time.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::time::timeout;

use super::*;
use crate::proto::kvs::ring;

/// A doorbell at the other end of a data channel.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    texts: Vec<&'static str>,
    /// How long the channel takes to open.
    opens_after: Duration,
    refuses: bool,
    /// Silence without one.
    reply: Option<(Duration, Result<String, AskError>)>,
}

impl Scripted {
    fn replies(text: &str) -> Self {
        let reply = Some((Duration::from_secs(1), Ok(text.to_owned())));
        Self(Arc::new(Mutex::new(Script { reply, ..Script::default() })))
    }

    fn texts(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().texts.clone()
    }
}

impl Wire for Scripted {
    fn opened(&self, within: Duration) -> BoxFuture<'static, Result<(), AskError>> {
        let script = self.0.lock().unwrap();
        let (after, refuses) = (script.opens_after, script.refuses);
        Box::pin(async move {
            let opened = timeout(within, tokio::time::sleep(after)).await;
            if refuses || opened.is_err() { Err(AskError::NotOpen) } else { Ok(()) }
        })
    }

    fn ask(&self, text: &'static str, within: Duration) -> BoxFuture<'static, Result<String, AskError>> {
        let mut script = self.0.lock().unwrap();
        script.texts.push(text);
        let reply = script.reply.clone();
        Box::pin(async move {
            let Some((after, reply)) = reply else {
                tokio::time::sleep(within).await;
                return Err(AskError::NoReply);
            };
            tokio::time::sleep(after).await;
            reply
        })
    }
}

/// Leave that is good for 5 s, as the guard's.
struct Leave {
    action: LockAction,
    until: Instant,
}

impl Leave {
    fn new() -> Self {
        Self { action: LockAction::Unlock, until: clock::now() + Duration::from_secs(5) }
    }
}

impl Word for Leave {
    fn action(&self) -> LockAction {
        self.action
    }

    fn spend(self) -> Result<LockAction, ActionError> {
        let fresh = clock::now() <= self.until;
        fresh.then_some(self.action).ok_or(ActionError::Refused { why: "It had waited too long.".to_owned() })
    }
}

struct Door {
    opener: Opener<Leave, Scripted>,
    shown: watch::Receiver<State>,
}

type Answer = oneshot::Receiver<Result<LockState, ActionError>>;

impl Door {
    fn new() -> Self {
        let (state, shown) = watch::channel(State::default());
        Self { opener: Opener::new(DoorCommand::OpenDoor, state), shown }
    }

    fn is_asked(&mut self) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.opener.open(Leave::new(), reply);
        answer
    }

    fn stands(&self) -> LockState {
        self.shown.borrow().door.as_ref().unwrap().lock.unwrap()
    }

    /// Drives it until there is an answer.
    async fn answers(&mut self, answer: &mut Answer) -> Result<LockState, ActionError> {
        let driven = async {
            loop {
                tokio::select! {
                    biased;
                    answer = &mut *answer => return answer.unwrap(),
                    () = self.opener.turn() => {}
                }
            }
        };
        timeout(Duration::from_secs(60), driven).await.expect("no answer")
    }

    async fn is_driven_for(&mut self, seconds: u64) {
        let driven = async {
            loop {
                self.opener.turn().await;
            }
        };
        let _over: Result<(), _> = timeout(Duration::from_secs(seconds), driven).await;
    }
}

fn why(answer: Result<LockState, ActionError>) -> String {
    match answer {
        Err(ActionError::Refused { why } | ActionError::Offline { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_door_is_opened_by_the_exact_bytes_and_shown_open_for_3_s() {
    for (command, bytes) in [
        (DoorCommand::OpenDoor, &br#"{"action":"open_door"}"#[..]),
        (DoorCommand::Legacy, &br#"{"command":"OPEN_DOOR"}"#[..]),
    ] {
        let doorbell = Scripted::replies("Door opened successfully");
        let mut door = Door::new();
        door.opener.command = command;
        assert_eq!(door.stands(), LockState::Locked);
        door.opener.called(Some(doorbell.clone()));
        let mut answer = door.is_asked();
        assert_eq!(door.stands(), LockState::Unlocking);
        assert_eq!(door.answers(&mut answer).await, Ok(LockState::Unlocked));
        assert_eq!(doorbell.texts().iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), [bytes]);
        assert_eq!(door.stands(), LockState::Unlocked);
        let opened = clock::now();
        door.opener.turn().await;
        assert_eq!((door.stands(), opened.elapsed().as_secs()), (LockState::Locked, 3));
    }
}

#[test]
fn every_vector_of_a_doorbell_is_sent_and_understood() {
    let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/kvs/doorbell.json")).unwrap();
    let opened = |reply: &Value| outcome(Ok(reply.as_str().unwrap().to_owned())).is_ok();
    for vector in file["vectors"].as_array().unwrap() {
        let out = &vector["out"];
        match vector["id"].as_str().unwrap() {
            "iot-ring-linux-master" => assert!(ring::parse(out["payload"].as_str().unwrap().as_bytes()).is_ok()),
            "dc-open-door-current" => {
                assert_eq!(out["send"], text_of(DoorCommand::OpenDoor));
                assert!(opened(&out["reply"]));
            }
            "dc-open-door-legacy" => {
                assert_eq!(out["send"], text_of(DoorCommand::Legacy));
                assert!(!opened(&out["reply_ameba"]));
            }
            "dc-open-door-spaced-is-refused" => assert!(!opened(&out["reply_ameba"])),
            id => panic!("nothing is known about {id}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_echo_is_a_door_that_stayed_shut() {
    let mut door = Door::new();
    door.opener.called(Some(Scripted::replies(r#"Received 22 bytes, ECHO: {"action":"open_door"}"#)));
    let mut answer = door.is_asked();
    let why = why(door.answers(&mut answer).await);
    assert!(why.contains("opened nothing") && why.ends_with('.'), "{why}");
    assert_eq!(door.stands(), LockState::Locked);
}

#[tokio::test(start_paused = true)]
async fn any_other_answer_is_no_success_and_is_repeated_nowhere() {
    let mut door = Door::new();
    door.opener.called(Some(Scripted::replies("Door did not open <script>")));
    let mut answer = door.is_asked();
    let why = why(door.answers(&mut answer).await);
    assert!(why.contains("something else") && !why.contains("script"), "{why}");
    assert_eq!(door.stands(), LockState::Locked);
}

#[tokio::test(start_paused = true)]
async fn silence_for_3_s_is_told_as_not_known_and_asked_no_second_time() {
    let doorbell = Scripted::default();
    let mut door = Door::new();
    door.opener.called(Some(doorbell.clone()));
    let begun = clock::now();
    let mut answer = door.is_asked();
    assert_eq!(door.answers(&mut answer).await, Err(ActionError::Timeout));
    assert_eq!(begun.elapsed().as_secs(), 3);
    door.is_driven_for(60).await;
    assert_eq!((doorbell.texts().len(), door.stands()), (1, LockState::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_before_the_reply_leaves_it_unknown() {
    let doorbell = Scripted::default();
    let mut door = Door::new();
    door.opener.called(Some(doorbell.clone()));
    let mut answer = door.is_asked();
    door.is_driven_for(1).await;
    assert_eq!(doorbell.texts().len(), 1);
    door.opener.hung_up("The call was ended.");
    assert_eq!(door.answers(&mut answer).await, Err(ActionError::Timeout));
    assert_eq!(door.stands(), LockState::Locked);
}

#[tokio::test(start_paused = true)]
async fn while_one_asks_nobody_else_waits_behind() {
    let doorbell = Scripted::replies("Door opened");
    let mut door = Door::new();
    let mut first = door.is_asked();
    assert!(door.opener.wants_call());
    let mut second = door.is_asked();
    assert!(why(door.answers(&mut second).await).contains("still being carried out"));
    door.opener.called(Some(doorbell.clone()));
    assert!(!door.opener.wants_call());
    let mut third = door.is_asked();
    assert!(why(door.answers(&mut third).await).contains("still being carried out"));
    assert_eq!(door.answers(&mut first).await, Ok(LockState::Unlocked));
    door.is_driven_for(60).await;
    assert_eq!(doorbell.texts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_does_not_answer_the_call_is_sent_nothing_afterwards() {
    let mut door = Door::new();
    let begun = clock::now();
    let mut answer = door.is_asked();
    assert!(why(door.answers(&mut answer).await).contains("nothing was sent"));
    assert_eq!(begun.elapsed().as_secs(), 5);
    let doorbell = Scripted::replies("Door opened");
    door.opener.called(Some(doorbell.clone()));
    door.is_driven_for(60).await;
    assert_eq!((doorbell.texts().len(), door.stands()), (0, LockState::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_to_nothing_says_why() {
    let mut door = Door::new();
    let mut answer = door.is_asked();
    door.opener.hung_up("The call to the doorbell failed: the doorbell did not answer.");
    let why = why(door.answers(&mut answer).await);
    assert_eq!(why, "The call to the doorbell failed: the doorbell did not answer. Nothing was sent.");
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_spent_when_the_channel_is_open_and_not_before() {
    let doorbell = Scripted::replies("Door opened");
    doorbell.0.lock().unwrap().opens_after = Duration::from_secs(4);
    let mut door = Door::new();
    door.opener.called(Some(doorbell.clone()));
    let (reply, mut answer) = oneshot::channel();
    let stale_by_then = Leave { until: clock::now() + Duration::from_secs(3), ..Leave::new() };
    door.opener.open(stale_by_then, reply);
    assert_eq!(why(door.answers(&mut answer).await), "It had waited too long.");
    assert!(doorbell.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_without_a_data_channel_says_so() {
    let mut door = Door::new();
    let mut answer = door.is_asked();
    door.opener.called(None);
    assert!(why(door.answers(&mut answer).await).contains("takes no commands"));
    let refuses = Scripted::replies("Door opened");
    refuses.0.lock().unwrap().refuses = true;
    door.opener.called(Some(refuses.clone()));
    let mut answer = door.is_asked();
    assert!(why(door.answers(&mut answer).await).contains("takes no commands"));
    assert!(refuses.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_before_the_call_is_up_opens_no_door() {
    let doorbell = Scripted::replies("Door opened");
    let mut door = Door::new();
    drop(door.is_asked());
    door.opener.turn().await;
    door.opener.called(Some(doorbell.clone()));
    door.is_driven_for(60).await;
    assert_eq!((doorbell.texts().len(), door.stands()), (0, LockState::Locked));
}

#[tokio::test(start_paused = true)]
async fn an_opener_cannot_lock() {
    let mut door = Door::new();
    let (reply, mut answer) = oneshot::channel();
    door.opener.open(Leave { action: LockAction::Lock, ..Leave::new() }, reply);
    assert!(matches!(door.answers(&mut answer).await, Err(ActionError::Unsupported(_))));
    assert!(!door.opener.wants_call());
}
