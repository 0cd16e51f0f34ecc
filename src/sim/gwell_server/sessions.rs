//! Who has a session: terminals and cameras that were certified.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::event::Who;
use crate::proto::gwell::gutes::{Frame, Identity, Mode};
use crate::proto::gwell::rc5::Rc5;

/// Whose a session is, as the server keeps its books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// By access id.
    Terminal(u64),
    /// By TID.
    Camera(u64),
}

impl Owner {
    /// What it logs in with.
    pub(super) fn access_id(self) -> u64 {
        match self {
            Self::Terminal(id) | Self::Camera(id) => id,
        }
    }
}

/// What a CertifyReq has led to.
#[derive(Clone)]
struct Keys {
    routing: u64,
    key: Rc5,
    proof: u32,
}

pub(super) struct Session {
    pub(super) number: u64,
    pub(super) owner: Owner,
    pub(super) who: Who,
    pub(super) address: SocketAddr,
    now: Keys,
    /// Before a renewal: frames that were on their way then are good, and so is a terminal that did not get the reply.
    before: Option<Keys>,
    sqnum: u32,
    pub(super) began: Instant,
    /// Anything that only its owner can have sent.
    pub(super) heard: Instant,
    /// The highest sqnum of it.
    pub(super) seen: u32,
    pub(super) heartbeat: Option<Heartbeat>,
    /// The last CALLING.
    pub(super) called: Option<Instant>,
    /// MTP frames that came from its address to the P2P port.
    pub(super) mtp_frames: u32,
}

/// The last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    pub(super) at: Instant,
    pub(super) sqnum: u32,
}

/// A session to be.
pub(super) struct Newcomer {
    pub(super) owner: Owner,
    pub(super) who: Who,
    pub(super) address: SocketAddr,
    /// The same for a CertifyReq that came twice.
    pub(super) proof: u32,
    pub(super) key: Rc5,
}

impl Session {
    fn account(&self) -> Identity {
        Identity::Terminal(self.owner.access_id())
    }

    pub(super) fn id(&self) -> Identity {
        Identity::Session(self.now.routing)
    }

    /// Whether its id was this one before a renewal.
    pub(super) fn was(&self, routing: u64) -> bool {
        self.before.as_ref().is_some_and(|keys| keys.routing == routing)
    }

    pub(super) fn next_sqnum(&mut self) -> u32 {
        self.sqnum = self.sqnum.wrapping_add(1);
        self.sqnum
    }

    pub(super) fn seal(&self, frame: &Frame) -> Vec<u8> {
        frame.seal(Some(&self.now.key))
    }

    /// What this session's owner has sent, and nobody else can have: enciphered with its key, with a checksum, under
    /// its access id or its session id. A terminal that never got its session id says 0 for it (§4.2).
    fn open(&self, datagram: &[u8]) -> Option<Frame> {
        [Some(&self.now), self.before.as_ref()].into_iter().flatten().find_map(|keys| {
            let frame = Frame::open_in(Mode::Session, datagram, Some(&keys.key)).ok()?;
            let names = [self.account(), Identity::Session(keys.routing), Identity::Session(0)];
            let is_its = names.iter().any(|id| (id.proto(), id.id()) == (frame.proto, frame.id));
            (is_its && frame.acked.is_none()).then_some(frame)
        })
    }
}

/// Every session, by its number. At most [`Sessions::MOST`]; the one that was not heard for longest makes room.
#[derive(Default)]
pub(super) struct Sessions {
    all: BTreeMap<u64, Session>,
    last: u64,
}

/// How a newcomer was taken.
pub(super) struct Admitted {
    pub(super) number: u64,
    pub(super) routing: u64,
    pub(super) renewed: bool,
    /// Sessions that had to make room.
    pub(super) gone: Vec<u64>,
}

impl Sessions {
    pub(super) const MOST: usize = 256;
    /// Of one owner.
    pub(super) const MOST_OF_ONE: usize = 32;
    /// Frames of terminals that do not come from where their session is are tried with every key; not larger ones.
    const LARGEST_FROM_ELSEWHERE: usize = 256;

    /// From the same owner at the same address, a CertifyReq renews the session that is there; the same CertifyReq
    /// changes nothing.
    pub(super) fn admit(&mut self, now: Instant, newcomer: Newcomer, routing: u64) -> Admitted {
        let keys = Keys { routing, key: newcomer.key, proof: newcomer.proof };
        let same = |session: &&mut Session| session.owner == newcomer.owner && session.address == newcomer.address;
        if let Some(session) = self.all.values_mut().find(same) {
            if session.now.proof != keys.proof {
                session.before = Some(std::mem::replace(&mut session.now, keys));
            }
            session.heard = now;
            let routing = session.now.routing;
            return Admitted { number: session.number, routing, renewed: true, gone: Vec::new() };
        }
        let gone = self.make_room(newcomer.owner);
        self.last += 1;
        let session = Session {
            number: self.last,
            owner: newcomer.owner,
            who: newcomer.who,
            address: newcomer.address,
            now: keys,
            before: None,
            sqnum: 0,
            began: now,
            heard: now,
            seen: 0,
            heartbeat: None,
            called: None,
            mtp_frames: 0,
        };
        self.all.insert(self.last, session);
        Admitted { number: self.last, routing, renewed: false, gone }
    }

    /// A camera has one session, the newest.
    fn make_room(&self, owner: Owner) -> Vec<u64> {
        let of_owner = || self.all.values().filter(move |session| session.owner == owner);
        if matches!(owner, Owner::Camera(_)) {
            return of_owner().map(|session| session.number).collect();
        }
        let quietest = |sessions: &mut dyn Iterator<Item = &Session>| {
            sessions.min_by_key(|session| session.heard).map(|session| session.number)
        };
        let surplus = if of_owner().count() >= Self::MOST_OF_ONE {
            quietest(&mut of_owner())
        } else if self.all.len() >= Self::MOST {
            quietest(&mut self.all.values())
        } else {
            None
        };
        surplus.into_iter().collect()
    }

    /// The session that sent this, and what. A session follows its owner to another address, from where only what
    /// was not sent before counts.
    pub(super) fn open(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<(u64, Frame)> {
        let opened = |session: &Session| Some((session.number, session.open(datagram)?));
        let here = self.all.values().filter(|session| session.address == from).find_map(opened);
        if here.is_some() || datagram.len() > Self::LARGEST_FROM_ELSEWHERE {
            return here;
        }
        let (number, frame) = self.all.values().find_map(opened)?;
        let session = self.all.get_mut(&number).filter(|session| frame.sqnum > session.seen)?;
        session.address = from;
        Some((number, frame))
    }

    pub(super) fn get(&self, number: u64) -> Option<&Session> {
        self.all.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Session> {
        self.all.get_mut(&number)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Session> {
        self.all.remove(&number)
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values()
    }

    /// Those at an address.
    pub(super) fn at(&self, address: SocketAddr) -> impl Iterator<Item = &Session> {
        self.all.values().filter(move |session| session.address == address)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn of_camera(&self, tid: u64) -> Option<&Session> {
        self.all.values().find(|session| matches!(session.owner, Owner::Camera(own) if own == tid))
    }

    /// The other sessions of the same owner.
    pub(super) fn twins(&self, number: u64) -> impl Iterator<Item = &Session> {
        let owner = self.get(number).map(|session| session.owner);
        self.all.values().filter(move |session| Some(session.owner) == owner && session.number != number)
    }
}
