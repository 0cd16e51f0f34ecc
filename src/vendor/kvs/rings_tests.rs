use super::*;

const WALL_S: u64 = 1_795_225_200;

/// An account's ears, and a clock that is told what time it is.
struct Ears {
    hearing: Hearing,
    channels: Vec<&'static str>,
    begun: Instant,
}

impl Ears {
    fn new(templates: &[&str], channels: &[&'static str]) -> Self {
        let templates: Vec<String> = templates.iter().map(|template| (*template).to_owned()).collect();
        let channels = channels.to_vec();
        Self { hearing: Hearing::new(Topics::new(&templates)), channels, begun: Instant::now() }
    }

    fn usual() -> Self {
        Self::new(&["doorbell/{channel}/ring"], &["front", "back"])
    }

    /// Milliseconds since the beginning.
    fn now(&self, ms: u64) -> Now {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_S);
        let since = Duration::from_millis(ms);
        Now { at: self.begun + since, wall: wall + since }
    }

    fn hear(&mut self, ms: u64, message: Message<'_>) -> Result<(&'static str, model::Ring), Ignored> {
        let channels = self.channels.iter().copied().collect();
        self.hearing.hear(message, &channels, self.now(ms))
    }

    fn hears(&mut self, ms: u64, topic: &str, payload: &str) -> Result<&'static str, Ignored> {
        self.hear(ms, message(topic, payload)).map(|(channel, _)| channel)
    }
}

fn message<'a>(topic: &'a str, payload: &'a str) -> Message<'a> {
    Message { topic, payload: payload.as_bytes(), retained: false, dup: false }
}

