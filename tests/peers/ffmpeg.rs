//! FFmpeg as the viewer behind a peer: it decodes, we count.

use std::collections::HashSet;
use std::time::Duration;

use doorstep::sim::tone::{self, Heard};
use tokio::process::Command;
use tokio::time::timeout;

use crate::wait::PATIENCE;

pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// Four seconds at the 15 pictures a second that virtual cameras send at least: a viewer's first second may go by
/// until the next key frame.
pub(crate) const PICTURES: usize = 60;

/// What FFmpeg decoded of a stream.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) pictures: usize,
    /// Pictures unlike every other one: a frozen stream has one, however many are counted.
    pub(crate) distinct: usize,
    pub(crate) sound: Heard,
    pub(crate) sound_length: Duration,
    /// What FFmpeg could not decode, in its words.
    pub(crate) complaints: String,
}

impl Watched {
    /// Panics unless that was [`LONG_ENOUGH`] of moving pictures and beeps, undamaged.
    pub(crate) fn assert_alive(&self) {
        assert!(self.complaints.is_empty(), "damaged: {self:?}");
        self.assert_moving();
    }

    /// The same of a stream that begins in the middle: what comes before its first keyframe cannot be decoded.
    pub(crate) fn assert_alive_from_a_keyframe_on(&self) {
        let no_parameter_sets = ["non-existing PPS 0 referenced", "decode_slice_header error", "no frame!", "repeated"];
        let expected = |line: &str| no_parameter_sets.iter().any(|words| line.contains(words));
        assert!(self.complaints.lines().all(expected), "damaged: {self:?}");
        self.assert_moving();
    }

    fn assert_moving(&self) {
        assert!(self.pictures >= PICTURES, "too few pictures: {self:?}");
        assert!(self.distinct * 2 > self.pictures, "a frozen picture: {self:?}");
        assert!(self.sound_length * 2 > LONG_ENOUGH, "too little sound: {self:?}");
        assert!(self.sound.tone_hz.is_some_and(|hz| (hz - 1_000.0).abs() < 50.0), "no beep: {self:?}");
    }
}

/// Decodes `length` of the first video and audio stream of an RTSP address.
pub(crate) async fn watch(url: &str, length: Duration) -> Watched {
    let folder = tempfile::tempdir().unwrap();
    let (pictures, sound) = (folder.path().join("pictures.crc"), folder.path().join("sound.raw"));
    let seconds = length.as_secs_f64().to_string();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", url]);
    ffmpeg.args(["-t", &seconds, "-map", "0:v", "-f", "framecrc"]).arg(&pictures);
    ffmpeg.args(["-t", &seconds, "-map", "0:a", "-ac", "1", "-ar", "8000", "-f", "s16le"]).arg(&sound);
    let output = timeout(length + PATIENCE, ffmpeg.kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("ffmpeg saw less than {length:?} of {url}")).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{url}: {complaints}");
    let samples = samples(&std::fs::read(sound).unwrap());
    let sums = checksums(&std::fs::read_to_string(pictures).unwrap());
    Watched {
        pictures: sums.len(),
        distinct: sums.iter().collect::<HashSet<_>>().len(),
        sound: tone::listen(&samples, 8_000),
        sound_length: Duration::from_secs(samples.len() as u64) / 8_000,
        complaints,
    }
}

/// The last column of FFmpeg's `framecrc` lines, which are those that are no comment.
fn checksums(framecrc: &str) -> Vec<String> {
    let lines = framecrc.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit(',').next()?.trim().to_owned())).collect()
}

fn samples(little_endian: &[u8]) -> Vec<i16> {
    little_endian.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
