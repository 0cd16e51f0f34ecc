use super::*;

const V4: &str = include_str!("../../../tests/recordings/wyze_events_v4.json");
const V2: &str = include_str!("../../../tests/recordings/wyze_events_v2.json");
const ODD: &str = include_str!("../../../tests/recordings/wyze_events_odd_types.json");
/// What the recordings call now.
const NOW: u64 = 1_763_712_000_000;
const DOORBELL: &str = "80482C000002";

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn data(recording: &str) -> Value {
    serde_json::from_str::<Value>(recording).unwrap()["data"].clone()
}

fn poller() -> Poller {
    Poller::new(&[10])
}

fn event(id: &str, value: &str, at_ms: u64) -> Value {
    json!({"event_id": id, "device_id": DOORBELL, "event_value": value, "event_ts": at_ms, "tag_list": []})
}

fn list(events: &[Value]) -> Value {
    json!({"event_list": events})
}

/// What a page told, in short: `ring a`, `Person b`.
fn told(page: Option<Page>) -> Vec<String> {
    let short = |(_, event)| match event {
        Event::Ring(ring) => format!("ring {}", ring.event_id),
        Event::Motion(motion) => format!("{:?} {}", motion.kind, motion.event_id),
    };
    page.expect("it is an event list").news.into_iter().map(short).collect()
}

/// Takes an answer to the question that is asked at `now`.
fn take(poller: &mut Poller, data: &Value, now: u64) -> Vec<String> {
    let asked = poller.window(at(now));
    told(poller.take(data, asked, at(now), |_, _| true))
}

#[test]
fn both_versions_of_the_list_tell_the_same() {
    let expected = [
        "Motion 80482c_1_motion",
        "ring 80482c_2",
        "Person 80482c_3_person",
        "Package 80482c_3_package",
        "Sound 80482c_4_sound",
    ];
    for recording in [V4, V2] {
        assert_eq!(take(&mut poller(), &data(recording), NOW), expected);
    }
}

#[test]
fn a_ring_says_where_it_was_heard_and_how_late() {
    let mut poller = poller();
    let page = poller.take(&list(&[event("a", "10", NOW - 3_250)]), poller.window(at(NOW)), at(NOW), |_, _| true);
    let [(device, Event::Ring(ring))] = &page.unwrap().news[..] else { panic!("one ring was expected") };
    assert_eq!(device.as_str(), "wyze_80482c000002");
    assert_eq!((ring.source, ring.at), ("cloud", at(NOW - 3_250)));
    assert_eq!(ring.latency, Some(Duration::from_millis(3_250)));
}

#[test]
fn nothing_older_than_half_a_minute_is_told_at_the_start() {
    let mut poller = poller();
    let old = [event("old", "10", NOW - 30_001), event("fresh", "10", NOW - 29_000)];
    assert_eq!(take(&mut poller, &list(&old), NOW), ["ring fresh"]);
    assert_eq!(take(&mut poller, &list(&old), NOW + 5_000), [""; 0], "it is not told later either");
}

#[test]
fn a_ring_is_told_after_a_quarter_of_an_hour_without_the_cloud() {
    let mut poller = poller();
    assert_eq!(take(&mut poller, &list(&[]), NOW), [""; 0]);
    let later = NOW + 900_000;
    assert_eq!(poller.window(at(later)).begin_ms, NOW - 30_000);
    assert_eq!(take(&mut poller, &list(&[event("a", "10", NOW + 60_000)]), later), ["ring a"]);
}

