//! Keeps a device alive: one life after another, as its errors advise (ARCHITECTURE.md §9, Supervision).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Shared;
use super::vendor::{DevicePort, Request, Retry, Vendor, VendorError};
use crate::clock;
use crate::model::{Event, Link, State};
use crate::net::supervise::{Backoff, jitter};

/// A talk at a time is opened, so a second request finds the first one unread only in a device that hangs.
/// Full: the talk is refused.
const REQUESTS: usize = 4;
/// Full: the device waits. The receiver is emptied at once, so it hardly ever is.
const EVENTS: usize = 32;
/// A life that lasted this long was a good one, whatever ended it.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// What a server may ask for with Retry-After and get.
const RETRY_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// How long a device on the LAN is waited for at most, so that it is found within 20 s of its return.
const NEARBY: Duration = Duration::from_secs(10);
/// How long a device may take to say farewell to its camera; the whole process has 5 s.
const FAREWELL: Duration = Duration::from_secs(3);

type Requests = watch::Sender<Option<mpsc::Sender<Request>>>;

/// Lives of the device until `stop` is cancelled. `requests` always leads to the present one.
pub(super) async fn run(vendor: Arc<dyn Vendor>, shared: Arc<Shared>, requests: Requests, stop: CancellationToken) {
    let mut lives = Lives { shared, backoff: Backoff::default(), login_failed: false, failure: None };
    loop {
        let begun = clock::now();
        let end = lives.live(vendor.clone(), &requests, &stop).await;
        if stop.is_cancelled() {
            return lives.shared.between_lives(Link::Offline, None);
        }
        let wait = lives.after(end, begun.elapsed());
        tokio::select! {
            biased;
            () = stop.cancelled() => return lives.shared.between_lives(Link::Offline, None),
            () = sleep(wait) => {}
        }
    }
}

/// What is remembered from one life to the next.
struct Lives {
    shared: Arc<Shared>,
    backoff: Backoff,
    /// A second refused login in a row might lock the account.
    login_failed: bool,
    /// The failure that was logged last and is not over yet.
    failure: Option<String>,
}

type End = Result<Result<(), VendorError>, JoinError>;

/// When to live again.
enum Next {
    In(Duration),
    /// Not before the owner has changed something and restarted the service.
    Never,
}

impl Lives {
    async fn live(&mut self, vendor: Arc<dyn Vendor>, requests: &Requests, stop: &CancellationToken) -> End {
        let (port, request_sender, mut events) = self.port();
        let device_stop = stop.clone();
        let device = async move { vendor.run_device(port, device_stop).await };
        let mut life = AbortOnDropHandle::new(tokio::spawn(device.in_current_span()));
        requests.send_replace(Some(request_sender));
        let works = works(self.shared.state.subscribe());
        let overdue = overdue(stop);
        tokio::pin!(works, overdue);
        let end = loop {
            tokio::select! {
                Some(event) = events.recv() => self.shared.tell(event),
                end = &mut life => break end,
                () = &mut works, if self.failure.is_some() => self.recovered(),
                () = &mut overdue => {
                    tracing::warn!("the device did not stop in time and was cut off");
                    break Ok(Ok(()));
                }
            }
        };
        requests.send_replace(None);
        while let Ok(event) = events.try_recv() {
            self.shared.tell(event);
        }
        self.shared.media.reset();
        end
    }

    fn port(&self) -> (DevicePort, mpsc::Sender<Request>, mpsc::Receiver<Event>) {
        let (request_sender, requests) = mpsc::channel(REQUESTS);
        let (events, event_receiver) = mpsc::channel(EVENTS);
        let Shared { info, state, media, .. } = &*self.shared;
        let port =
            DevicePort { info: info.borrow().clone(), requests, state: state.clone(), events, media: media.clone() };
        (port, request_sender, event_receiver)
    }

    /// Says what became of the device, and when to try again.
    fn after(&mut self, end: End, lived: Duration) -> Next {
        if lived >= HEALTHY_AFTER {
            self.login_failed = false;
        }
        match end {
            Ok(Ok(())) => {
                self.shared.between_lives(Link::Offline, None);
                Next::In(self.backoff.next(lived, jitter()))
            }
            Ok(Err(error)) => self.after_error(&error, lived),
            Err(panic) => {
                let wait = self.backoff.next(lived, jitter());
                let what = "An internal error, which the log describes. It is being tried again.";
                if self.is_new(what) {
                    tracing::error!(%panic, retry_in_s = wait.as_secs_f32(), "the device task failed; this is a bug");
                }
                self.shared.between_lives(Link::Offline, Some(what));
                Next::In(wait)
            }
        }
    }

    fn after_error(&mut self, error: &VendorError, lived: Duration) -> Next {
        let wait = match error.retry {
            Retry::Backoff => self.backoff.next(lived, jitter()),
            Retry::Nearby => self.backoff.next(lived, jitter()).min(NEARBY),
            Retry::After(wait) => wait.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end()),
            Retry::Reauthenticate if !self.login_failed => {
                self.login_failed = true;
                self.backoff.next(lived, jitter())
            }
            Retry::Reauthenticate | Retry::WaitForUser => return self.wait_for_user(error),
        };
        if self.is_new(&error.what) {
            let cause = error.source.as_ref().map(tracing::field::display);
            tracing::warn!(why = error.what, cause, retry_in_s = wait.as_secs_f32(), "the doorbell failed");
        }
        self.shared.between_lives(Link::Offline, Some(&error.what));
        Next::In(wait)
    }

    /// Whether a failure begins, or its reason has changed: only then it is worth a line.
    fn is_new(&mut self, what: &str) -> bool {
        let known = self.failure.as_deref() == Some(what);
        self.failure = Some(what.to_owned());
        !known
    }

    fn wait_for_user(&self, error: &VendorError) -> Next {
        tracing::error!(why = error.what, "the doorbell needs its owner and is not tried again before a restart");
        self.shared.between_lives(Link::NeedsAttention { why: error.what.clone() }, Some(&error.what));
        Next::Never
    }

    fn recovered(&mut self) {
        let over = self.failure.take();
        // What the device itself has said since then stands.
        self.shared.state.send_if_modified(|state| {
            let ours = state.last_error == over;
            state.last_error.take_if(|_| ours).is_some()
        });
        tracing::info!("the doorbell works again");
    }
}

impl Shared {
    /// Keeps the state honest while no device does. Without an error the last one stands.
    fn between_lives(&self, link: Link, error: Option<&str>) {
        self.state.send_modify(|state| {
            state.link = link;
            state.transport = None;
            if let Some(error) = error {
                state.last_error = Some(error.to_owned());
            }
        });
    }
}

/// Resolves when the present life can be called a success. "Ready" alone says too little: nobody has tried.
async fn works(mut state: watch::Receiver<State>) {
    let streams = state.wait_for(|state| state.link == Link::Streaming);
    let _either = tokio::time::timeout(HEALTHY_AFTER, streams).await;
}

async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

async fn sleep(next: Next) {
    match next {
        Next::In(wait) => tokio::time::sleep(wait).await,
        Next::Never => std::future::pending().await,
    }
}
