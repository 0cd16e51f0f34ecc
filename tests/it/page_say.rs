//! The page lets a doorbell say a text or a clip, shows what it says, stops it, and keeps the clips.

use std::sync::Arc;
use std::time::Duration;

use doorstep::doorbell::voice::{NotKept, Source, Unspoken, Voice};
use doorstep::model::{Capability, ClipName};
use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::fake_vendor::FakeVendor;
use crate::support::fake_voice::{FakeVoice, OnSay};
use crate::support::house::House;

async fn open(browser: &Browser, voice: &Arc<FakeVoice>) -> (House, Page) {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Talk]);
    let house = House::with_voice(voice, vendor).await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.card .say') && !document.querySelector('#clips').hidden").await;
    (house, page)
}

async fn press(page: &Page, selector: &str) {
    for kind in ["mousePressed", "mouseReleased"] {
        page.mouse(kind, selector).await;
    }
}

async fn write(page: &Page, selector: &str, text: &str) {
    let text = Value::from(text);
    let event = "new Event('input', { bubbles: true })";
    page.value(&format!(
        "(() => {{ const e = document.querySelector({selector:?}); e.value = {text}; e.dispatchEvent({event}); }})()"
    ))
    .await;
}

fn says(selector: &str, begins: &str) -> String {
    format!("document.querySelector({selector:?}).textContent.startsWith({begins:?})")
}

#[tokio::test]
async fn a_typed_text_is_said_and_what_went_wrong_stands_below_it() {
    let browser = Browser::launch().await;
    let voice = FakeVoice::new();
    voice.knows("Wait a moment.", Duration::from_millis(60), 1_000);
    let why = "There is no text-to-speech in Home Assistant. Install Piper, or say a clip.";
    voice.on("Hello", OnSay::Refuses(Unspoken::Unavailable(why.to_owned())));
    let (house, page) = open(&browser, &voice).await;

    write(&page, ".say-text", "  Wait a moment. ").await;
    press(&page, ".say-send").await;
    page.until(&says(".say-note", "Said.")).await;
    assert_eq!(voice.asked(), ["Wait a moment."]);
    assert!(!house.vendor.seen().heard.is_empty(), "nothing came out of the speaker");
    assert_eq!(page.value("document.querySelector('.say-text').value").await, "", "it would be said twice");

    write(&page, ".say-text", "Hello").await;
    press(&page, ".say-send").await;
    page.until(&format!("document.querySelector('.say-note').textContent.includes({why:?})")).await;
    assert_eq!(
        page.value("document.querySelector('.say-text').value").await,
        "Hello",
        "it would have to be typed again"
    );

    let long = "ü".repeat(Source::LONGEST_TEXT + 1);
    write(&page, ".say-text", &long).await;
    page.until(&says(".say-length", "1 character too many")).await;
    press(&page, ".say-send").await;
    write(&page, ".say-text", &long[2..]).await;
    page.until(&says(".say-length", "0 characters left")).await;
    assert_eq!(voice.asked().len(), 2, "too long a text was sent");
}