#[test]
fn repetitions_late_pictures_and_disorder_tell_nothing_twice_and_lose_nothing() {
    let mut poller = poller();
    assert_eq!(take(&mut poller, &list(&[event("b", "10", NOW - 1_000)]), NOW), ["ring b"]);
    let mut uploaded = event("b", "10", NOW - 1_000);
    uploaded["file_list"] = json!([{"type": 1, "url": "https://example.invalid/b.jpg", "status": 1}]);
    let late = event("a", "10", NOW - 20_000);
    let answer = list(&[uploaded.clone(), late, uploaded.clone(), event("c", "10", NOW + 2_000)]);
    assert!(poller.window(at(NOW + 5_000)).begin_ms <= NOW - 20_000, "what is late would not be asked for");
    assert_eq!(take(&mut poller, &answer, NOW + 5_000), ["ring a", "ring c"]);
    assert_eq!(take(&mut poller, &answer, NOW + 10_000), [""; 0]);
}

#[test]
fn a_rings_picture_is_told_once_as_soon_as_it_is_uploaded() {
    let mut poller = poller();
    let mut pictures = |event: &Value, now| -> Vec<(String, String)> {
        let asked = poller.window(at(now));
        let page = poller.take(&list(std::slice::from_ref(event)), asked, at(now), |_, _| true).unwrap();
        page.pictures.into_iter().map(|file| (file.event_id, file.url.expose().to_owned())).collect()
    };
    let mut ring = event("a", "10", NOW);
    let film = json!({"type": 2, "url": "https://example.invalid/a.mp4", "status": 1});
    let picture = |status, cipher| {
        let url = "https://example.invalid/a.jpg";
        json!({"type": 1, "url": url, "status": status, "en_algorithm": cipher})
    };
    for files in [json!([]), json!([film]), json!([picture(0, 0)]), json!([picture(1, 3)]), json!({"url": 1})] {
        ring["file_list"] = files;
        assert_eq!(pictures(&ring, NOW), []);
    }
    ring["file_list"] = json!([film, picture(1, 0)]);
    let expected = [("a".to_owned(), "https://example.invalid/a.jpg".to_owned())];
    assert_eq!(pictures(&ring, NOW + 5_000), expected);
    assert_eq!(pictures(&ring, NOW + 10_000), []);
    let mut motion = event("b", "1", NOW);
    motion["file_list"] = json!([picture(1, 0)]);
    assert_eq!(pictures(&motion, NOW + 10_000), [], "it did not ring");
}

#[test]
fn what_was_recognised_later_is_told_later() {
    let mut poller = poller();
    let mut motion = event("a", "1", NOW);
    assert_eq!(take(&mut poller, &list(&[motion.clone()]), NOW), ["Motion a_motion"]);
    motion["tag_list"] = json!([101]);
    assert_eq!(take(&mut poller, &list(&[motion]), NOW + 5_000), ["Person a_person"]);
}

#[test]
fn only_what_a_device_can_do_is_told_of_it() {
    let mut poller = poller();
    let events = list(&[event("a", "10", NOW), event("b", "1", NOW)]);
    let asked = poller.window(at(NOW));
    let page = poller.take(&events, asked, at(NOW), |_, can| can == Capability::Motion);
    assert_eq!(told(page), ["Motion b_motion"]);
}

#[test]
fn the_owner_says_which_values_are_rings() {
    let mut poller = Poller::new(&[10, 42, 13]);
    let events = list(&[event("a", "42", NOW), event("b", "13", NOW), event("c", "43", NOW)]);
    assert_eq!(take(&mut poller, &events, NOW), ["ring a", "ring b"]);
    assert_eq!(poller.strange, BTreeSet::from(["43".to_owned()]));
}

#[test]
fn odd_events_cost_no_other() {
    assert_eq!(take(&mut poller(), &data(ODD), NOW), ["ring good", "ring 77"]);
    for nonsense in [json!({}), json!(null), json!("<html>"), json!({"event_list": {}}), json!({"event_list": null})] {
        let asked = poller().window(at(NOW));
        assert!(poller().take(&nonsense, asked, at(NOW), |_, _| true).is_none(), "{nonsense}");
    }
}

