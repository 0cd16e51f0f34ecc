//! What the log says of the connection to the broker.

use std::collections::BTreeMap;
use std::time::Duration;

use super::backoff::Failure;
use crate::clock::{self, Instant};

/// Says when trouble begins, when its reason changes and when it is over; not each time, and no reason more
/// than once a minute.
#[derive(Default)]
pub(super) struct Complaint {
    /// What the owner can do about a refused login.
    remedy: &'static str,
    /// When each reason was last told: in this trouble, or less than a minute before it.
    told: BTreeMap<String, Instant>,
    /// Whether there was a connection since the last trouble.
    settled: bool,
    /// Whether what was told last is that there is no connection.
    open: Option<bool>,
}

impl Complaint {
    const SILENT_FOR: Duration = Duration::from_secs(60);

    pub(super) fn new(remedy: &'static str) -> Self {
        Self { remedy, ..Self::default() }
    }

    /// There is no connection for `reason`; the next attempt is in `wait`.
    pub(super) fn about(&mut self, failure: Failure, reason: String, wait: Duration) {
        let retry_in_s = wait.as_secs_f32();
        if std::mem::take(&mut self.settled) {
            self.told.retain(|_, told| told.elapsed() < Self::SILENT_FOR);
        }
        if self.told.contains_key(&reason) {
            tracing::debug!(reason, retry_in_s, "no connection to the MQTT broker");
            return;
        }
        match failure {
            Failure::Login => tracing::error!(
                "the MQTT broker refuses our user name or password; {}. Trying again once or twice a minute",
                self.remedy
            ),
            Failure::Absent | Failure::Unnamed | Failure::Dropped => {
                tracing::warn!(reason, retry_in_s, "no connection to the MQTT broker");
            }
        }
        self.told.insert(reason, clock::now());
        self.open = Some(true);
    }

    /// A connection is up.
    pub(super) fn settle(&mut self) {
        self.settled = true;
        if self.open.replace(false) != Some(false) {
            tracing::info!("connected to the MQTT broker");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What is logged at `info` and above meanwhile, a line each.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
                std::io::Write::write(&mut *self.0.lock().unwrap(), line)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        tracing::subscriber::with_default(log.with_writer(move || writer.clone()).finish(), work);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_when_it_begins_changes_and_ends() {
        let mut complaint = Complaint::default();
        let mut fails = |failure, reason: &str| logged(|| complaint.about(failure, reason.to_owned(), Duration::ZERO));
        assert_eq!(
            fails(Failure::Absent, "refused"),
            [r#"WARN no connection to the MQTT broker reason="refused" retry_in_s=0.0"#]
        );
        assert_eq!(fails(Failure::Absent, "refused"), [""; 0]);
        let login = fails(Failure::Login, "password");
        assert!(login.len() == 1 && login.iter().all(|line| line.starts_with("ERROR")), "{login:?}");
        assert_eq!(fails(Failure::Login, "password"), [""; 0]);
        assert_eq!(logged(|| complaint.settle()), ["INFO connected to the MQTT broker"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_flaps_is_told_once_a_minute() {
        let mut complaint = Complaint::default();
        let mut flaps = || {
            logged(|| {
                complaint.about(Failure::Dropped, "cut".to_owned(), Duration::ZERO);
                complaint.settle();
            })
        };
        assert_eq!(flaps().len(), 2, "down and up");
        assert_eq!(flaps(), [""; 0]);
        tokio::time::advance(Complaint::SILENT_FOR).await;
        assert_eq!(flaps().len(), 2, "a minute later");
    }
}
