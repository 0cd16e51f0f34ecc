//! Hands a viewer's wish for a keyframe to us: the engine ends inbound RTCP at the end of its interceptor chain.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Where it stands in the chain: at the application's end, behind all of the engine's own.
pub(super) fn slot() -> Slot {
    Slot::from(14_000)
}

/// Marks PLI (RFC 4585 §6.3.1) and FIR (RFC 5104 §4.3.1) for delivery and changes nothing else.
#[derive(Default)]
pub(super) struct KeyframeRequests {
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

/// Whether this RTCP packet is a PLI or a FIR.
pub(super) fn wants_keyframe(packet: &(impl rtcp::Packet + ?Sized)) -> bool {
    const PLI: u8 = 1;
    const FIR: u8 = 4;
    let header = packet.header();
    header.packet_type == rtcp::header::PacketType::PayloadSpecificFeedback && matches!(header.count, PLI | FIR)
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyframeRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut tagged: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &tagged.message.packet
            && packets.iter().any(|packet| wants_keyframe(packet.as_ref()))
        {
            tagged.message.add(Attribute::DeliverToApplication);
        }
        self.inbound.push_back(tagged);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, tagged: TaggedPacket) -> Result<(), Error> {
        self.outbound.push_back(tagged);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}

impl Interceptor for KeyframeRequests {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
