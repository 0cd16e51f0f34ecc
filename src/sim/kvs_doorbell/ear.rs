//! What a viewer says: it is measured, and played where there is a speaker. A talk begins with a packet and ends with
//! a pause.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

use super::program::Program;
use super::{Event, Tell};
use crate::clock::{self, Instant};
use crate::media::convert::Converter;
use crate::media::{AudioCodec, AudioFormat, Frame, FrameKind, FrameStream};
use crate::sim::ear::Ear;
use crate::sim::tone::Heard;

/// What programs for sound take and give.
pub(super) const PROGRAMS_SOUND: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 48_000, channels: 1 };
/// A talk is over when nothing has been said for this long.
const SILENCE: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Listens until the stream ends.
pub(super) async fn listen(viewer: String, mut heard: FrameStream, speaker: Option<Program>, tell: Tell) {
    while let Some(first) = heard.next().await {
        let FrameKind::Audio(format) = first.kind else { continue };
        tell.tell(Event::TalkStarted { viewer: viewer.clone() });
        let speaker = speaker.as_ref().and_then(|program| Speaker::start(program, format, &tell));
        let next_report = clock::now() + REPORT_EVERY;
        let talk =
            Talk { viewer: &viewer, format, ear: Ear::new(format), speaker, frames: 0, next_report, tell: &tell };
        talk.hear_out(first, &mut heard).await;
    }
}

struct Talk<'a> {
    viewer: &'a str,
    format: AudioFormat,
    ear: Ear,
    speaker: Option<Speaker>,
    frames: u64,
    next_report: Instant,
    tell: &'a Tell,
}

impl Talk<'_> {
    async fn hear_out(mut self, first: Arc<Frame>, heard: &mut FrameStream) {
        let mut next = Some(first);
        while let Some(frame) = next {
            if frame.kind == FrameKind::Audio(self.format) {
                self.hear(&frame.data).await;
            }
            next = timeout(SILENCE, heard.next()).await.ok().flatten();
        }
    }

    async fn hear(&mut self, packet: &[u8]) {
        self.frames += 1;
        self.ear.hear(packet);
        if let Some(speaker) = &mut self.speaker {
            speaker.play(packet).await;
        }
        if clock::now() >= self.next_report {
            self.next_report = clock::now() + REPORT_EVERY;
            self.report();
        }
    }

    fn report(&mut self) {
        let Some((Heard { tone_hz, level_db }, samples)) = self.ear.measure() else { return };
        let (viewer, frames, codec) = (self.viewer.to_owned(), self.frames, self.format.codec);
        self.tell.tell(Event::TalkAudio { viewer, frames, codec, tone_hz, level_db, samples });
    }
}

/// Also when the viewer is gone in the middle of it.
impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.report();
        self.tell.tell(Event::TalkEnded { viewer: self.viewer.to_owned(), frames: self.frames });
    }
}

/// A program that plays one talk. It is told its end by the end of its input.
struct Speaker {
    input: ChildStdin,
    converter: Converter,
    _child: Child,
}

impl Speaker {
    /// What it does not take within this is dropped: it would be heard late.
    const PATIENCE: Duration = Duration::from_millis(20);

    fn start(program: &Program, format: AudioFormat, tell: &Tell) -> Option<Self> {
        let trouble = |why| tell.tell(Event::ProgramTrouble { program: program.to_string(), why });
        let mut child = program.start(Stdio::piped(), Stdio::null()).map_err(trouble).ok()?;
        let converter = Converter::new(format, PROGRAMS_SOUND).ok()?;
        Some(Self { input: child.stdin.take()?, converter, _child: child })
    }

    async fn play(&mut self, packet: &[u8]) {
        for piece in self.converter.push(packet) {
            let _late_or_gone = timeout(Self::PATIENCE, self.input.write_all(&piece)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;
    use crate::media::MediaHub;
    use crate::sim::sound::Sound;

    #[tokio::test(start_paused = true)]
    async fn a_talk_is_told_from_its_first_packet_to_a_second_after_its_last() {
        let (sender, hub) = (broadcast::Sender::new(16), MediaHub::new());
        let mut events = sender.subscribe();
        let listening = tokio::spawn(listen("viewer-1".to_owned(), hub.listen(), None, Tell(sender)));
        let sound = Sound::new(AudioFormat::PCMU).unwrap();
        for n in 0..60 {
            hub.publish(FrameKind::Audio(AudioFormat::PCMU), Duration::from_millis(20 * n), sound.packet(n).data);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let viewer = || "viewer-1".to_owned();
        assert_eq!(events.recv().await.unwrap(), Event::TalkStarted { viewer: viewer() });
        let Event::TalkAudio { codec, tone_hz, .. } = events.recv().await.unwrap() else { panic!("nothing heard") };
        assert!(codec == AudioCodec::Pcmu && tone_hz.is_some_and(|hz| (hz - 1_000.0).abs() < 20.0), "{tone_hz:?}");
        assert!(matches!(events.recv().await.unwrap(), Event::TalkAudio { frames: 60, .. }), "the rest");
        assert_eq!(events.recv().await.unwrap(), Event::TalkEnded { viewer: viewer(), frames: 60 });
        listening.abort();
    }

    #[tokio::test]
    async fn a_speaker_is_given_what_is_said_as_samples() {
        let file = std::env::temp_dir().join(format!("doorstep-speaker-{}", std::process::id()));
        let program: Program = format!("tee {}", file.display()).parse().unwrap();
        let (sender, hub) = (broadcast::Sender::new(16), MediaHub::new());
        let mut events = sender.subscribe();
        tokio::spawn(listen("viewer-1".to_owned(), hub.listen(), Some(program), Tell(sender)));
        let sound = Sound::new(AudioFormat::PCMU).unwrap();
        for n in 0..10 {
            hub.publish(FrameKind::Audio(AudioFormat::PCMU), Duration::from_millis(20 * n), sound.packet(n).data);
        }
        while !matches!(events.recv().await.unwrap(), Event::TalkEnded { .. }) {}
        let played = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        // Ten packets of 20 ms, less what the resampler and the cutter hold back.
        assert!((15_000..=19_200).contains(&played.len()), "{} bytes", played.len());
        let samples: Vec<i16> = played.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let hz = crate::sim::tone::listen(&samples[..4_800], 48_000).tone_hz;
        assert!(hz.is_some_and(|hz| (hz - 1_000.0).abs() < 20.0), "{hz:?}");
    }
}
