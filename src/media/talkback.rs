//! Speech from a microphone to a speaker: put in order, converted to what the camera plays, and paced as it plays it.
//!
//! ```text
//! packet → jitter (order, delay) → silence (what is passed on) → converter → a piece each 20 ms
//!                       ↑ stand_in (for what did not come)
//! ```

mod jitter;
mod levels;
mod silence;
mod stand_in;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::codec::{Decoder, sounds_for};
use super::convert::{Converter, Unsupported};
use super::{AudioCodec, AudioFormat};
use crate::clock::{self, Instant};
use crate::model::TalkLevel;
use jitter::{Held, JitterBuffer, Turn, Worth};
use levels::{Levels, percent};
use silence::{Ear, Gate};
use stand_in::StandIn;

/// One packet of a microphone, as it came over RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicPacket {
    pub format: AudioFormat,
    pub ssrc: u32,
    pub sequence: u16,
    /// In `format.rate_hz`.
    pub timestamp: u32,
    pub payload: Bytes,
}

/// Between one microphone and an open speaker. While nobody speaks the speaker is given empty pieces. Dropping it lets
/// go of the speaker at once, whatever still waits.
pub struct Talkback {
    microphone: AudioFormat,
    played: AudioFormat,
    listener: Listener,
    jitter: JitterBuffer,
    gate: Gate,
    stand_in: StandIn,
    converter: Converter,
    /// Of the last packet that was taken: 120 ms at most.
    pieces: VecDeque<Bytes>,
    speaker: mpsc::Sender<Bytes>,
    next_beat: Instant,
    last_packet: Option<Instant>,
    passed: u64,
    suppressed: u64,
    delay: Duration,
}

/// What a beat comes to.
enum Beat {
    Piece(Bytes),
    /// Of silence, this long: the microphone lives.
    Silence(Duration),
    /// Nothing is to be said, and nothing is known of the microphone.
    Idle,
}

impl Talkback {
    const PIECE: Duration = Duration::from_millis(20);
    /// A microphone that sent nothing for this long begins anew; Opus says at least each 400 ms that it is silent.
    const PAUSED: Duration = Duration::from_millis(500);
    /// Packets that one piece may take: Opus has some of 2.5 ms.
    const TURNS: u32 = 16;

    /// From a microphone that sends `microphone` to a speaker that plays `played` and takes it from `speaker`:
    /// the two fields of a `TalkGrant`.
    ///
    /// # Errors
    /// When there is no way from one format to the other.
    pub fn new(
        microphone: AudioFormat,
        played: AudioFormat,
        speaker: mpsc::Sender<Bytes>,
    ) -> Result<Self, Unsupported> {
        Ok(Self {
            microphone,
            played,
            listener: Listener::new(microphone),
            jitter: JitterBuffer::new(microphone.rate_hz),
            gate: Gate::default(),
            stand_in: StandIn::new(microphone),
            converter: Converter::new(microphone, played)?,
            pieces: VecDeque::new(),
            speaker,
            next_beat: clock::now(),
            last_packet: None,
            passed: 0,
            suppressed: 0,
            delay: Duration::ZERO,
        })
    }

    /// Takes one packet of the microphone. Never waits. [`Self::play`] must follow.
    pub fn push(&mut self, packet: MicPacket) {
        let Some(length) = sounds_for(self.microphone, &packet.payload) else { return };
        let now = clock::now();
        let begins = self.last_packet.replace(now).is_none_or(|last| now.duration_since(last) > Self::PAUSED);
        let Some(held) = self.jitter.insert(now, packet, length) else { return };
        held.voiced = self.listener.hear(&held.payload);
        if begins {
            self.gate.hear_beginning(held.at);
        }
        if held.voiced {
            self.gate.hear_speech(held.at, held.end());
        }
    }

