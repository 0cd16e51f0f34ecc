//! Doors before a lock in memory that does what it is told, obeys permits, and remembers when it was moved.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;

use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::doorbell::vendor::BoxFuture;
use crate::doorbell::{AccountPort, DevicePort, Options, Request, Vendor, VendorError};
use crate::model::{Capability, DeviceInfo, Found, Link};
use LockAction::{Lock, Unlock};
use LockState::{Jammed, Locked, Locking, Unlocked, Unlocking};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What the lock does when it is asked.
#[derive(Clone)]
enum Asked {
    Moves,
    /// Looks at the permit this much later.
    MovesAfter(Duration),
    Says(Result<LockState, ActionError>),
    /// Takes the request and never answers.
    Hangs,
    /// Its device ends on the way.
    Dies,
}

type WhenMoved = Box<dyn Fn() + Send>;

struct FakeLock {
    asked: Mutex<Asked>,
    moves: Mutex<Vec<(LockAction, Instant)>>,
    /// Called just as the lock moves.
    when_moved: Mutex<Option<WhenMoved>>,
    orders: Mutex<Option<watch::Sender<State>>>,
}

impl FakeLock {
    fn moves(&self) -> Vec<LockAction> {
        self.moves.lock().unwrap().iter().map(|(action, _)| *action).collect()
    }

    fn when_asked(&self, asked: Asked) {
        *self.asked.lock().unwrap() = asked;
    }

    fn set_state(&self, change: impl FnOnce(&mut State)) {
        self.orders.lock().unwrap().as_ref().unwrap().send_modify(change);
    }

    async fn live(self: Arc<Self>, mut port: DevicePort) -> Result<(), VendorError> {
        *self.orders.lock().unwrap() = Some(port.state.clone());
        port.state.send_modify(|state| {
            state.link = Link::Ready;
            state.door.get_or_insert_default().lock.get_or_insert(Locked);
        });
        let mut unanswered = Vec::new();
        while let Some(request) = port.requests.recv().await {
            let Request::WorkLock { permit, reply } = request else { panic!("a lock was asked for {request:?}") };
            let asked = self.asked.lock().unwrap().clone();
            let answer = match asked {
                Asked::Moves => self.turn(permit, &port),
                Asked::MovesAfter(wait) => {
                    sleep(wait).await;
                    self.turn(permit, &port)
                }
                Asked::Says(answer) => answer,
                Asked::Hangs => {
                    unanswered.push(reply);
                    continue;
                }
                Asked::Dies => return Ok(()),
            };
            drop(reply.send(answer));
        }
        Ok(())
    }

    fn turn(&self, permit: Permit, port: &DevicePort) -> Result<LockState, ActionError> {
        let action = permit.redeem(clock::now())?;
        self.moves.lock().unwrap().push((action, clock::now()));
        if let Some(call) = &*self.when_moved.lock().unwrap() {
            call();
        }
        let now = if action == Lock { Locked } else { Unlocked };
        port.state.send_modify(|state| state.door = Some(model::Door { lock: Some(now), blocked: None }));
        Ok(now)
    }
}

impl Vendor for FakeLock {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        _port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                end = self.live(port) => end,
            }
        })
    }
}

/// A data folder and a lock `fake_lock`.
struct House {
    folder: TempDir,
    locks: Registry,
    lock: Arc<FakeLock>,
    stop: CancellationToken,
}

fn id(id: &str) -> DeviceId {
    DeviceId::parse(id).unwrap()
}

fn info(device: &str, capabilities: &[Capability]) -> DeviceInfo {
    DeviceInfo {
        id: id(device),
        name: "Front Door".to_owned(),
        vendor: "fake",
        model: "FAKE1".to_owned(),
        firmware: None,
        capabilities: capabilities.iter().copied().collect(),
    }
}

impl House {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(folder: TempDir) -> Self {
        let lock = Arc::new(FakeLock {
            asked: Mutex::new(Asked::Moves),
            moves: Mutex::default(),
            when_moved: Mutex::default(),
            orders: Mutex::default(),
        });
        Self { folder, locks: Registry::default(), lock, stop: CancellationToken::new() }
    }

