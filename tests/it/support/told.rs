//! Waiting for what a simulator tells. Used by both test binaries.

use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::timeout;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// The next event that `choose` takes something of; what comes before is passed over.
pub(crate) async fn first<E: Clone + Debug, T>(
    events: &mut broadcast::Receiver<E>,
    what: &str,
    choose: impl Fn(&E) -> Option<T>,
) -> T {
    let mut others = Vec::new();
    let search = async {
        loop {
            let event = events.recv().await.unwrap();
            if let Some(chosen) = choose(&event) {
                return chosen;
            }
            others.push(event);
        }
    };
    let found = timeout(PATIENCE, search).await;
    found.unwrap_or_else(|_| panic!("nothing is told of {what}, only {others:#?}"))
}

/// The next event like this.
pub(crate) async fn happens<E: Clone + Debug>(
    events: &mut broadcast::Receiver<E>,
    what: &str,
    is_it: impl Fn(&E) -> bool,
) -> E {
    first(events, what, |event| is_it(event).then(|| event.clone())).await
}
