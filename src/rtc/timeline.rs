//! One clock for a viewer over all sessions of a camera.

use std::time::Duration;

/// A camera's clock may begin anew with each session; RTP timestamps may not. This carries the clock on.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// What is added to the camera's clock, in microseconds.
    offset: i64,
    last: Option<Placed>,
    /// The newest of either medium in this session, in the camera's clock.
    newest: [Option<Duration>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    at: i64,
    now: Duration,
}

/// A step that differs from the wall clock's by more than this is another session. A cached GOP comes in at
/// once and spans up to 2 s, so less would tear it apart.
const TOLERANCE_US: u64 = 3_000_000;
/// As long as a silence is shown, however long it was: RTP timestamps that leap by half their range (6.6 h of video)
/// have gone back.
const LONGEST_SILENCE: Duration = Duration::from_secs(3_600);
/// Not zero, so that sound a little older than the first picture has a place too.
const START_US: i64 = 10_000_000;

impl Timeline {
    /// Where a frame with this `pts` stands, in microseconds; `now` is any clock that only goes forward.
    pub(super) fn place(&mut self, is_video: bool, pts: Duration, now: Duration) -> u64 {
        let passed = |last: Placed| micros(now.saturating_sub(last.now).min(LONGEST_SILENCE));
        let expected = self.last.map_or(START_US, |last| last.at + passed(last));
        let newest = &mut self.newest[usize::from(is_video)];
        let went_back = newest.is_some_and(|newest| pts < newest);
        *newest = Some(pts);
        let mut at = micros(pts).saturating_add(self.offset);
        if self.last.is_none() || went_back || at.abs_diff(expected) > TOLERANCE_US {
            self.offset = expected - micros(pts);
            self.newest[usize::from(!is_video)] = None;
            at = expected;
        }
        // Sound may be a little older than the picture before it: the clock itself stays with the newer one.
        if self.last.is_none_or(|last| at >= last.at) {
            self.last = Some(Placed { at, now });
        }
        u64::try_from(at).unwrap_or(0)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_session_is_carried_over_unchanged() {
        let mut timeline = Timeline::default();
        let start = timeline.place(true, ms(5_000), ms(0));
        for step in 1..100u64 {
            let placed = timeline.place(true, ms(5_000 + 66 * step), ms(66 * step + step % 7));
            assert_eq!(placed - start, 66_000 * step);
        }
    }

    #[test]
    fn sound_and_picture_keep_their_distance() {
        let mut timeline = Timeline::default();
        let picture = timeline.place(true, ms(1_000), ms(0));
        let sound = timeline.place(false, ms(1_140), ms(5));
        assert_eq!(sound - picture, 140_000);
        assert_eq!(timeline.place(false, ms(1_160), ms(25)) - picture, 160_000);
    }

    #[test]
    fn a_new_session_goes_on_where_the_old_one_ended() {
        let mut timeline = Timeline::default();
        timeline.place(true, ms(0), ms(0));
        timeline.place(false, ms(1_980), ms(1_990));
        let before = timeline.place(true, ms(2_000), ms(2_000));
        let sound = timeline.place(false, ms(0), ms(2_900));
        let picture = timeline.place(true, ms(40), ms(2_950));
        assert_eq!(sound, before + 900_000, "the sound of the new session");
        assert_eq!(picture, sound + 40_000, "the picture keeps its distance to the sound");
    }

    #[test]
    fn a_leap_of_the_cameras_clock_is_not_passed_on() {
        let mut timeline = Timeline::default();
        let before = timeline.place(true, ms(0), ms(0));
        assert_eq!(timeline.place(true, ms(86_400_000), ms(40)), before + 40_000);
    }

    #[test]
    fn a_clock_as_far_as_numbers_go_is_a_leap_like_any_other() {
        let mut timeline = Timeline::default();
        let before = timeline.place(true, ms(0), ms(0));
        let end_of_time = Duration::from_micros(i64::MAX.unsigned_abs());
        assert_eq!(timeline.place(true, end_of_time, ms(40)), before + 40_000);
        assert_eq!(timeline.place(true, ms(0), ms(80)), before + 80_000);
    }

    #[test]
    fn a_night_without_pictures_is_no_step_back_in_rtp_timestamps() {
        let mut timeline = Timeline::default();
        let night = ms(8 * 3_600_000);
        let evening = timeline.place(true, ms(0), ms(0));
        let morning = timeline.place(true, night, night);
        let ticks = (morning - evening) * 9 / 100;
        assert!((1..1 << 31).contains(&ticks), "{ticks} ticks of 90 kHz");
        assert_eq!(timeline.place(true, night + ms(40), night + ms(40)), morning + 40_000);
        assert_eq!(timeline.place(false, night + ms(30), night + ms(41)), morning + 30_000);
    }
}
