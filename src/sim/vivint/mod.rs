//! Vivint's cloud, database and devices, as far as a client can tell (the Vivint reference, whose sections the comments
//! name). Everything that speaks HTTP answers on one listener, in the clear.
//!
//! Written from the reference and not from our client. What the reference does not know is said where it is made up.

mod api;
mod call;
mod command;
pub(super) mod console;
mod database;
mod devices;
pub mod doorbell;
mod doorbells;
mod event;
mod fault;
mod firebase;
mod images;
mod login;
mod pictures;
mod pubnub;
mod reply;
mod server;
mod settings;
mod tokens;
pub mod tree;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use command::{Command, parse};
pub use devices::{Camera, Device, Kind};
pub use event::{Counts, Event};
pub use fault::{Fault, Trouble};
pub use pictures::Place;
pub use settings::{PanelLogin, SecondFactor, Settings};

use doorbells::Doorbells;
use pictures::Pictures;
use tree::Tree;
use world::Cloud;

use crate::sim::rtsp::{self, RtspCommand};

/// An account that runs until its token is cancelled.
pub struct RunningVivint {
    pub address: SocketAddr,
    /// As it was started, with the addresses that its cameras got.
    pub settings: Settings,
    cloud: Arc<Cloud>,
    pictures: Pictures,
    doorbells: Doorbells,
    task: JoinHandle<()>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotObeyed {
    /// It has none with this id that is of the right kind.
    #[error("the account has no device `{0}` that does this")]
    NoSuchDevice(i64),
    #[error("the doorbell `{0}` has too much to do")]
    Busy(i64),
}

impl RunningVivint {
    /// What stands in for the address of each host: Vivint's, PubNub's and Google's.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.cloud.world().events.subscribe()
    }

    pub fn counts(&self) -> Counts {
        self.cloud.world().counts
    }

    /// How many requests went to paths that begin so, whatever became of them.
    pub fn requests_to(&self, path: &str) -> u64 {
        let world = self.cloud.world();
        world.requests.iter().filter(|(own, _)| own.starts_with(path)).map(|(_, count)| count).sum()
    }

    /// What `panel-login` gives out now.
    pub fn panel_login(&self) -> PanelLogin {
        self.cloud.world().settings.panel_login.clone()
    }

    /// What the database holds.
    pub fn tree(&self) -> Tree {
        self.cloud.tree.clone()
    }

    /// Carries out a command at once.
    ///
    /// # Errors
    /// When it names a device that the account does not have, or a doorbell has too many commands waiting.
    pub fn obey(&self, command: Command) -> Result<(), NotObeyed> {
        self.cloud.obey(command.clone())?;
        match command {
            Command::Pictures { device, command } => self.pictures.obey(device, &command),
            Command::Doorbell { device, command } => self.doorbells.obey(device, &command)?,
            Command::Call { device } => {
                let app = self.settings.uid.clone();
                self.doorbells.obey(device, &doorbell::Command::Offer { app })?;
            }
            Command::Rotate => self.pictures.rotate(&self.panel_login().password),
            Command::Online { device: Some(device), online } => {
                self.pictures.obey(Some(device), &RtspCommand::HangUp);
                let fault = if online { None } else { Some(rtsp::Fault::Deaf) };
                self.pictures.obey(Some(device), &RtspCommand::Fault(fault));
                self.doorbells.reach(device, online)?;
            }
            Command::Trouble(None) => {
                self.pictures.obey(None, &RtspCommand::Fault(None));
                self.doorbells.obey(None, &doorbell::Command::Fault(None))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until an account that was told to stop has let go of its clients.
    pub async fn stopped(self) {
        // A panic has been reported where it happened.
        let _ = self.task.await;
        self.doorbells.stopped().await;
        self.pictures.stopped().await;
    }
}

/// Starts the cameras' servers, binds the listener, and serves in tasks of their own.
///
/// # Errors
/// When an address cannot be bound, or the operating system has no randomness.
pub async fn start(mut settings: Settings, stop: CancellationToken) -> io::Result<RunningVivint> {
    let stop = stop.child_token();
    // What has begun ends with what cannot begin.
    let guard = stop.clone().drop_guard();
    let pictures = Pictures::start(&mut settings, &stop).await?;
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let cloud = Arc::new(Cloud::new(settings.clone(), format!("http://{address}")));
    pictures.report(&cloud, &stop);
    let doorbells = Doorbells::start(&settings, &cloud, &stop);
    let serving = server::serve(listener, Arc::clone(&cloud), stop.clone());
    let agenda = keep_agenda(Arc::clone(&cloud), stop);
    let task = tokio::spawn(async move {
        tokio::join!(serving, agenda);
    });
    guard.disarm();
    Ok(RunningVivint { address, settings, cloud, pictures, doorbells, task })
}

/// Lets bolts, doors and pictures arrive in their time.
async fn keep_agenda(cloud: Arc<Cloud>, stop: CancellationToken) {
    loop {
        let next = cloud.world().next_due();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = cloud.planned.notified() => {}
            () = due => cloud.world().settle(),
        }
    }
}
