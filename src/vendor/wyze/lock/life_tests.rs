//! A lock's life over a lock without a cloud, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::net::http::HttpError;

/// A bolt that follows a script.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    /// What it says of itself, one at a time; the last one for good.
    readings: VecDeque<Result<Reading, CloudError>>,
    reads: u32,
    commands: Vec<LockAction>,
    answer: Option<CloudError>,
    not_now: bool,
    jams: bool,
}

impl Scripted {
    fn says(bolts: &[LockState]) -> Self {
        let readings = bolts.iter().map(|bolt| Ok(Reading { online: true, bolt: Some(*bolt) })).collect();
        Self(Arc::new(Mutex::new(Script { readings, ..Script::default() })))
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

impl Bolt for Scripted {
    fn prepare(
        &self,
        action: LockAction,
        _: Duration,
    ) -> Result<impl Future<Output = Result<(), CloudError>> + Send, CloudError> {
        if self.script().not_now {
            return Err(CloudError::Renewing);
        }
        Ok(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.script().commands.push(action);
            self.script().answer.clone().map_or(Ok(()), Err)
        })
    }

    async fn read(&self) -> Result<Reading, CloudError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut script = self.script();
        script.reads += 1;
        match script.readings.len() {
            0 | 1 => script.readings.front().cloned().unwrap(),
            _ => script.readings.pop_front().unwrap(),
        }
    }

    async fn has_jammed(&self, _: SystemTime) -> Result<bool, CloudError> {
        Ok(self.script().jams)
    }

    fn time(&self) -> SystemTime {
        clock::unix_now()
    }
}

/// Leave to unlock that is still good, or no longer.
struct Unlock {
    stale: bool,
}

impl Word for Unlock {
    fn action(&self) -> LockAction {
        LockAction::Unlock
    }

    fn spend(self) -> Result<LockAction, ActionError> {
        match self.stale {
            true => Err(ActionError::Refused { why: "It had waited too long.".to_owned() }),
            false => Ok(LockAction::Unlock),
        }
    }
}

struct Watched {
    life: Life<Scripted>,
    shown: watch::Receiver<State>,
    bolt: Scripted,
}

fn life(bolt: &Scripted) -> Watched {
    let state = watch::Sender::new(State::default());
    let shown = state.subscribe();
    Watched { life: Life { bolt: bolt.clone(), state, jammed_at: None }, shown, bolt: bolt.clone() }
}

impl Watched {
    /// What comes of one attempt, what was shown meanwhile, and how long the answer took.
    async fn unlock(&mut self, stale: bool) -> (Result<LockState, ActionError>, Vec<LockState>, Duration) {
        let (reply, mut answer) = oneshot::channel();
        let (mut seen, mut answered) = (Vec::new(), None);
        let (asked, mut shown) = (clock::now(), self.shown.clone());
        shown.mark_unchanged();
        let work = self.life.work(Unlock { stale }, reply);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                Ok(()) = shown.changed() => {
                    let door = shown.borrow_and_update().door.clone().unwrap();
                    seen.extend(door.lock);
                }
                outcome = &mut answer, if answered.is_none() => answered = Some((outcome.unwrap(), asked.elapsed())),
                () = &mut work => break,
            }
        }
        seen.extend(shown.has_changed().unwrap().then(|| shown.borrow().door.clone().unwrap().lock).flatten());
        let (outcome, took) = answered.unwrap_or_else(|| (answer.try_recv().unwrap(), asked.elapsed()));
        (outcome, seen, took)
    }

    fn lock(&self) -> Option<LockState> {
        self.shown.borrow().door.clone().and_then(|door| door.lock)
    }

    fn commands(&self) -> usize {
        self.bolt.script().commands.len()
    }
}

use LockState::{Jammed, Locked, Unlocked, Unlocking};

