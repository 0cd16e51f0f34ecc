//! Which way to a camera is taken: what its model and its owner say, and what has failed.
//!
//! The table of models can be wrong, and firmware moves cameras from TUTK to WebRTC (wyze-cloud reference §0, §5).
//! So a camera on the LAN that fails again and again is called through the cloud instead, one of GWell's that fails
//! over the cloud is reached over GWell, and the first way is tried again after a while. What was learnt lasts until
//! Doorstep stops.

use std::collections::HashMap;
use std::time::Duration;

use super::models::Way;
use crate::clock::Instant;
use crate::config::Transport;
use crate::model::DeviceId;

/// A way to a camera's pictures that this version can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Tutk,
    Webrtc,
    Gwell,
}

impl Reach {
    /// How [`crate::model::Found`] names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tutk => "tutk",
            Self::Webrtc => "webrtc",
            Self::Gwell => "gwell",
        }
    }

    /// What is tried, behind "it is ".
    pub(super) fn deed(self) -> &'static str {
        match self {
            Self::Tutk => "tried on the LAN",
            Self::Webrtc => "called through Wyze's cloud",
            Self::Gwell => "reached over GWell",
        }
    }
}

/// What there is to reach a camera by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Means {
    /// Its keys and its address on the LAN are known.
    pub(super) lan: bool,
    /// An account lists it.
    pub(super) account: bool,
    /// It is one of GWell's, whatever else it speaks.
    pub(super) gwell: bool,
}

/// The ways to one camera, or why there is none, in whole sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) first: Reach,
    /// When the first fails again and again.
    pub(super) second: Option<Reach>,
}

impl Plan {
    pub(super) fn new(way: Way, wish: Transport, means: Means) -> Result<Self, &'static str> {
        let only = |first| Ok(Self { first, second: None });
        match (wish, way) {
            (Transport::Tutk(_), _) if means.lan => only(Reach::Tutk),
            (Transport::Tutk(_), _) => {
                Err("Its `transport` asks for the LAN, and its address or its keys are not known. \
                 Set its `address` under `doorbells`, or take `transport` away.")
            }
            (Transport::Webrtc | Transport::Gwell, _) | (Transport::Auto, Way::CloudWebrtc | Way::Gwell)
                if !means.account =>
            {
                Err("It is reached through Wyze's cloud. Add the login of its account to the configuration.")
            }
            (Transport::Webrtc, _) => only(Reach::Webrtc),
            (Transport::Gwell, _) | (Transport::Auto, Way::Gwell) => only(Reach::Gwell),
            (Transport::Auto, Way::Tutk) if means.lan => {
                Ok(Self { first: Reach::Tutk, second: means.account.then_some(Reach::Webrtc) })
            }
            (Transport::Auto, Way::CloudWebrtc) => {
                Ok(Self { first: Reach::Webrtc, second: means.gwell.then_some(Reach::Gwell) })
            }
            (Transport::Auto, Way::Tutk) => only(Reach::Webrtc),
            (_, way) => Err(way.obstacle().unwrap_or("No way to it is known.")),
        }
    }
}

/// What went wrong on the way to each camera.
#[derive(Debug, Default)]
pub(super) struct Troubles(HashMap<DeviceId, Trouble>);

#[derive(Debug, Default)]
struct Trouble {
    /// Of the way that is taken now, in a row.
    failures: u32,
    /// Until when the second way is taken.
    elsewhere_until: Option<Instant>,
}

impl Troubles {
    /// Sessions on the first way that fail in a row before the second is taken.
    const FIRST_GIVES_UP_AFTER: u32 = 5;
    /// As many on the second way before the first is tried again.
    const SECOND_GIVES_UP_AFTER: u32 = 2;
    /// How long the second way is taken.
    pub(super) const ELSEWHERE_FOR: Duration = Duration::from_secs(3_600);

    pub(super) fn choose(&self, id: &DeviceId, plan: &Plan, now: Instant) -> Reach {
        match plan.second {
            Some(second) if self.comeback(id).is_some_and(|until| now < until) => second,
            _ => plan.first,
        }
    }

    /// When the first way is tried again.
    pub(super) fn comeback(&self, id: &DeviceId) -> Option<Instant> {
        self.0.get(id)?.elsewhere_until
    }

    pub(super) fn worked(&mut self, id: &DeviceId, plan: &Plan, reach: Reach) {
        if reach == plan.first {
            self.0.remove(id);
        } else if let Some(trouble) = self.0.get_mut(id) {
            trouble.failures = 0;
        }
    }

