//! A session with one camera, from the first P2P server to the farewell (gwell reference §11).
//!
//! [`signalling`] has the session with the server, [`call`] the one with the camera; neither waits where the first answer
//! suffices.

mod call;
mod candidates;
mod certification;
mod interface;
mod paths;
mod random;
mod search;
mod signalling;
mod stream;
mod unix_time;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use self::call::{Call, Caller};
pub use self::interface::*;
use self::random::Random;
use self::signalling::{Signalling, Told};
use self::unix_time::UnixTime;
use super::{TCP, control};
use crate::proto::{Lane, Output, Session};

/// A client session. See [`Session`] for how it is run, and [`Lane::MAIN`] and [`TCP`] for its lanes.
pub struct ClientSession {
    device: String,
    known: Vec<KnownDevice>,
    owner: Option<IpAddr>,
    local: SocketAddr,
    time: UnixTime,
    random: Random,
    signalling: Signalling,
    call: Option<Call>,
    dropped: Dropped,
    is_closed: bool,
}

/// What the parts of a session are handed when they have something to do.
struct Turn<'a> {
    now: Instant,
    signalling: &'a mut Signalling,
    dropped: &'a mut Dropped,
}

impl ClientSession {
    /// A session that goes to its server at once: its deadline is `now`.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let Setup { token, device, known, servers, list_servers, camera, local, seed, unix_ms } = setup;
        let time = UnixTime::new(now, unix_ms);
        let mut random = Random::new(seed);
        let is_known = known.iter().any(|known| known.name == device);
        let signalling = Signalling::new(token, &servers, list_servers, is_known, random.bytes(), time, now);
        Self {
            device,
            known,
            owner: camera,
            local,
            time,
            random,
            signalling,
            call: None,
            dropped: Dropped::default(),
            is_closed: false,
        }
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// The call, if there is one, and what it needs to act.
    fn turn(&mut self, now: Instant) -> (Option<&mut Call>, Turn<'_>) {
        let turn = Turn { now, signalling: &mut self.signalling, dropped: &mut self.dropped };
        (self.call.as_mut(), turn)
    }

    fn on_server_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<(), SessionError> {
        let Some(told) = self.signalling.on_datagram(now, from, datagram, &mut self.dropped)? else { return Ok(()) };
        match told {
            Told::Certified => {
                let known = self.known.iter().find(|known| known.name == self.device).map(|known| known.tid);
                known.into_iter().for_each(|tid| self.call(now, tid));
                return Ok(());
            }
            Told::Listed(listed) => return self.on_listed(now, listed),
            Told::CallingAck(..) | Told::MtpReply(_) | Told::Passthrough(_) => {}
        }
        let (Some(call), mut turn) = self.turn(now) else { return Ok(()) };
        match told {
            Told::CallingAck(ack, acked) => call.on_ack(&mut turn, ack, acked),
            Told::MtpReply(reply) => call.on_reply(&mut turn, reply),
            Told::Passthrough(data) => call.on_passthrough(&mut turn, &data)?,
            Told::Certified | Told::Listed(_) => {}
        }
        Ok(())
    }

    fn on_listed(&mut self, now: Instant, listed: Vec<KnownDevice>) -> Result<(), SessionError> {
        let tid = listed.iter().find(|listed| listed.name == self.device).map(|listed| listed.tid);
        self.signalling.tell(Event::Listed(listed));
        // What works need not be listed.
        if self.call.as_ref().is_some_and(Call::is_proven) {
            return Ok(());
        }
        let tid = tid.ok_or(SessionError::NotListed)?;
        if self.call.as_ref().is_none_or(|call| call.tid() != tid) {
            self.call(now, tid);
        }
        Ok(())
    }

    fn call(&mut self, now: Instant, tid: u64) {
        let Some(server) = self.signalling.server() else { return };
        let sender = self.signalling.access_id();
        let caller = Caller {
            ids: control::Route { link_id: self.random.link_id(), sender, receiver: tid },
            stream_id: self.random.stream_id(),
            mtp_key: self.random.bytes(),
            server,
            owner: self.owner,
            local: self.local,
            time: self.time,
        };
        self.call = Some(Call::new(caller, now));
    }

    fn on_camera_datagram(
        &mut self,
        now: Instant,
        lane: Lane,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), SessionError> {
        let (call, mut turn) = self.turn(now);
        match call {
            None => turn.dropped.strangers += 1,
            Some(call) if lane == TCP => call.on_stream(&mut turn, from, datagram)?,
            Some(call) => call.on_datagram(&mut turn, from, datagram)?,
        }
        Ok(())
    }

    /// Hands on what the stream has ready. Called at the end of whatever may have made it so.
    fn flush(&mut self, now: Instant) {
        if let (Some(call), mut turn) = self.turn(now) {
            call.flush(&mut turn);
        }
    }
}

impl Session for ClientSession {
    type Command = Command;
    type Event = Event;
    type Error = SessionError;

    fn on_datagram(&mut self, now: Instant, lane: Lane, from: SocketAddr, payload: &[u8]) -> Result<(), SessionError> {
        if self.is_closed {
            return Ok(());
        }
        let outcome = if lane == Lane::MAIN && self.signalling.is_server(from) {
            self.on_server_datagram(now, from, payload)
        } else {
            self.on_camera_datagram(now, lane, from, payload)
        };
        self.flush(now);
        outcome
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.is_closed {
            return Ok(());
        }
        let outcome = self.signalling.on_timeout(now).and_then(|()| match self.turn(now) {
            (Some(call), mut turn) => call.on_timeout(&mut turn),
            (None, _) => Ok(()),
        });
        self.flush(now);
        outcome
    }

    fn on_command(&mut self, now: Instant, command: Command) -> Result<(), SessionError> {
        let Command::Renew(token) = command;
        self.signalling.renew(now, token);
        Ok(())
    }

    /// The camera is told. For the server no goodbye is known: its session ends with the heartbeats.
    fn on_close(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.is_closed, true)
            && let (Some(call), mut turn) = self.turn(now)
        {
            call.close(&mut turn);
        }
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        self.signalling.poll().or_else(|| self.call.as_mut()?.poll())
    }

    fn deadline(&self) -> Option<Instant> {
        let call = self.call.as_ref().and_then(Call::deadline);
        self.signalling.deadline().into_iter().chain(call).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arbitrary moment from which a test counts.
    #[expect(clippy::disallowed_methods, reason = "tests need one Instant, and there is no other way to make one")]
    pub(super) fn start_of_time() -> Instant {
        Instant::now()
    }
}
