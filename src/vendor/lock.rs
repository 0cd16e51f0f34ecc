//! What the lives of locks have in common, whoever made them.

use tokio::sync::mpsc;

use crate::clock;
use crate::doorbell::guard::Permit;
use crate::doorbell::{ActionError, Request};
use crate::model::{LockAction, LockState};

/// The guard's word that the lock may be worked once.
pub(super) trait Word {
    fn action(&self) -> LockAction;
    /// # Errors
    /// When it has grown old, and the lock must be left alone.
    fn spend(self) -> Result<LockAction, ActionError>;
}

impl Word for Permit {
    fn action(&self) -> LockAction {
        Self::action(self)
    }

    fn spend(self) -> Result<LockAction, ActionError> {
        self.redeem(clock::now())
    }
}

/// While one command is carried out, no other is kept waiting: it might open a door that nobody wants open any more.
/// Returns when the doorbell is gone.
pub(super) async fn refuse_others(requests: &mut mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        request.refuse(busy());
    }
}

pub(super) fn busy() -> ActionError {
    let why = "The last command is still being carried out. Try again when the door has moved.".to_owned();
    ActionError::Refused { why }
}

/// How it stands while it carries out a command.
pub(super) fn moving(action: LockAction) -> LockState {
    match action {
        LockAction::Lock => LockState::Locking,
        LockAction::Unlock => LockState::Unlocking,
    }
}

/// How it stands when it has.
pub(super) fn reached(action: LockAction) -> LockState {
    match action {
        LockAction::Lock => LockState::Locked,
        LockAction::Unlock => LockState::Unlocked,
    }
}
