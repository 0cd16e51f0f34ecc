//! The doorbell's node in the database: who calls, and whether they are answered (vivint reference §8).

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::call::{self, Beginning, Remote};
use super::checks::{Check, Checks};
use super::fault::Fault;
use super::signal::{self, Signal};
use super::{Command, Event, Settings};

/// What the node and its call share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    fault: watch::Sender<Option<Fault>>,
    checks: Mutex<Checks>,
    events: broadcast::Sender<Event>,
}

impl Shared {
    pub(super) fn fault(&self) -> Option<Fault> {
        *self.fault.borrow()
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    pub(super) fn note(&self, check: Check, ok: bool) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.note(check, ok);
        while let Some(verdict) = checks.news() {
            let (ok, violations) = (verdict.ok, verdict.violations);
            self.tell(Event::Check { name: verdict.check.name(), ok, violations });
        }
    }

    /// Writes to the node of an app, or of the doorbell itself.
    pub(super) fn put(&self, device: &str, message: Value) {
        self.settings.tree.put(&signal::path(self.settings.system, device), message);
    }
}

pub(super) struct Node {
    shared: Arc<Shared>,
    call: Option<Running>,
    /// Of the call before.
    transaction: String,
}

/// A call in a task of its own.
struct Running {
    app: String,
    /// Full: what the app says is dropped; no app has so many candidates.
    remote: mpsc::Sender<Remote>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    const WAITING: usize = 64;

    fn start(shared: &Arc<Shared>, app: String, beginning: Beginning) -> Self {
        let (remote, said) = mpsc::channel(Self::WAITING);
        let stop = CancellationToken::new();
        let task = tokio::spawn(call::run(shared.clone(), app.clone(), beginning, said, stop.clone()));
        Self { app, remote, stop, task }
    }
}

impl Node {
    pub(super) fn new(settings: Settings, events: broadcast::Sender<Event>) -> Self {
        let fault = watch::Sender::new(settings.fault);
        let shared = Shared { settings, fault, checks: Mutex::default(), events };
        Self { shared: Arc::new(shared), call: None, transaction: String::new() }
    }

    pub(super) async fn run(
        mut self,
        mut watched: mpsc::Receiver<Value>,
        mut inbox: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let _left_over = watched.recv().await;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(command) = inbox.recv() => self.obey(command).await,
                value = watched.recv() => match value {
                    Some(value) => self.take(&value).await,
                    // It had fallen behind.
                    None => watched = self.watch(),
                },
            }
        }
        self.hang_up().await;
    }

    fn watch(&self) -> mpsc::Receiver<Value> {
        let Settings { tree, system, uuid, .. } = &self.shared.settings;
        tree.watch(&signal::path(*system, uuid))
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Fault(fault) => {
                self.shared.fault.send_replace(fault);
                self.shared.tell(Event::Fault { name: fault.map_or("none", Fault::name) });
            }
            Command::Offer { app } => {
                self.hang_up().await;
                self.call = Some(Running::start(&self.shared, app, Beginning::Offer));
            }
            Command::HangUp => self.hang_up().await,
        }
    }

    async fn hang_up(&mut self) {
        if let Some(call) = self.call.take() {
            call.stop.cancel();
            // A panic has been reported where it happened.
            let _ = call.task.await;
        }
    }

    async fn take(&mut self, message: &Value) {
        match Signal::parse(message) {
            Some(Signal::Offer { app, sdp, transaction, sent, video_source }) => {
                self.shared.tell(Event::OfferReceived { app: app.clone() });
                if let Some(why) = self.refusal(&app) {
                    return self.shared.tell(Event::OfferIgnored { app, why });
                }
                self.shared.note(Check::Transaction, transaction != self.transaction && is_random_uuid(&transaction));
                self.shared.note(Check::Timestamp, sent.is_some_and(signal::is_fresh));
                let no_source = video_source.is_null() || video_source["type"] == "nosource";
                self.shared.note(Check::VideoSource, no_source);
                self.transaction.clone_from(&transaction);
                self.hang_up().await;
                self.call = Some(Running::start(&self.shared, app, Beginning::Answer { sdp, transaction }));
            }
            Some(Signal::Answer { app, sdp, transaction }) => self.pass_on(&app, Remote::Answer { sdp, transaction }),
            Some(Signal::Candidate { app, candidate, has_section }) => {
                self.shared.note(Check::Candidate, has_section);
                self.pass_on(&app, Remote::Candidate(candidate));
            }
            None => {}
        }
    }

    /// Why an offer gets no answer. Who calls again has lost the call that there was.
    fn refusal(&self, app: &str) -> Option<&'static str> {
        let busy = |call: &Running| call.app != app && !call.task.is_finished();
        if self.call.as_ref().is_some_and(busy) {
            return Some("busy");
        }
        (self.shared.fault() == Some(Fault::NoAnswer)).then_some("fault")
    }

    fn pass_on(&self, app: &str, remote: Remote) {
        if let Some(call) = self.call.as_ref().filter(|call| call.app == app) {
            let _full_or_over = call.remote.try_send(remote);
        }
    }
}

/// Version 4, in its usual spelling.
fn is_random_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => byte == b'4',
        19 => b"89abAB".contains(&byte),
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_uuid_is_known() {
        assert!(is_random_uuid("c9f95f59-c84e-4dd0-a4a1-3ba262140383"));
        for text in [
            "",
            "c9f95f59-c84e-1dd0-a4a1-3ba262140383",
            "c9f95f59-c84e-4dd0-74a1-3ba262140383",
            "é".repeat(18).as_str(),
        ] {
            assert!(!is_random_uuid(text), "{text}");
        }
    }
}