    /// Counts a failure of `reach`. Returns the way that is taken from now on when it is another.
    pub(super) fn failed(&mut self, id: &DeviceId, plan: &Plan, reach: Reach, now: Instant) -> Option<Reach> {
        let trouble = self.0.entry(id.clone()).or_default();
        trouble.failures = trouble.failures.saturating_add(1);
        let second = plan.second?;
        if reach == second {
            let over = trouble.failures >= Self::SECOND_GIVES_UP_AFTER;
            over.then(|| self.0.remove(id)).map(|_| plan.first)
        } else if trouble.failures >= Self::FIRST_GIVES_UP_AFTER || trouble.elsewhere_until.is_some() {
            // Back for a try: one failure tells enough.
            *trouble = Trouble { failures: 0, elsewhere_until: Some(now + Self::ELSEWHERE_FOR) };
            Some(second)
        } else {
            None
        }
    }

    /// Whether the camera has failed just once: its address may be another now.
    pub(super) fn begun(&self, id: &DeviceId) -> bool {
        self.0.get(id).is_some_and(|trouble| trouble.failures == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::TutkProtocol;

    const LAN_THEN_CLOUD: Plan = Plan { first: Reach::Tutk, second: Some(Reach::Webrtc) };
    const LAN: Plan = Plan { first: Reach::Tutk, second: None };
    const CLOUD: Plan = Plan { first: Reach::Webrtc, second: None };
    const CLOUD_THEN_GWELL: Plan = Plan { first: Reach::Webrtc, second: Some(Reach::Gwell) };
    const GWELL: Plan = Plan { first: Reach::Gwell, second: None };

    fn id() -> DeviceId {
        DeviceId::parse("wyze_1").unwrap()
    }

    #[test]
    fn the_way_follows_from_model_wish_and_what_is_known() {
        let tutk = Transport::Tutk(TutkProtocol::Auto);
        let check = |way, wish, means: Means, plan: Result<Plan, &str>| {
            let planned = Plan::new(way, wish, means);
            let fits = match (&planned, &plan) {
                (Ok(planned), Ok(plan)) => planned == plan,
                (Err(why), Err(part)) => why.contains(part),
                _ => false,
            };
            assert!(fits, "{way:?} {wish:?} {means:?}: {planned:?}, expected {plan:?}");
        };
        for (way, wish, lan, account, plan) in [
            (Way::Tutk, Transport::Auto, true, true, Ok(LAN_THEN_CLOUD)),
            (Way::Tutk, Transport::Auto, true, false, Ok(LAN)),
            (Way::Tutk, Transport::Auto, false, true, Ok(CLOUD)),
            (Way::Tutk, Transport::Webrtc, true, true, Ok(CLOUD)),
            (Way::Tutk, Transport::Webrtc, true, false, Err("Add the login")),
            (Way::Tutk, tutk, true, true, Ok(LAN)),
            (Way::Tutk, tutk, false, true, Err("Set its `address`")),
            (Way::CloudWebrtc, Transport::Auto, true, true, Ok(CLOUD)),
            (Way::CloudWebrtc, Transport::Auto, false, true, Ok(CLOUD)),
            (Way::CloudWebrtc, Transport::Auto, true, false, Err("Add the login")),
            (Way::CloudWebrtc, tutk, true, true, Ok(LAN)),
            (Way::Gwell, Transport::Auto, true, true, Ok(GWELL)),
            (Way::Gwell, Transport::Auto, true, false, Err("Add the login")),
            (Way::Gwell, Transport::Webrtc, false, true, Ok(CLOUD)),
            (Way::Tutk, Transport::Gwell, true, true, Ok(GWELL)),
            (Way::Unknown, Transport::Gwell, false, true, Ok(GWELL)),
            (Way::Tutk, Transport::Gwell, true, false, Err("Add the login")),
            (Way::TutkBaseStation, Transport::Auto, false, true, Err("base station")),
            (Way::TutkBaseStation, Transport::Auto, true, false, Err("base station")),
            (Way::Unknown, Transport::Auto, true, true, Err("No way")),
        ] {
            check(way, wish, Means { lan, account, gwell: false }, plan);
        }
        for (way, wish, account, plan) in [
            (Way::CloudWebrtc, Transport::Auto, true, Ok(CLOUD_THEN_GWELL)),
            (Way::CloudWebrtc, Transport::Auto, false, Err("Add the login")),
            (Way::CloudWebrtc, Transport::Webrtc, true, Ok(CLOUD)),
            (Way::CloudWebrtc, Transport::Gwell, true, Ok(GWELL)),
            (Way::Gwell, Transport::Auto, true, Ok(GWELL)),
        ] {
            check(way, wish, Means { lan: false, account, gwell: true }, plan);
        }
    }

    #[test]
    fn a_camera_of_gwell_that_fails_over_the_cloud_is_reached_over_gwell_for_an_hour() {
        let (mut troubles, id, now) = (Troubles::default(), id(), clock::now());
        let plan = CLOUD_THEN_GWELL;
        let fifth = (0..5).map(|_| troubles.failed(&id, &plan, Reach::Webrtc, now)).last();
        assert_eq!(fifth, Some(Some(Reach::Gwell)));
        assert_eq!(troubles.choose(&id, &plan, now), Reach::Gwell);
        assert_eq!(troubles.choose(&id, &plan, now + Troubles::ELSEWHERE_FOR), Reach::Webrtc);
    }

    #[test]
    fn after_five_failures_on_the_lan_the_cloud_is_asked_and_an_hour_later_the_lan() {
        let (mut troubles, id, start) = (Troubles::default(), id(), clock::now());
        let plan = LAN_THEN_CLOUD;
        for _ in 0..4 {
            assert_eq!(troubles.failed(&id, &plan, Reach::Tutk, start), None);
        }
        assert_eq!(troubles.choose(&id, &plan, start), Reach::Tutk);
        assert_eq!(troubles.failed(&id, &plan, Reach::Tutk, start), Some(Reach::Webrtc));
        assert_eq!(troubles.choose(&id, &plan, start), Reach::Webrtc);

        let later = start + Troubles::ELSEWHERE_FOR;
        assert_eq!(troubles.comeback(&id), Some(later));
        assert_eq!(troubles.choose(&id, &plan, later - Duration::from_secs(1)), Reach::Webrtc);
        assert_eq!(troubles.choose(&id, &plan, later), Reach::Tutk);
        // One failure of the try suffices; a success forgets everything.
        assert_eq!(troubles.failed(&id, &plan, Reach::Tutk, later), Some(Reach::Webrtc));
        let latest = later + Troubles::ELSEWHERE_FOR;
        troubles.worked(&id, &plan, Reach::Tutk);
        assert_eq!(troubles.choose(&id, &plan, latest), Reach::Tutk);
        assert_eq!(troubles.failed(&id, &plan, Reach::Tutk, latest), None);
    }

    #[test]
    fn a_success_in_between_begins_the_count_anew() {
        let (mut troubles, id, now) = (Troubles::default(), id(), clock::now());
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(troubles.failed(&id, &LAN_THEN_CLOUD, Reach::Tutk, now), None);
            }
            troubles.worked(&id, &LAN_THEN_CLOUD, Reach::Tutk);
        }
    }

