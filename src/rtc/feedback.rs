//! What a viewer's RTCP asks for, as it passes. A wish for a keyframe is noted: the engine ends inbound RTCP at the end
//! of its interceptor chain, and even RTCP marked for delivery is dropped where the first packet of a compound names
//! none of our SSRCs (an empty receiver report, a FIR). Packets that are to be sent again are counted: one datagram can
//! ask for megabytes, and the engine would send them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::allowance::Allowance;

/// Packets that are sent again to one viewer in a second: 19 Mbit/s. A burst that took more is mended by a keyframe.
const RESENT_A_SECOND: u32 = 2_000;

/// Where it stands in the chain: before what sends packets again (`Slot::NackResponder` is 4000).
pub(super) fn slot() -> Slot {
    Slot::from(3_500)
}

/// How many requests have come and not been looked at.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<AtomicU64>);

impl Asked {
    pub(super) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Counts PLI (RFC 4585 §6.3.1) and FIR (RFC 5104 §4.3.1), and shortens NACKs (RFC 4585 §6.2.1) that ask for too much.
pub(super) struct Feedback {
    asked: Asked,
    resent: Allowance,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Feedback {
    pub(super) fn new(asked: Asked, now: Instant) -> Self {
        let resent = Allowance::a_second(RESENT_A_SECOND, now);
        Self { asked, resent, inbound: VecDeque::new(), outbound: VecDeque::new() }
    }

    /// Leaves of a NACK what the viewer may have sent again.
    fn shorten(&mut self, now: Instant, packet: &mut Box<dyn rtcp::Packet>) {
        let Some(nack) = packet.as_any().downcast_ref::<TransportLayerNack>() else { return };
        let granted = |pair: &&NackPair| {
            let wanted = 1 + pair.lost_packets.count_ones();
            (0..wanted).all(|_| self.resent.takes(now))
        };
        let nacks: Vec<NackPair> = nack.nacks.iter().take_while(granted).copied().collect();
        if nacks.len() < nack.nacks.len() {
            *packet = Box::new(TransportLayerNack { nacks, ..nack.clone() });
        }
    }
}

fn wants_keyframe(packet: &dyn rtcp::Packet) -> bool {
    const PLI: u8 = 1;
    const FIR: u8 = 4;
    let header = packet.header();
    header.packet_type == rtcp::header::PacketType::PayloadSpecificFeedback && matches!(header.count, PLI | FIR)
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Feedback {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut tagged: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &mut tagged.message.packet {
            packets.iter_mut().for_each(|packet| self.shorten(tagged.now, packet));
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

impl Interceptor for Feedback {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
