//! When a camera is called over GWell, and for how long.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::tutk::cannot_try;
use super::publisher::Publisher;
use super::sessions::Sessions;
use super::token::UserToken;
use super::{Gwell, cloud, failure, places, talk};
use crate::clock;
use crate::doorbell::{ActionError, DevicePort, Request, VendorError};
use crate::model::Link;
use crate::net::drive::DriveError;
use crate::proto::gwell::session::{Command, Event, SessionError, Setup};

/// How long the camera is kept streaming after the last viewer left, for the one who comes right back.
const LINGER: Duration = Duration::from_secs(5);
/// Commands to a session, and its events but for frames. The session takes commands before packets and the conductor
/// does nothing but pass things on, so neither fills up; if one did, commands would wait and events be dropped.
const QUEUE: usize = 64;
/// Between two calls to a camera that sleeps (gwell reference §4.6).
const WAKE_EVERY: Duration = Duration::from_secs(20);
/// Between two requests for a newer token, with most of an hour left of the old one: one could not be had, or is as good
/// as over itself.
const RENEW_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// A camera as its account knows it.
#[derive(Clone)]
pub struct Camera {
    /// The `mac` of the cloud's listing, `GW_…`, which is its name at the P2P server too.
    pub name: String,
    pub model: String,
    /// Whether it must be woken before it takes a call.
    pub sleeps: bool,
    /// Where it is on the LAN, as its owner says.
    pub address: Option<IpAddr>,
}

/// One life of a camera: called whenever somebody wants to see, and left alone otherwise. Ends with the first failure
/// that calling again at once does not mend.
///
/// # Errors
/// Why there is no picture.
pub async fn live(
    gwell: &Gwell,
    camera: &Camera,
    sessions: &impl Sessions,
    port: DevicePort,
    stop: CancellationToken,
) -> Result<(), VendorError> {
    // As far as is known: nothing is asked of a camera that nobody wants.
    port.state.send_modify(|state| state.link = Link::Ready);
    Life { gwell, camera, sessions, port, stop }.run().await
}

struct Life<'a, S> {
    gwell: &'a Gwell,
    camera: &'a Camera,
    sessions: &'a S,
    port: DevicePort,
    stop: CancellationToken,
}

/// What was tried anew since somebody came to watch: once each.
#[derive(Default)]
struct Anew {
    token: bool,
    server: bool,
}

impl<S: Sessions> Life<'_, S> {
    async fn run(mut self) -> Result<(), VendorError> {
        let media = self.port.media.clone();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                request = self.port.requests.recv() => match request {
                    Some(request) => refuse(request),
                    None => return Ok(()),
                },
                () = media.watched() => {
                    let visited = self.visit().await;
                    media.reset();
                    visited?;
                    self.port.state.send_modify(|state| {
                        state.link = Link::Ready;
                        state.transport = None;
                        state.last_error = None;
                    });
                }
            }
        }
    }

    /// As many sessions as it takes until nobody watches any more.
    async fn visit(&mut self) -> Result<(), VendorError> {
        let mut anew = Anew::default();
        loop {
            self.port.state.send_modify(|state| {
                state.link = Link::Connecting;
                state.transport = None;
            });
            let Some((setup, token)) = self.prepare().await? else { return Ok(()) };
            let ended = self.call(setup, &token).await;
            // Or nobody wanted to wait for a picture any more, which says nothing about the camera.
            if self.port.state.borrow().link == Link::Streaming {
                self.gwell.turns.worked(&self.camera.name);
            }
            let Err(error) = ended else { return Ok(()) };
            if matches!(error, DriveError::Session(SessionError::Silent)) && !self.is_watched() {
                return Ok(());
            }
            if !self.may_call_again(&error, &mut anew) {
                self.gwell.turns.failed(&self.camera.name);
                return Err(failure::of(error));
            }
        }
    }

    /// Whether calling at once may help; forgets what has proved wrong.
    fn may_call_again(&self, error: &DriveError<SessionError>, anew: &mut Anew) -> bool {
        let again = match error {
            DriveError::Session(SessionError::NotCertified { .. }) => {
                self.gwell.memory.forget_token(&self.camera.name);
                !std::mem::replace(&mut anew.token, true)
            }
            DriveError::Session(SessionError::NoServer) => {
                self.gwell.memory.forget_server() && !std::mem::replace(&mut anew.server, true)
            }
            // A battery camera ends its live view by falling silent (gwell reference §4.6).
            DriveError::Session(SessionError::Silent) => true,
            _ => false,
        };
        if again {
            tracing::debug!(%error, "the camera is called again");
            self.port.media.begin_session();
        }
        again
    }

    fn is_watched(&self) -> bool {
        *self.port.media.demand().borrow() > 0
    }

    /// Everything that a session takes, and the turn to begin it. `None` when nobody wants it any more.
    async fn prepare(&mut self) -> Result<Option<(Setup, UserToken)>, VendorError> {
        let mut preparing = pin!(self.gwell.prepare(self.camera));
        let mut unwatched = pin!(self.port.media.unwatched_for(LINGER));
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                prepared = &mut preparing => return prepared.map(Some),
                request = self.port.requests.recv() => match request {
                    Some(request) => refuse(request),
                    None => return Ok(None),
                },
                () = &mut unwatched => return Ok(None),
            }
        }
    }

    /// One session, from the first P2P server to the farewell.
    async fn call(&mut self, setup: Setup, token: &UserToken) -> Result<(), DriveError<SessionError>> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (told, events) = mpsc::channel(QUEUE);
        let mut publisher = Publisher::new(self.port.media.clone(), self.port.state.clone(), told);
        let driven = self.sessions.run(setup, inbox, &self.stop, Box::new(move |event| publisher.take(event)));
        let Self { gwell, camera, port, .. } = self;
        let conducted = async {
            // The conductor's end closes the command channel, and with that the session says farewell.
            Conductor { gwell, camera, port, commands, events }.run(token).await;
            std::future::pending().await
        };
        tokio::select! {
            outcome = driven => outcome,
            never = conducted => never,
        }
    }
}

