//! Who may be called, and what is kept ready for it: one connection to the signalling database for each panel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Line, OwnedMutexGuard};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::call::{Call, CallError, Calling};
use super::database::{Database, DatabaseStatus};
use super::devices::Camera;
use super::firebase::{Firebase, FirebaseError};
use super::talk::why;
use crate::clock::Instant;
use crate::config::VivintEndpoints;
use crate::doorbell::ActionError;
use crate::rtc::camera::IceServer;
use crate::rtc::is_this_machine;

const NO_KEY: &str = "Talking to Vivint's doorbells needs `firebase_api_key`, which Doorstep does not bring along; \
                      everything else works without it. Add the web API key of Vivint's app, which begins with `AIza`: \
                      on Doorstep's page if the account was added there, otherwise under `vivint` in the configuration, \
                      and restart Doorstep then. docs/troubleshooting.md says where it stands.";
const NO_SPEAKER: &str = "The account says that it has no speaker. If Vivint's app can talk to it, restart Doorstep.";
const NO_UUID: &str = "The account does not say how it is to be called, so nobody can talk to it. See whether two-way \
                       talk works in Vivint's app.";
const NOT_LISTED: &str = "Vivint does not let this account call it, so nobody can talk to it. See whether two-way \
                          talk works in Vivint's app with the same login, then restart Doorstep.";

/// What an account's cameras are called with.
pub struct Callers {
    /// `None` without a key for it.
    firebase: Option<Firebase>,
    ice_servers: Vec<IceServer>,
    stop: CancellationToken,
    panels: Mutex<HashMap<i64, Panel>>,
    /// One for each camera that was ever called: its calls are made one after another.
    lines: Mutex<HashMap<String, Arc<Line<()>>>>,
}

struct Panel {
    database: Database,
    /// What the last sign-in for it has told; `None` before the first.
    known: Option<Known>,
}

#[derive(Clone)]
struct Known {
    /// Who may be called, where that is said.
    devices: Option<Vec<String>>,
    /// The database is on this machine: it and its cameras are virtual.
    loopback: bool,
}

impl Known {
    fn lists(&self, uuid: &String) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(uuid))
    }
}

/// A call, and that nobody else makes one to the same camera.
pub(super) struct Claimed {
    pub(super) call: Call,
    pub(super) line: OwnedMutexGuard<()>,
}

impl Callers {
    /// The database finds the same trouble as we do.
    const SETTLES_WITHIN: Duration = Duration::from_secs(5);
    /// For the farewell of the talk before.
    const BUSY_FOR: Duration = Duration::from_secs(2);

    /// `stop` ends the connections to the databases.
    pub fn new(firebase: Option<Firebase>, endpoints: &VivintEndpoints, stop: CancellationToken) -> Self {
        let ice_server = |url: &String| IceServer {
            urls: vec![url.clone()],
            username: endpoints.turn_username.clone(),
            credential: endpoints.turn_password.clone(),
        };
        Self {
            firebase,
            ice_servers: endpoints.ice_servers.iter().map(ice_server).collect(),
            stop,
            panels: Mutex::default(),
            lines: Mutex::default(),
        }
    }

    /// Why nobody can talk to the camera, in sentences for the owner, as far as that is known by now.
    pub fn obstacle(&self, camera: &Camera) -> Option<String> {
        if self.firebase.is_none() {
            return Some(NO_KEY.to_owned());
        }
        if !camera.speaks {
            return Some(NO_SPEAKER.to_owned());
        }
        let Some(uuid) = &camera.uuid else { return Some(NO_UUID.to_owned()) };
        let panels = self.panels();
        let panel = panels.get(&camera.place.panel)?;
        if let DatabaseStatus::Refused { why } = &*panel.database.status().borrow() {
            return Some(why.clone());
        }
        (!panel.known.as_ref()?.lists(uuid)).then(|| NOT_LISTED.to_owned())
    }

