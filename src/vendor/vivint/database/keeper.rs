//! The task that keeps a database connected.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::socket::{Place, Socket};
use super::{DatabaseError, DatabaseStatus};
use crate::clock::{self, Instant};
use crate::doorbell::vendor::{BoxFuture, Retry};
use crate::net::supervise::{Backoff, jitter};
use crate::proto::vivint::database::session::{Event, Output, SessionError, WriteId};
use crate::proto::vivint::database::{Path, Session};
use crate::secret::Token;
use crate::vendor::vivint::firebase::{Access, Firebase, FirebaseError};

type Reply = oneshot::Sender<Result<(), DatabaseError>>;

/// What a handle asks for.
pub(super) enum Command {
    Listen {
        path: Path,
        values: mpsc::Sender<Value>,
        agreed: Reply,
    },
    Write {
        path: Path,
        value: Value,
        on_disconnect: bool,
        reply: Reply,
    },
    /// After a refusal.
    TryAgain {
        reply: Reply,
    },
}

/// Why a connection is over, or there is none. `why` is whole sentences.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    Redirected {
        host: String,
    },
    /// Tried again after `wait`, or as is usual.
    Failed {
        why: String,
        wait: Option<Duration>,
    },
    /// Tried again when somebody asks for it.
    Refused {
        why: String,
    },
}

impl End {
    fn broke(why: impl std::fmt::Display) -> Self {
        let why = format!("Vivint's signalling database cannot be used: {why}. It is being tried again.");
        Self::Failed { why, wait: None }
    }
}

impl From<FirebaseError> for End {
    fn from(error: FirebaseError) -> Self {
        let why = error.to_string();
        match (error.retry(), error) {
            (Retry::Backoff | Retry::Nearby, _) => Self::Failed { why, wait: None },
            (Retry::After(wait), _) => Self::Failed { why, wait: Some(wait) },
            // What the account waits for, such as a code, can come at any time.
            (_, FirebaseError::Account { .. }) => Self::Failed { why, wait: Some(Keeper::PAUSE) },
            (Retry::Reauthenticate | Retry::WaitForUser, _) => Self::Refused { why },
        }
    }
}

impl From<SessionError> for End {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Shutdown { .. } => Self::Refused {
                why: format!("Vivint's signalling database cannot be used: {error}. It is tried again by talking."),
            },
            error => Self::broke(error),
        }
    }
}

struct Subscriber {
    values: mpsc::Sender<Value>,
    /// Until the server has agreed.
    agreed: Option<Reply>,
}

/// What the last hello said.
#[derive(Default)]
struct Last {
    /// Where to connect to.
    host: Option<String>,
    session: Option<String>,
}

pub(super) struct Keeper {
    firebase: Firebase,
    panel: i64,
    stop: CancellationToken,
    commands: mpsc::Receiver<Command>,
    dropped: Arc<Notify>,
    status: watch::Sender<DatabaseStatus>,
    connection: watch::Sender<u64>,
    session: Session,
    subscribers: BTreeMap<Path, Vec<Subscriber>>,
    writes: HashMap<WriteId, Reply>,
    last: Last,
    /// The last token that the database was given.
    offered: Option<Token>,
    /// Whether it was refused.
    is_refused: bool,
    /// Whether the database has taken a token on this connection.
    authenticated: bool,
}

impl Keeper {
    /// Between tries: a doorbell should not be out of reach for longer.
    const LONGEST_WAIT: Duration = Duration::from_secs(30);
    /// Before a refusal is tried again.
    const PAUSE: Duration = Duration::from_secs(60);
    const OPEN_WITHIN: Duration = Duration::from_secs(10);
    /// At a host that a server has named. There is still the first one.
    const OPEN_ELSEWHERE_WITHIN: Duration = Duration::from_secs(2);
    /// How many hosts are tried without a pause.
    const MAX_HOSTS: usize = 6;