#[tokio::test(start_paused = true)]
async fn a_door_is_open_when_the_lock_says_so_and_not_before() {
    let mut lock = life(&Scripted::says(&[Locked, Locked, Unlocked]));
    let (outcome, seen, took) = lock.unlock(false).await;
    assert_eq!((outcome, seen), (Ok(Unlocked), vec![Unlocking, Unlocked]));
    assert_eq!(lock.commands(), 1);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_does_not_move_is_shown_as_it_stands() {
    let mut lock = life(&Scripted::says(&[Locked]));
    let (outcome, seen, took) = lock.unlock(false).await;
    assert_eq!((outcome, seen), (Err(ActionError::Timeout), vec![Unlocking, Locked]));
    assert_eq!(lock.commands(), 1);
    assert!(took > Duration::from_secs(14) && took <= ANSWER, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_jammed_lock_says_so_until_it_has_moved() {
    let bolt = Scripted::says(&[Locked]);
    bolt.script().jams = true;
    let mut lock = life(&bolt);
    let (outcome, seen, _) = lock.unlock(false).await;
    assert_eq!((outcome, seen), (Ok(Jammed), vec![Unlocking, Jammed]));
    for (said, shown) in [(Some(Locked), Jammed), (None, Jammed), (Some(Unlocked), Unlocked), (Some(Locked), Locked)] {
        lock.life.take(Ok(Reading { online: true, bolt: said })).unwrap();
        assert_eq!(lock.lock(), Some(shown), "after {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_without_an_answer_is_not_repeated_and_the_truth_comes_out() {
    for lost in [
        CloudError::Http(HttpError::TimedOut { host: "cloud".to_owned() }),
        CloudError::Http(HttpError::BrokenOff { host: "cloud".to_owned(), why: "reset".to_owned() }),
        CloudError::Trouble("HTTP 502".to_owned()),
    ] {
        let bolt = Scripted::says(&[Locked, Locked, Locked, Unlocked]);
        bolt.script().answer = Some(lost);
        let mut lock = life(&bolt);
        let (outcome, seen, took) = lock.unlock(false).await;
        assert_eq!((outcome, seen), (Err(ActionError::Timeout), vec![Unlocking, Unlocked]));
        assert_eq!(lock.commands(), 1);
        assert!(took < Duration::from_secs(1), "the answer waited for the truth: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_leaves_the_lock_as_it_was_shown() {
    for refusal in [CloudError::TokenRefused, CloudError::DeviceOffline, CloudError::Misunderstood("1001".to_owned())] {
        let bolt = Scripted::says(&[Locked]);
        bolt.script().answer = Some(refusal.clone());
        let mut lock = life(&bolt);
        lock.life.take(Ok(Reading { online: true, bolt: Some(Locked) })).unwrap();
        let (outcome, seen, _) = lock.unlock(false).await;
        assert_eq!((outcome.is_err(), seen), (true, vec![Unlocking, Locked]), "{refusal}");
        assert_eq!(lock.commands(), 1, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_login_is_being_renewed_or_when_the_wish_is_old() {
    let bolt = Scripted::says(&[Locked]);
    let mut lock = life(&bolt);
    assert!(matches!(lock.unlock(true).await.0, Err(ActionError::Refused { .. })));
    bolt.script().not_now = true;
    assert!(matches!(lock.unlock(false).await.0, Err(ActionError::Refused { .. })));
    assert_eq!((lock.commands(), lock.lock()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_for_somebody_who_has_given_up() {
    let mut lock = life(&Scripted::says(&[Locked]));
    let (reply, answer) = oneshot::channel();
    drop(answer);
    lock.life.work(Unlock { stale: false }, reply).await;
    assert_eq!(lock.commands(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_cloud_remembers_of_a_lock_that_is_offline_proves_nothing() {
    let bolt = Scripted::default();
    bolt.script().readings = [Ok(Reading { online: false, bolt: Some(Unlocked) })].into();
    let mut lock = life(&bolt);
    let (outcome, seen, _) = lock.unlock(false).await;
    assert_eq!((outcome, seen), (Err(ActionError::Timeout), vec![Unlocking]));
    assert_eq!(lock.lock(), None);
}

#[tokio::test(start_paused = true)]
async fn errors_on_the_way_do_not_end_the_watch_on_a_moving_lock() {
    let bolt = Scripted::says(&[Locked]);
    bolt.script().readings.push_back(Err(CloudError::Trouble("HTTP 500".to_owned())));
    bolt.script().readings.push_back(Ok(Reading { online: true, bolt: Some(Unlocked) }));
    assert_eq!(life(&bolt).unlock(false).await.0, Ok(Unlocked));
}

#[tokio::test(start_paused = true)]
async fn a_lock_at_rest_is_asked_once_a_minute_and_is_unknown_when_it_cannot_be() {
    let bolt = Scripted::says(&[Locked]);
    let Watched { life, shown, .. } = life(&bolt);
    let (asking, requests) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let living = tokio::spawn(async move { life.run(requests, &stop).await });
    tokio::time::sleep(Duration::from_secs(310)).await;
    assert_eq!(bolt.script().reads, 6);
    assert_eq!(shown.borrow().link, Link::Ready);
    assert_eq!(shown.borrow().door, Some(Door { lock: Some(Locked), blocked: None }));

    bolt.script().readings = [Err(CloudError::DeviceOffline)].into();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(shown.borrow().link, Link::Offline);
    assert_eq!(shown.borrow().door, Some(Door::default()));

    let trouble = CloudError::Trouble("HTTP 500".to_owned());
    bolt.script().readings = [Err(trouble.clone())].into();
    assert_eq!(living.await.unwrap(), Err(trouble));
    drop(asking);
}
