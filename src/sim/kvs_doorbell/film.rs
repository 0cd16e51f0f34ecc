//! What a doorbell films and hears, while somebody watches: the clip and its beep, or what programs give.

use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::watch;

use super::ear::PROGRAMS_SOUND;
use super::fault::Fault;
use super::program::Program;
use super::{Event, Tell};
use crate::clock::{self, Instant};
use crate::media::convert::Converter;
use crate::media::h26x::AccessUnits;
use crate::media::{AudioFormat, FrameKind, MediaHub, VideoCodec};
use crate::sim::clip::Clip;
use crate::sim::kvs_camera::film;
use crate::sim::sound::Sound;

/// A viewer that leaves and comes back finds the camera still running, whose start takes seconds.
const LINGER: Duration = Duration::from_secs(10);
/// Before a program that has ended is started again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Film {
    pub(super) hub: MediaHub,
    /// Of the doorbell's sound, whatever it comes from.
    pub(super) format: AudioFormat,
    pub(super) video_from: Option<Program>,
    pub(super) sound_from: Option<Program>,
    pub(super) fault: watch::Receiver<Option<Fault>>,
    pub(super) tell: Tell,
}

/// What a program gives.
#[derive(Debug, Clone, Copy)]
enum Of {
    Picture,
    Sound,
}

impl Film {
    pub(super) async fn run(mut self) {
        loop {
            self.hub.watched().await;
            if self.has_vanished() {
                // An error means that the doorbell stops.
                let _stopping = self.fault.changed().await;
                continue;
            }
            let mut fault = self.fault.clone();
            let vanished = fault.wait_for(|fault| *fault == Some(Fault::Vanish));
            tokio::select! {
                _ = vanished => {}
                () = self.play() => {}
                () = self.hub.unwatched_for(LINGER) => {}
            }
            self.hub.reset();
        }
    }

    fn has_vanished(&self) -> bool {
        *self.fault.borrow() == Some(Fault::Vanish)
    }

    /// Without end.
    async fn play(&self) {
        // A program's picture beside the clip's beep, or the other way round, would be neither.
        let beep =
            if self.video_from.is_none() && self.sound_from.is_none() { Sound::new(self.format).ok() } else { None };
        let begun = clock::now();
        let picture = async {
            match &self.video_from {
                Some(program) => self.again_and_again(program, Of::Picture, begun).await,
                None => film::play(&self.hub, &Clip::h264(), beep.as_ref()).await,
            }
        };
        let sound = async {
            if let Some(program) = &self.sound_from {
                self.again_and_again(program, Of::Sound, begun).await;
            }
        };
        tokio::join!(picture, sound);
    }

    /// Runs a program, and anew whenever it has ended.
    async fn again_and_again(&self, program: &Program, of: Of, begun: Instant) {
        loop {
            let trouble = match program.start(Stdio::null(), Stdio::piped()) {
                Ok(mut child) => {
                    match (child.stdout.take(), of) {
                        (Some(output), Of::Picture) => self.film(output, begun).await,
                        (Some(output), Of::Sound) => self.record(output, begun).await,
                        (None, _) => {}
                    }
                    "it has ended, and is started again".to_owned()
                }
                Err(why) => why,
            };
            self.tell.tell(Event::ProgramTrouble { program: program.to_string(), why: trouble });
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Until the program has ended.
    async fn film(&self, mut output: ChildStdout, begun: Instant) {
        let (mut cutter, mut units) = (Cutter::default(), AccessUnits::new(VideoCodec::H264));
        let mut buffer = BytesMut::new();
        while let Ok(1..) = output.read_buf(&mut buffer).await {
            for unit in cutter.push(&buffer.split()) {
                if let Some(unit) = units.push(unit) {
                    let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: unit.keyframe };
                    self.hub.publish(kind, begun.elapsed(), unit.data);
                }
            }
        }
    }

    /// Until the program has ended.
    async fn record(&self, mut output: ChildStdout, begun: Instant) {
        let Ok(mut converter) = Converter::new(PROGRAMS_SOUND, self.format) else { return };
        let mut piece = [0; 1_920];
        while output.read_exact(&mut piece).await.is_ok() {
            for packet in converter.push(&piece) {
                self.hub.publish(FrameKind::Audio(self.format), begun.elapsed(), packet);
            }
        }
    }
}

/// Cuts a stream of H.264 in Annex B into access units (ISO/IEC 14496-10 §7.4.1.2.3). One is known to be whole when the
/// next begins, so pictures are one late.
#[derive(Debug, Default)]
struct Cutter {
    pending: BytesMut,
    /// Up to here there is no start of another unit.
    looked_at: usize,
    /// A slice of the picture is in what is pending.
    has_slice: bool,
}

impl Cutter {
    /// A larger one is none: what comes is no H.264.
    const LARGEST: usize = 4 << 20;
    /// A start code, a NAL unit's header and the first byte of a slice's.
    const NEEDED: usize = 5;

