//! One monotonic clock for all frames of a session, made of the camera's half-reliable one
//! (docs/protocol/tutk.md §9.4).

use std::time::{Duration, Instant};

use super::frame::FrameInfo;

const SECOND_US: i64 = 1_000_000;
/// A step of the camera's clock that differs more than this from the time that passed here is a clock
/// that was set, not a delay on the way.
const MAX_DELAY_US: i64 = 10 * SECOND_US;

/// Turns FRAMEINFO timestamps into presentation times that start at 0 and never go back in one medium.
///
/// The microseconds count within a second. The seconds are a clock on some cameras and a constant on
/// others, so they are used only once they have ticked as a clock does, and until they step back or leap. Without them, the step to a
/// frame is the one that fits the microseconds and is nearest to the time that passed here.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<Mark>,
    seconds_tick: bool,
    video_pts_us: i64,
    audio_pts_us: i64,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    arrived: Instant,
    timestamp_us: u32,
    timestamp_s: u32,
    pts_us: i64,
}

impl Timeline {
    /// The time of a frame that arrived `now`.
    pub fn pts(&mut self, now: Instant, is_audio: bool, info: &FrameInfo) -> Duration {
        let pts_us = match self.last {
            None => 0,
            Some(last) => last.pts_us + self.step_us(now, &last, info),
        };
        let (timestamp_us, timestamp_s) = (info.timestamp_us, info.timestamp_s);
        self.last = Some(Mark { arrived: now, timestamp_us, timestamp_s, pts_us });
        let shown = if is_audio { &mut self.audio_pts_us } else { &mut self.video_pts_us };
        *shown = pts_us.max(*shown);
        Duration::from_micros(u64::try_from(*shown).unwrap_or(0))
    }

    fn step_us(&mut self, now: Instant, last: &Mark, info: &FrameInfo) -> i64 {
        let passed_us = i64::try_from(now.duration_since(last.arrived).as_micros()).unwrap_or(i64::MAX / 4);
        let within_second = |us: u32| i64::from(us) < SECOND_US;
        if !within_second(info.timestamp_us) || !within_second(last.timestamp_us) {
            return passed_us;
        }
        let difference_us = i64::from(info.timestamp_us) - i64::from(last.timestamp_us);
        let seconds = i64::from(info.timestamp_s) - i64::from(last.timestamp_s);
        let clock_us = seconds * SECOND_US + difference_us;
        let nearest_us = passed_us + wrapped(difference_us - passed_us);
        if clock_us < -SECOND_US / 2 || (clock_us - passed_us).abs() >= MAX_DELAY_US {
            self.seconds_tick = false;
        } else if seconds != 0 && clock_us == nearest_us {
            self.seconds_tick = true;
        }
        if self.seconds_tick { clock_us } else { nearest_us }
    }
}

/// The value equal to `us` modulo a second that lies in -0.5 s .. 0.5 s.
fn wrapped(us: i64) -> i64 {
    (us + SECOND_US / 2).rem_euclid(SECOND_US) - SECOND_US / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::frame::CodecId;
    use crate::proto::tutk::tests as checks;

    /// What a camera stamps at `us` after its start.
    fn info(us: i64, seconds: impl Fn(i64) -> u32) -> FrameInfo {
        FrameInfo {
            codec: CodecId::H264,
            flags: 0,
            camera_index: 0,
            online_num: 1,
            fps: 20,
            frame_size: 0,
            bitrate: 0,
            timestamp_us: us.rem_euclid(SECOND_US) as u32,
            timestamp_s: seconds(us.div_euclid(SECOND_US)),
            payload_size: 0,
            frame_no: 0,
            device_id: [0; 16],
        }
    }

    fn clock(second: i64) -> u32 {
        1_700_000_000 + second as u32
    }

    fn constant(_: i64) -> u32 {
        0x1234_5678
    }

    /// Presentation times of frames sent at `sent_ms` that arrive `delay_ms` later.
    fn play(seconds: fn(i64) -> u32, frames: &[(i64, u64)]) -> Vec<u64> {
        let start = checks::start_of_time();
        let mut timeline = Timeline::default();
        let pts = |(sent_ms, delay_ms): &(i64, u64)| {
            let arrived = start + Duration::from_millis(*sent_ms as u64 + delay_ms);
            timeline.pts(arrived, false, &info(sent_ms * 1000, seconds)).as_millis() as u64
        };
        frames.iter().map(pts).collect()
    }

    #[test]
    fn both_kinds_of_seconds_give_the_camera_s_own_steps() {
        for seconds in [clock, constant] {
            let frames: Vec<_> = (0..200).map(|n| (700 + n * 67, [0, 90, 10, 40][n as usize % 4])).collect();
            let expected: Vec<_> = (0..200).map(|n| n * 67).collect();
            assert_eq!(play(seconds, &frames), expected);
        }
    }

    #[test]
    fn a_gap_of_more_than_a_second_stays_as_long_as_it_was() {
        for seconds in [clock, constant] {
            assert_eq!(play(seconds, &[(900, 0), (967, 0), (2967, 20), (3034, 0)]), [0, 67, 2067, 2134]);
        }
    }

    #[test]
    fn a_stall_on_the_way_is_no_gap_when_the_seconds_are_a_clock() {
        let frames = [(900, 0), (1000, 0), (1100, 1800), (1200, 1700), (1300, 1600)];
        assert_eq!(play(clock, &frames), [0, 100, 200, 300, 400]);
    }

    #[test]
    fn a_camera_whose_clock_is_set_goes_on() {
        let start = checks::start_of_time();
        let mut timeline = Timeline::default();
        let mut pts = vec![];
        for n in 0..60i64 {
            let shift = if n < 30 { 0 } else { 86_400 };
            let arrived = start + Duration::from_millis(n as u64 * 100);
            let stamp = info(n * 100_000, |second| clock(second + shift));
            pts.push(timeline.pts(arrived, false, &stamp).as_millis() as i64);
        }
        let expected: Vec<_> = (0..60).map(|n| n * 100).collect();
        assert_eq!(pts, expected);
    }

    #[test]
    fn a_medium_never_goes_back_and_both_share_the_clock() {
        let start = checks::start_of_time();
        let mut timeline = Timeline::default();
        let mut at = |ms: i64, is_audio| timeline.pts(start, is_audio, &info(ms * 1000, clock)).as_millis();
        assert_eq!((at(500, false), at(480, true), at(540, true), at(510, false)), (0, 0, 40, 10));
        assert_eq!((at(505, false), at(520, true)), (10, 40));
    }

    #[test]
    fn numbers_that_are_no_microseconds_are_replaced_by_arrival() {
        let start = checks::start_of_time();
        let mut timeline = Timeline::default();
        for n in 0..5u32 {
            let mut stamp = info(0, constant);
            stamp.timestamp_us = u32::MAX - n;
            let pts = timeline.pts(start + Duration::from_millis(67 * u64::from(n)), false, &stamp);
            assert_eq!(pts, Duration::from_millis(67 * u64::from(n)));
        }
    }
}
