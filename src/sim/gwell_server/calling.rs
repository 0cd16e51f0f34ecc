//! Calls between terminals and cameras, and what cameras say (§4.6, §4.10; the module's own agreement).

use std::net::SocketAddrV4;
use std::time::Instant;

use super::calls::{Placed, Way};
use super::event::{Event, Side};
use super::quirk::Quirk;
use super::relay::link_of;
use super::session::{NOWHERE, ServerSession, v4};
use super::signalling::FORGOTTEN;
use crate::proto::gwell::calling::{Calling, CallingAck, MtpReply, Relay};
use crate::proto::gwell::gutes::{Frame, Kind};
use crate::proto::gwell::passthrough::{Inner, PassthroughControl, PassthroughData};

impl ServerSession {
    pub(super) fn on_calling(&mut self, now: Instant, number: u64, access_id: u64, frame: &Frame) -> Option<()> {
        let calling = Calling::decode(frame).ok()?;
        let (link, callee) = (calling.link_id, calling.callee);
        if let Some(session) = self.sessions.get_mut(number) {
            session.called = Some(now);
        }
        if self.has(Quirk::SilentCalling) {
            return Some(());
        }
        if let Err(why) = self.place(now, number, access_id, calling, frame.sqnum) {
            self.tell(Event::NotCalled { session: number, link, why });
            return Some(());
        }
        if self.sleeps(callee) {
            self.wake(callee);
        }
        self.pass_calling(link);
        Some(())
    }

