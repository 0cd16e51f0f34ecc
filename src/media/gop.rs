//! The frames since the last keyframe, so that a new viewer has a picture at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Frame;

/// A group of pictures and the sound between them: begins with a keyframe, or is empty.
///
/// A group that outgrows the limits is let go whole: what is left of one cannot be decoded.
#[derive(Default)]
pub(super) struct Gop {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
}

impl Gop {
    const LONGEST: Duration = Duration::from_secs(2);
    const LARGEST: usize = 4 << 20;
    /// Twice what 60 pictures and 100 packets of sound a second make: against frames without size or time.
    const MOST: usize = 640;

    pub(super) fn push(&mut self, frame: &Arc<Frame>) {
        if frame.kind.is_keyframe() {
            self.clear();
        } else if self.frames.is_empty() {
            return;
        }
        self.bytes += frame.data.len();
        self.frames.push_back(frame.clone());
        if self.outgrown(frame.pts) {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.frames = VecDeque::new();
        self.bytes = 0;
    }

    pub(super) fn frames(&self) -> VecDeque<Arc<Frame>> {
        self.frames.clone()
    }

    fn outgrown(&self, newest: Duration) -> bool {
        let oldest = self.frames.front().map_or(newest, |keyframe| keyframe.pts);
        newest.saturating_sub(oldest) > Self::LONGEST || self.bytes > Self::LARGEST || self.frames.len() > Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::{FrameKind, VideoCodec};

    fn push(gop: &mut Gop, keyframe: bool, pts_ms: u64, bytes: usize) {
        let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe };
        let data = Bytes::from(vec![0; bytes]);
        gop.push(&Arc::new(Frame { seq: 0, kind, pts: Duration::from_millis(pts_ms), data }));
    }

    #[test]
    fn it_begins_with_the_last_keyframe() {
        let mut gop = Gop::default();
        push(&mut gop, false, 0, 1);
        assert!(gop.frames().is_empty(), "a picture that nobody can decode was kept");
        for pts_ms in (100..=1_000).step_by(100) {
            push(&mut gop, pts_ms % 500 == 0, pts_ms, 1);
        }
        let kept: Vec<_> = gop.frames().iter().map(|frame| frame.pts.as_millis()).collect();
        assert_eq!(kept, [1_000]);
    }

    #[test]
    fn more_than_two_seconds_are_let_go_until_the_next_keyframe() {
        let mut gop = Gop::default();
        push(&mut gop, true, 0, 1);
        push(&mut gop, false, 2_000, 1);
        assert_eq!(gop.frames().len(), 2);
        push(&mut gop, false, 2_040, 1);
        push(&mut gop, false, 2_080, 1);
        assert!(gop.frames().is_empty());
        push(&mut gop, true, 2_120, 1);
        assert_eq!(gop.frames().len(), 1);
    }

    #[test]
    fn more_than_four_mebibytes_or_countless_empty_frames_are_let_go() {
        let mut gop = Gop::default();
        push(&mut gop, true, 0, 4 << 20);
        assert_eq!(gop.frames().len(), 1);
        push(&mut gop, false, 1, 1);
        assert!(gop.frames().is_empty());
        push(&mut gop, true, 2, 0);
        for _ in 0..10_000 {
            push(&mut gop, false, 2, 0);
            assert!(gop.frames.len() <= Gop::MOST);
        }
    }
}
