//! What a program that has a doorbell say something over HTTP is told, and what is never played.

use std::sync::Arc;
use std::time::Duration;

use doorstep::doorbell::ActionError;
use doorstep::doorbell::voice::Unspoken;
use doorstep::model::Capability;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{listen, news};
use crate::support::fake_vendor::{FakeVendor, OnTalk};
use crate::support::fake_voice::{FakeVoice, OnSay};
use crate::support::house::{House, PATIENCE};

const SAY: &str = "/api/doorbells/fake_1/say";
const DOORBELL: &str = "/api/doorbells/fake_1";
const WAV: (&str, &str) = ("content-type", "audio/wav");
const MEBIBYTE: usize = 1 << 20;

/// A house that can say `hello`, a fifth of a second, and never finds the sound for `later`.
async fn house() -> (House, Arc<FakeVoice>) {
    let voice = FakeVoice::new();
    voice.knows("hello", Duration::from_millis(200), 1_000);
    voice.on("later", OnSay::Hangs);
    (House::with_voice(&voice, FakeVendor::new()).await, voice)
}

fn nothing_was_played(house: &House) {
    assert_eq!(house.vendor.seen().talks_asked, 0, "the speaker was opened");
}

#[tokio::test]
async fn a_text_is_said_and_the_answer_tells_how_long_everything_took() {
    let (house, voice) = house().await;
    let reply = house.post(SAY, r#"{"text":"hello","volume":0.5}"#).await;
    let figures = reply.json();
    assert_eq!((reply.status, &figures["whole"], &figures["played_ms"]), (200, &json!(true), &json!(200)), "{figures}");
    let names: Vec<&str> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["opened_ms", "played_ms", "prepared_ms", "waited_ms", "whole"]);
    assert_eq!(voice.asked(), ["hello"]);
    let heard = house.vendor.until("the end of it", |seen| !seen.speaker_open).await.heard.concat();
    assert!(heard.len() >= 8 * 200, "{} samples of 1600 were heard", heard.len());
}

