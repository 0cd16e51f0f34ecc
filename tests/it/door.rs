//! A door opens for whoever may open it and for nobody else, whatever arrives and whatever the disk does.
//!
//! The rules one by one are tested beside the code; here a whole house stands, with an account, its doorbell and its
//! locks, and signatures are made as docs/unlock.md tells others to make them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use doorstep::clock::{self, Instant};
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::door::{Answer, Settings};
use doorstep::doorbell::guard::{Attempt, Via};
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{
    AccountPort, Accounts, ActionError, DevicePort, Door, Doorbell, Options, Registry, Request, Vendor, VendorError,
};
use doorstep::model::{self, DeviceId, DeviceInfo, DoorKind, Found, Link, LockAction, LockState, Mechanism, Role};
use doorstep::secret::Password;
use doorstep::store::Store;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::score::{Figure, tally};
use crate::support::small_disk::SmallDisk;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const DOORBELL: &str = "fake_bell";
const LOCK: &str = "fake_lock";

#[tokio::test(start_paused = true)]
async fn the_lock_that_a_door_names_is_worked_through_its_doorbell_and_no_other_is_ever_connected() {
    let house = House::new(None).await;
    assert_eq!(house.account.lives(), [DOORBELL, LOCK]);
    assert_eq!(house.doorbells.all().len(), 1, "a lock is no doorbell");
    assert_eq!(house.mqtt("UNLOCK").await.outcome, Ok(LockState::Unlocked));
    assert_eq!(house.account.moves().len(), 1);
    let mut state = house.doorbell().state();
    let unlocked = model::Door { lock: Some(LockState::Unlocked), blocked: None };
    state.wait_for(|state| state.doors.get(&DoorKind::Lock) == Some(&unlocked)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn row_12_a_flood_of_a_hundred_commands_a_second_opens_the_door_three_times_a_minute() {
    let house = House::new(None).await;
    let (begun, mut tried) = (clock::now(), 0);
    while begun.elapsed() < Duration::from_secs(180) {
        tried += 1;
        let answer = house.mqtt("UNLOCK").await;
        assert!(matches!(answer.outcome, Ok(_) | Err(ActionError::Refused { .. })), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let moves = house.account.moves();
    for (n, (_, at)) in moves.iter().enumerate() {
        let within = moves[n..].iter().take_while(|(_, other)| *other < *at + Duration::from_secs(60)).count();
        assert!(within <= 3, "{within} within a minute: {moves:?}");
    }
    tally(Figure::UnlocksRefused, tried - moves.len(), tried - moves.len().min(9));
    tally(Figure::UnlocksDone, moves.len().min(9), 9);
    assert_eq!(moves.len(), 9);
    let lines = house.log();
    assert!(lines.len() <= 9 * 2 + 10 + 4, "the flood fills the disk: {} lines", lines.len());
    let suppressed: u64 = lines.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
    assert!(suppressed > 10_000, "only {suppressed} refusals were counted");
}

#[tokio::test(start_paused = true)]
async fn row_12_a_flood_of_forged_commands_does_not_keep_the_owner_out() {
    let house = House::new(Some(SECRET)).await;
    for n in 0..3_000 {
        let forged = signed("not the secret, but as long as it", DOORBELL, "unlock", &format!("forged-{n}"));
        let answer = house.mqtt(&forged).await;
        assert!(matches!(answer.outcome, Err(ActionError::Refused { .. })), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tally(Figure::UnlocksRefused, 3_000 - house.account.moves().len(), 3_000);
    assert_eq!(house.account.moves(), []);
    let answer = house.mqtt(&signed(SECRET, DOORBELL, "unlock", "the owner")).await;
    assert!(answer.outcome.is_err(), "an id with a blank in it");
    let answer = house.mqtt(&signed(SECRET, DOORBELL, "unlock", "the-owner")).await;
    tally(Figure::UnlocksDone, house.account.moves().len(), 1);
    assert_eq!((answer.outcome, answer.id), (Ok(LockState::Unlocked), Value::from("the-owner")));
}

#[tokio::test(start_paused = true)]
async fn a_signature_for_one_door_is_worth_nothing_at_another() {
    let house = House::new(Some(SECRET)).await;
    for other in ["fake_bell2", "fake_bel", LOCK] {
        assert!(house.mqtt(&signed(SECRET, other, "unlock", "a")).await.outcome.is_err(), "{other}");
    }
    tally(Figure::UnlocksRefused, 3 - house.account.moves().len(), 3);
    assert_eq!(house.account.moves(), []);
    assert!(house.mqtt(&signed(SECRET, DOORBELL, "unlock", "a")).await.outcome.is_ok());
    tally(Figure::UnlocksDone, house.account.moves().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_signed_command_that_was_carried_out_is_not_carried_out_after_a_restart() {
    let house = House::new(Some(SECRET)).await;
    let command = signed(SECRET, DOORBELL, "unlock", "once");
    assert!(house.mqtt(&command).await.outcome.is_ok());
    let house = house.restart().await;
    let answer = house.mqtt(&command).await;
    assert!(matches!(&answer.outcome, Err(ActionError::Refused { why }) if why.contains("`id`")), "{answer:?}");
    tally(Figure::UnlocksRefused, 1 - house.account.moves().len(), 1);
    assert_eq!(house.account.moves(), []);
    let numbers: Vec<u64> = house.log().iter().map(|line| line["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn row_37_a_disk_that_is_full_or_read_only_opens_no_door() {
    let Some(disk) = SmallDisk::mount() else { return println!("SKIPPED: this user may not mount a small disk") };
    let house = House::on(disk.folder.path(), Some(SECRET)).await;
    let unlock = async |id: &str| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        house.mqtt(&signed(SECRET, DOORBELL, "unlock", id)).await.outcome
    };
    assert_eq!(unlock("a").await, Ok(LockState::Unlocked));

    disk.fill();
    for id in ["b", "c"] {
        let refused = unlock(id).await;
        let why = "what cannot be written down first is not done; see to the disk and the rights of the data folder";
        assert_eq!(refused, Err(ActionError::Refused { why: why.to_owned() }));
    }
    // Without an id the log alone is asked, whose last page still has room for some lines.
    let mut last = Ok(LockState::Locked);
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        last = house.page(LockAction::Lock).await.outcome;
    }
    assert!(last.is_err(), "there is always room");
    let allowed = house.log().iter().filter(|line| line["result"] == "allowed").count();
    assert_eq!(house.account.moves().len(), allowed, "a lock moved without a line");
    disk.make_room();
    assert_eq!(unlock("d").await, Ok(LockState::Unlocked));

    let moves = house.account.moves().len();
    disk.remount("ro");
    assert!(unlock("e").await.is_err());
    assert!(house.page(LockAction::Lock).await.outcome.is_err());
    assert_eq!(house.account.moves().len(), moves);
    disk.remount("rw");
    assert_eq!(unlock("f").await, Ok(LockState::Unlocked));
}

#[tokio::test]
async fn looking_at_a_configuration_with_a_door_leaves_no_log() {
    let data = tempfile::tempdir().unwrap();
    let text = format!("doorbells: [{{id: {DOORBELL}, unlock: {LOCK}}}]");
    let config = doorstep::config::parse(&text, "test").unwrap();
    assert!(doorstep::app::check(&config, data.path(), None).await);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}

/// As docs/unlock.md says.
fn signed(secret: &str, doorbell: &str, cmd: &str, id: &str) -> String {
    let ts = clock::unix_now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(["doorstep lock 1", doorbell, cmd, id, &ts.to_string()].join("\n").as_bytes());
    let mac: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"cmd": cmd, "id": id, "ts": ts, "mac": mac}).to_string()
}

/// A service with one account, without its faces.
struct House {
    folder: PathBuf,
    secret: Option<&'static str>,
    account: Arc<FakeAccount>,
    doorbells: Registry,
    _accounts: Accounts,
    _stop: DropGuard,
    _own: Option<TempDir>,
}

impl House {
    async fn new(secret: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(folder.path(), secret).await.owning(folder)
    }

    fn owning(mut self, folder: TempDir) -> Self {
        self._own = Some(folder);
        self
    }

    /// From the start of the service to when the door can be worked.
    async fn on(folder: &Path, secret: Option<&'static str>) -> Self {
        let (account, stop) = (Arc::new(FakeAccount::default()), CancellationToken::new());
        let (doorbells, locks) = (Registry::default(), Registry::default());
        let settings = Settings {
            doorbell: id(DOORBELL),
            mechanism: Mechanism::Lock(id(LOCK)),
            secret: secret.map(Password::new),
        };
        let door = Door::new(settings, locks.clone(), Arc::new(Audit::open(folder)), Store::open(folder).unwrap());
        let doors = [(DoorKind::Lock, door.clone())].into();
        let options = Options { doors, ..Options::default() };
        let wishes = Wishes {
            options: HashMap::from([(id(DOORBELL), options)]),
            locks: [id(LOCK)].into(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let accounts = Accounts::start(vec![account.clone()], wishes, doorbells.clone(), locks, &stop);
        door.subscribed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut state = door.state();
        state.wait_for(|door| door.lock.is_some() && door.blocked.is_none()).await.unwrap();
        let _stop = stop.drop_guard();
        Self { folder: folder.to_owned(), secret, account, doorbells, _accounts: accounts, _stop, _own: None }
    }

    async fn restart(mut self) -> Self {
        let folder = self._own.take().unwrap();
        let secret = self.secret;
        drop(self);
        Self::on(folder.path(), secret).await.owning(folder)
    }

    fn doorbell(&self) -> Doorbell {
        self.doorbells.get(&id(DOORBELL)).unwrap()
    }

    async fn mqtt(&self, payload: &str) -> Answer {
        let via = Via::Mqtt { payload: payload.to_owned().into(), retained: false, dup: false };
        self.doorbell().door(DoorKind::Lock).unwrap().work(Attempt { via, received: clock::now() }).await
    }

    async fn page(&self, action: LockAction) -> Answer {
        let via = Via::Http { who: "page".into(), action };
        self.doorbell().door(DoorKind::Lock).unwrap().work(Attempt { via, received: clock::now() }).await
    }

    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("audit.jsonl")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn id(id: &str) -> DeviceId {
    DeviceId::parse(id).unwrap()
}

/// An account with a doorbell and two locks that obey at once.
#[derive(Default)]
struct FakeAccount {
    lives: Mutex<Vec<String>>,
    moves: Mutex<Vec<(LockAction, Instant)>>,
}

impl FakeAccount {
    /// Which devices were connected to, in order of their ids.
    fn lives(&self) -> Vec<String> {
        let mut lives = self.lives.lock().unwrap().clone();
        lives.sort();
        lives
    }

    fn moves(&self) -> Vec<(LockAction, Instant)> {
        self.moves.lock().unwrap().clone()
    }

    fn listing() -> Vec<Found> {
        let devices = [(DOORBELL, Role::Doorbell), (LOCK, Role::Lock), ("fake_lock_of_the_safe", Role::Lock)];
        let found = devices.map(|(device, role)| Found {
            info: DeviceInfo {
                id: id(device),
                name: device.to_owned(),
                vendor: "fake",
                model: "FAKE1".to_owned(),
                firmware: None,
                capabilities: BTreeSet::new(),
            },
            role,
            address: None,
            transport: None,
            obstacle: None,
            talk_obstacle: None,
        });
        found.into()
    }

    async fn live(&self, mut port: DevicePort) {
        self.lives.lock().unwrap().push(port.info.id.to_string());
        let is_lock = port.info.id == id(LOCK);
        let stands = |now| is_lock.then_some(model::Door { lock: Some(now), blocked: None });
        port.state.send_modify(|state| {
            state.link = Link::Ready;
            state.door = stands(LockState::Locked);
        });
        while let Some(request) = port.requests.recv().await {
            let Request::WorkLock { permit, reply } = request else { panic!("{request:?} was not asked for") };
            let action = permit.redeem(clock::now()).unwrap();
            self.moves.lock().unwrap().push((action, clock::now()));
            let now = if action == LockAction::Lock { LockState::Locked } else { LockState::Unlocked };
            port.state.send_modify(|state| state.door = stands(now));
            reply.send(Ok(now)).unwrap();
        }
    }
}

impl Vendor for FakeAccount {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Self::listing()) })
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            port.listings.send(Self::listing()).await.unwrap();
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
            let _stopped = stop.run_until_cancelled(self.live(port)).await;
            Ok(())
        })
    }
}
