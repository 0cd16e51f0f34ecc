//! Calls: who called which camera, and where the relays find the two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::event::Side;
use crate::proto::gwell::calling::Calling;

/// How frames go from one side to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    UdpRelay,
    TcpRelay,
    Passthrough,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UdpRelay => "udp_relay",
            Self::TcpRelay => "tcp_relay",
            Self::Passthrough => "passthrough",
        }
    }
}

/// One CALLING that was passed on, and all that followed from it.
pub(super) struct Call {
    /// The caller's session.
    pub(super) session: u64,
    /// As it came last.
    pub(super) calling: Calling,
    /// Of that frame.
    pub(super) sqnum: u32,
    pub(super) since: Instant,
    /// When the camera took it first.
    pub(super) answered: Option<Instant>,
    /// The last 0xCA of the caller to the P2P port.
    pub(super) kept_alive: Option<Instant>,
    /// Who is where at the relays, by way and side.
    ends: [[Option<End>; 2]; 2],
    /// By way and side, what was told already.
    told: [[bool; 2]; 3],
}

/// Where one side of a call is at a relay.
#[derive(Debug, Clone, Copy)]
struct End {
    at: SocketAddr,
    heard: Instant,
}

impl Call {
    pub(super) fn id_of(&self, side: Side) -> u64 {
        match side {
            Side::Caller => self.calling.caller,
            Side::Camera => self.calling.callee,
        }
    }

    pub(super) fn side_of(&self, id: u64) -> Option<Side> {
        [Side::Caller, Side::Camera].into_iter().find(|side| self.id_of(*side) == id)
    }

    pub(super) fn register(&mut self, way: Way, side: Side, at: SocketAddr, now: Instant) {
        if let Some(ends) = self.ends.get_mut(way as usize) {
            ends[side as usize] = Some(End { at, heard: now });
        }
    }

    /// Which side sends from there, if it has registered itself.
    pub(super) fn heard(&mut self, way: Way, from: SocketAddr, now: Instant) -> Option<Side> {
        let ends = self.ends.get_mut(way as usize)?;
        let is_there = |side: &Side| ends[*side as usize].is_some_and(|end| end.at == from);
        let side = [Side::Caller, Side::Camera].into_iter().find(is_there)?;
        ends[side as usize] = Some(End { at: from, heard: now });
        Some(side)
    }

    pub(super) fn end(&self, way: Way, side: Side) -> Option<SocketAddr> {
        Some(self.ends.get(way as usize)?[side as usize]?.at)
    }

    /// True the first time.
    pub(super) fn tell_once(&mut self, way: Way, from: Side) -> bool {
        !std::mem::replace(&mut self.told[way as usize][from as usize], true)
    }

    fn unregister(&mut self, gone: impl Fn(Way, &End) -> bool) {
        for way in [Way::UdpRelay, Way::TcpRelay] {
            for end in &mut self.ends[way as usize] {
                *end = end.filter(|end| !gone(way, end));
            }
        }
    }
}

/// Every call, by its link id without the top bit: as KCP conversations show it (§7). Each session has at most
/// [`Calls::MOST_OF_ONE`]; its oldest makes room.
#[derive(Default)]
pub(super) struct Calls(BTreeMap<u32, Call>);

/// What became of a CALLING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    New,
    /// The caller insists.
    Again,
    /// Another session's call has this link id.
    Taken,
}

/// A link id as conversations show it.
fn short(link: u32) -> u32 {
    link & 0x7FFF_FFFF
}

impl Calls {
    const MOST_OF_ONE: usize = 8;
    /// A camera may take so long to wake.
    pub(super) const UNANSWERED: Duration = Duration::from_secs(120);

    pub(super) fn place(&mut self, now: Instant, session: u64, calling: Calling, sqnum: u32) -> Placed {
        let key = short(calling.link_id);
        if let Some(call) = self.0.get_mut(&key) {
            if call.session != session || call.calling.callee != calling.callee {
                return Placed::Taken;
            }
            (call.calling, call.sqnum) = (calling, sqnum);
            return Placed::Again;
        }
        let of_one = || self.0.iter().filter(|(_, call)| call.session == session);
        if of_one().count() >= Self::MOST_OF_ONE
            && let Some(oldest) = of_one().min_by_key(|(_, call)| call.since).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        let call = Call {
            session,
            calling,
            sqnum,
            since: now,
            answered: None,
            kept_alive: None,
            ends: Default::default(),
            told: Default::default(),
        };
        self.0.insert(key, call);
        Placed::New
    }

    /// The call of this link id, with the top bit or without.
    pub(super) fn get(&self, link: u32) -> Option<&Call> {
        self.0.get(&short(link))
    }

    pub(super) fn get_mut(&mut self, link: u32) -> Option<&mut Call> {
        self.0.get_mut(&short(link))
    }

    pub(super) fn of_session(&self, session: u64) -> impl Iterator<Item = &Call> {
        self.0.values().filter(move |call| call.session == session)
    }

    pub(super) fn of_camera(&self, tid: u64) -> impl Iterator<Item = &Call> {
        self.0.values().filter(move |call| call.calling.callee == tid)
    }

    /// Takes away the calls of a session that is over.
    pub(super) fn hang_up(&mut self, session: u64) -> Vec<Call> {
        self.0.extract_if(.., |_, call| call.session == session).map(|(_, call)| call).collect()
    }

    /// A stream to the TCP relay is over.
    pub(super) fn stream_ended(&mut self, at: SocketAddr) {
        self.0.values_mut().for_each(|call| call.unregister(|way, end| way == Way::TcpRelay && end.at == at));
    }

    /// Forgets calls that no camera took, and relays' ends that were silent.
    pub(super) fn sweep(&mut self, now: Instant, relay_silence: Duration) {
        self.0.retain(|_, call| call.answered.is_some() || now < call.since + Self::UNANSWERED);
        self.0.values_mut().for_each(|call| call.unregister(|_, end| now >= end.heard + relay_silence));
    }

    /// When there is something to sweep.
    pub(super) fn deadline(&self, relay_silence: Duration) -> Option<Instant> {
        let calls = self.0.values();
        let unanswered = calls.clone().filter(|call| call.answered.is_none()).map(|call| call.since + Self::UNANSWERED);
        let ends = calls.flat_map(|call| call.ends.iter().flatten().flatten()).map(|end| end.heard + relay_silence);
        unanswered.chain(ends).min()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