#[tokio::test]
async fn what_is_said_is_shown_until_it_is_stopped() {
    let (house, voice) = house().await;
    voice.has_clip("back_door", Duration::from_secs(30));
    let mut listener = listen(&house, &[]).await.unwrap();
    for say in [r#"{"clip":"back_door","wait":false}"#, r#"{"text":"hello","wait":false}"#] {
        let taken = house.post(SAY, say).await;
        assert_eq!((taken.status, taken.json()), (202, json!({"accepted": true})));
    }
    let speaking = json!({"source": "clip", "clip": "back_door", "queued": 1});
    news(&mut listener, |message| message["doorbell"]["speaking"] == speaking).await;
    let doorbell = house.get(DOORBELL).await.json();
    assert_eq!((&doorbell["speaking"], &doorbell["talker"]), (&speaking, &Value::Null), "a viewer would be named");
    let stopped = house.send("DELETE", SAY, &[], b"").await;
    assert_eq!((stopped.status, stopped.body.as_str()), (204, ""));
    news(&mut listener, |message| message["type"] == "state" && message["doorbell"]["speaking"].is_null()).await;
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
    assert_eq!(house.send("DELETE", SAY, &[], b"").await.status, 204, "nothing is said, which is what was asked for");
    for outcome in ["cut_short", "stopped"] {
        let counted = format!(r#"doorstep_sayings_total{{id="fake_1",outcome="{outcome}"}} 1"#);
        let counting = async { while !house.get("/metrics").await.body.contains(&counted) {} };
        timeout(PATIENCE, counting).await.unwrap_or_else(|_| panic!("never: {counted}"));
    }
}

#[tokio::test]
async fn switching_talk_off_ends_it_too() {
    let (house, voice) = house().await;
    voice.has_clip("back_door", Duration::from_secs(30));
    house.post(SAY, r#"{"clip":"back_door","wait":false}"#).await;
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    assert_eq!(house.post("/api/doorbells/fake_1/talk", r#"{"on":false}"#).await.status, 200);
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
    house.doorbell.state().wait_for(|state| state.speaking.is_none()).await.unwrap();
}

#[tokio::test]
async fn nobody_is_talked_over() {
    let (house, _voice) = house().await;
    let _talker = house.doorbell.start_talk(1).await.unwrap();
    for say in [r#"{"text":"hello"}"#, r#"{"text":"hello","wait":false}"#] {
        let busy = house.post(SAY, say).await;
        let expected = "Front Door: somebody else is talking. Wait until they have finished, then try again.";
        assert_eq!((busy.status, busy.error().as_str()), (409, expected));
    }
    assert_eq!(house.vendor.seen().heard.len(), 0);
}

#[tokio::test]
async fn the_fifth_that_would_have_to_wait_is_refused_at_once() {
    let (house, _voice) = house().await;
    for _ in 0..5 {
        assert_eq!(house.post(SAY, r#"{"text":"later","wait":false}"#).await.status, 202);
    }
    for say in [r#"{"text":"hello","wait":false}"#, r#"{"text":"hello"}"#] {
        let full = house.post(SAY, say).await;
        assert_eq!(full.status, 429);
        assert!(full.error().starts_with("Front Door: 4 things wait to be said already."), "{}", full.error());
    }
    assert_eq!(house.send("DELETE", SAY, &[], b"").await.status, 204);
    nothing_was_played(&house);
}

#[tokio::test]
async fn why_there_is_no_sound_is_said_in_whole_sentences() {
    let (house, voice) = house().await;
    let why = |words: &str| format!("{words} Do something about it.");
    let cases = [
        (Unspoken::Unusable(why("Too long.")), 400),
        (Unspoken::Forbidden(why("Not from there.")), 403),
        (Unspoken::Unavailable(why("Nobody answered.")), 502),
    ];
    for (unspoken, status) in cases {
        voice.on("x", OnSay::Refuses(unspoken.clone()));
        let reply = house.post(SAY, r#"{"text":"x"}"#).await;
        assert_eq!((reply.status, reply.error()), (status, format!("Front Door: {unspoken}")));
    }
    let unknown = house.post(SAY, r#"{"clip":"nobody_has_it"}"#).await;
    assert_eq!(unknown.status, 400, "{}", unknown.error());
    nothing_was_played(&house);

    let offline = ActionError::Offline { why: "Its battery is empty. Charge it.".to_owned() };
    house.vendor.on_talk(OnTalk::Refuses(offline));
    let reply = house.post(SAY, r#"{"text":"hello"}"#).await;
    assert_eq!((reply.status, reply.error().as_str()), (503, "Front Door: Its battery is empty. Charge it."));
}

#[tokio::test]
async fn a_doorbell_without_a_speaker_says_nothing() {
    let voice = FakeVoice::new();
    let house = House::with_voice(&voice, FakeVendor::with([Capability::Ring])).await;
    let reply = house.post(SAY, r#"{"text":"hello"}"#).await;
    assert_eq!(reply.status, 404);
    assert!(reply.error().contains("it has no speaker"), "{}", reply.error());
    assert_eq!(house.post("/api/doorbells/nobody/say", r#"{"text":"hello"}"#).await.status, 404);
    assert!(voice.asked().is_empty(), "a sound was looked for in vain");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_a_sentence_and_nobody_looks_for_a_sound() {
    let (house, voice) = house().await;
    let long = json!({"text": "x".repeat(10_000)}).to_string();
    let longer = json!({"text": "x".repeat(300 * 1024)}).to_string();
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("{}", 400),
        ("[]", 422),
        (r#""hello""#, 422),
        (r#"{"text":""}"#, 400),
        (r#"{"text":7}"#, 400),
        (r#"{"text":["hello"]}"#, 400),
        (r#"{"text":"hello","url":"http://example.com/"}"#, 400),
        (r#"{"text":"hello","loud":true}"#, 400),
        (r#"{"text":"hello","wait":"no"}"#, 400),
        (r#"{"text":"hello","volume":-1}"#, 400),
        (r#"{"text":"hello","volume":2}"#, 400),
        (r#"{"text":"hello","volume":"loud"}"#, 400),
        (r#"{"text":"hello","volume":NaN}"#, 400),
        (r#"{"url":"file:///etc/passwd"}"#, 400),
        (r#"{"url":"hello"}"#, 400),
        (r#"{"clip":"../x"}"#, 400),
        (r#"{"clip":"%2e%2e"}"#, 400),
        (&long, 400),
        (&longer, 413),
    ] {
        let reply = house.post(SAY, body).await;
        assert_eq!(reply.status, status, "{:?}: {}", &body[..body.len().min(80)], reply.body);
        let told = reply.error();
        assert!(told.starts_with("Front Door: ") && told.ends_with('.') || told.starts_with("The body was"), "{told}");
    }
    let latin = house.send("POST", SAY, &[("content-type", "application/json")], b"{\"text\":\"Gr\xfc\xdf\"}").await;
    assert_eq!(latin.status, 400, "{}", latin.body);
    for kind in ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "video/mp4", "audio/", ""] {
        let reply = house.send("POST", SAY, &[("content-type", kind)], b"hello").await;
        assert_eq!(reply.status, 415, "{kind}");
    }
    assert!(voice.asked().is_empty(), "{:?}", voice.asked());
    nothing_was_played(&house);
}

#[tokio::test]
async fn a_file_of_sound_is_played_as_loud_as_asked() {
    let (house, voice) = house().await;
    voice.knows("a file of 4 bytes", Duration::from_millis(100), 1_000);
    for (path, kind) in [
        (SAY.to_owned(), "audio/wav"),
        (format!("{SAY}?volume=0.3"), "Audio/MPEG; x=y"),
        (format!("{SAY}?volume=0&wait=true"), "application/octet-stream"),
    ] {
        let reply = house.send("POST", &path, &[("content-type", kind)], b"\xff\xfb\0\x90").await;
        assert_eq!((reply.status, &reply.json()["whole"]), (200, &json!(true)), "{path}");
    }
    let taken = house.send("POST", &format!("{SAY}?wait=false"), &[WAV], b"\xff\xfb\0\x90").await;
    assert_eq!(taken.status, 202);
    for query in ["volume=-1", "volume=2", "volume=loud", "volume=NaN", "volume=inf", "volume=", "wait=maybe", "a=1"] {
        let reply = house.send("POST", &format!("{SAY}?{query}"), &[WAV], b"\xff\xfb\0\x90").await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.error());
    }
    assert_eq!(voice.asked().len(), 4);
}

#[tokio::test]
async fn a_file_may_have_ten_mebibytes_and_nothing_else_more_than_before() {
    let (house, voice) = house().await;
    let most = vec![0; 10 * MEBIBYTE];
    voice.on("a file of 10485760 bytes", OnSay::Refuses(Unspoken::Unusable("It arrived.".to_owned())));
    let arrived = house.send("POST", SAY, &[WAV], &most).await;
    assert_eq!((arrived.status, arrived.error().as_str()), (400, "Front Door: It arrived."));
    let larger = vec![0; 10 * MEBIBYTE + 1];
    assert_eq!(house.send("POST", SAY, &[WAV], &larger).await.status, 413);
    assert_eq!(house.send("POST", "/api/doorbells/fake_1/talk", &[WAV], &most[..MEBIBYTE]).await.status, 415);

    // Without end, and without saying so before.
    let mut endless = TcpStream::connect(house.address).await.unwrap();
    let head = format!("POST {SAY} HTTP/1.1\r\nhost: {}\r\n{}: {}\r\n", house.address, WAV.0, WAV.1);
    endless.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let (mut answer, mut pipe) = endless.split();
    let chunk = [b"100000\r\n".as_slice(), &vec![0; MEBIBYTE], b"\r\n"].concat();
    let pour = async {
        while pipe.write_all(&chunk).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let mut told = [0; 12];
    tokio::select! {
        read = timeout(PATIENCE, answer.read_exact(&mut told)) => { read.expect("it is taken without end").unwrap(); }
        () = pour => {}
    }
    assert_eq!(&told, b"HTTP/1.1 413");
    assert_eq!(voice.asked(), ["a file of 10485760 bytes"]);
    nothing_was_played(&house);
}

#[tokio::test]
async fn files_that_never_end_do_not_fill_the_memory() {
    let (house, voice) = house().await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(house.address).await.unwrap();
        let head = format!("POST {SAY} HTTP/1.1\r\nhost: {}\r\n{}: {}\r\n", house.address, WAV.0, WAV.1);
        socket.write_all(format!("{head}content-length: {}\r\n\r\n?", 10 * MEBIBYTE).as_bytes()).await.unwrap();
        slow.push(socket);
    }
    let until = async |status| {
        let asking = async {
            while house.send("POST", SAY, &[WAV], &vec![0; MEBIBYTE]).await.status != status {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never {status}"));
    };
    until(503).await;
    let full = house.send("POST", SAY, &[WAV], &vec![0; MEBIBYTE]).await;
    assert_eq!(full.error(), "Too many files are being sent at once. Try again in a moment.");
    assert_eq!(house.post(SAY, r#"{"text":"hello"}"#).await.status, 200, "what is no file needs no room");
    // What waits to be said holds its file, what has been said does not.
    voice.on("a file of 1048576 bytes", OnSay::Refuses(Unspoken::Unusable("It arrived.".to_owned())));
    drop(slow);
    until(400).await;
}
