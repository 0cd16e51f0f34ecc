//! Wyze's cloud, as far as a client can tell (the Wyze cloud reference, whose sections the comments name): login,
//! tokens, devices, events, streams and locks of one account. Every host answers on one listener, in plain HTTP.
//!
//! Written from the reference and not from our client. What the reference does not know is said where it is made up.

mod account;
mod call;
mod command;
pub(super) mod console;
mod device;
mod event_list;
mod fault;
mod gwell;
mod locks;
mod mangle;
mod reply;
mod server;
mod settings;
mod streams;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use command::{CloudCommand, parse};
pub use device::{Device, Parent};
pub use event_list::Scripted;
pub use fault::{Fault, Trouble};
pub use settings::{GwellUser, GwellUsers, IceServer, Rate, SecondFactor, Settings, Stream, Streams};

use world::Cloud;

/// What happened in a cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CloudEvent {
    /// Tokens were given out, after one step or two.
    Login {
        second_factor: bool,
    },
    /// The code that a telephone would show.
    SmsSent {
        code: String,
    },
    Refresh,
    /// The device list was read.
    List {
        devices: usize,
    },
    /// The event list of this version was read.
    Events {
        version: u8,
        listed: usize,
    },
    /// A stream's address was given out.
    Streams {
        device: String,
    },
    /// A client was given what it logs in with at GWell's servers.
    GwellToken {
        device: String,
    },
    /// A device was woken, so that somebody can see its picture.
    Woken {
        device: String,
    },
    /// A button was pressed.
    Ring {
        device: String,
        id: String,
    },
    /// Something else happened at a device.
    Happened {
        device: String,
        value: u32,
        id: String,
    },
    /// A command to unlock was taken; the bolt is on its way.
    Unlocking {
        device: String,
    },
    Locking {
        device: String,
    },
    /// The door is open to whoever pushes it.
    Unlocked {
        device: String,
    },
    Locked {
        device: String,
    },
    Jammed {
        device: String,
    },
    /// A request was not carried out.
    Refused {
        path: String,
        why: &'static str,
    },
    /// The account's devices are not what they were.
    DevicesChanged,
    Offline,
    Online,
    Fault {
        name: &'static str,
    },
}

/// How often things happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub logins: u64,
    pub refreshes: u64,
    pub lists: u64,
    pub event_lists: u64,
    pub streams: u64,
    pub gwell_tokens: u64,
    pub wakes: u64,
    /// Commands to unlock that were taken, whether or not the bolt has arrived.
    pub unlocks: u64,
    /// The same to lock.
    pub locks: u64,
    pub refused: u64,
}

/// A cloud that runs until its token is cancelled.
pub struct RunningCloud {
    pub address: SocketAddr,
    pub settings: Settings,
    cloud: Arc<Cloud>,
    task: JoinHandle<()>,
}

/// No device of the account has this id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the account has no device `{0}`")]
pub struct NoSuchDevice(String);

impl RunningCloud {
    /// What stands in for the address of each of Wyze's hosts.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<CloudEvent> {
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

    /// The account's devices as they are now.
    pub fn devices(&self) -> Vec<Device> {
        self.cloud.world().devices.clone()
    }

    /// Carries out a command at once.
    ///
    /// # Errors
    /// When it names a device that the account does not have.
    pub fn obey(&self, command: CloudCommand) -> Result<(), NoSuchDevice> {
        if let CloudCommand::Online { device: None, online } = command {
            self.cloud.world().tell(if online { CloudEvent::Online } else { CloudEvent::Offline });
            self.cloud.online.send_replace(online);
            return Ok(());
        }
        self.cloud.world().obey(command)
    }

    /// Waits until a cloud that was told to stop has let go of its clients.
    pub async fn stopped(self) {
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Binds the cloud's listener and serves in a task of its own.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningCloud> {
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let cloud = Arc::new(Cloud::new(settings.clone()));
    let serving = server::serve(listener, Arc::clone(&cloud), stop.clone());
    let bolts = move_bolts(Arc::clone(&cloud), stop);
    let task = tokio::spawn(async move {
        tokio::join!(serving, bolts);
    });
    Ok(RunningCloud { address, settings, cloud, task })
}

/// Lets each bolt arrive in its time.
async fn move_bolts(cloud: Arc<Cloud>, stop: CancellationToken) {
    loop {
        let next = cloud.world().next_arrival();
        let arrival = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = cloud.answered.notified() => {}
            () = arrival => cloud.world().settle_locks(),
        }
    }
}