#[test]
fn a_wrong_clock_at_boot_loses_no_ring() {
    const DAY: u64 = 86_400_000;
    for wrong in [NOW + DAY, NOW - DAY, 0] {
        let mut poller = poller();
        // The first question goes out by the wrong clock; its answer sets it right.
        let asked = poller.window(at(wrong));
        assert_eq!(told(poller.take(&list(&[]), asked, at(NOW), |_, _| true)), [""; 0]);
        let asked = poller.window(at(NOW + 5_000));
        assert!(asked.begin_ms <= NOW && NOW < asked.end_ms, "{asked:?}");
        assert_eq!(take(&mut poller, &list(&[event("a", "10", NOW)]), NOW + 5_000), ["ring a"]);
    }
    // Set right only after the first answer, by one that names its time.
    let mut poller = poller();
    take(&mut poller, &list(&[event("x", "1", NOW + DAY)]), NOW + DAY);
    take(&mut poller, &list(&[]), NOW);
    assert_eq!(take(&mut poller, &list(&[event("a", "10", NOW + 1_000)]), NOW + 5_000), ["ring a"]);
}

#[test]
fn an_event_from_the_future_hides_none_of_the_present() {
    let mut poller = poller();
    take(&mut poller, &list(&[event("x", "1", NOW + 86_400_000)]), NOW);
    let window = poller.window(at(NOW + 5_000));
    assert_eq!(window, Window { begin_ms: NOW - 30_000, end_ms: NOW + 65_000 });
}

#[test]
fn a_full_answer_is_read_on_until_all_is_told() {
    // A cloud that has 45 events, and gives the oldest 20 of what is asked for.
    let all: Vec<Value> = (0..45).map(|n| event(&n.to_string(), "10", NOW + n * 10)).collect();
    let answer = |window: Window| {
        let inside = |event: &&Value| (window.begin_ms..=window.end_ms).contains(&event["event_ts"].as_u64().unwrap());
        list(&all.iter().filter(inside).take(PAGE).cloned().collect::<Vec<_>>())
    };
    let mut poller = poller();
    take(&mut poller, &list(&[]), NOW);
    let (mut asked, mut rings, mut pages) = (Some(poller.window(at(NOW + 1_000))), 0, 0);
    while let Some(window) = asked {
        let page = poller.take(&answer(window), window, at(NOW + 1_000), |_, _| true).unwrap();
        rings += page.news.len();
        pages += 1;
        asked = page.more;
    }
    assert_eq!((rings, pages), (45, 3));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut poller = poller();
    for n in 0..3_000 {
        take(
            &mut poller,
            &list(&[event(&format!("{n}"), "10", NOW), event(&format!("s{n}"), &format!("{n}x"), NOW)]),
            NOW,
        );
    }
    assert_eq!((poller.told.known.len(), poller.told.oldest_first.len()), (Told::MOST, Told::MOST));
    assert_eq!(poller.strange.len(), Poller::STRANGE);
}

#[test]
fn the_signed_body_holds_what_the_phone_app_sends_and_nothing_else() {
    let body = Window { begin_ms: 1, end_ms: 2 }.v4(&["A", "B"]).to_string();
    let expected = concat!(
        r#"{"begin_time":1,"count":20,"device_id_list":["A","B"],"end_time":2,"event_tag_list":[],"#,
        r#""event_value_list":[],"order_by":1}"#
    );
    assert_eq!(body, expected);
}

#[test]
fn requests_are_spread_over_what_the_cloud_still_grants() {
    let poll = Duration::from_secs(5);
    let granted = |remaining, seconds: u64| Some(RateLimit { remaining, resets_at: at(NOW + seconds * 1_000) });
    for (limits, seconds) in [
        (None, 5),
        (granted(1_000, 300), 5),
        (granted(40, 300), 10),
        (granted(10, 300), 300),
        (granted(0, 300), 300),
        (granted(0, 0), 5),
        // Absurd, or by another clock.
        (granted(0, 1_000_000), 3_600),
    ] {
        assert_eq!(pause(poll, limits, at(NOW)), Duration::from_secs(seconds), "{limits:?}");
    }
}