    fn list_lock(&self) {
        let lock = Doorbell::spawn(self.lock.clone(), info("fake_lock", &[]), Options::default(), self.stop.clone());
        self.locks.insert(lock);
    }

    fn door_with(&self, secret: Option<&str>, store: Store) -> Arc<Door> {
        self.door_of("fake_1", secret, store)
    }

    fn door_of(&self, doorbell: &str, secret: Option<&str>, store: Store) -> Arc<Door> {
        self.door_of_kind(DoorKind::Lock, doorbell, secret, store)
    }

    fn door_of_kind(&self, kind: DoorKind, doorbell: &str, secret: Option<&str>, store: Store) -> Arc<Door> {
        let mechanism = match kind {
            DoorKind::Lock => Mechanism::Lock(id("fake_lock")),
            DoorKind::Garage => Mechanism::Garage(id("fake_lock")),
        };
        let settings = Settings { doorbell: id(doorbell), mechanism, secret: secret.map(Password::new) };
        Door::new(settings, self.locks.clone(), Arc::new(Audit::open(self.folder.path())), store)
    }

    /// A door that can be worked from now on, over MQTT too.
    async fn door(&self, secret: Option<&str>) -> Arc<Door> {
        let door = self.door_with(secret, Store::open(self.folder.path()).unwrap());
        self.list_lock();
        door.subscribed();
        sleep(Duration::from_secs(2)).await;
        shows(&door, Some(Locked), None).await;
        door
    }

    /// `result` and `reason` of each line.
    fn lines(&self) -> Vec<(String, String)> {
        lines(self.folder.path())
    }
}

