//! Whoever holds the button and says nothing for a while keeps the speaker, at every kind of doorbell, and is heard
//! again with the next word.

use std::cell::Cell;

use serde_json::Value;

use crate::support::demo::Demo;
use crate::support::mosquitto::Witness;
use crate::support::service::Page;
use crate::support::viewer::Manners;

/// Packets of speech before the silence: 3 s.
const SPOKEN: u16 = 150;
/// Of silence: 12 s. Longer than any side waits that takes silence for absence (10 s for media).
const SILENT: u16 = 600;

fn is_our_tone(event: &Value) -> bool {
    let tone_hz = event["tone_hz"].as_f64();
    event["event"] == "talk_audio" && tone_hz.is_some_and(|tone_hz| (tone_hz - 1_000.0).abs() < 10.0)
}

#[tokio::test]
async fn a_silence_ends_no_talk_and_the_next_word_is_heard_at_every_doorbell() {
    let mut demo = Demo::start(&[]).await;
    let page = Page::at(demo.page);
    let (_, port) = demo.broker.rsplit_once(':').unwrap();
    let mut talks = Vec::new();
    for id in demo.ids.clone() {
        let doorbell = page.is(&id, "ready").await;
        if doorbell["talk_obstacle"].is_null() && doorbell["capabilities"].as_array().unwrap().contains(&"talk".into())
        {
            let states = Witness::of_3_1_1(port.parse().unwrap(), &format!("doorstep/{id}/talk")).await;
            let silent = (SPOKEN, SPOKEN + SILENT);
            let viewer = page.watch(&id, Manners { speaks: true, silent, ..Manners::default() }).await;
            talks.push((id, states, viewer));
        }
    }
    assert!(talks.len() >= 4, "only {} of {:?} can be talked to", talks.len(), demo.ids);
    for (id, _, _) in &talks {
        demo.tells(id, "the first words", is_our_tone).await;
    }
    for (id, states, viewer) in &mut talks {
        viewer.sees("its own silence", |seen| seen.spoken > SPOKEN + SILENT / 2).await;
        viewer.sees("its own silence", |seen| seen.spoken > SPOKEN + SILENT - 5).await;
        let doorbell = page.doorbell(id).await;
        assert_eq!((&doorbell["talking"], &doorbell["microphone"]), (&true.into(), &true.into()), "{id}: {doorbell}");
        let before = demo.told(id, is_our_tone);
        let heard = Cell::new(0);
        demo.tells(id, "the words after the silence", |event| {
            heard.set(heard.get() + usize::from(is_our_tone(event)));
            heard.get() > before
        })
        .await;
        viewer.leave();
        page.until(id, "the end of the talk", |doorbell| doorbell["talking"] == false).await;
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(states.next().await.payload);
        }
        assert_eq!(told, ["OFF", "ON", "OFF"], "{id}: the talk was ended in between");
        let level = &page.doorbell(id).await["talk_level"];
        assert!(level["suppressed_percent"].as_u64().is_some_and(|percent| percent > 30), "{id}: {level}");
        assert_eq!(
            (level["rms_db"].as_i64(), level["clipped_percent"].as_u64()),
            (Some(-15), Some(0)),
            "{id}: {level}"
        );
    }
    demo.program.type_line("quit").await;
    assert_eq!(demo.program.ends().await.status.code(), Some(0));
}