    pub(super) fn new(
        (firebase, panel): (Firebase, i64),
        stop: CancellationToken,
        commands: mpsc::Receiver<Command>,
        dropped: Arc<Notify>,
        (status, connection): (watch::Sender<DatabaseStatus>, watch::Sender<u64>),
    ) -> Self {
        Self {
            firebase,
            panel,
            stop,
            commands,
            dropped,
            status,
            connection,
            session: Session::new(clock::now().into_std()),
            subscribers: BTreeMap::new(),
            writes: HashMap::new(),
            last: Last::default(),
            offered: None,
            is_refused: false,
            authenticated: false,
        }
    }

    /// Connects again and again until nobody has a handle, or it is stopped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let began = clock::now();
            let end = self.live().await;
            self.session.on_close();
            self.tell_of_events();
            let goes_on = match end {
                End::Unwanted => return,
                End::Redirected { .. } => Some(()),
                End::Refused { why } => self.wait_to_be_asked(why).await,
                End::Failed { why, wait } => {
                    let usual = backoff.next(began.elapsed(), jitter()).min(Self::LONGEST_WAIT);
                    self.fail(why);
                    self.meanwhile(sleep(wait.unwrap_or(usual))).await
                }
            };
            if goes_on.is_none() {
                return;
            }
        }
    }

    /// One connection, and those to which it is redirected.
    async fn live(&mut self) -> End {
        let refused = std::mem::take(&mut self.is_refused);
        let access = self.new_access(refused);
        let access = match self.meanwhile(access).await {
            None => return End::Unwanted,
            Some(Err(error)) => return error.into(),
            Some(Ok(access)) => access,
        };
        let Some(place) = Place::of(&access.database) else { return End::broke("its address is not one") };
        let mut elsewhere = self.last.host.take();
        for _ in 0..Self::MAX_HOSTS {
            let socket = match self.open(&place, elsewhere.take()).await {
                None => return End::Unwanted,
                Some(Err(end)) => return end,
                Some(Ok(None)) => continue,
                Some(Ok(Some(socket))) => socket,
            };
            match self.serve(socket, &access).await {
                End::Redirected { host } => elsewhere = Some(host),
                end => return end,
            }
        }
        End::broke("it sends from one host to the next")
    }

    /// A WebSocket at the host that a server has named, or else at the first one. `Some(Ok(None))`: the named one is
    /// out of reach.
    async fn open(&mut self, place: &Place, elsewhere: Option<String>) -> Option<Result<Option<Socket>, End>> {
        let within = if elsewhere.is_some() { Self::OPEN_ELSEWHERE_WITHIN } else { Self::OPEN_WITHIN };
        let host = elsewhere.as_deref().unwrap_or(&place.host);
        let last = self.last.session.clone().filter(|session| !session.is_empty());
        let opened = self.meanwhile(Socket::open(place, host, last.as_deref(), within)).await?;
        Some(match (opened, &elsewhere) {
            (Ok(socket), _) => Ok(Some(socket)),
            (Err(why), Some(_)) => {
                tracing::debug!(why, "the host that the database has named is out of reach");
                Ok(None)
            }
            (Err(why), None) => Err(End::broke(why)),
        })
    }

    async fn serve(&mut self, mut socket: Socket, access: &Access) -> End {
        self.authenticated = false;
        self.offered = Some(access.id_token.clone());
        self.session.on_open(now(), access.id_token.expose().to_owned());
        let Err(end) = self.talk(&mut socket, access).await;
        self.session.on_close();
        if let End::Unwanted | End::Redirected { .. } | End::Refused { .. } = end {
            socket.close().await;
        }
        end
    }

    async fn talk(&mut self, socket: &mut Socket, access: &Access) -> Result<Infallible, End> {
        let mut renew_at = access.renew_at;
        let mut renewing: Option<BoxFuture<'static, Result<Access, FirebaseError>>> = None;
        let mut wanted: Option<Instant> = None;
        loop {
            if self.say(socket, &access.uid).await? {
                // Each new one costs a login at Vivint and at Google.
                if wanted.replace(clock::now()).is_some_and(|before| before.elapsed() < Self::PAUSE) {
                    return Err(End::broke("it revokes one token after the other"));
                }
                renewing = Some(Box::pin(self.new_access(true)));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(End::Unwanted),
                () = until(self.session.deadline()) => self.session.on_timeout(now())?,
                command = self.commands.recv() => self.obey(command.ok_or(End::Unwanted)?),
                () = self.dropped.notified() => self.sweep(),
                renewed = async { match &mut renewing { Some(renewing) => renewing.await, None => pending().await } } => {
                    renewing = None;
                    renew_at = self.offer(renewed)?;
                }
                () = sleep_until(renew_at), if renewing.is_none() => renewing = Some(Box::pin(self.new_access(false))),
                frame = socket.next() => self.hear(&frame.map_err(End::broke)?)?,
            }
        }
    }

    fn hear(&mut self, frame: &str) -> Result<(), End> {
        let heard = self.session.on_frame(now(), frame);
        self.is_refused = matches!(heard, Err(SessionError::AuthRefused(_)));
        Ok(heard?)
    }

    /// Gives the database a newer token, and says when the next is due.
    fn offer(&mut self, renewed: Result<Access, FirebaseError>) -> Result<Instant, End> {
        /// Between two of them.
        const PAUSE: Duration = Duration::from_secs(60);
        let soon = clock::now() + PAUSE;
        match renewed {
            Ok(access) => {
                self.session.authenticate(now(), access.id_token.expose().to_owned());
                self.offered = Some(access.id_token);
                Ok(access.renew_at.max(soon))
            }
            // The one that the database has is still good, as long as it does not say otherwise.
            Err(_) if self.session.is_ready() => Ok(soon),
            Err(error) => Err(error.into()),
        }
    }

    /// A token: when the last one was refused, another one.
    fn new_access(&self, refused: bool) -> impl Future<Output = Result<Access, FirebaseError>> + Send + 'static {
        let (firebase, panel) = (self.firebase.clone(), self.panel);
        let refused = self.offered.clone().filter(|_| refused);
        async move { firebase.access(panel, refused.as_ref()).await }
    }

    /// Sends what the session has to say and passes on what it tells. Gives whether it wants another token.
    async fn say(&mut self, socket: &mut Socket, uid: &str) -> Result<bool, End> {
        let mut wants_token = false;
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(frame) => socket.send(frame).await.map_err(End::broke)?,
                Output::Event(Event::Redirect { host }) => return Err(End::Redirected { host }),
                Output::Event(Event::TokenWanted) => wants_token = true,
                Output::Event(Event::Authenticated { uid: said }) => {
                    self.be_ready(said.unwrap_or_else(|| uid.to_owned()));
                }
                Output::Event(event) => self.on_event(event),
            }
        }
        Ok(wants_token)
    }

    /// What the end of a connection brings about.
    fn tell_of_events(&mut self) {
        while let Some(output) = self.session.poll() {
            if let Output::Event(event) = output {
                self.on_event(event);
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Hello { host, session } => self.last = Last { host: Some(host), session: Some(session) },
            Event::Listening { path } => {
                for subscriber in self.subscribers.get_mut(&path).into_iter().flatten() {
                    subscriber.agreed.take().into_iter().for_each(|agreed| answer(agreed, Ok(())));
                }
            }
            Event::Value { path, value } => {
                self.subscribers.get_mut(&path).into_iter().for_each(|all| all.retain(|one| one.take(&value)));
            }
            Event::Revoked { path, why } => {
                for subscriber in self.subscribers.remove(&path).into_iter().flatten() {
                    let refused = Err(DatabaseError::Refused(why.clone()));
                    subscriber.agreed.into_iter().for_each(|agreed| answer(agreed, refused.clone()));
                }
            }
            Event::Done { write, outcome } => {
                let reply = self.writes.remove(&write);
                reply.into_iter().for_each(|reply| answer(reply, outcome.clone().map_err(DatabaseError::from)));
            }
            Event::Told(what) => tracing::debug!(what, "the signalling database has told something"),
            Event::Redirect { .. } | Event::TokenWanted | Event::Authenticated { .. } => {}
        }
    }

    fn obey(&mut self, command: Command) {
        if let DatabaseStatus::Refused { why } = &*self.status.borrow() {
            return answer(command.reply(), Err(DatabaseError::Unavailable { why: why.clone() }));
        }
        match command {
            Command::Listen { path, values, agreed } => self.listen(path, values, agreed),
            Command::Write { path, value, on_disconnect, reply } => {
                let written = match on_disconnect {
                    true => self.session.put_on_disconnect(now(), path, value),
                    false => self.session.put(now(), path, value),
                };
                match written {
                    Ok(write) => drop(self.writes.insert(write, reply)),
                    Err(error) => answer(reply, Err(error.into())),
                }
            }
            // That is being done.
            Command::TryAgain { reply } => answer(reply, Ok(())),
        }
    }

    fn listen(&mut self, path: Path, values: mpsc::Sender<Value>, agreed: Reply) {
        let mut subscriber = Subscriber { values, agreed: Some(agreed) };
        if let Some(present) = self.session.value(&path) {
            subscriber.take(present);
        }
        if self.session.is_listening(&path) {
            subscriber.agreed.take().into_iter().for_each(|agreed| answer(agreed, Ok(())));
        }
        self.subscribers.entry(path.clone()).or_default().push(subscriber);
        self.session.listen(now(), path);
    }

    /// Forgets the listeners that were dropped, and asks for nothing that nobody listens to.
    fn sweep(&mut self) {
        let session = &mut self.session;
        self.subscribers.retain(|path, all| {
            all.retain(|one| !one.values.is_closed());
            if all.is_empty() {
                session.unlisten(now(), path);
            }
            !all.is_empty()
        });
    }

    fn be_ready(&mut self, uid: String) {
        if std::mem::replace(&mut self.authenticated, true) {
            return;
        }
        tracing::debug!("connected to the signalling database");
        self.connection.send_modify(|connections| *connections += 1);
        let before = self.status.send_replace(DatabaseStatus::Ready { uid });
        if let DatabaseStatus::Failing { .. } = before {
            tracing::info!("Vivint's signalling database can be used again");
        }
    }

    fn fail(&self, why: String) {
        if matches!(&*self.status.borrow(), DatabaseStatus::Failing { why: before } if *before == why) {
            return;
        }
        tracing::warn!(why, "there is no connection to Vivint's signalling database");
        self.status.send_replace(DatabaseStatus::Failing { why });
    }

    /// Until somebody asks for another try after a pause.
    async fn wait_to_be_asked(&mut self, why: String) -> Option<()> {
        tracing::warn!(why, "Vivint's signalling database is left alone");
        self.status.send_replace(DatabaseStatus::Refused { why: why.clone() });
        for agreed in self.subscribers.values_mut().flatten().filter_map(|one| one.agreed.take()) {
            answer(agreed, Err(DatabaseError::Unavailable { why: why.clone() }));
        }
        let since = clock::now();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = self.dropped.notified() => self.sweep(),
                command = self.commands.recv() => match command? {
                    Command::TryAgain { reply } if since.elapsed() >= Self::PAUSE => {
                        self.status.send_replace(DatabaseStatus::Connecting);
                        answer(reply, Ok(()));
                        return Some(());
                    }
                    command => self.obey(command),
                }
            }
        }
    }

    /// Does what handles ask for until `work` is done. `None` when nobody wants the database any more.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                done = &mut work => return Some(done),
                () = self.dropped.notified() => self.sweep(),
                command = self.commands.recv() => self.obey(command?),
            }
        }
    }
}

impl Command {
    fn reply(self) -> Reply {
        match self {
            Self::Listen { agreed: reply, .. } | Self::Write { reply, .. } | Self::TryAgain { reply } => reply,
        }
    }
}

impl Subscriber {
    /// Whether it goes on listening.
    fn take(&self, value: &Value) -> bool {
        match self.values.try_send(value.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("whoever listens to the signalling database is too slow");
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

fn answer(reply: Reply, outcome: Result<(), DatabaseError>) {
    // Whoever asked may have given up since.
    let _gone = reply.send(outcome);
}

fn now() -> std::time::Instant {
    clock::now().into_std()
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
