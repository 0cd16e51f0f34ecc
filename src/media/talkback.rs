//! Speech from a microphone to a speaker: converted to what the camera plays, and paced as it plays it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use super::AudioFormat;
use super::convert::{Converter, Unsupported};
use crate::clock;

/// Between one microphone and an open speaker. Microphone packets come in bursts; a camera wants 20 ms of
/// sound each 20 ms. Dropping it lets go of the speaker at once, whatever is still queued.
pub struct Talkback {
    converter: Converter,
    queue: Arc<Queue>,
    speaker: mpsc::WeakSender<Bytes>,
    _pacer: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Queue {
    /// 200 ms at most; full: the oldest is dropped, because what comes late is of less use than what comes next.
    pieces: Mutex<VecDeque<Bytes>>,
    filled: Notify,
}

impl Talkback {
    const QUEUED: usize = 10;
    const PIECE: Duration = Duration::from_millis(20);

    /// From a microphone that sends `microphone` to a speaker that plays `played` and takes it from `speaker`:
    /// the two fields of a `TalkGrant`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no way from one format to the other.
    pub fn new(
        microphone: AudioFormat,
        played: AudioFormat,
        speaker: mpsc::Sender<Bytes>,
    ) -> Result<Self, Unsupported> {
        let converter = Converter::new(microphone, played)?;
        let queue = Arc::new(Queue::default());
        let weak = speaker.downgrade();
        let pacer = tokio::spawn(pace(queue.clone(), speaker));
        Ok(Self { converter, queue, speaker: weak, _pacer: AbortOnDropHandle::new(pacer) })
    }

    /// Takes one packet of the microphone. Never waits.
    pub fn push(&mut self, payload: &[u8]) {
        let spoken = self.converter.push(payload);
        if spoken.is_empty() {
            return;
        }
        let mut pieces = self.queue.pieces();
        pieces.extend(spoken);
        let overdue = pieces.len().saturating_sub(Self::QUEUED);
        pieces.drain(..overdue);
        drop(pieces);
        self.queue.filled.notify_one();
    }

    /// Whether the speaker was closed from the other side: the talk is over.
    pub fn is_closed(&self) -> bool {
        self.speaker.upgrade().is_none_or(|speaker| speaker.is_closed())
    }
}

impl Queue {
    /// Nothing panics while it holds this lock, so a poisoned one is as good as any.
    fn pieces(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the speaker is closed. After a pause the next piece goes out at once, and the beat begins anew.
async fn pace(queue: Arc<Queue>, speaker: mpsc::Sender<Bytes>) {
    let mut next = clock::now();
    loop {
        tokio::select! {
            biased;
            () = speaker.closed() => return,
            () = sleep_until(next) => {}
        }
        let piece = queue.pieces().pop_front();
        if let Some(piece) = piece {
            // Full: the camera is slow, and what it has no room for now would be heard late.
            let _dropped_when_full = speaker.try_send(piece);
            // Beats that were missed are not made up for by a burst.
            next = (next + Talkback::PIECE).max(clock::now());
            continue;
        }
        tokio::select! {
            biased;
            () = speaker.closed() => return,
            () = queue.filled.notified() => next = clock::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of a microphone, told apart by their byte.
    fn packet(n: u8) -> Vec<u8> {
        vec![n; 160]
    }

    fn talkback() -> (Talkback, mpsc::Receiver<Bytes>) {
        let (speaker, camera) = mpsc::channel(4);
        (Talkback::new(AudioFormat::PCMU, AudioFormat::PCMU, speaker).unwrap(), camera)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_leaves_at_twenty_millisecond_steps() {
        let (mut talkback, mut camera) = talkback();
        let begun = clock::now();
        for burst in 0..3 {
            (0..3).for_each(|n| talkback.push(&packet(burst * 3 + n)));
            for n in 0..3 {
                let piece = camera.recv().await.unwrap();
                let at = Duration::from_millis(20) * u32::from(burst * 3 + n);
                assert_eq!((piece[0], begun.elapsed()), (burst * 3 + n, at));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_much_the_oldest_is_dropped() {
        let (mut talkback, mut camera) = talkback();
        (0..30).for_each(|n| talkback.push(&packet(n)));
        for n in 20..30 {
            assert_eq!(camera.recv().await.unwrap()[0], n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_speech_goes_out_at_once_and_paced_again() {
        let (mut talkback, mut camera) = talkback();
        talkback.push(&packet(0));
        camera.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let begun = clock::now();
        (1..=4).for_each(|n| talkback.push(&packet(n)));
        let mut at = Vec::new();
        for _ in 1..=4 {
            camera.recv().await.unwrap();
            at.push(begun.elapsed().as_millis());
        }
        assert_eq!(at, [0, 20, 40, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_lets_go_of_the_speaker_with_nothing_said_afterwards() {
        let (mut talkback, mut camera) = talkback();
        (0..5).for_each(|n| talkback.push(&packet(n)));
        assert!(camera.recv().await.is_some());
        drop(talkback);
        assert!(camera.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_microphone_hears_that_the_speaker_was_closed() {
        let (mut talkback, camera) = talkback();
        talkback.push(&packet(0));
        assert!(!talkback.is_closed());
        drop(camera);
        assert!(talkback.is_closed());
        talkback.push(&packet(1));
    }

    #[tokio::test(start_paused = true)]
    async fn browsers_speech_becomes_what_the_camera_plays() {
        let (speaker, mut camera) = mpsc::channel(4);
        let mut talkback = Talkback::new(AudioFormat::PCMU, AudioFormat::PCMA, speaker).unwrap();
        talkback.push(&[0xff; 100]);
        talkback.push(&[0xff; 100]);
        assert_eq!(camera.recv().await.unwrap(), vec![0xd5; 160]);
    }
}
