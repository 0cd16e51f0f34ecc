//! What happens in a virtual Vivint account, and how often it did.

use serde::Serialize;

use super::doorbell;
use super::pictures::Place;
use crate::sim::rtsp::RtspEvent;

/// What happened. Devices are named by their ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Tokens were given out, after one step or two.
    Login {
        second_factor: bool,
    },
    /// The code that a telephone would show.
    SmsSent {
        code: String,
    },
    Refresh,
    /// The system was read.
    List {
        devices: usize,
    },
    /// The panel's login was given out.
    PanelLogin,
    /// Somebody polls for messages.
    Subscribed {
        from_now: bool,
    },
    /// A subscriber said goodbye.
    Left,
    /// A button was pressed.
    Ring {
        device: i64,
    },
    Motion {
        device: i64,
    },
    ThumbnailAsked {
        device: i64,
    },
    ThumbnailTaken {
        device: i64,
    },
    ThumbnailRead {
        device: i64,
    },
    /// A command to unlock was taken; the bolt is on its way.
    Unlocking {
        device: i64,
    },
    Locking {
        device: i64,
    },
    /// The door is open to whoever pushes it.
    Unlocked {
        device: i64,
    },
    Locked {
        device: i64,
    },
    /// A command to open was taken; the door is on its way.
    DoorOpening {
        device: i64,
    },
    DoorClosing {
        device: i64,
    },
    DoorOpened {
        device: i64,
    },
    DoorClosed {
        device: i64,
    },
    /// A custom token was given out.
    Exchanged,
    /// A token for the database was given out for it.
    SignedIn,
    DatabaseConnected,
    DatabaseDisconnected,
    DatabaseAuthenticated,
    DatabaseListening {
        path: String,
    },
    DatabaseWritten {
        path: String,
    },
    DatabaseRefused {
        action: String,
        path: String,
    },
    /// A request was not carried out.
    Refused {
        path: String,
        why: &'static str,
    },
    /// The panel's login is another one now.
    Rotated,
    /// Tokens have expired before their time.
    Expired,
    Removed {
        device: i64,
    },
    DeviceOffline {
        device: i64,
    },
    DeviceOnline {
        device: i64,
    },
    Offline,
    Online,
    Fault {
        name: &'static str,
    },
    /// Something happened to a doorbell in calls.
    #[serde(untagged)]
    Call {
        device: i64,
        #[serde(flatten)]
        event: doorbell::Event,
    },
    /// Something happened at an RTSP server of a camera.
    #[serde(untagged)]
    Pictures {
        device: i64,
        place: Place,
        #[serde(flatten)]
        event: RtspEvent,
    },
}

/// How often things happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub logins: u64,
    pub refreshes: u64,
    pub lists: u64,
    pub panel_logins: u64,
    /// Long polls, each one of them.
    pub polls: u64,
    pub exchanges: u64,
    /// Connections to the database, open or not.
    pub connections: u64,
    pub authentications: u64,
    pub listens: u64,
    pub writes: u64,
    /// Commands to unlock that were taken, whether or not the bolt has arrived.
    pub unlocks: u64,
    /// The same to lock.
    pub locks: u64,
    /// Commands to open a garage door, whether or not it is open.
    pub door_opens: u64,
    /// The same to close.
    pub door_closes: u64,
    pub thumbnails_asked: u64,
    pub thumbnails_read: u64,
    /// Talks that a doorbell agreed to.
    pub talks: u64,
    pub refused: u64,
}

impl Counts {
    pub(super) fn count(&mut self, event: &Event) {
        let counter = match event {
            Event::Login { .. } => &mut self.logins,
            Event::Refresh => &mut self.refreshes,
            Event::List { .. } => &mut self.lists,
            Event::PanelLogin => &mut self.panel_logins,
            Event::Subscribed { .. } => &mut self.polls,
            Event::Exchanged => &mut self.exchanges,
            Event::DatabaseConnected => &mut self.connections,
            Event::DatabaseAuthenticated => &mut self.authentications,
            Event::DatabaseListening { .. } => &mut self.listens,
            Event::DatabaseWritten { .. } => &mut self.writes,
            Event::Unlocking { .. } => &mut self.unlocks,
            Event::Locking { .. } => &mut self.locks,
            Event::DoorOpening { .. } => &mut self.door_opens,
            Event::DoorClosing { .. } => &mut self.door_closes,
            Event::ThumbnailAsked { .. } => &mut self.thumbnails_asked,
            Event::ThumbnailRead { .. } => &mut self.thumbnails_read,
            Event::Call { event: doorbell::Event::TalkStarted { .. }, .. } => &mut self.talks,
            Event::Refused { .. } => &mut self.refused,
            _ => return,
        };
        *counter += 1;
    }
}
