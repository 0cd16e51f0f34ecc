//! Who may open a door: everything that is asked before a lock is touched (requirements S7 to S11).

use bytes::Bytes;

use crate::clock::Instant;
use crate::model::LockAction;

/// Somebody wants a door locked or opened.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub via: Via,
    /// When the wish reached this process. It is not acted on when it has grown old.
    pub received: Instant,
}

/// How the wish came.
#[derive(Debug, Clone)]
pub enum Via {
    /// A message on the door's own command topic, as it stood.
    Mqtt { payload: Bytes, retained: bool, dup: bool },
    /// A request that has passed the HTTP face's own guards; `who` goes into the audit log.
    Http { who: &'static str, action: LockAction },
}

/// The guard's word that one action may be carried out once. Nothing else makes one.
#[derive(Debug)]
pub struct Permit {
    action: LockAction,
}

/// Nobody, as yet.
pub(super) fn permit(_attempt: &Attempt) -> Option<Permit> {
    None
}

impl Permit {
    pub fn action(&self) -> LockAction {
        self.action
    }
}