    /// Sends each piece at its time, until the speaker is closed from the other side: the talk is over. May be
    /// cancelled without losing a piece.
    pub async fn play(&mut self) {
        loop {
            let due = self.due();
            let beat = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.speaker.closed() => return,
                () = beat => self.beat(clock::now()),
            }
        }
    }

    /// How the talk is so far.
    pub fn level(&self) -> TalkLevel {
        let (levels, counts) = (&self.listener.levels, self.jitter.counts);
        TalkLevel {
            rms_db: levels.rms_db(),
            peak_db: levels.peak_db(),
            clipped_percent: levels.clipped_percent(),
            suppressed_percent: percent(self.suppressed, self.suppressed + self.passed),
            packets: counts.received,
            lost: counts.lost,
            late: counts.late,
            delay_ms: u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// When there is something to be done; `None` until a packet comes.
    fn due(&self) -> Option<Instant> {
        if !self.is_idle() {
            return Some(self.next_beat);
        }
        self.jitter.due(|held| worth(&self.gate, held)).map(|due| due.max(self.next_beat))
    }

    fn is_idle(&self) -> bool {
        self.pieces.is_empty() && !self.jitter.is_playing()
    }

    fn beat(&mut self, now: Instant) {
        let begins = self.is_idle();
        let (piece, length) = match self.next(now) {
            Beat::Piece(piece) => {
                let length = sounds_for(self.played, &piece).unwrap_or(Self::PIECE);
                (piece, length)
            }
            Beat::Silence(length) => (Bytes::new(), length),
            // Should it be due all the same, then not without end.
            Beat::Idle => return self.next_beat = now + Duration::from_millis(1),
        };
        // Beats that were missed are not made up for by a burst.
        let beat = if begins || now > self.next_beat + length { now } else { self.next_beat };
        self.next_beat = beat + length;
        // Full: the camera is slow, and what it has no room for now would be heard late.
        let _dropped_when_full = self.speaker.try_send(piece);
    }

    fn next(&mut self, now: Instant) -> Beat {
        for _ in 0..Self::TURNS {
            if let Some(piece) = self.pieces.pop_front() {
                return Beat::Piece(piece);
            }
            match self.jitter.take(now, |held| worth(&self.gate, held)) {
                Turn::Idle => return Beat::Idle,
                Turn::Packet(held) if self.gate.passes(held.at) => {
                    self.passed += 1;
                    self.delay = self.jitter.delay(now, &held);
                    self.stand_in.heard(&held.payload);
                    self.pieces.extend(self.converter.push(&held.payload));
                }
                Turn::Packet(held) => {
                    self.suppressed += 1;
                    return Beat::Silence(held.sounds_for());
                }
                Turn::Gap { at, length, .. } if !self.gate.passes(at) => return Beat::Silence(length),
                Turn::Gap { length, next, .. } => self.make_up(length, next),
            }
        }
        Beat::Idle
    }

    /// From what the packet after the gap says of it (in-band FEC, RFC 6716 §2.1.7), or from what came before.
    fn make_up(&mut self, length: Duration, next: Option<Bytes>) {
        let recovered = next.and_then(|next| self.converter.recover(&next, length));
        let made_up = recovered.or_else(|| self.stand_in.make().map(|payload| self.converter.push(&payload)));
        self.pieces.extend(made_up.unwrap_or_default());
    }
}

/// How much would be missed of a packet.
fn worth(gate: &Gate, held: &Held) -> Worth {
    match held.voiced {
        _ if !gate.passes(held.at) => Worth::Nothing,
        true => Worth::Speech,
        false => Worth::Pause,
    }
}

/// Hears what comes as soon as it comes, when what came before is still to be played.
struct Listener {
    /// None for a format that no library here takes: all of it is speech.
    decoder: Option<Decoder>,
    heard: AudioFormat,
    ear: Ear,
    levels: Levels,
}

impl Listener {
    fn new(format: AudioFormat) -> Self {
        // Enough to hear an s, for a third of the work.
        let opus = AudioFormat { codec: AudioCodec::Opus, rate_hz: 16_000, channels: 1 };
        let heard = if format.codec == AudioCodec::Opus { opus } else { format };
        Self { decoder: Decoder::new(heard), heard, ear: Ear::default(), levels: Levels::default() }
    }

    /// Whether there is speech in it.
    fn hear(&mut self, payload: &[u8]) -> bool {
        let Some(decoder) = &mut self.decoder else { return true };
        let mut samples = Vec::new();
        decoder.decode(payload, &mut samples);
        let channels = usize::from(self.heard.channels.max(1));
        let first: Vec<i16> = samples.into_iter().step_by(channels).collect();
        let voiced = self.ear.hear(&first, self.heard.rate_hz);
        if voiced {
            self.levels.hear(&first);
        }
        voiced
    }
}

#[cfg(test)]
#[path = "talkback/tests.rs"]
mod tests;
