//! ACKs and requests on the main channel: what is counted, repeated and given up
//! (docs/protocol/tutk.md §6.3, §7.1).

use std::time::{Duration, Instant};

use crate::proto::tutk::kcommand::{ControlMessage, IoCtrl, KCommand, id};
use crate::proto::tutk::login::Ack;

const ACK_INTERVAL: Duration = Duration::from_millis(100);
const REPEAT: Duration = Duration::from_millis(500);

/// What a request is for. One of each kind can be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    Auth,
    ChallengeResponse,
    Resolution,
    StartTalk,
    StopTalk,
}

struct Pending {
    kind: RequestKind,
    message: Vec<u8>,
    next_send: Instant,
    give_up: Instant,
}

/// What [`Control::on_timeout`] found due.
#[derive(Default)]
pub(super) struct Due {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) given_up: Vec<RequestKind>,
}

pub(super) struct Control {
    started: Instant,
    next_ack: Instant,
    /// One counter for ACKs and IOCTRL frames.
    av_seq: u32,
    command_seq: u16,
    ack_count: u16,
    rx_start: u16,
    rx_end: Option<u16>,
    /// At most one of each kind.
    pending: Vec<Pending>,
}

impl Control {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            next_ack: now,
            av_seq: 0,
            command_seq: 0,
            ack_count: 0,
            rx_start: u16::MAX,
            rx_end: None,
            pending: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let pending = self.pending.iter().map(|pending| pending.next_send.min(pending.give_up));
        pending.fold(self.next_ack, Instant::min)
    }

    /// The ACK that is due now, or that a control message earned.
    pub(super) fn ack(&mut self, now: Instant) -> Vec<u8> {
        self.next_ack = now + ACK_INTERVAL;
        self.ack_count = self.ack_count.wrapping_add(1);
        let rx_end = self.rx_end.unwrap_or(u16::MAX);
        let ack = Ack {
            av_seq: self.next_av_seq(),
            rx_start: self.rx_start,
            rx_end,
            count: self.ack_count,
            clock_ms: now.duration_since(self.started).as_millis() as u16,
        };
        self.rx_start = rx_end;
        ack.encode()
    }

    /// A message to send once, for which no answer is awaited.
    pub(super) fn message(&mut self, command: KCommand) -> Vec<u8> {
        let frame = IoCtrl { av_seq: self.next_av_seq(), command_seq: self.command_seq, command };
        self.command_seq = self.command_seq.wrapping_add(1);
        frame.encode()
    }

    /// A message to send now; it is repeated unchanged until it is answered, or until `limit` has passed.
    /// It takes the place of an earlier one of the same kind.
    pub(super) fn request(&mut self, now: Instant, kind: RequestKind, command: KCommand, limit: Duration) -> Vec<u8> {
        self.cancel(kind);
        let message = self.message(command);
        let (next_send, give_up) = (now + REPEAT, now + limit);
        self.pending.push(Pending { kind, message: message.clone(), next_send, give_up });
        message
    }

    pub(super) fn cancel(&mut self, kind: RequestKind) {
        self.pending.retain(|pending| pending.kind != kind);
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if now >= self.next_ack {
            due.messages.push(self.ack(now));
        }
        due.given_up =
            self.pending.iter().filter(|pending| now >= pending.give_up).map(|pending| pending.kind).collect();
        self.pending.retain(|pending| now < pending.give_up);
        for pending in self.pending.iter_mut().filter(|pending| now >= pending.next_send) {
            pending.next_send = now + REPEAT;
            due.messages.push(pending.message.clone());
        }
        due
    }

    /// Reads a control message and takes note of its number. `None` when it holds no K-command.
    pub(super) fn on_message(&mut self, message: &[u8]) -> Option<KCommand> {
        let message = ControlMessage::decode(message).ok()?;
        if let Some(av_seq) = message.av_seq {
            self.on_av_seq(av_seq as u16);
        }
        message.command
    }

    fn on_av_seq(&mut self, av_seq: u16) {
        match self.rx_end {
            None => {
                self.rx_start = av_seq;
                self.rx_end = Some(av_seq);
            }
            // Later, with a counter that wraps.
            Some(end) if av_seq.wrapping_sub(end) < 0x8000 => self.rx_end = Some(av_seq),
            Some(_) => {}
        }
    }

    /// Which request to a streaming camera, if any, a command from it answers. The answers to the other
    /// requests are looked into first; see [`Self::cancel`].
    pub(super) fn answered_by(&mut self, command: u16) -> Option<RequestKind> {
        let answers = |kind: RequestKind| match kind {
            RequestKind::Auth | RequestKind::ChallengeResponse => false,
            RequestKind::Resolution => [id::SET_RESOLUTION_RESPONSE, id::SET_RESOLUTION_DB_RESPONSE].contains(&command),
            RequestKind::StartTalk | RequestKind::StopTalk => command == id::CONTROL_CHANNEL_RESPONSE,
        };
        let kind = self.pending.iter().map(|pending| pending.kind).find(|kind| answers(*kind))?;
        self.cancel(kind);
        Some(kind)
    }

    fn next_av_seq(&mut self) -> u32 {
        let av_seq = self.av_seq;
        self.av_seq = self.av_seq.wrapping_add(1);
        av_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests::start_of_time;

    fn control_message(av_seq: u32) -> Vec<u8> {
        let command = KCommand::new(id::SET_RESOLUTION_RESPONSE, vec![0]);
        IoCtrl { av_seq, command_seq: 0, command }.encode()
    }

    fn range(control: &mut Control, now: Instant) -> (u16, u16, u16) {
        let ack = Ack::decode(&control.ack(now)).unwrap();
        (ack.rx_start, ack.rx_end, ack.count)
    }

    #[test]
    fn acks_report_the_control_messages_since_the_last() {
        let now = start_of_time();
        let mut control = Control::new(now);
        assert_eq!(range(&mut control, now), (0xFFFF, 0xFFFF, 1));
        control.on_message(&control_message(7));
        assert_eq!(range(&mut control, now), (7, 7, 2));
        control.on_message(&control_message(9));
        control.on_message(&control_message(8));
        assert_eq!(range(&mut control, now), (7, 9, 3));
        assert_eq!(range(&mut control, now), (9, 9, 4));
    }

    #[test]
    fn acks_and_requests_share_a_counter_and_repetitions_do_not_count() {
        let now = start_of_time();
        let mut control = Control::new(now);
        control.ack(now);
        let limit = Duration::from_secs(5);
        let first = control.request(now, RequestKind::Resolution, KCommand::new(id::SET_RESOLUTION, vec![]), limit);
        assert_eq!(IoCtrl::decode(&first).unwrap().av_seq, 1);
        let due = control.on_timeout(now + REPEAT);
        assert!(due.messages.contains(&first), "the request was not repeated as it was");
        let second = control.request(now, RequestKind::StartTalk, KCommand::new(id::CONTROL_CHANNEL, vec![]), limit);
        let second = IoCtrl::decode(&second).unwrap();
        assert_eq!((second.av_seq, second.command_seq), (3, 1));
    }

    #[test]
    fn a_request_without_answer_is_given_up() {
        let now = start_of_time();
        let mut control = Control::new(now);
        let limit = Duration::from_secs(5);
        control.request(now, RequestKind::Auth, KCommand::new(id::AUTH, vec![]), limit);
        assert_eq!(control.on_timeout(now + limit).given_up, [RequestKind::Auth]);
        assert!(control.on_timeout(now + 2 * limit).given_up.is_empty(), "it was given up twice");
    }
}