impl Gwell {
    async fn prepare(&self, camera: &Camera) -> Result<(Setup, UserToken), VendorError> {
        let token = self.token(camera).await?;
        let (servers, list_servers) = self.servers().await?;
        let nearest = camera.address.map(|ip| SocketAddr::new(ip, 9));
        let towards = nearest.or(servers.first().copied()).or(list_servers.first().copied());
        let local = match towards {
            Some(peer) => places::towards(peer).await.map_err(|error| cannot_try("Finding a way to GWell", error))?,
            None => return Err(failure::no_server_found()),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| cannot_try("Reading randomness", error))?;
        self.turns.next(&camera.name).await;
        let since_1970 = clock::unix_now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let setup = Setup {
            token: token.access.clone(),
            device: camera.name.clone(),
            known: self.memory.devices(),
            servers,
            list_servers,
            camera: camera.address,
            local: SocketAddr::new(local, 0),
            seed,
            unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        };
        Ok((setup, token))
    }

    /// The P2P servers to go to, and those to ask for them; one of the two is empty. The owner's count first, then the
    /// one that worked last.
    async fn servers(&self) -> Result<(Vec<SocketAddr>, Vec<SocketAddr>), VendorError> {
        if !self.config.servers.is_empty() {
            return found(places::look_up(&self.config.servers).await).map(|servers| (servers, vec![]));
        }
        match self.memory.server() {
            Some(server) => Ok((vec![server], vec![])),
            None => found(places::look_up(&self.config.list_servers).await).map(|servers| (vec![], servers)),
        }
    }
}

fn found(servers: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, VendorError> {
    if servers.is_empty() { Err(failure::no_server_found()) } else { Ok(servers) }
}

/// Looks after one session from the doorbell's side: remembers what it learns, wakes its camera, keeps it certified,
/// and ends it when nobody watches.
struct Conductor<'a> {
    gwell: &'a Gwell,
    camera: &'a Camera,
    port: &'a mut DevicePort,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
}

impl Conductor<'_> {
    async fn run(mut self, token: &UserToken) {
        let media = self.port.media.clone();
        let mut unwatched = pin!(media.unwatched_for(LINGER));
        let mut waking = pin!(wake_again_and_again(self.gwell, self.camera));
        let mut renewing = pin!(renew_in_time(self.gwell, self.camera, token.good_for(), &self.commands));
        let (mut answers, mut server) = (false, None);
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => {
                    answers |= matches!(event, Event::Found { .. } | Event::Accepted);
                    self.gwell.learn(self.camera, event, &mut server);
                }
                request = self.port.requests.recv() => match request {
                    Some(request) => refuse(request),
                    None => return,
                },
                () = &mut waking, if self.camera.sleeps && !answers => {}
                () = &mut renewing => {}
                () = &mut unwatched => return,
            }
        }
    }
}

impl Gwell {
    /// `server` says that it took the token, which anybody could say.
    fn learn(&self, camera: &Camera, event: Event, server: &mut Option<SocketAddr>) {
        // It is worth remembering when it has listed devices, which takes the session's key, or led to the camera.
        if matches!(event, Event::Listed(_) | Event::Accepted) {
            server.take().into_iter().for_each(|server| self.memory.keep_server(server));
        }
        match event {
            // The owner's servers stand in the configuration, and go with it.
            Event::Certified { server: said } if self.config.servers.is_empty() => *server = Some(said),
            Event::Listed(devices) => self.memory.keep_devices(devices),
            Event::NotRenewed { .. } => self.memory.forget_token(&camera.name),
            _ => {}
        }
    }
}

/// Never ends. Of no harm if it fails: the camera may be awake.
async fn wake_again_and_again(gwell: &Gwell, camera: &Camera) {
    loop {
        match cloud::wake(&gwell.cloud, camera).await {
            Ok(()) => tracing::debug!("the cloud wakes the camera"),
            Err(error) => tracing::debug!(%error, "the camera could not be woken through the cloud"),
        }
        tokio::time::sleep(WAKE_EVERY).await;
    }
}

/// Never ends. `good_for` is of the token that the session was begun with.
async fn renew_in_time(
    gwell: &Gwell,
    camera: &Camera,
    mut good_for: Option<Duration>,
    commands: &mpsc::Sender<Command>,
) {
    while let Some(wait) = good_for {
        tokio::time::sleep(wait).await;
        good_for = match gwell.new_token(camera).await {
            Ok(token) => {
                let _session_over = commands.send(Command::Renew(token.access.clone())).await;
                token.good_for().map(|left| left.max(RENEW_AGAIN_AFTER))
            }
            Err(error) => {
                tracing::debug!(%error, "no newer token for the P2P server is to be had");
                Some(RENEW_AGAIN_AFTER)
            }
        };
    }
    std::future::pending().await
}

fn refuse(request: Request) {
    match request {
        Request::StartTalk { reply } => talk::start(reply),
        other => other.refuse(ActionError::Unsupported("it is a camera that is reached over GWell")),
    }
}