fn log(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(folder: &Path) -> Vec<(String, String)> {
    let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    log(folder).iter().map(|line| (field(line, "result"), field(line, "reason"))).collect()
}

fn results(folder: &Path) -> Vec<String> {
    lines(folder).into_iter().map(|(result, _)| result).collect()
}

async fn shows(door: &Door, lock: Option<LockState>, blocked: Option<&str>) {
    let mut state = door.state();
    let right = |door: &model::Door| {
        let blocked_so = match (&door.blocked, blocked) {
            (Some(why), Some(part)) => why.contains(part),
            (None, None) => true,
            _ => false,
        };
        door.lock == lock && blocked_so
    };
    let waited = tokio::time::timeout(Duration::from_secs(86_400), state.wait_for(right)).await;
    assert!(waited.is_ok(), "expected {lock:?} and {blocked:?}, it shows {:?}", *door.state().borrow());
}

fn mqtt(payload: &str) -> Attempt {
    let via = Via::Mqtt { payload: payload.to_owned().into(), retained: false, dup: false };
    Attempt { via, received: clock::now() }
}

fn page(action: LockAction) -> Attempt {
    Attempt { via: Via::Http { who: "page".into(), action }, received: clock::now() }
}

fn stamped(cmd: &str, id: &str) -> String {
    let ts = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!(r#"{{"cmd":"{cmd}","id":"{id}","ts":{ts}}}"#)
}

fn refused(answer: &Answer) -> String {
    match &answer.outcome {
        Err(ActionError::Refused { why }) => why.clone(),
        other => panic!("it was not refused: {other:?}"),
    }
}

// What happens when all is well.

#[tokio::test(start_paused = true)]
async fn an_unlock_is_on_the_disk_before_the_lock_moves_and_its_outcome_after() {
    let house = House::new();
    let door = house.door(None).await;
    assert!(!door.wants_signature());
    let (seen, at_the_move) = channel();
    let folder = house.folder.path().to_owned();
    *house.lock.when_moved.lock().unwrap() = Some(Box::new(move || {
        let stored = fs::read_to_string(folder.join("state.json")).unwrap();
        seen.send((lines(&folder), stored)).unwrap();
    }));
    let answer = door.work(mqtt(&stamped("unlock", "7f3a"))).await;
    assert_eq!((answer.action, &answer.id, answer.outcome), (Some(Unlock), &Value::from("7f3a"), Ok(Unlocked)));
    let (lines, stored) = at_the_move.recv().unwrap();
    assert_eq!(lines, [("allowed".to_owned(), String::new())]);
    assert!(stored.contains("7f3a"), "the id was not on the disk: {stored}");
    assert_eq!(house.lines()[1], ("done".to_owned(), "the lock is UNLOCKED".to_owned()));
    let answer = door.work(page(Lock)).await;
    assert_eq!((answer.action, answer.id, answer.outcome), (Some(Lock), Value::Null, Ok(Locked)));
    assert_eq!(house.lock.moves(), [Unlock, Lock]);
    let log = log(house.folder.path());
    let told: Vec<_> = log.iter().map(|line| (&line["door"], &line["action"], &line["via"], &line["n"])).collect();
    let (door, unlock, lock) = (&Value::from("fake_1"), &Value::from("unlock"), &Value::from("lock"));
    let (mqtt, page) = (&Value::from("mqtt"), &Value::from("http/page"));
    let [one, two, three, four] = &[1, 2, 3, 4].map(Value::from);
    let expected =
        [(door, unlock, mqtt, one), (door, unlock, mqtt, two), (door, lock, page, three), (door, lock, page, four)];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn the_door_shows_what_the_lock_says_and_what_it_is_being_asked_for() {
    let house = House::new();
    let door = house.door(None).await;
    house.lock.set_state(|state| state.door = Some(model::Door { lock: Some(Jammed), blocked: None }));
    shows(&door, Some(Jammed), None).await;
    for (action, on_the_way, then) in [(Unlock, Unlocking, Unlocked), (Lock, Locking, Locked)] {
        house.lock.when_asked(Asked::MovesAfter(Duration::from_secs(3)));
        let work = tokio::spawn({
            let door = door.clone();
            async move { door.work(page(action)).await }
        });
        shows(&door, Some(on_the_way), None).await;
        shows(&door, Some(then), None).await;
        assert_eq!(work.await.unwrap().outcome, Ok(then));
    }
    house.lock.when_asked(Asked::Says(Err(ActionError::Refused { why: "child lock".to_owned() })));
    sleep(Duration::from_secs(10)).await;
    assert!(door.work(page(Unlock)).await.outcome.is_err());
    shows(&door, Some(Locked), None).await;
    house.lock.set_state(|state| state.door = None);
    shows(&door, None, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_door_says_why_its_lock_cannot_be_worked_and_does_not_count_what_is_tried_then() {
    let house = House::new();
    let door = house.door_with(None, Store::open(house.folder.path()).unwrap());
    assert_eq!(
        door.state().borrow().blocked.as_deref(),
        Some(
            "No account has listed the lock `fake_lock` yet. If that lasts, compare `unlock` of this doorbell with \
             what `doorstep devices` lists."
        )
    );
    let offline = |answer: Answer| match answer.outcome {
        Err(ActionError::Offline { why }) => why,
        other => panic!("{other:?}"),
    };
    assert!(offline(door.work(page(Unlock)).await).contains("No account has listed"));
    house.list_lock();
    shows(&door, Some(Locked), None).await;
    house.lock.set_state(|state| {
        state.link = Link::Offline;
        state.last_error = Some("Its gateway is without power.".to_owned());
    });
    shows(&door, Some(Locked), Some("The lock cannot be reached: Its gateway is without power.")).await;
    for _ in 0..5 {
        assert!(offline(door.work(page(Unlock)).await).contains("cannot be reached"));
    }
    house.lock.set_state(|state| {
        state.link = Link::Ready;
        state.door.as_mut().unwrap().blocked = Some("Its battery is empty.".to_owned());
    });
    shows(&door, Some(Locked), Some("Its battery is empty.")).await;
    assert_eq!(offline(door.work(page(Unlock)).await), "Its battery is empty.");
    assert_eq!(house.lock.moves(), []);
    house.lock.set_state(|state| state.door.as_mut().unwrap().blocked = None);
    shows(&door, Some(Locked), None).await;
    assert_eq!(door.work(page(Unlock)).await.outcome, Ok(Unlocked), "what was tried before was counted");
    house.locks.remove(&id("fake_lock"));
    shows(&door, None, Some("No account has listed")).await;
    assert!(results(house.folder.path())[..7].iter().all(|result| result == "refused"));
}

#[tokio::test(start_paused = true)]
async fn three_unlocks_a_minute_block_the_door_until_the_minute_is_over() {
    let house = House::new();
    let door = house.door(None).await;
    let begun = clock::now();
    for n in 0..3 {
        assert_eq!(door.work(page(Unlock)).await.outcome, Ok(Unlocked), "number {n}");
        sleep(Duration::from_secs(4)).await;
    }
    let why =
        "Unlocking is refused for now: the door was opened 3 times within a minute; wait until the minute is over.";
    shows(&door, Some(Unlocked), Some(why)).await;
    assert!(refused(&door.work(page(Unlock)).await).contains("3 times within a minute"));
    assert_eq!(door.work(page(Lock)).await.outcome, Ok(Locked));
    shows(&door, Some(Locked), None).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(door.work(page(Unlock)).await.outcome, Ok(Unlocked));
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_shows_its_door() {
    let house = House::new();
    let door = house.door_with(None, Store::open(house.folder.path()).unwrap());
    let options = Options { doors: [(DoorKind::Lock, door.clone())].into(), ..Options::default() };
    let doorbell = Doorbell::spawn(house.lock.clone(), info("fake_1", &[]), options, house.stop.clone());
    assert!(doorbell.info().capabilities.contains(&Capability::Unlock));
    let mut state = doorbell.state();
    let shown = |state: &State| state.doors.get(&DoorKind::Lock).cloned();
    let blocked = |state: &State| shown(state).is_some_and(|door| door.blocked.is_some());
    assert!(blocked(&state.borrow()));
    house.list_lock();
    let locked = |state: &State| shown(state) == Some(model::Door { lock: Some(Locked), blocked: None });
    state.wait_for(locked).await.unwrap();
    assert_eq!(doorbell.door(DoorKind::Lock).unwrap().work(page(Unlock)).await.outcome, Ok(Unlocked));
    let unlocked = |state: &State| shown(state).is_some_and(|door| door.lock == Some(Unlocked));
    state.wait_for(unlocked).await.unwrap();
}

/// Its lock is in truth the same for both, which no configuration can say.
#[tokio::test(start_paused = true)]
async fn the_lock_and_the_garage_door_of_one_doorbell_have_limits_memories_and_lines_of_their_own() {
    let house = House::new();
    house.list_lock();
    let store = Store::open(house.folder.path()).unwrap();
    let doors = [DoorKind::Lock, DoorKind::Garage].map(|kind| house.door_of_kind(kind, "fake_1", None, store.clone()));
    let [lock, garage] = &doors;
    doors.iter().for_each(|door| door.subscribed());
    sleep(Duration::from_secs(2)).await;
    shows(garage, Some(Locked), None).await;
    for _ in 0..3 {
        assert_eq!(lock.work(page(Unlock)).await.outcome, Ok(Unlocked));
        sleep(Duration::from_secs(4)).await;
    }
    shows(lock, Some(Unlocked), Some("Unlocking is refused for now")).await;
    assert_eq!(garage.state().borrow().blocked, None);
    assert_eq!(lock.work(mqtt(&stamped("lock", "a"))).await.outcome, Ok(Locked));
    assert_eq!(garage.work(mqtt(&stamped("open", "a"))).await.outcome, Ok(Unlocked));
    let again = garage.work(mqtt(&stamped("open", "a"))).await;
    assert!(again.outcome.is_err(), "{again:?}");
    let kept = |kind: &str| std::fs::read_to_string(house.folder.path().join("state.json")).unwrap().contains(kind);
    assert!(kept("door_fake_1") && kept("garage_fake_1"));
    let lines = log(house.folder.path());
    let last = &lines[lines.len() - 2];
    let told = ["door", "kind", "action", "result", "reason"].map(|key| last[key].as_str().unwrap().to_owned());
    assert_eq!(told, ["fake_1", "garage", "open", "done", "the garage door is open"]);
    assert_eq!(lines[0]["kind"], "lock");
}

// What is refused.

#[tokio::test(start_paused = true)]
async fn what_the_guard_refuses_never_reaches_the_lock_and_leaves_no_trace_of_what_was_sent() {
    let house = House::new();
    let door = house.door(Some(SECRET)).await;
    assert!(door.wants_signature());
    let forged = format!("{},\"mac\":\"{}\"}}", stamped("unlock", "sent-id").trim_end_matches('}'), "ab".repeat(32));
    for (payload, action, sent_id) in [
        ("UNLOCK", Some(Unlock), Value::Null),
        ("LOCK", Some(Lock), Value::Null),
        ("OPEN", None, Value::Null),
        ("sent-rubbish", None, Value::Null),
        (&stamped("unlock", "sent-id"), Some(Unlock), Value::from("sent-id")),
        (&forged, Some(Unlock), Value::from("sent-id")),
    ] {
        let answer = door.work(mqtt(payload)).await;
        refused(&answer);
        assert_eq!((answer.action, answer.id), (action, sent_id), "{payload}");
    }
    let retained = Via::Mqtt { payload: "UNLOCK".into(), retained: true, dup: false };
    refused(&door.work(Attempt { via: retained, received: clock::now() }).await);
    assert_eq!(house.lock.moves(), []);
    assert_eq!(results(house.folder.path()), ["refused"; 7]);
    let written = fs::read_to_string(house.folder.path().join("audit.jsonl")).unwrap();
    for trace in ["sent-", "abab", SECRET] {
        assert!(!written.contains(trace), "{trace} is in {written}");
    }
    assert!(!fs::read_to_string(house.folder.path().join("state.json")).unwrap().contains("sent-id"));
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_from_the_broker_until_it_was_subscribed_to_for_two_seconds() {
    let house = House::new();
    let door = house.door_with(None, Store::open(house.folder.path()).unwrap());
    house.list_lock();
    shows(&door, Some(Locked), None).await;
    refused(&door.work(mqtt("UNLOCK")).await);
    door.subscribed();
    refused(&door.work(mqtt("UNLOCK")).await);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(door.work(mqtt("UNLOCK")).await.outcome, Ok(Unlocked));
    door.subscribed();
    refused(&door.work(mqtt("LOCK")).await);
    assert_eq!(house.lock.moves(), [Unlock]);
}

#[tokio::test(start_paused = true)]
async fn refusals_beyond_their_ration_are_counted_and_told_with_the_next_line() {
    let house = House::new();
    let door = house.door(None).await;
    for _ in 0..500 {
        refused(&door.work(mqtt("rubbish")).await);
    }
    assert_eq!(results(house.folder.path()), ["refused"; 10]);
    assert_eq!(door.work(mqtt("UNLOCK")).await.outcome, Ok(Unlocked));
    let suppressed: Vec<_> = log(house.folder.path()).iter().map(|line| line["suppressed"].as_u64()).collect();
    assert_eq!(suppressed[9..], [None, Some(490), None]);
}

// One at a time, and not too late.

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_the_one_before_it_as_long_as_it_is_fresh() {
    for (slow, moves, results) in [
        (4_800, &[Unlock, Lock][..], &["allowed", "done", "allowed", "done"][..]),
        (4_950, &[Unlock], &["allowed", "refused", "done"]),
    ] {
        let house = House::new();
        let door = house.door(None).await;
        house.lock.when_asked(Asked::MovesAfter(Duration::from_millis(slow)));
        let begun = clock::now();
        let later = async {
            sleep(Duration::from_millis(1)).await;
            // It came a little before it was given to the door.
            let attempt = Attempt { received: begun - Duration::from_millis(100), ..page(Lock) };
            house.lock.when_asked(Asked::Moves);
            door.work(attempt).await
        };
        let (first, second) = tokio::join!(door.work(page(Unlock)), later);
        assert_eq!(first.outcome, Ok(Unlocked));
        assert_eq!(second.outcome.is_ok(), moves.len() == 2, "{second:?}");
        if moves.len() == 1 {
            assert!(refused(&second).contains("more than 5 s"));
        }
        assert_eq!(house.lock.moves(), moves);
        assert_eq!(super::tests::results(house.folder.path()), results);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_busy_for_too_long_does_not_move_the_lock() {
    let house = House::new();
    let door = house.door(None).await;
    house.lock.when_asked(Asked::MovesAfter(Duration::from_millis(5_001)));
    assert!(refused(&door.work(page(Unlock)).await).contains("more than 5 s"));
    assert_eq!(house.lock.moves(), []);
    assert_eq!(results(house.folder.path()), ["allowed", "failed"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_too_long_to_write_down_is_dropped() {
    for (takes, moved) in [(4_900, true), (5_100, false)] {
        let house = House::new();
        let audit = Arc::new(Audit::open(house.folder.path()));
        let settings = Settings { doorbell: id("fake_1"), mechanism: Mechanism::Lock(id("fake_lock")), secret: None };
        let store = Store::open(house.folder.path()).unwrap();
        let door = Door::new(settings, house.locks.clone(), audit.clone(), store);
        house.list_lock();
        shows(&door, Some(Locked), None).await;
        let entry = door.inside.entry(Record { action: None, via: "test".to_owned() }, Outcome::Done, None);
        let (release, held) = channel::<()>();
        let holds = tokio::spawn({
            let audit = audit.clone();
            async move { drop(audit.write_after(move || held.recv().is_err(), entry).await) }
        });
        tokio::task::yield_now().await;
        let work = tokio::spawn({
            let door = door.clone();
            async move { door.work(page(Unlock)).await }
        });
        tokio::task::yield_now().await;
        // While a thread waits for the disk, paused time stands still unless it is moved.
        for _ in 0..takes / 100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
        drop(release);
        holds.await.unwrap();
        let answer = work.await.unwrap();
        assert_eq!(answer.outcome.is_ok(), moved, "{takes} ms: {answer:?}");
        assert_eq!(house.lock.moves().len(), usize::from(moved), "{takes} ms");
        let last = results(house.folder.path()).pop();
        assert_eq!(last.as_deref(), Some(if moved { "done" } else { "refused" }), "{takes} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_on_the_last_line_does_not_hold_back_the_answer() {
    let house = House::new();
    let audit = Arc::new(Audit::open(house.folder.path()));
    let settings = Settings { doorbell: id("fake_1"), mechanism: Mechanism::Lock(id("fake_lock")), secret: None };
    let door = Door::new(settings, house.locks.clone(), audit.clone(), Store::open(house.folder.path()).unwrap());
    house.list_lock();
    shows(&door, Some(Locked), None).await;
    let entry = door.inside.entry(Record { action: None, via: "test".to_owned() }, Outcome::Done, None);
    let (release, held) = channel::<()>();
    let holds = Mutex::new(Some(async move { drop(audit.write_after(move || held.recv().is_err(), entry).await) }));
    *house.lock.when_moved.lock().unwrap() = Some(Box::new(move || {
        drop(tokio::spawn(holds.lock().unwrap().take().unwrap()));
    }));
    let work = tokio::spawn({
        let door = door.clone();
        async move { door.work(page(Unlock)).await }
    });
    while house.lock.moves().is_empty() {
        tokio::task::yield_now().await;
    }
    let begun = clock::now();
    while !work.is_finished() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it waits for ever");
        tokio::time::advance(Duration::from_millis(10)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(work.await.unwrap().outcome, Ok(Unlocked));
    let took = begun.elapsed().as_secs_f32();
    assert!((1.9..2.5).contains(&took), "it took {took} s");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_does_not_answer_is_left_after_twenty_seconds_and_not_asked_again() {
    let house = House::new();
    let door = house.door(None).await;
    house.lock.when_asked(Asked::Hangs);
    let begun = clock::now();
    assert_eq!(door.work(page(Unlock)).await.outcome, Err(ActionError::Timeout));
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    shows(&door, Some(Locked), None).await;
    while results(house.folder.path()).len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(results(house.folder.path()), ["allowed", "unknown"]);
    house.lock.when_asked(Asked::Moves);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(house.lock.moves(), []);
}

#[tokio::test(start_paused = true)]
async fn what_a_device_that_died_on_the_way_has_done_is_unknown_and_what_it_refused_was_not_done() {
    let house = House::new();
    let door = house.door(None).await;
    house.lock.when_asked(Asked::Dies);
    assert_eq!(door.work(page(Unlock)).await.outcome, Err(ActionError::Timeout));
    assert_eq!(results(house.folder.path()), ["allowed", "unknown"]);
    let refusal = ActionError::Refused { why: "child lock".to_owned() };
    house.lock.when_asked(Asked::Says(Err(refusal.clone())));
    sleep(Duration::from_secs(60)).await;
    shows(&door, Some(Locked), None).await;
    assert_eq!(door.work(page(Unlock)).await.outcome, Err(refusal));
    assert_eq!(house.lines()[3], ("failed".to_owned(), "child lock".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_leaves_no_act_without_its_line() {
    let house = House::new();
    let door = house.door(None).await;
    house.lock.when_asked(Asked::MovesAfter(Duration::from_secs(3)));
    let gave_up = tokio::time::timeout(Duration::from_secs(1), door.work(page(Unlock))).await;
    assert!(gave_up.is_err());
    shows(&door, Some(Unlocked), None).await;
    while results(house.folder.path()).len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(results(house.folder.path()), ["allowed", "done"]);
}

// What cannot be written down.

#[tokio::test(start_paused = true)]
async fn without_a_log_nothing_is_done() {
    let house = House::new();
    let door = house.door(None).await;
    let log = house.folder.path().join("audit.jsonl");
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    for action in [Unlock, Lock] {
        assert_eq!(
            refused(&door.work(page(action)).await),
            "what cannot be written down first is not done; see to the disk and the rights of the data folder"
        );
    }
    assert_eq!(house.lock.moves(), []);
    fs::remove_file(&log).unwrap();
    sleep(Duration::from_secs(4)).await;
    assert_eq!(door.work(page(Unlock)).await.outcome, Ok(Unlocked));
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_id_cannot_be_kept_is_not_carried_out() {
    let house = House::new();
    let door = house.door(None).await;
    let obstacle = house.folder.path().join("state.json.next");
    fs::create_dir_all(obstacle.join("not empty")).unwrap();
    assert!(refused(&door.work(mqtt(&stamped("unlock", "a"))).await).contains("written down first"));
    assert_eq!(results(house.folder.path()), ["refused"], "it was allowed before its id was kept");
    assert_eq!(house.lock.moves(), []);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(door.work(mqtt("UNLOCK")).await.outcome, Ok(Unlocked), "without an id there is nothing to keep");

    let house = House::new();
    let door = house.door_with(None, Store::read_only(house.folder.path()));
    house.list_lock();
    door.subscribed();
    sleep(Duration::from_secs(2)).await;
    shows(&door, Some(Locked), None).await;
    refused(&door.work(mqtt(&stamped("unlock", "a"))).await);
    assert_eq!(house.lock.moves(), []);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stops_between_remembering_and_the_act_does_not_act_after_its_restart() {
    let house = House::new();
    let door = house.door(None).await;
    let (from, copy) = (house.folder.path().to_owned(), tempfile::tempdir().unwrap());
    let to = copy.path().to_owned();
    *house.lock.when_moved.lock().unwrap() = Some(Box::new(move || {
        for file in ["state.json", "audit.jsonl"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }));
    let command = stamped("unlock", "once");
    assert_eq!(door.work(mqtt(&command)).await.outcome, Ok(Unlocked));

    let after = House::at(copy);
    let door = after.door(None).await;
    assert!(refused(&door.work(mqtt(&command)).await).contains("`id`"));
    assert_eq!(after.lock.moves(), []);
    assert_eq!(results(after.folder.path()), ["allowed", "refused"]);
    assert_eq!(door.work(mqtt(&stamped("unlock", "twice"))).await.outcome, Ok(Unlocked));
    assert_eq!(log(after.folder.path()).last().unwrap()["n"], 4);
}

#[tokio::test(start_paused = true)]
async fn doors_remember_each_for_itself() {
    let house = House::new();
    house.list_lock();
    let commands = ["a", "b"].map(|id| stamped("unlock", id));
    for start in 0..2 {
        let store = Store::open(house.folder.path()).unwrap();
        let doors = ["fake_1", "fake_2"].map(|doorbell| house.door_of(doorbell, None, store.clone()));
        doors.iter().for_each(|door| door.subscribed());
        sleep(Duration::from_secs(2)).await;
        for (door, command) in doors.iter().zip(&commands) {
            shows(door, Some(if house.lock.moves().is_empty() { Locked } else { Unlocked }), None).await;
            let answer = door.work(mqtt(command)).await;
            assert_eq!(answer.outcome.is_ok(), start == 0, "start {start}: {answer:?}");
        }
    }
    assert_eq!(house.lock.moves(), [Unlock, Unlock]);
}
