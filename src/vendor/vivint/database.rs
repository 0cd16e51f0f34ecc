//! A panel's signalling database: one connection that is kept for as long as somebody has a handle, so that a call
//! need not wait for it (vivint reference §7, §8).

mod keeper;
mod socket;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::firebase::Firebase;
use crate::proto::vivint::database::Path;
use crate::proto::vivint::database::session::{Refusal, WriteError};
use keeper::{Command, Keeper};

/// How the connection stands. `why` is whole sentences for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseStatus {
    /// For the first time, or since [`Database::ready`] asked after a refusal.
    Connecting,
    Ready {
        /// Whom the database takes us for.
        uid: String,
    },
    /// It is being tried again.
    Failing { why: String },
    /// It is tried again when [`Database::ready`] asks for it, and not too soon.
    Refused { why: String },
}

/// Every one is whole sentences for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    #[error("There is no connection to Vivint's signalling database. It is being opened; try again in a moment.")]
    NotConnected,
    /// What was to be written may have been written.
    #[error("The connection to Vivint's signalling database broke. It is being opened again; try again in a moment.")]
    Lost,
    #[error("Too much is being asked of Vivint's signalling database at once. Try again in a moment.")]
    Busy,
    #[error("Vivint's signalling database refused a request ({0}).")]
    Refused(Refusal),
    #[error("{why}")]
    Unavailable { why: String },
    /// A name in it is longer, or it is deeper, than the database allows.
    #[error("Vivint's signalling database cannot hold what is to be written there.")]
    NoSuchPlace,
    #[error("Doorstep no longer uses Vivint's signalling database: it is stopping.")]
    Stopped,
}

impl From<WriteError> for DatabaseError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotConnected => Self::NotConnected,
            WriteError::Lost => Self::Lost,
            WriteError::Busy => Self::Busy,
            WriteError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// A handle on a panel's database. The connection is closed when the last one is dropped, or at `stop`.
#[derive(Clone)]
pub struct Database {
    /// Full: whoever asks waits; the keeper takes them at once.
    commands: mpsc::Sender<Command>,
    /// Told when a listener is dropped.
    dropped: Arc<Notify>,
    status: watch::Receiver<DatabaseStatus>,
    connection: watch::Receiver<u64>,
}

impl Database {
    const COMMANDS: usize = 16;
    /// Values that a listener has not taken yet. Full: the listener is ended, because in signalling the lack of one
    /// value is worse than a call that has to be placed again.
    const VALUES: usize = 64;

    /// Connects and authenticates in a task of its own, again and again until `stop`.
    pub fn start(firebase: Firebase, panel: i64, stop: CancellationToken) -> Self {
        let (commands, asked) = mpsc::channel(Self::COMMANDS);
        let dropped = Arc::new(Notify::new());
        let (status_sender, status) = watch::channel(DatabaseStatus::Connecting);
        let (connection_sender, connection) = watch::channel(0);
        let told = (status_sender, connection_sender);
        let keeper = Keeper::new((firebase, panel), stop, asked, dropped.clone(), told);
        tokio::spawn(keeper.run().in_current_span());
        Self { commands, dropped, status, connection }
    }

    pub fn status(&self) -> watch::Receiver<DatabaseStatus> {
        self.status.clone()
    }

    /// Counts connections, from 1: a call that was placed on an earlier one is over.
    pub fn connection(&self) -> watch::Receiver<u64> {
        self.connection.clone()
    }

    /// Waits until the database takes requests, and gives whom it takes us for. Put a time-out around it: while
    /// tries fail it goes on waiting, and [`Database::status`] says why.
    ///
    /// # Errors
    /// `Unavailable` after a refusal that is too fresh to try again; `Stopped`.
    pub async fn ready(&self) -> Result<String, DatabaseError> {
        let mut status = self.status.clone();
        loop {
            let now = status.borrow_and_update().clone();
            match now {
                DatabaseStatus::Ready { uid } => return Ok(uid),
                DatabaseStatus::Refused { .. } => self.ask(|reply| Command::TryAgain { reply }).await?,
                DatabaseStatus::Connecting | DatabaseStatus::Failing { .. } => {}
            }
            status.changed().await.map_err(|_| DatabaseError::Stopped)?;
        }
    }

    /// Waits until the server has agreed to tell of `path`, then and after every reconnect. Dropping the listener
    /// ends it. Put a time-out around it: without a connection it waits for one.
    ///
    /// # Errors
    /// `Refused`, `Unavailable`, `NoSuchPlace`, `Stopped`.
    pub async fn listen(&self, path: String) -> Result<Listener, DatabaseError> {
        let path = Path::parse(&path).ok_or(DatabaseError::NoSuchPlace)?;
        let (sender, values) = mpsc::channel(Self::VALUES);
        let listener = Listener { values, dropped: self.dropped.clone() };
        self.ask(|agreed| Command::Listen { path, values: sender, agreed }).await?;
        Ok(listener)
    }

    /// Overwrites what is at `path`; null deletes it. Returns when the server has done it. Never repeated after a
    /// reconnect: in signalling whoever it was for has moved on.
    ///
    /// # Errors
    /// `NotConnected`, `Lost`, `Busy`, `Refused`, `Unavailable`, `NoSuchPlace`, `Stopped`.
    pub async fn put(&self, path: &str, value: &Value) -> Result<(), DatabaseError> {
        self.write(path, value, false).await
    }

    /// Has the server write when this connection is over, and once it has agreed, every later one too.
    ///
    /// # Errors
    /// As those of `put`.
    pub async fn put_on_disconnect(&self, path: &str, value: &Value) -> Result<(), DatabaseError> {
        self.write(path, value, true).await
    }

    async fn write(&self, path: &str, value: &Value, on_disconnect: bool) -> Result<(), DatabaseError> {
        let path = Path::parse(path).ok_or(DatabaseError::NoSuchPlace)?;
        let value = value.clone();
        self.ask(|reply| Command::Write { path, value, on_disconnect, reply }).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), DatabaseError>>) -> Command,
    ) -> Result<(), DatabaseError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| DatabaseError::Stopped)?;
        answer.await.unwrap_or(Err(DatabaseError::Stopped))
    }
}

/// What happens at one place. It does not keep the connection: a [`Database`] does.
pub struct Listener {
    values: mpsc::Receiver<Value>,
    dropped: Arc<Notify>,
}

impl Listener {
    /// The next complete value: first the present one, null too, then each that differs from the one before, our own
    /// writes among them. `None` when the permission was lost, the reader too slow or the database stopped. May be
    /// cancelled.
    pub async fn next(&mut self) -> Option<Value> {
        self.values.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.values.close();
        self.dropped.notify_one();
    }
}
