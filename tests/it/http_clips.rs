//! The clips over HTTP: listed, kept, taken away, and told to whoever listens.

use std::sync::Arc;
use std::time::Duration;

use doorstep::doorbell::voice::NotKept;
use serde_json::json;

use crate::http::{listen, news};
use crate::support::fake_vendor::FakeVendor;
use crate::support::fake_voice::FakeVoice;
use crate::support::house::House;

const CLIPS: &str = "/api/clips";
const WAV: (&str, &str) = ("content-type", "audio/wav");

async fn house() -> (House, Arc<FakeVoice>) {
    let voice = FakeVoice::new();
    (House::with_voice(&voice, FakeVendor::new()).await, voice)
}

#[tokio::test]
async fn a_clip_is_kept_under_its_name_until_it_is_taken_away() {
    let (house, _voice) = house().await;
    assert_eq!(house.get(CLIPS).await.json(), json!([]));
    let put = async |name: &str, bytes: usize| {
        house.send("PUT", &format!("{CLIPS}/{name}"), &[WAV], &vec![0xff; bytes]).await
    };
    let first = put("back_door", 2_344).await;
    assert_eq!((first.status, first.json()), (201, json!([{"name": "back_door", "seconds": 2.34}])));
    assert_eq!(put("at_work", 1_000).await.status, 201);
    assert_eq!(put("back_door", 500).await.status, 200, "in place of the one before");
    let both = json!([{"name": "at_work", "seconds": 1.0}, {"name": "back_door", "seconds": 0.5}]);
    assert_eq!(house.get(CLIPS).await.json(), both);
    let delete = async |name: &str| house.send("DELETE", &format!("{CLIPS}/{name}"), &[], b"").await;
    let gone = delete("back_door").await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    let again = delete("back_door").await;
    assert_eq!(
        (again.status, again.error().as_str()),
        (404, "There is no such clip. `GET /api/clips` lists those there are.")
    );
    assert_eq!(house.get(CLIPS).await.json(), json!([{"name": "at_work", "seconds": 1.0}]));
}

#[tokio::test]
async fn a_listener_is_told_of_the_clips_first_and_whenever_they_change() {
    let (house, voice) = house().await;
    voice.has_clip("back_door", Duration::from_secs(2));
    let mut listener = listen(&house, &[]).await.unwrap();
    let first = news(&mut listener, |_| true).await;
    assert_eq!(
        (&first["type"], &first["clips"]),
        (&json!("snapshot"), &json!([{"name": "back_door", "seconds": 2.0}]))
    );
    voice.loses_clip("back_door");
    let changed = news(&mut listener, |message| message["type"] == "clips").await;
    assert_eq!(changed, json!({"type": "clips", "clips": []}));
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let (house, voice) = house().await;
    let long = "x".repeat(41);
    for (name, status) in [
        ("../x", 404),
        ("..", 404),
        ("%2e%2e", 400),
        ("%2e%2e%2fx", 400),
        ("a%2fb", 400),
        ("a%00", 400),
        ("%ff", 400),
        ("Back_Door", 400),
        ("back-door", 400),
        ("t%C3%BCr", 400),
        (long.as_str(), 400),
    ] {
        for method in ["PUT", "DELETE"] {
            let reply = house.send(method, &format!("{CLIPS}/{name}"), &[WAV], b"RIFF").await;
            // `..` is resolved by whoever asks, or is no address.
            let right = reply.status == status || name == ".." && reply.status == 400;
            assert!(right, "{method} {name}: {} {}", reply.status, reply.body);
            assert!(!reply.error().is_empty());
        }
    }
    assert!(voice.asked().is_empty() && house.get(CLIPS).await.json() == json!([]));
}

#[tokio::test]
async fn what_is_no_sound_or_too_much_of_it_is_not_kept() {
    let (house, voice) = house().await;
    let put = async |kind: &str, file: &[u8]| {
        house.send("PUT", &format!("{CLIPS}/back_door"), &[("content-type", kind)], file).await
    };
    for kind in ["application/json", "text/plain", "image/png", ""] {
        assert_eq!(put(kind, b"RIFF").await.status, 415, "{kind}");
    }
    assert_eq!(put("audio/wav", &vec![0; (10 << 20) + 1]).await.status, 413);
    for (why, status) in [
        (NotKept::Unusable("The file cannot be played: it is broken. Send another.".to_owned()), 400),
        (NotKept::Full("There are 50 clips, which is as many as there may be. Remove one.".to_owned()), 507),
        (NotKept::Unwritable("The folder of clips cannot be written to. See the log.".to_owned()), 507),
    ] {
        voice.keeps_none(why.clone());
        let reply = put("audio/wav", b"RIFF").await;
        assert_eq!((reply.status, reply.error()), (status, why.to_string()));
    }
    assert_eq!(house.get(CLIPS).await.json(), json!([]));
}
