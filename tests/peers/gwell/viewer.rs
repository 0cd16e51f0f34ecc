//! The Go client as a viewer of one camera, and what is to be said of the picture that it writes.

use std::net::{IpAddr, SocketAddr};

use doorstep::sim::clip::Clip;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::program::Program;

/// A running client. Killed when dropped.
pub(super) struct Viewer {
    program: Program,
    output: NamedTempFile,
}

/// Whom it watches, and as whom.
pub(super) struct Call<'a> {
    pub(super) server: SocketAddr,
    pub(super) access_id: &'a str,
    pub(super) access_token: &'a str,
    pub(super) device: &'a str,
    /// Without one it is left to relays.
    pub(super) camera: Option<IpAddr>,
    /// Name and TID of each device that it learnt of before.
    pub(super) known: &'a [(&'a str, u64)],
}

impl Viewer {
    pub(super) fn call(call: &Call) -> Self {
        let output = NamedTempFile::new().unwrap();
        let mut command = Command::new(super::installed().expect("the client is installed"));
        command.arg("--server").arg(call.server.to_string());
        // One argument each: an access id may be negative.
        command.arg(format!("--access-id={}", call.access_id)).arg(format!("--access-token={}", call.access_token));
        command.arg("--device").arg(call.device).arg("--output").arg(output.path());
        if let Some(camera) = call.camera {
            command.arg("--camera").arg(camera.to_string());
        }
        let known: Vec<_> = call.known.iter().map(|(name, tid)| format!("{name}={tid}")).collect();
        command.arg("--known").arg(known.join(","));
        Self { program: Program::run(command), output }
    }

    /// Waits for a line of its log that holds these words.
    pub(super) async fn logs(&mut self, words: &str) -> String {
        let holds = |said: &Value| said["log"].as_str().is_some_and(|line| line.contains(words));
        let said = self.program.says_with("log", holds).await;
        said["log"].as_str().unwrap().to_owned()
    }

    /// Waits until it has called and is sent media: each step takes the client some seconds.
    pub(super) async fn sees(&mut self) {
        for step in ["sent subscribe", "sent CALLING", "KCP: data=", "streaming started"] {
            self.logs(step).await;
        }
        self.program.says("first_ms").await;
    }

    /// Waits until it has written at least so many bytes of H.264, and gives all that it has written.
    pub(super) async fn wrote(&mut self, bytes: u64) -> Vec<u8> {
        self.program.says_with("bytes", |said| said["bytes"].as_u64() >= Some(bytes)).await;
        std::fs::read(self.output.path()).unwrap()
    }

    /// Why it has given up.
    pub(super) async fn ended(&mut self) -> String {
        self.program.says("ended").await.as_str().unwrap().to_owned()
    }
}

/// What a client has written, taken apart.
pub(super) struct Written {
    /// Whole ones.
    pub(super) pictures: usize,
    /// Packets, as they came.
    pub(super) sound: Vec<Vec<u8>>,
}

/// In front of a packet of sound, where one is taken for picture: its length.
const PACKET: u16 = 320;
/// In pictures.
const LOOP: u64 = 200;

/// Tells pictures from packets of sound. The pictures must be the clip's, from one of its keyframes on, in its order and
/// without a byte more or less; the last may be cut.
///
/// # Panics
/// When they are not.
pub(super) fn tell_apart(clip: &Clip, written: &[u8]) -> Written {
    let mut apart = Written { pictures: 0, sound: Vec::new() };
    let (mut rest, mut next) = (written, None);
    while !rest.is_empty() {
        if let Some((packet, after)) = packet_of_sound(rest) {
            apart.sound.push(packet.to_vec());
            rest = after;
            continue;
        }
        let n = next.unwrap_or_else(|| first_picture(clip, rest));
        let picture = clip.access_unit(n).data;
        let compared = picture.len().min(rest.len());
        let at = written.len() - rest.len();
        assert!(rest[..compared] == picture[..compared], "picture {} differs, at byte {at}", apart.pictures);
        apart.pictures += usize::from(compared == picture.len());
        (rest, next) = (&rest[compared..], Some(n + 1));
    }
    apart
}

fn packet_of_sound(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.strip_prefix(&PACKET.to_le_bytes())?.split_at_checked(PACKET.into())
}

fn first_picture(clip: &Clip, written: &[u8]) -> u64 {
    let keyframes = (0..LOOP).filter(|&n| clip.access_unit(n).keyframe);
    let found = keyframes.into_iter().find(|&n| written.starts_with(&clip.access_unit(n).data));
    found.unwrap_or_else(|| panic!("no keyframe begins with {:02x?}", &written[..written.len().min(64)]))
}
