//! What the vendor's servers expect of a terminal, and what becomes of one that does otherwise (seed, "Stream Stability
//! Fixes"; §6, §11).

use std::net::SocketAddr;
use std::time::Instant;

use super::calls::Call;
use super::event::Event;
use super::session::ServerSession;
use super::sessions::{Heartbeat, Owner, Session};
use crate::proto::gwell::port_status::{PortKind, PortStatus};

/// A session is over at this instant, for this.
type Fate = (Instant, &'static str);

impl ServerSession {
    /// Media do not belong at the P2P port: whoever sends them there is cut off.
    pub(super) fn on_mtp(&mut self, from: SocketAddr) {
        let most = self.settings.limits.mtp_frames;
        let offenders: Vec<u64> = self.sessions.at(from).map(|session| session.number).collect();
        for number in offenders {
            let Some(session) = self.sessions.get_mut(number) else { continue };
            session.mtp_frames = session.mtp_frames.saturating_add(1);
            if session.mtp_frames > most {
                self.drop_session(number, "it sent MTP to the P2P port");
            }
        }
    }

    /// A heartbeat of a terminal, which may have been doubled on its way.
    pub(super) fn on_terminal_heartbeat(&mut self, now: Instant, number: u64, sqnum: u32) {
        let least = self.settings.limits.heartbeat_least;
        let is_probing = self.sessions.get(number).is_some_and(|session| self.is_probing(now, session));
        let Some(session) = self.sessions.get_mut(number) else { return };
        let last = session.heartbeat.replace(Heartbeat { at: now, sqnum }).filter(|last| last.sqnum != sqnum);
        if !is_probing && last.is_some_and(|last| now < last.at + least) {
            self.drop_session(number, "its heartbeats come too often");
        }
    }

    /// 0xCA at the P2P port. `status` is of a call of this session.
    pub(super) fn on_port_status(&mut self, now: Instant, number: u64, status: &PortStatus) {
        let is_probing = self.sessions.get(number).is_some_and(|session| self.is_probing(now, session));
        let Some(call) = self.calls.get_mut(status.link_id) else { return };
        call.kept_alive = Some(now);
        if status.tid != call.calling.callee {
            self.tell(Event::Complaint { session: number, why: "its 0xCA names another camera" });
        } else if status.kind != PortKind::Online && !is_probing {
            self.tell(Event::Complaint { session: number, why: "its 0xCA is of another kind than a keepalive" });
        }
    }

    fn is_probing(&self, now: Instant, session: &Session) -> bool {
        session.called.is_some_and(|at| now < at + self.settings.limits.probing)
    }

    /// Ends what is overdue.
    pub(super) fn sweep(&mut self, now: Instant) {
        let overdue: Vec<(u64, &'static str)> = self
            .sessions
            .iter()
            .filter_map(|session| Some((session.number, self.fate(session)?)))
            .filter(|(_, (at, _))| *at <= now)
            .map(|(number, (_, why))| (number, why))
            .collect();
        for (number, why) in overdue {
            self.drop_session(number, why);
        }
        self.calls.sweep(now, self.settings.limits.relay_silence);
    }

    /// When there is something to sweep.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        let fates = self.sessions.iter().filter_map(|session| self.fate(session)).map(|(at, _)| at);
        fates.chain(self.calls.deadline(self.settings.limits.relay_silence)).min()
    }

    fn fate(&self, session: &Session) -> Option<Fate> {
        let limits = &self.settings.limits;
        if let Owner::Camera(tid) = session.owner {
            let silent = (session.heard + limits.camera_silence, "nothing was heard of it");
            return (!self.sleeps(tid)).then_some(silent);
        }
        let beaten = session.heartbeat.map_or(session.began, |last| last.at);
        let heartbeat = (beaten + limits.heartbeat_most, "it sent no heartbeat");
        let keepalive = |call: &Call| {
            let answered = call.answered?;
            let last = call.kept_alive.map_or(answered, |at| at.max(answered));
            Some((last + limits.keepalive, "it sent no 0xCA"))
        };
        let keepalives = self.calls.of_session(session.number).filter_map(keepalive);
        keepalives.chain([heartbeat]).min_by_key(|(at, _)| *at)
    }
}
