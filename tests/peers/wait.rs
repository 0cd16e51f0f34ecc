//! Waiting for conditions.

use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

/// How long anything on loopback may take. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"));
}

/// Waits until a simulator tells of it.
pub(crate) async fn happens<E: Clone + Debug>(
    events: &mut broadcast::Receiver<E>,
    what: &str,
    is_it: impl Fn(&E) -> bool,
) -> E {
    let mut others = Vec::new();
    let wait = async {
        loop {
            let event = events.recv().await.unwrap();
            if is_it(&event) {
                return event;
            }
            others.push(event);
        }
    };
    let happened = timeout(PATIENCE, wait).await;
    happened.unwrap_or_else(|_| panic!("nothing is told of {what}, only {others:#?}"))
}