    #[test]
    fn a_cloud_that_cannot_either_sends_back_to_the_lan() {
        let (mut troubles, id, now) = (Troubles::default(), id(), clock::now());
        let plan = LAN_THEN_CLOUD;
        let first = (0..5).map(|_| troubles.failed(&id, &plan, Reach::Tutk, now)).last();
        assert_eq!(first, Some(Some(Reach::Webrtc)));
        assert_eq!(troubles.failed(&id, &plan, Reach::Webrtc, now), None);
        assert_eq!(troubles.failed(&id, &plan, Reach::Webrtc, now), Some(Reach::Tutk));
        assert_eq!(troubles.choose(&id, &plan, now), Reach::Tutk);
        // And it has its five tries again.
        for _ in 0..4 {
            assert_eq!(troubles.failed(&id, &plan, Reach::Tutk, now), None);
        }
        assert_eq!(troubles.failed(&id, &plan, Reach::Tutk, now), Some(Reach::Webrtc));
    }

    #[test]
    fn what_has_one_way_only_keeps_to_it() {
        let (mut troubles, id, now) = (Troubles::default(), id(), clock::now());
        for plan in [LAN, CLOUD, GWELL] {
            for _ in 0..20 {
                assert_eq!(troubles.failed(&id, &plan, plan.first, now), None);
            }
            assert_eq!(troubles.choose(&id, &plan, now), plan.first);
        }
    }

    #[test]
    fn the_first_failure_is_told_from_later_ones() {
        let (mut troubles, id, now) = (Troubles::default(), id(), clock::now());
        assert!(!troubles.begun(&id));
        troubles.failed(&id, &LAN, Reach::Tutk, now);
        assert!(troubles.begun(&id));
        troubles.failed(&id, &LAN, Reach::Tutk, now);
        assert!(!troubles.begun(&id));
    }
}
