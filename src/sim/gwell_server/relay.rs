//! The relays, over UDP and TCP: they pass on what the two sides of a call send each other (§5, §6).
//!
//! Made up where the reference is silent: a relay takes registrations only for calls that the P2P server knows, keeps
//! them to itself, and passes every other frame on as it is. It tells calls apart by the link id in the payload, so that
//! one stream of a camera may carry several.

use std::net::SocketAddr;
use std::time::Instant;

use super::calls::{Call, Way};
use super::event::{Event, Side};
use super::link::UDP_RELAY;
use super::quirk::Quirk;
use super::session::ServerSession;
use crate::proto::Lane;
use crate::proto::gwell::TCP;
use crate::proto::gwell::control::Control;
use crate::proto::gwell::kcp::conversation_of;
use crate::proto::gwell::mtp::Mtp;

/// What a relay makes of a frame.
enum Frame {
    /// Somebody makes itself known: a meter request of round 0.
    Registration { link: u32, sender: u64, receiver: u64 },
    /// Of a call; to whom, where the header says so.
    Passing { link: u32, to: Option<u64> },
}

fn read(datagram: &[u8]) -> Option<Frame> {
    let mtp = Mtp::decode(datagram).ok()?;
    let (control, segments) = Control::split(mtp.payload).ok()?;
    Some(match control {
        Some(Control::Meter(route, meter)) if meter.round() == 0 && mtp.to.is_none() && segments.is_empty() => {
            Frame::Registration { link: route.link_id, sender: route.sender, receiver: route.receiver }
        }
        Some(control) => Frame::Passing { link: control.route().link_id, to: mtp.to },
        None => Frame::Passing { link: conversation_of(segments)?, to: mtp.to },
    })
}

/// The link id that a whole MTP frame shows, with its top bit or without.
pub(super) fn link_of(datagram: &[u8]) -> Option<u32> {
    Some(match read(datagram)? {
        Frame::Registration { link, .. } | Frame::Passing { link, .. } => link,
    })
}

impl ServerSession {
    /// A frame at a relay.
    pub(super) fn on_relayed(&mut self, now: Instant, way: Way, from: SocketAddr, datagram: &[u8]) {
        let passed = read(datagram).and_then(|frame| match frame {
            Frame::Registration { link, sender, receiver } => self.register(now, way, from, link, sender, receiver),
            Frame::Passing { link, to } => self.pass_on(now, way, from, link, to, datagram),
        });
        if passed.is_none() {
            self.unread += 1;
        }
    }

    fn register(
        &mut self,
        now: Instant,
        way: Way,
        from: SocketAddr,
        link: u32,
        sender: u64,
        receiver: u64,
    ) -> Option<()> {
        let call = self.calls.get_mut(link).filter(|call| call.calling.link_id == link)?;
        let side = call.side_of(sender).filter(|side| call.id_of(side.other()) == receiver)?;
        call.register(way, side, from, now);
        Some(())
    }

    fn pass_on(
        &mut self,
        now: Instant,
        way: Way,
        from: SocketAddr,
        link: u32,
        to: Option<u64>,
        datagram: &[u8],
    ) -> Option<()> {
        let call = self.calls.get_mut(link)?;
        let side = call.heard(way, from, now)?;
        // Over UDP only extended frames are passed on; a stream has two ends anyway.
        if to.is_none_or(|to| to != call.id_of(side.other())) && (to.is_some() || way == Way::UdpRelay) {
            return None;
        }
        let far = call.end(way, side.other())?;
        if !self.has(Quirk::DeafRelays) {
            self.tell_relayed(link, way, side);
            self.send(lane_of(way), far, datagram.to_vec());
        }
        Some(())
    }

    pub(super) fn tell_relayed(&mut self, link: u32, way: Way, from: Side) {
        let Some(call) = self.calls.get_mut(link) else { return };
        if call.tell_once(way, from) {
            let link = call.calling.link_id;
            self.tell(Event::Relayed { link, by: way.name(), from });
        }
    }

    /// Closes the streams that a caller had open to the TCP relay.
    pub(super) fn cut_stream(&mut self, call: &Call) {
        if let Some(at) = call.end(Way::TcpRelay, Side::Caller) {
            self.send(TCP, at, Vec::new());
        }
    }
}

fn lane_of(way: Way) -> Lane {
    if way == Way::TcpRelay { TCP } else { UDP_RELAY }
}
