//! What the page promises of the door: that no stray touch opens it, and that it says how it stands.

use std::path::Path;

use doorstep::doorbell::ActionError;
use doorstep::model::{self, Account, AccountLink, Capability, DoorKind, LockAction, LockState};

use crate::support::browser::{Browser, Page};
use crate::support::fake_lock::FakeLock;
use crate::support::fake_vendor::OnOpen;
use crate::support::house::House;
use crate::support::score::{Figure, tally};

const UNLOCK: &str = "document.querySelector('.unlock')";

/// What is said below the buttons.
fn note(said: &str) -> String {
    format!("document.querySelector('.door-note').textContent.startsWith({said:?})")
}

async fn shown(page: &Page) {
    page.until("!document.querySelector('.door').hidden").await;
}

#[tokio::test]
async fn without_a_door_nothing_of_one_is_shown() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.card h2').textContent === 'Front Door'").await;
    page.until("document.querySelector('.door').hidden").await;
}

#[tokio::test]
async fn only_a_button_that_is_held_for_a_second_unlocks() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;

    page.mouse("mousePressed", ".unlock").await;
    page.mouse("mouseReleased", ".unlock").await;
    page.until(&note("Keep the button")).await;
    page.value(&format!("{UNLOCK}.click()")).await;
    page.value(&format!("{UNLOCK}.focus()")).await;
    page.space("keyDown").await;
    page.space("keyUp").await;
    page.until(&format!("{UNLOCK}.textContent === 'Hold to unlock'")).await;
    tally(Figure::UnlocksRefused, 3 - lock.acts().len(), 3);
    assert_eq!(lock.acts(), []);

    page.mouse("mousePressed", ".unlock").await;
    page.until(&format!("0.2 < Number({UNLOCK}.style.getPropertyValue('--held'))")).await;
    assert_eq!(lock.acts(), [], "it opened before its time");
    lock.until_asked(1).await;
    page.until(&note("Front Door: unlocked")).await;
    page.mouse("mouseReleased", ".unlock").await;
    tally(Figure::UnlocksDone, usize::from(lock.acts() == [LockAction::Unlock]), 1);
    assert_eq!(lock.acts(), [LockAction::Unlock]);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_space_bar_unlocks_when_it_is_held() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    page.value(&format!("{UNLOCK}.focus()")).await;
    page.space("keyDown").await;
    lock.until_asked(1).await;
    page.until(&note("Front Door: unlocked")).await;
    page.space("keyUp").await;
    tally(Figure::UnlocksDone, usize::from(lock.acts() == [LockAction::Unlock]), 1);
    assert_eq!(lock.acts(), [LockAction::Unlock]);
}

#[tokio::test]
async fn a_page_that_is_put_away_lets_go_of_the_door() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    page.mouse("mousePressed", ".unlock").await;
    page.until(&format!("{UNLOCK}.classList.contains('held')")).await;
    let put_away = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
        document.querySelector('.unlock').classList.contains('held')";
    assert_eq!(page.value(put_away).await, false);
    // Longer than the rest of the hold would have taken, told by the page's own clock.
    page.value("window.then = performance.now()").await;
    page.until("performance.now() > window.then + 1200").await;
    tally(Figure::UnlocksRefused, 1 - lock.acts().len(), 1);
    assert_eq!(lock.acts(), []);
}

#[tokio::test]
async fn a_click_locks() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    lock.hang();
    page.mouse("mousePressed", ".relock").await;
    page.mouse("mouseReleased", ".relock").await;
    page.until("document.querySelector('.relock').textContent === 'Locking …'").await;
    lock.go_on();
    page.until(&note("Front Door: locked")).await;
    assert_eq!(lock.acts(), [LockAction::Lock]);
}

