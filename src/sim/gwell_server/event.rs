//! What happens at a virtual P2P server.

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

/// What happened. Sessions are named by the order in which they began, calls by their link ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The list server has named the P2P server.
    ListAsked {
        from: SocketAddr,
        /// The request was encrypted as its flags say; the reference client's is not.
        encrypted: bool,
    },
    Detected {
        from: SocketAddr,
    },
    /// A terminal or a camera has a session.
    Certified {
        session: u64,
        who: Who,
        from: SocketAddr,
        /// The request came without mode-1 encryption (§4.1, retry variant).
        raw: bool,
        /// The session was there before; it goes on with a new key.
        renewed: bool,
    },
    /// A CertifyReq was not taken.
    Refused {
        from: SocketAddr,
        code: u16,
        why: &'static str,
    },
    /// A device list was sent.
    Listed {
        session: u64,
        devices: usize,
    },
    Subscribed {
        session: u64,
        by: &'static str,
    },
    /// CALLING was passed on to the camera.
    Called {
        session: u64,
        link: u32,
        camera: String,
        relays: usize,
    },
    /// WakeUp was sent.
    Woken {
        camera: String,
    },
    /// The camera took the call, and the caller was told.
    Answered {
        session: u64,
        link: u32,
        camera: String,
    },
    /// A call was not passed on.
    NotCalled {
        session: u64,
        link: u32,
        why: &'static str,
    },
    /// The first frame of a call that went this way from one side to the other.
    Relayed {
        link: u32,
        by: &'static str,
        from: Side,
    },
    /// A rule that the vendor's servers keep was broken. Nothing else follows from it.
    Complaint {
        session: u64,
        why: &'static str,
    },
    /// A session is over, and its calls are.
    Dropped {
        session: u64,
        who: Who,
        why: &'static str,
    },
    Quirk {
        name: String,
    },
    /// Every session, call and pair was forgotten.
    Restarted,
}

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// By its access id; in quotes, since it has more digits than JSON's numbers.
    Terminal(#[serde(serialize_with = "as_text")] u64),
    /// By its name.
    Camera(String),
}

fn as_text<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Caller,
    Camera,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Camera,
            Self::Camera => Self::Caller,
        }
    }
}
