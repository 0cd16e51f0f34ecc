//! What the camera films, and what it hears over its speaker.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::CameraEvent;
use crate::clock;
use crate::media::{FrameKind, MediaHub};
use crate::rtc::MicPacket;
use crate::sim::clip::Clip;
use crate::sim::ear::Ear;
use crate::sim::sound::Sound;
use crate::sim::tone::Heard;

/// A viewer that leaves and comes back finds the camera still running.
const LINGER: Duration = Duration::from_secs(1);
/// A talk is over when nothing has been said for this long.
const SILENCE: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Plays the clip into the hub while somebody watches.
pub(super) async fn film(hub: MediaHub, clip: Clip, sound: Option<Sound>) {
    loop {
        hub.watched().await;
        tokio::select! {
            () = play(&hub, &clip, sound.as_ref()) => {}
            () = hub.unwatched_for(LINGER) => {}
        }
        hub.reset();
    }
}

/// Plays without end. Whoever asks for a keyframe gets the clip's next one early.
pub(in crate::sim) async fn play(hub: &MediaHub, clip: &Clip, sound: Option<&Sound>) {
    let begun = clock::now();
    let (mut filmed, mut shown, mut sounded) = (0, 0, 0);
    loop {
        let picture_at = Clip::INTERVAL * filmed;
        let packet = sound.map(|sound| (sound.format(), sound.packet(sounded)));
        let packet_at = packet.as_ref().map_or(Duration::MAX, |(_, packet)| packet.pts);
        tokio::select! {
            () = hub.keyframe_wanted() => shown = clip.next_keyframe(shown),
            () = sleep_until(begun + picture_at.min(packet_at)) => match packet {
                Some((format, packet)) if packet_at <= picture_at => {
                    hub.publish(FrameKind::Audio(format), packet_at, packet.data);
                    sounded += 1;
                }
                _ => {
                    let unit = clip.access_unit(shown);
                    let kind = FrameKind::Video { codec: clip.codec(), keyframe: unit.keyframe };
                    hub.publish(kind, picture_at, unit.data);
                    (filmed, shown) = (filmed + 1, shown + 1);
                }
            },
        }
    }
}

/// Listens to one viewer's microphone until the viewer is gone, and tells what it hears. A talk begins with a
/// packet and ends with a pause.
pub(super) async fn listen(viewer: String, mut microphone: mpsc::Receiver<MicPacket>, tell: impl Fn(CameraEvent)) {
    while let Some(first) = microphone.recv().await {
        tell(CameraEvent::TalkStarted { viewer: viewer.clone() });
        let frames = hear_out(&viewer, first, &mut microphone, &tell).await;
        tell(CameraEvent::TalkEnded { viewer: viewer.clone(), frames });
    }
}

/// Hears one talk to its end, and counts its packets.
async fn hear_out(
    viewer: &str,
    first: MicPacket,
    microphone: &mut mpsc::Receiver<MicPacket>,
    tell: &impl Fn(CameraEvent),
) -> u64 {
    // What a call negotiates is the format of all its packets.
    let MicPacket { format, .. } = first;
    let (mut ear, mut frames) = (Ear::new(format), 0);
    let report = |ear: &mut Ear, frames| {
        let Some((Heard { tone_hz, level_db }, samples)) = ear.measure() else { return };
        let (viewer, codec) = (viewer.to_owned(), format.codec);
        tell(CameraEvent::TalkAudio { viewer, frames, codec, tone_hz, level_db, samples });
    };
    let mut next_report = clock::now() + REPORT_EVERY;
    let mut next = Some(first);
    while let Some(packet) = next {
        ear.hear(&packet.payload);
        frames += 1;
        if clock::now() >= next_report {
            next_report = clock::now() + REPORT_EVERY;
            report(&mut ear, frames);
        }
        next = timeout(SILENCE, microphone.recv()).await.ok().flatten();
    }
    report(&mut ear, frames);
    frames
}