    fn push(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        self.pending.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while let Some(start) = self.next_start() {
            let nal = &self.pending[start + 3..];
            let (kind, first_slice) = (nal[0] & 0x1f, nal[1] & 0x80 != 0);
            let is_slice = matches!(kind, 1..=5);
            // Delimiter, parameter sets, SEI and 14 to 18 stand in front of a picture.
            let begins = matches!(kind, 6..=9 | 14..=18) || is_slice && first_slice;
            if self.has_slice && begins {
                // The zero byte in front of a long start code belongs to what it begins.
                let at = if start > 0 && self.pending[start - 1] == 0 { start - 1 } else { start };
                whole.push(self.pending.split_to(at).freeze());
                self.looked_at = start - at + 3;
                self.has_slice = is_slice;
            } else {
                self.looked_at = start + 3;
                self.has_slice |= is_slice;
            }
        }
        if self.pending.len() > Self::LARGEST {
            *self = Self::default();
        }
        whole
    }

    /// Where the next start code is, with what is needed behind it.
    fn next_start(&mut self) -> Option<usize> {
        let rest = self.pending.get(self.looked_at..)?;
        let limit = (rest.len() + 1).saturating_sub(Self::NEEDED);
        let found = rest.windows(3).take(limit).position(|window| *window == [0, 0, 1]);
        match found {
            Some(at) => Some(self.looked_at + at),
            None => {
                self.looked_at += limit;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;
    use crate::media::FrameStream;

    fn clip(pictures: u64) -> (Vec<u8>, Vec<Bytes>) {
        let clip = Clip::h264();
        let units: Vec<Bytes> = (0..pictures).map(|n| clip.access_unit(n).data).collect();
        (units.concat(), units)
    }

    #[test]
    fn a_stream_is_cut_into_its_pictures_however_it_comes_in() {
        let (stream, units) = clip(45);
        for size in [1, 2, 3, 7, 1_000, 65_536, stream.len()] {
            let mut cutter = Cutter::default();
            let cut: Vec<Bytes> = stream.chunks(size).flat_map(|chunk| cutter.push(chunk)).collect();
            assert!(cut == units[..44], "in pieces of {size}: {} units", cut.len());
        }
    }

    #[test]
    fn slices_of_one_picture_stay_together_and_delimiters_begin_the_next() {
        let nal = |bytes: &[u8]| [&[0, 0, 1], bytes].concat();
        let first = [nal(&[9, 0xf0]), nal(&[0x67, 0x42]), nal(&[0x68, 0xce]), nal(&[0x65, 0x88]), nal(&[0x65, 0x40])];
        let second = [nal(&[9, 0xf0]), nal(&[0x41, 0x9a]), nal(&[0x41, 0x33])];
        let third = nal(&[0x41, 0x9a, 0]);
        let stream = [first.concat(), second.concat(), third].concat();
        assert_eq!(Cutter::default().push(&stream), [first.concat(), second.concat()]);
    }

    #[test]
    fn no_byte_string_panics_and_no_flood_is_kept() {
        for n in 0..4_u32.pow(6) {
            let stream: Vec<u8> = (0..6).map(|digit| [0, 1, 0x65, 0x88][(n >> (2 * digit)) as usize & 3]).collect();
            let mut cutter = Cutter::default();
            stream.iter().for_each(|byte| drop(cutter.push(&[*byte])));
        }
        let mut cutter = Cutter::default();
        for _ in 0..10 {
            cutter.push(&vec![7; 1 << 20]);
            assert!(cutter.pending.len() <= Cutter::LARGEST);
        }
    }

    async fn next(frames: &mut FrameStream, video: bool) -> Bytes {
        loop {
            let frame = frames.next().await.unwrap();
            if frame.kind.is_video() == video {
                return frame.data.clone();
            }
        }
    }

    #[tokio::test]
    async fn programs_film_and_record_while_somebody_watches_and_are_started_again() {
        let file = std::env::temp_dir().join(format!("doorstep-film-{}", std::process::id()));
        let (stream, units) = clip(20);
        std::fs::write(&file, stream).unwrap();
        let (events, fault) = (broadcast::Sender::new(64), watch::Sender::new(None));
        let mut told = events.subscribe();
        let hub = MediaHub::new();
        let film = Film {
            hub: hub.clone(),
            format: AudioFormat::PCMU,
            video_from: Some(format!("cat {}", file.display()).parse().unwrap()),
            sound_from: Some("head -c 9600 /dev/zero".parse().unwrap()),
            fault: fault.subscribe(),
            tell: Tell(events),
        };
        let playing = tokio::spawn(film.run());
        let (_watches, mut frames) = (hub.hold(), hub.listen());
        assert_eq!(next(&mut frames, true).await, units[0]);
        assert_eq!(next(&mut frames, false).await.len(), 160);
        for _ in 0..2 {
            let Event::ProgramTrouble { program, .. } = told.recv().await.unwrap() else { panic!("something else") };
            assert!(["cat", "head"].contains(&program.as_str()), "{program}");
        }
        assert_eq!(next(&mut hub.listen(), true).await, units[0], "it is not started again");
        playing.abort();
        std::fs::remove_file(&file).unwrap();
    }
}
