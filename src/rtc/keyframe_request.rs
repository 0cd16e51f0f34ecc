//! Notes a viewer's wish for a keyframe as it passes: the engine ends inbound RTCP at the end of its interceptor
//! chain, and even RTCP marked for delivery is dropped where the first packet of a compound names none of our
//! SSRCs (an empty receiver report, a FIR).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Where it stands in the chain: at the application's end, behind all of the engine's own.
pub(super) fn slot() -> Slot {
    Slot::from(14_000)
}

/// How many requests have come and not been looked at.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<AtomicU64>);

impl Asked {
    pub(super) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Counts PLI (RFC 4585 §6.3.1) and FIR (RFC 5104 §4.3.1) and changes nothing.
#[derive(Default)]
pub(super) struct KeyframeRequests {
    asked: Asked,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl KeyframeRequests {
    pub(super) fn new(asked: Asked) -> Self {
        Self { asked, ..Self::default() }
    }
}

fn wants_keyframe(packet: &dyn rtcp::Packet) -> bool {
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

    fn handle_read(&mut self, tagged: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &tagged.message.packet {
            let requests = packets.iter().filter(|packet| wants_keyframe(packet.as_ref())).count();
            self.asked.0.fetch_add(requests as u64, Ordering::Relaxed);
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