    /// Signs in for the camera's panel and connects to its database, so that the first press finds both. Resolves
    /// when it is signed in, or known why not: [`Self::obstacle`] tells.
    pub async fn warm(&self, camera: &Camera) {
        let Some(firebase) = self.firebase.as_ref().filter(|_| camera.speaks && camera.uuid.is_some()) else { return };
        if let Err(error) = self.sign_in(firebase, camera.place.panel).await {
            tracing::debug!(%error, "not signed in for the signalling database");
            let mut status = self.database(firebase, camera.place.panel).status();
            let settled = status.wait_for(|status| !matches!(status, DatabaseStatus::Connecting));
            let _still_connecting = timeout(Self::SETTLES_WITHIN, settled).await;
        }
    }

    async fn sign_in(&self, firebase: &Firebase, panel: i64) -> Result<(Database, Known), FirebaseError> {
        let database = self.database(firebase, panel);
        let access = firebase.access(panel, None).await?;
        let known = Known { loopback: is_this_machine(access.database.as_str()), devices: access.devices };
        if let Some(panel) = self.panels().get_mut(&panel) {
            panel.known = Some(known.clone());
        }
        Ok((database, known))
    }

    fn database(&self, firebase: &Firebase, panel: i64) -> Database {
        let start = || {
            let database = Database::start(firebase.clone(), panel, self.stop.child_token());
            Panel { database, known: None }
        };
        self.panels().entry(panel).or_insert_with(start).database.clone()
    }

    /// Calls the camera, once it is free.
    ///
    /// # Errors
    /// `Busy` while somebody else is on the line, else `Offline` with the reason: when `deadline` has passed, what was
    /// waited for last.
    pub(super) async fn call(&self, camera: &Camera, deadline: Instant) -> Result<Claimed, ActionError> {
        let (Some(firebase), Some(uuid)) = (&self.firebase, &camera.uuid) else {
            return Err(self.not_callable(camera));
        };
        let line = timeout(Self::BUSY_FOR, self.line(uuid).lock_owned()).await.map_err(|_| ActionError::Busy)?;
        let signed_in = timeout_at(deadline, self.sign_in(firebase, camera.place.panel)).await;
        let (database, known) = signed_in.map_err(|_| ActionError::Timeout)?.map_err(|error| offline(&error))?;
        if !known.lists(uuid) {
            return Err(self.not_callable(camera));
        }
        let calling = Calling {
            database: &database,
            panel: camera.place.panel,
            camera: uuid,
            ice_servers: &self.ice_servers,
            loopback: known.loopback,
            deadline,
        };
        match place(calling).await {
            Ok(call) => Ok(Claimed { call, line }),
            Err(error) => Err(ActionError::Offline { why: trouble(&error, &database) }),
        }
    }

    fn not_callable(&self, camera: &Camera) -> ActionError {
        ActionError::Offline { why: self.obstacle(camera).unwrap_or_else(|| NO_UUID.to_owned()) }
    }

    fn line(&self, uuid: &str) -> Arc<Line<()>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(uuid.to_owned()).or_default().clone()
    }

    /// Nothing panics while it holds this lock, so a poisoned one is as good as any.
    fn panels(&self) -> MutexGuard<'_, HashMap<i64, Panel>> {
        self.panels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Once more when the database was lost in between, with a new transaction.
async fn place(calling: Calling<'_>) -> Result<Call, CallError> {
    loop {
        match Call::place(calling).await {
            Err(CallError::Interrupted) => tracing::info!("the signalling database was lost; calling again"),
            outcome => return outcome,
        }
    }
}

/// The database knows best why it was not reached.
fn trouble(error: &CallError, database: &Database) -> String {
    match (error, &*database.status().borrow()) {
        (CallError::NotReady, DatabaseStatus::Failing { why } | DatabaseStatus::Refused { why }) => why.clone(),
        _ => why(error),
    }
}

fn offline(error: &FirebaseError) -> ActionError {
    ActionError::Offline { why: error.to_string() }
}
