//! Waiting for conditions.

use std::time::Duration;

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