/// As the Linux master publishes it, so many seconds after the beginning.
fn stamped(seconds: i64) -> String {
    format!(r#"{{"event":"ring","channel":"front","timestamp":{}}}"#, WALL_S.saturating_add_signed(seconds))
}

const FRONT: &str = "doorbell/front/ring";
const UNSTAMPED: &str = r#"{"event":"ring","device":"doorbell-master"}"#;

#[tokio::test]
async fn each_channel_is_subscribed_to_by_its_name_and_a_wildcard_once() {
    let templates = ["doorbell/{channel}/ring", "doorbell/+/ring", "x/{channel}/{channel}", "doorbell/+/ring"];
    let topics = Topics::new(&templates.map(str::to_owned));
    let filters = topics.filters(&BTreeSet::from(["front", "back"]));
    assert_eq!(
        filters,
        ["doorbell/+/ring", "doorbell/back/ring", "doorbell/front/ring", "x/back/back", "x/front/front"]
    );
    assert_eq!(topics.filters(&BTreeSet::new()), ["doorbell/+/ring"], "without channels");
}

#[tokio::test]
async fn a_ring_is_its_topics_and_else_its_payloads_channels() {
    let named = r#"{"event":"ring","channel":"back"}"#;
    for (template, topic, payload, channel) in [
        // The topic is what AWS's policies guard; the payload may say anything.
        ("doorbell/{channel}/ring", "doorbell/front/ring", named, Ok("front")),
        ("doorbell/{channel}/ring", "doorbell/other/ring", named, Err(Ignored::Nobodys)),
        ("doorbell-{channel}/ring", "doorbell-front/ring", UNSTAMPED, Ok("front")),
        ("doorbell/+/ring", "doorbell/front/ring", named, Ok("back")),
        ("doorbell/+/ring", "doorbell/front/ring", UNSTAMPED, Ok("front")),
        ("doorbell/#", "doorbell/front/ring", UNSTAMPED, Ok("front")),
        ("doorbell/{channel}/#", "doorbell/front/ring/loud", UNSTAMPED, Ok("front")),
        ("doorbell/ring", "doorbell/ring", named, Ok("back")),
        ("doorbell/ring", "doorbell/ring", r#"{"event":"ring","channel":"other"}"#, Err(Ignored::Nobodys)),
        ("doorbell/ring", "doorbell/ring", UNSTAMPED, Err(Ignored::Nobodys)),
    ] {
        let mut ears = Ears::new(&[template], &["front", "back"]);
        assert_eq!(ears.hears(0, topic, payload), channel, "{template} {topic} {payload}");
    }
}

#[tokio::test]
async fn a_ring_without_a_name_is_the_only_channels() {
    let mut ears = Ears::new(&["doorbell/ring"], &["front"]);
    assert_eq!(ears.hears(0, "doorbell/ring", UNSTAMPED), Ok("front"));
}

#[tokio::test]
async fn a_retained_message_and_what_is_no_ring_make_nothing_ring() {
    let mut ears = Ears::usual();
    let retained = Message { retained: true, ..message(FRONT, UNSTAMPED) };
    assert_eq!(ears.hear(0, retained), Err(Ignored::Retained));
    assert_eq!(ears.hears(0, FRONT, "ring"), Err(Ignored::NoRing(ring::NoRing::Unreadable)));
    assert_eq!(ears.hears(0, FRONT, r#"{"event":"motion"}"#), Err(Ignored::NoRing(ring::NoRing::OtherEvent)));
    assert_eq!(ears.hears(0, FRONT, UNSTAMPED), Ok("front"));
}

#[tokio::test]
async fn a_ring_that_is_delivered_again_is_told_once() {
    let mut ears = Ears::usual();
    let payload = stamped(0);
    assert_eq!(ears.hears(0, FRONT, &payload), Ok("front"));
    assert_eq!(ears.hears(4_900, FRONT, &payload), Err(Ignored::Repeated));
    // Of another doorbell, of another time, and of one whose clock stands still.
    assert_eq!(ears.hears(5_000, "doorbell/back/ring", &payload), Ok("back"));
    assert_eq!(ears.hears(5_000, FRONT, &stamped(5)), Ok("front"));
    assert_eq!(ears.hears(10_100, FRONT, &payload), Ok("front"));
    // It says of itself that it was delivered before.
    let dup = Message { dup: true, ..message(FRONT, &payload) };
    assert_eq!(ears.hear(600_000, dup), Err(Ignored::Repeated));
    let first = stamped(600);
    assert!(ears.hear(600_000, Message { dup: true, ..message(FRONT, &first) }).is_ok(), "the first was lost");
}

#[tokio::test]
async fn a_ring_without_a_time_that_is_delivered_again_is_told_once() {
    let again = Message { dup: true, ..message(FRONT, UNSTAMPED) };
    let mut ears = Ears::usual();
    assert_eq!(ears.hears(0, FRONT, UNSTAMPED), Ok("front"));
    assert_eq!(ears.hear(30_000, again), Err(Ignored::Repeated), "the acknowledgement was lost with the connection");
    assert_eq!(ears.hears(40_000, FRONT, UNSTAMPED), Ok("front"), "somebody has pressed again");
    assert!(ears.hear(101_000, again).is_ok(), "the first was lost");
    assert!(Ears::usual().hear(0, again).is_ok(), "the first was lost");
}

#[tokio::test]
async fn a_bouncing_button_rings_once() {
    let mut ears = Ears::usual();
    let heard: Vec<bool> = [0, 50, 100, 900, 1_950, 2_000].map(|ms| ears.hears(ms, FRONT, UNSTAMPED).is_ok()).to_vec();
    assert_eq!(heard, [true, false, false, false, true, false]);
    assert_eq!(ears.hears(2_000, "doorbell/back/ring", UNSTAMPED), Ok("back"), "another doorbell");
}

#[tokio::test]
async fn what_waited_at_aws_is_over_and_a_wrong_clock_silences_nobody() {
    for (connected, rang_s, heard) in [
        // Behind the connection: a minute ago and more is over.
        (true, -30, true),
        (true, -90, false),
        (true, -3_000, false),
        // Longer than AWS keeps anything: the clock is wrong.
        (true, -86_400, true),
        (true, 86_400, true),
        (false, -90, true),
    ] {
        let mut ears = Ears::usual();
        let since = if connected { Duration::ZERO } else { Hearing::ARREARS };
        ears.hearing.connected(ears.begun);
        let ms = u64::try_from(since.as_millis()).unwrap();
        let expected = if heard { Ok("front") } else { Err(Ignored::Over) };
        assert_eq!(ears.hears(ms, FRONT, &stamped(rang_s)), expected, "{connected} {rang_s}");
    }
}

#[tokio::test]
async fn a_ring_says_how_late_it_is_where_that_makes_sense() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_S);
    for (rang_s, latency) in [(-2, Some(2)), (0, Some(0)), (1, Some(0)), (-70, None), (30, None)] {
        let (_, ring) = Ears::usual().hear(0, message(FRONT, &stamped(rang_s))).unwrap();
        let latency = latency.map(Duration::from_secs);
        assert_eq!(ring.latency, latency, "{rang_s}");
        assert_eq!(ring.at, wall - latency.unwrap_or_default(), "{rang_s}");
        assert_eq!(ring.source, "push");
    }
    let mut ears = Ears::usual();
    let ids = [0, 1_500].map(|ms| ears.hear(ms, message(FRONT, UNSTAMPED)).unwrap().1.event_id);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn nothing_that_is_published_makes_it_fail() {
    let mut ears = Ears::usual();
    let long = "x".repeat(70_000);
    let deep = "[".repeat(50_000);
    let huge = format!(r#"{{"event":"ring","timestamp":{}}}"#, u64::MAX);
    for payload in ["", "\0", "{}", "null", &long, &deep, &huge, r#"{"event":"ring","channel":""}"#] {
        for topic in ["", "/", "doorbell//ring", "doorbell/front", "doorbell/front/ring/ring", FRONT, &long] {
            let _either = ears.hears(0, topic, payload);
        }
    }
}

#[tokio::test]
async fn what_is_remembered_has_an_end() {
    let mut ears = Ears::usual();
    for n in 0..1_000_i64 {
        let _rings = ears.hears(n.unsigned_abs() * 2_000, FRONT, &stamped(n * 2));
    }
    assert!(ears.hearing.told["front"].len() <= Hearing::MOST_TOLD);
}