#[tokio::test]
async fn a_clip_is_played_at_one_press_with_its_volume_shown_while_it_plays_and_stopped() {
    let browser = Browser::launch().await;
    let voice = FakeVoice::new();
    voice.has_clip("back_door", Duration::from_secs(30));
    voice.knows("back_door", Duration::from_secs(30), 1_000);
    voice.has_clip("one_moment", Duration::from_millis(1_600));
    let (house, page) = open(&browser, &voice).await;
    page.until("document.querySelectorAll('.say-clips button').length === 2").await;
    let words =
        page.value("[...document.querySelectorAll('.say-clips button')].map((e) => e.innerText.replace(/\\s+/g, ' '))");
    assert_eq!(words.await, json!(["back door 30 s", "one moment 2 s"]));

    write(&page, ".say-volume input", "50").await;
    press(&page, "[data-clip=back_door]").await;
    page.until("document.querySelector('.say-what').textContent === 'Saying “back door” …'").await;
    page.until("document.querySelector('[data-clip=back_door]').classList.contains('playing')").await;
    page.until("document.querySelector('.talk .text').textContent === 'The doorbell is speaking'").await;
    let heard = house.vendor.until("the clip", |seen| seen.heard.len() > 5).await.heard;
    let loudest = heard.iter().flatten().map(|byte| g711_magnitude(*byte)).max();
    assert!(loudest.is_some_and(|sample| (400..600).contains(&sample)), "at half the volume 1000 became {loudest:?}");

    press(&page, ".say-stop").await;
    page.until(&says(".say-note", "It was stopped")).await;
    page.until("document.querySelector('.say-now').hidden").await;
    house.vendor.until("the end", |seen| !seen.speaker_open).await;
    page.until("!document.querySelector('.playing')").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// How far a byte of PCMU is from silence.
fn g711_magnitude(byte: u8) -> i32 {
    let byte = !byte;
    let magnitude = ((i32::from(byte & 0x0f) << 3) + 0x84) << ((byte >> 4) & 7);
    magnitude - 0x84
}

#[tokio::test]
async fn where_nobody_can_talk_the_doorbell_is_not_asked_to_either() {
    let browser = Browser::launch().await;
    let (house, page) = open(&browser, &FakeVoice::new()).await;
    page.until("!document.querySelector('.say').hidden").await;
    house.vendor.set_state(|state| state.talk_obstacle = Some("There is no key.".to_owned()));
    page.until("document.querySelector('.say').hidden").await;
}

#[tokio::test]
async fn clips_are_added_with_a_name_from_the_file_and_deleted_only_on_purpose() {
    let browser = Browser::launch().await;
    let voice = FakeVoice::new();
    voice.has_clip("one_moment", Duration::from_millis(1_600));
    let (_house, page) = open(&browser, &voice).await;
    page.value("document.querySelector('.clips').open = true").await;
    let choose = |size: usize, name: &str| {
        format!(
            "(() => {{ const files = new DataTransfer(); \
             files.items.add(new File([new Uint8Array({size})], {name:?}, {{ type: 'audio/mpeg' }})); \
             const field = document.querySelector('.clips-file'); field.files = files.files; \
             field.dispatchEvent(new Event('change')); return document.querySelector('.clips-name').value }})()"
        )
    };
    let suggested = page.value(&choose(2_000, "  Légt es BITTE an die Hintertür!?.backup.MP3")).await;
    assert_eq!(suggested, "legt_es_bitte_an_die_hintertur_backup");
    assert_eq!(page.value(&choose(11 << 20, "<b>gong</b>.wav")).await, "b_gong_b");
    page.until(&says(".clips-note", "The file has 11.0 MiB.")).await;
    press(&page, ".clips-send").await;
    let kept = || voice.clips().borrow().clone();
    assert_eq!(kept().len(), 1, "a file that is too large was sent");

    page.value(&choose(2_000, "gong.mp3")).await;
    write(&page, ".clips-name", "Gong!").await;
    press(&page, ".clips-send").await;
    page.until(&says(".clips-note", "A name has 1 to 40")).await;
    write(&page, ".clips-name", "one_moment").await;
    page.until(&says(".clips-send", "Replace")).await;
    write(&page, ".clips-name", "gong").await;
    press(&page, ".clips-send").await;
    page.until("[...document.querySelectorAll('.clip-name')].some((e) => e.textContent === 'gong')").await;
    page.until("document.querySelector('[data-clip=gong]')").await;
    assert_eq!(kept()[&ClipName::parse("gong").unwrap()], Duration::from_secs(2), "not all of the file was sent");

    voice.keeps_none(NotKept::Full("There are 100 clips already. Delete one first.".to_owned()));
    page.value(&choose(2_000, "gong2.mp3")).await;
    press(&page, ".clips-send").await;
    page.until(&says(".clips-note", "There are 100 clips already.")).await;

    let row = "[...document.querySelectorAll('.clips-list li')].find((e) => e.textContent.includes('one_moment'))";
    for button in ["button", ".clip-sure button:last-child", "button", ".clip-sure button"] {
        for kind in ["mousePressed", "mouseReleased"] {
            page.mouse_on(kind, &format!("{row}.querySelector({button:?})")).await;
        }
    }
    page.until(&format!("!{row} && !document.querySelector('[data-clip=one_moment]')")).await;
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|told| told.contains("507")), "{complaints:?}");
}