    fn place(
        &mut self,
        now: Instant,
        number: u64,
        access_id: u64,
        calling: Calling,
        sqnum: u32,
    ) -> Result<(), &'static str> {
        let callee = calling.callee;
        if calling.link_id == 0 || calling.caller != access_id {
            return Err("the link id or the caller cannot be");
        }
        if !self.settings.cameras.iter().any(|camera| camera.tid() == callee && camera.owner == access_id) {
            return Err("the account has no such camera");
        }
        if self.calls.place(now, number, calling, sqnum) == Placed::Taken {
            return Err("the link id is of another call");
        }
        if self.sessions.of_camera(callee).is_none() { Err("the camera is not there") } else { Ok(()) }
    }

    pub(super) fn sleeps(&self, tid: u64) -> bool {
        let sleeps = || self.settings.cameras.iter().any(|camera| camera.tid() == tid && camera.sleeps);
        self.has(Quirk::Sleeping) || sleeps()
    }

    pub(super) fn wake(&mut self, tid: u64) {
        let Some(camera) = self.sessions.of_camera(tid).map(|camera| camera.number) else { return };
        self.post(camera, |id, sqnum| Frame::new(Kind::WakeUp, id, sqnum, FORGOTTEN, Vec::new()));
        self.tell(Event::Woken { camera: self.name_of(tid) });
    }

    /// Tells the camera of a call: CALLING as it came, and where the caller can be found.
    fn pass_calling(&mut self, link: u32) {
        let Some(call) = self.calls.get(link) else { return };
        let calling = call.calling.clone();
        let caller = self.sessions.get(call.session).map_or(NOWHERE, |caller| v4(caller.address));
        let Some(camera) = self.sessions.of_camera(calling.callee).map(|camera| camera.number) else { return };
        let (session, link, name) = (call.session, calling.link_id, self.name_of(calling.callee));
        let reply = self.found_at(link, caller, SocketAddrV4::new(calling.address, calling.port));
        let relays = reply.relays.len();
        let passed = Calling { address: *reply.lan.ip(), port: reply.lan.port(), ..calling };
        self.post(camera, |id, sqnum| passed.encode(id, sqnum));
        self.post(camera, |id, sqnum| reply.encode(id, sqnum));
        self.tell(Event::Called { session, link, camera: name, relays });
    }

    /// How one side of a call is told to reach the other: where the server sees it, where it says that it is, and relays.
    fn found_at(&self, link_id: u32, outer: SocketAddrV4, lan: SocketAddrV4) -> MtpReply {
        let [outer, lan] = if self.has(Quirk::RelayOnly) { [NOWHERE; 2] } else { [outer, lan] };
        let named = self.settings.relays;
        let relay = |tcp, address| Relay { session: u64::from(link_id), tcp, address: v4(address) };
        let tcp = named.tcp.then(|| relay(true, self.addresses.tcp_relay));
        let udp = named.udp.then(|| relay(false, self.addresses.udp_relay));
        MtpReply { link_id, outer, lan, session_port: lan.port(), relays: tcp.into_iter().chain(udp).collect() }
    }

    fn name_of(&self, tid: u64) -> String {
        let camera = self.settings.cameras.iter().find(|camera| camera.tid() == tid);
        camera.map(|camera| camera.name.clone()).unwrap_or_default()
    }

    /// Once more: a camera that slept, or was not there, hears now of those who called it.
    pub(super) fn call_again(&mut self, number: u64) {
        let Some(tid) = self.sessions.get(number).map(|session| session.owner.access_id()) else { return };
        let waiting = self.calls.of_camera(tid).filter(|call| call.answered.is_none());
        let links: Vec<u32> = waiting.map(|call| call.calling.link_id).collect();
        links.into_iter().for_each(|link| self.pass_calling(link));
    }

    pub(super) fn on_camera_frame(&mut self, now: Instant, number: u64, tid: u64, frame: &Frame) -> Option<()> {
        match frame.kind {
            Kind::Heartbeat => {
                let empty = vec![0; 20];
                self.post(number, |id, sqnum| Frame::new(Kind::Heartbeat, id, sqnum, FORGOTTEN, empty));
                self.call_again(number);
                Some(())
            }
            Kind::Calling => self.on_answer(now, number, tid, &Calling::decode(frame).ok()?),
            Kind::Inner => match Inner::decode(frame).ok()? {
                Inner::Data(data) if data.tid == tid => self.pass_through(Side::Camera, data),
                _ => None,
            },
            _ => None,
        }
    }

    /// The camera takes a call: `answer` names its own address on the LAN.
    fn on_answer(&mut self, now: Instant, number: u64, tid: u64, answer: &Calling) -> Option<()> {
        let outer = v4(self.sessions.get(number)?.address);
        let call = self.calls.get_mut(answer.link_id).filter(|call| call.calling.callee == tid)?;
        call.answered = call.answered.or(Some(now));
        let (session, request, link) = (call.session, call.sqnum, call.calling.link_id);
        let reply = self.found_at(link, outer, SocketAddrV4::new(answer.address, answer.port));
        // Who is acknowledged is told by the sqnum alone.
        self.post_to_account(session, |id, sqnum| {
            let calling = Frame { sqnum: request, ..Frame::new(Kind::Calling, id, sqnum, FORGOTTEN, Vec::new()) };
            CallingAck { peer: reply.lan }.encode(&calling, id)
        });
        if !self.has(Quirk::NoMtpReply) {
            self.post_to_account(session, |id, sqnum| reply.encode(id, sqnum));
        }
        self.tell(Event::Answered { session, link, camera: self.name_of(tid) });
        Some(())
    }

    pub(super) fn on_inner_of_terminal(&mut self, number: u64, frame: &Frame) -> Option<()> {
        match Inner::decode(frame).ok()? {
            Inner::Control(control) => self.pass_control(number, control),
            Inner::Data(data) => {
                let call = self.calls.get(link_of(&data.mtp)?).filter(|call| call.session == number)?;
                let fits = (call.calling.callee, call.calling.caller) == (data.tid, data.access_id);
                fits.then(|| self.pass_through(Side::Caller, data))?
            }
            // Asked for in mode 1; in mode 2 it is as good.
            Inner::NetworkDetect(_) => Some(()),
        }
    }

    fn pass_control(&mut self, number: u64, control: PassthroughControl) -> Option<()> {
        let call = self.calls.get(control.link_id).filter(|call| call.session == number)?;
        let camera = self.sessions.of_camera(call.calling.callee)?.number;
        if !self.has(Quirk::NoPassthrough) {
            self.post(camera, |id, sqnum| control.encode(id, sqnum));
        }
        Some(())
    }

    /// Hands a media frame to the other side, enciphered anew. Its link id says of which call it is.
    fn pass_through(&mut self, from: Side, data: PassthroughData) -> Option<()> {
        let link = link_of(&data.mtp)?;
        let call = self.calls.get(link)?;
        if (call.calling.callee, call.calling.caller) != (data.tid, data.access_id) {
            return None;
        }
        let to = match from {
            Side::Camera => call.session,
            Side::Caller => self.sessions.of_camera(data.tid)?.number,
        };
        if !self.has(Quirk::NoPassthrough) {
            self.tell_relayed(link, Way::Passthrough, from);
            self.post(to, |id, sqnum| data.encode(id, sqnum));
        }
        Some(())
    }
}