#[tokio::test]
async fn what_went_wrong_at_the_door_is_said() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    lock.fail("The bolt's gateway is unplugged.");
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    page.mouse("mousePressed", ".unlock").await;
    page.until(&note("Front Door: The bolt's gateway is unplugged.")).await;
    page.mouse("mouseReleased", ".unlock").await;
    page.until("document.querySelector('.door-note').dataset.tone === 'bad'").await;
}

#[tokio::test]
async fn the_door_is_shown_as_it_stands() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    for (stands, word) in [
        (Some(LockState::Locked), "Locked"),
        (Some(LockState::Unlocking), "Unlocking …"),
        (Some(LockState::Unlocked), "Unlocked"),
        (Some(LockState::Locking), "Locking …"),
        (Some(LockState::Jammed), "Jammed"),
        (None, "Not known whether it is locked"),
    ] {
        lock.stand(stands, None);
        page.until(&format!("document.querySelector('.lock-word').textContent === {word:?}")).await;
        let loud = page.value("!document.querySelector('.jammed').hidden").await;
        assert_eq!(loud, stands == Some(LockState::Jammed), "{word}");
    }
}

#[tokio::test]
async fn a_door_that_takes_no_command_says_why() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    lock.stand(Some(LockState::Locked), Some("Its battery is empty. Replace `4 AA`."));
    page.until("document.querySelector('.blocked code').textContent === '4 AA'").await;
    page.until(&format!("{UNLOCK}.getAttribute('aria-disabled') === 'true'")).await;
    page.mouse("mousePressed", ".unlock").await;
    page.until(&note("Nothing was done. Its battery is empty.")).await;
    page.mouse("mouseReleased", ".unlock").await;
    // Nobody is kept from trying to lock a door: the service is asked.
    page.mouse("mousePressed", ".relock").await;
    page.mouse("mouseReleased", ".relock").await;
    page.until(&note("Front Door: Its battery is empty.")).await;
    assert_eq!(lock.acts(), []);
}

#[tokio::test]
async fn only_a_button_that_is_held_for_a_second_opens_the_door_and_there_is_no_other() {
    let (browser, house) = (Browser::launch().await, House::with_opener(OnOpen::Opens).await);
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    page.until(&format!("{UNLOCK}.textContent === 'Hold to open'")).await;
    page.until("document.querySelector('.lock-word').textContent === 'Door opener'").await;
    assert_eq!(page.value("document.querySelector('.relock').offsetParent === null").await, true, "it can be locked");
    page.mouse("mousePressed", ".unlock").await;
    page.mouse("mouseReleased", ".unlock").await;
    page.until(&note("Keep the button, or the space bar, pressed for a second to open the door.")).await;
    page.value(&format!("{UNLOCK}.click()")).await;
    assert_eq!(house.vendor.seen().opens_asked, 0);

    page.mouse("mousePressed", ".unlock").await;
    house.vendor.until("a request", |seen| seen.opens_asked == 1).await;
    page.until(&note("Front Door: opened")).await;
    page.mouse("mouseReleased", ".unlock").await;
    page.until("document.querySelector('.lock-word').textContent === 'Opened'").await;
    house.vendor.set_state(|state| state.door = Some(model::Door { lock: Some(LockState::Locked), blocked: None }));
    page.until("document.querySelector('.lock-word').textContent === 'Door opener'").await;
    tally(Figure::UnlocksDone, usize::from(house.vendor.seen().opens_asked == 1), 1);
    assert_eq!(house.vendor.seen().opens_asked, 1);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_doorbell_said_to_opening_its_door_is_said() {
    for (says, said) in [
        (OnOpen::Says(ActionError::Timeout), "Front Door: The doorbell did not say whether the door opened. Look"),
        (
            OnOpen::Says(ActionError::Refused { why: "It only repeated the command.".to_owned() }),
            "Front Door: It only repeated the command.",
        ),
    ] {
        let (browser, house) = (Browser::launch().await, House::with_opener(says).await);
        let page = browser.open(&house.url()).await;
        shown(&page).await;
        page.mouse("mousePressed", ".unlock").await;
        page.until(&note(said)).await;
        page.mouse("mouseReleased", ".unlock").await;
        page.until("document.querySelector('.door-note').dataset.tone === 'bad'").await;
        assert_eq!(house.vendor.seen().opens_asked, 1);
    }
}

/// Leaves pictures behind, for somebody to look at.
#[tokio::test]
async fn an_opener_fits_into_every_window() {
    let (browser, house) = (Browser::launch().await, House::with_opener(OnOpen::Opens).await);
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    for (n, (lock, blocked)) in [
        (LockState::Locked, None),
        (LockState::Unlocking, None),
        (LockState::Unlocked, None),
        (LockState::Locked, Some("The doorbell cannot be reached: nobody answers at its channel.")),
    ]
    .into_iter()
    .enumerate()
    {
        let door = model::Door { lock: Some(lock), blocked: blocked.map(str::to_owned) };
        house.vendor.set_state(move |state| state.door = Some(door));
        for (width, scheme) in [(390, "light"), (1280, "dark")] {
            page.look(width, scheme).await;
            page.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches"))
                .await;
            page.value("document.querySelector('.door').scrollIntoView({ block: 'end' })").await;
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("opener_{n}_{width}_{scheme}.png"));
            std::fs::write(&file, page.screenshot().await).unwrap();
            let wide = page.value("document.documentElement.scrollWidth").await.as_u64().unwrap();
            assert!(wide <= width.into(), "{wide} px do not fit into {width}, see {}", file.display());
        }
    }
}

