//! Amazon's signaling service, as a viewer knows it: who is let in, and who is connected (kvs reference §3, §4).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::checks::{Check, Checks};
use super::connection::Connection;
use super::fault::Fault;
use super::master::Master;
use super::settings::{Gathering, Settings};
use super::urls::Urls;
use super::{CameraCommand, CameraEvent};
use crate::proto::kvs::signaling::{MAX_FRAME, MessageType};
use crate::sim::signaling::{Limits, MAX_VIEWERS};

/// That wait for one connection; one that is further behind misses the oldest.
const NOTICES: usize = 16;

pub(super) struct Service {
    pub(super) master: Master,
    pub(super) urls: Urls,
    pub(super) gathering: Gathering,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
    checks: Mutex<Checks>,
    seats: Mutex<HashMap<String, Arc<CancellationToken>>>,
    notices: broadcast::Sender<MessageType>,
}

/// A connection's place in the channel, free again when dropped.
pub(super) struct Seat {
    service: Arc<Service>,
    pub(super) client_id: String,
    /// Cancelled when the same viewer has connected anew, which Amazon does not tell the older connection.
    pub(super) replaced: Arc<CancellationToken>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.service.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.get(&self.client_id).is_some_and(|taken| Arc::ptr_eq(taken, &self.replaced)) {
            seats.remove(&self.client_id);
        }
    }
}

/// Why a WebSocket was not opened. Browsers do not show the body; it says what is wrong all the same.
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl ToString) -> Self {
        Self { status, why: why.to_string() }
    }
}

impl Service {
    /// # Errors
    /// When the operating system has no randomness.
    pub(super) fn new(settings: &Settings, master: Master, stop: CancellationToken) -> io::Result<Self> {
        Ok(Self {
            master,
            urls: Urls::new(&settings.channel)?,
            gathering: settings.gathering,
            limits: settings.limits,
            stop,
            checks: Mutex::default(),
            seats: Mutex::default(),
            notices: broadcast::Sender::new(NOTICES),
        })
    }

    /// Serves until it is stopped and every viewer knows.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener, commands: mpsc::Receiver<CameraCommand>) {
        let listener = listener.tap_io(|socket| {
            // A connection that refuses is slower and works.
            let _ = socket.set_nodelay(true);
        });
        let router = Router::new().fallback(connect).with_state(self.clone());
        let stop = self.stop.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(stop.run_until_cancelled_owned(self.clone().obey_all(commands)));
        if let Err(error) = serving.await {
            tracing::error!(%error, "the virtual KVS camera's socket failed; restart it");
        }
        self.master.ended().await;
    }

    async fn obey_all(self: Arc<Self>, mut commands: mpsc::Receiver<CameraCommand>) {
        while let Some(command) = commands.recv().await {
            match command {
                CameraCommand::Fault(fault) => self.master.misbehave(fault).await,
                CameraCommand::Notice(notice) => {
                    // Nobody being connected is fine.
                    let _ = self.notices.send(notice);
                }
            }
        }
    }

    pub(super) fn notices(&self) -> broadcast::Receiver<MessageType> {
        self.notices.subscribe()
    }

    /// Makes a check and returns its outcome; what is new about it becomes an event.
    pub(super) fn note(&self, check: Check, ok: bool) -> bool {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.note(check, ok);
        while let Some(news) = checks.news() {
            let (name, violations) = (news.check.name(), news.violations);
            self.master.tell(CameraEvent::Check { name, ok: news.ok, violations });
        }
        ok
    }

    /// Lets a viewer in, or says why not.
    fn admit(self: &Arc<Self>, headers: &HeaderMap, query: &str) -> Result<Seat, Refusal> {
        if self.master.fault() == Some(Fault::Refuse) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "User is not authorized to perform ConnectAsViewer"));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let verified = self.urls.verify(host, query);
        let client_id = verified.map_err(|denied| Refusal::new(StatusCode::FORBIDDEN, denied))?;
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= MAX_VIEWERS && !seats.contains_key(&client_id) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "ClientLimitExceededException: too many viewers"));
        }
        let replaced = Arc::new(CancellationToken::new());
        if let Some(older) = seats.insert(client_id.clone(), replaced.clone()) {
            older.cancel();
        }
        Ok(Seat { service: self.clone(), client_id, replaced })
    }
}

async fn connect(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let admitted = service.admit(&headers, &query.unwrap_or_default()).and_then(|seat| match upgrade {
        Ok(upgrade) => Ok((seat, upgrade)),
        Err(rejection) => Err(Refusal::new(rejection.status(), rejection.body_text())),
    });
    match admitted {
        Ok((seat, upgrade)) => {
            upgrade.max_message_size(MAX_FRAME).on_upgrade(move |socket| Connection::new(service, seat, socket).run())
        }
        Err(Refusal { status, why }) => {
            service.master.tell(CameraEvent::Refused { status: status.as_u16(), why: why.clone() });
            (status, Json(json!({ "message": why }))).into_response()
        }
    }
}
