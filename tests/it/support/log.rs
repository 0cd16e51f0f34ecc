//! What is logged while a test looks.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Level;
use tracing::subscriber::DefaultGuard;

/// What this test's thread logs; a service that it starts runs on it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Of this level and above, until the guard is dropped.
    pub(crate) fn capture(level: Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
        (log, tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// How many lines of this level say it.
    pub(crate) fn count(&self, level: &str, what: &str) -> usize {
        self.text().lines().filter(|line| line.contains(level) && line.contains(what)).count()
    }

    /// The lines an owner would look for.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).collect()
    }

    /// Of what was captured at trace level.
    pub(crate) fn holds_none_of(&self, secrets: &[&str]) {
        let text = self.text();
        assert!(text.contains("TRACE"), "nothing was logged at trace level");
        for secret in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "a secret in the log: {line:?}");
        }
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