const GARAGE: &str = ".door[data-kind=garage]";

fn garage_note(said: &str) -> String {
    format!("document.querySelector('{GARAGE} .door-note').textContent.startsWith({said:?})")
}

#[tokio::test]
async fn only_a_button_that_is_held_for_a_second_opens_the_garage_and_it_alone() {
    let (browser, lock, garage) = (Browser::launch().await, FakeLock::new("lock_1"), FakeLock::new("garage_1"));
    let house = House::with_doors([(DoorKind::Lock, &lock), (DoorKind::Garage, &garage)], None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    let (open, close) = (format!("{GARAGE} .unlock"), format!("{GARAGE} .relock"));
    page.until(&format!("document.querySelector('{open}').textContent === 'Hold to open'")).await;
    page.mouse("mousePressed", &open).await;
    page.mouse("mouseReleased", &open).await;
    page.until(&garage_note("Keep the button, or the space bar, pressed for a second to open the garage.")).await;
    assert_eq!(garage.acts(), []);
    page.mouse("mousePressed", &open).await;
    garage.until_asked(1).await;
    page.until(&garage_note("Front Door: garage open")).await;
    page.mouse("mouseReleased", &open).await;
    page.until(&format!("document.querySelector('{GARAGE} .lock-word').textContent === 'Garage open'")).await;
    page.mouse("mousePressed", &close).await;
    page.mouse("mouseReleased", &close).await;
    page.until(&garage_note("Front Door: garage closed")).await;
    tally(Figure::UnlocksDone, usize::from(garage.acts() == [LockAction::Unlock, LockAction::Lock]), 1);
    assert_eq!((garage.acts(), lock.acts()), (vec![LockAction::Unlock, LockAction::Lock], vec![]));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_garage_door_is_shown_as_it_stands() {
    let (browser, garage) = (Browser::launch().await, FakeLock::new("garage_1"));
    let house = House::with_doors([(DoorKind::Garage, &garage)], None).await;
    let page = browser.open(&house.url()).await;
    page.until(&format!("!document.querySelector('{GARAGE}').hidden")).await;
    page.until("document.querySelector('.door[data-kind=lock]').hidden").await;
    for (stands, word) in [
        (Some(LockState::Locked), "Garage closed"),
        (Some(LockState::Unlocking), "Garage opening …"),
        (Some(LockState::Unlocked), "Garage open"),
        (Some(LockState::Locking), "Garage closing …"),
        (Some(LockState::Jammed), "Garage stopped half-way"),
        (None, "Not known whether the garage is closed"),
    ] {
        garage.stand(stands, None);
        page.until(&format!("document.querySelector('{GARAGE} .lock-word').textContent === {word:?}")).await;
        let loud = page.value(&format!("!document.querySelector('{GARAGE} .jammed').hidden")).await;
        assert_eq!(loud, stands == Some(LockState::Jammed), "{word}");
    }
}

/// Leaves pictures behind, for somebody to look at.
#[tokio::test]
async fn a_lock_a_garage_door_and_what_keeps_people_from_talking_fit_into_every_window() {
    let (browser, lock, garage) = (Browser::launch().await, FakeLock::new("lock_1"), FakeLock::new("garage_1"));
    let house = House::with_doors([(DoorKind::Lock, &lock), (DoorKind::Garage, &garage)], None).await;
    let mut info = house.doorbell.info().as_ref().clone();
    info.capabilities.extend([Capability::Stream, Capability::Talk]);
    house.doorbell.update(info);
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    for (n, (lock_stands, garage_stands, blocked, obstacle)) in [
        (LockState::Locked, LockState::Locked, None, None),
        (LockState::Unlocked, LockState::Unlocking, None, Some("Talk needs the web key of Vivint's app. Set `vivint[0].firebase_api_key`, then start Doorstep again.")),
        (LockState::Jammed, LockState::Jammed, None, None),
        (LockState::Locked, LockState::Unlocked, Some("Opening is refused for now: the door was opened 3 times within a minute; wait until the minute is over."), None),
    ]
    .into_iter()
    .enumerate()
    {
        lock.stand(Some(lock_stands), None);
        garage.stand(Some(garage_stands), blocked);
        house.vendor.set_state(move |state| state.talk_obstacle = obstacle.map(str::to_owned));
        for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")] {
            page.look(width, scheme).await;
            page.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches"))
                .await;
            page.value(&format!("document.querySelector('{GARAGE}').scrollIntoView({{ block: 'end' }})")).await;
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doors_{n}_{width}_{scheme}.png"));
            std::fs::write(&file, page.screenshot().await).unwrap();
            let wide = page.value("document.documentElement.scrollWidth").await.as_u64().unwrap();
            assert!(wide <= width.into(), "{wide} px do not fit into {width}, see {}", file.display());
        }
    }
}

/// Leaves pictures behind, for somebody to look at.
#[tokio::test]
async fn the_door_and_the_accounts_fit_into_every_window() {
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    shown(&page).await;
    for (n, (stands, blocked, link)) in [
        (LockState::Locked, None, AccountLink::Ready),
        (
            LockState::Unlocked,
            None,
            AccountLink::NeedsCode { why: "Wyze has sent a code to your phone. Type it in.".into() },
        ),
        (
            LockState::Jammed,
            None,
            AccountLink::NeedsAttention {
                why: "Wyze refused the password. Correct `wyze[0].password`, then start Doorstep again.".into(),
            },
        ),
        (
            LockState::Locked,
            Some("It was opened 3 times within a minute. It can be opened again in 40 s."),
            AccountLink::Failing { why: "Wyze does not answer. It is tried again by itself.".into() },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        lock.stand(Some(stands), blocked);
        house.account.stands(Account { link, ..Account::default() });
        for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")] {
            page.look(width, scheme).await;
            page.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches"))
                .await;
            page.value("document.querySelector('.door').scrollIntoView({ block: 'end' })").await;
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("door_{n}_{width}_{scheme}.png"));
            std::fs::write(&file, page.screenshot().await).unwrap();
            let wide = page.value("document.documentElement.scrollWidth").await.as_u64().unwrap();
            assert!(wide <= width.into(), "{wide} px do not fit into {width}, see {}", file.display());
        }
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
