//! Doors: what works them, how they stand, and what each is called where.

use serde::Serialize;

use super::{Capability, DeviceId};

/// How a door stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Door {
    /// `None` while it is not known.
    pub lock: Option<LockState>,
    /// Why no command is taken at present, in a sentence for the owner.
    pub blocked: Option<String>,
}

/// What opens a door. A doorbell may have one of each beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DoorKind {
    /// A lock, or an opener in the doorbell: to open the door is to unlock it.
    Lock,
    /// A garage door with its motor. Locked is closed, unlocked open, and jammed stopped on the way.
    Garage,
}

impl DoorKind {
    /// Its name in topics, in the audit log and in what signatures are made of.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Garage => "garage",
        }
    }

    /// What people call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Garage => "garage door",
        }
    }

    /// The key of a doorbell's configuration that enables it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Lock => "unlock",
            Self::Garage => "garage",
        }
    }

    /// What its doorbell can do once it is enabled.
    pub fn capability(self) -> Capability {
        match self {
            Self::Lock => Capability::Unlock,
            Self::Garage => Capability::Garage,
        }
    }

    /// What the action is called at such a door: in JSON commands, in answers and in the audit log. As a plain
    /// command it stands in capitals.
    pub fn command(self, action: LockAction) -> &'static str {
        match (self, action) {
            (Self::Lock, LockAction::Lock) => "lock",
            (Self::Lock, LockAction::Unlock) => "unlock",
            (Self::Garage, LockAction::Lock) => "close",
            (Self::Garage, LockAction::Unlock) => "open",
        }
    }

    /// How Home Assistant spells the state of such a door, a lock's and a cover's.
    pub fn state_word(self, state: LockState) -> &'static str {
        match (self, state) {
            (Self::Lock, state) => state.word(),
            (Self::Garage, LockState::Locked) => "closed",
            (Self::Garage, LockState::Locking) => "closing",
            (Self::Garage, LockState::Unlocked) => "open",
            (Self::Garage, LockState::Unlocking) => "opening",
            (Self::Garage, LockState::Jammed) => "stopped",
        }
    }
}

/// What works a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// The lock of this id.
    Lock(DeviceId),
    /// The garage door of this id.
    Garage(DeviceId),
    /// An opener in the doorbell itself. It lets the door be pushed open for a moment, and cannot lock it.
    Opener(OpenerEntity),
}

impl Mechanism {
    /// Which of a doorbell's doors it works. An opener stands where a lock would: a door has one or the other.
    pub fn kind(&self) -> DoorKind {
        match self {
            Self::Lock(_) | Self::Opener(_) => DoorKind::Lock,
            Self::Garage(_) => DoorKind::Garage,
        }
    }

    /// The device beside the doorbell.
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Lock(device) | Self::Garage(device) => Some(device),
            Self::Opener(_) => None,
        }
    }

    /// What people call whatever answers for it.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Lock(_) | Self::Garage(_) => self.kind().noun(),
            Self::Opener(_) => "doorbell",
        }
    }
}

/// What Home Assistant shows a door opener as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenerEntity {
    #[default]
    Button,
    Lock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LockState {
    Locked,
    Locking,
    Unlocked,
    Unlocking,
    Jammed,
}

impl LockState {
    /// As Home Assistant spells a lock's.
    pub fn word(self) -> &'static str {
        match self {
            Self::Locked => "LOCKED",
            Self::Locking => "LOCKING",
            Self::Unlocked => "UNLOCKED",
            Self::Unlocking => "UNLOCKING",
            Self::Jammed => "JAMMED",
        }
    }
}

/// What a door can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockAction {
    Lock,
    Unlock,
}
