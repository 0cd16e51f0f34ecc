//! What is to be said gets its sound: from Home Assistant, from an address, from a file; or a sentence about why not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use doorstep::doorbell::Voice;
use doorstep::doorbell::voice::{Source, Unspoken};
use doorstep::media::Recording;
use doorstep::secret::Token;
use doorstep::sim::tone;
use doorstep::speech::{Settings, Speech};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Level;
use url::Url;

use crate::support::http::serve;
use crate::support::log::Log;
use crate::support::program::Program;
use crate::support::sound_file::wav;
use crate::support::supervisor::{Says, Stub};

const TOKEN: &str = "canary-long-lived-3b81f0";
const TEXT: &str = "Leave it at the canary door.";
const FILE: &str = "/api/tts_proxy/canary-speech-8c2e.mp3";

/// A Home Assistant that does as a test has written down.
#[derive(Clone, Default)]
struct Assistant(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    /// The answer to each address, its status and its body.
    answers: Vec<(String, u16, Vec<u8>)>,
    asked: Vec<(String, Value)>,
}

impl Assistant {
    /// It has one engine, `tts.piper`, which says everything as a tone of 440 Hz.
    async fn start() -> (Self, SocketAddr) {
        let own = Self::default();
        own.says("/api/template", 200, "tts.piper tts.cloud");
        own.says("/api/tts_get_url", 200, &json!({"url": format!("http://elsewhere{FILE}"), "path": FILE}).to_string());
        own.gives(FILE, 200, wav(22_050, 440.0, 1.0));
        let address = serve(Router::new().fallback(answer).with_state(own.clone())).await;
        (own, address)
    }

    fn says(&self, path: &str, status: u16, body: &str) {
        self.gives(path, status, body.as_bytes().to_vec());
    }

    fn gives(&self, path: &str, status: u16, body: Vec<u8>) {
        let answers = &mut self.0.lock().unwrap().answers;
        answers.retain(|(own, ..)| own != path);
        answers.push((path.to_owned(), status, body));
    }

    fn asked(&self, path: &str) -> Vec<Value> {
        let book = self.0.lock().unwrap();
        book.asked.iter().filter(|(own, _)| own == path).map(|(_, body)| body.clone()).collect()
    }

    fn all_asked(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().asked.iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn answer(State(own): State<Assistant>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|token| *token != *format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut book = own.0.lock().unwrap();
    book.asked.push((uri.path().to_owned(), serde_json::from_slice(&body).unwrap_or_default()));
    match book.answers.iter().find(|(path, ..)| path == uri.path()) {
        Some((_, status, body)) => (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

struct House {
    speech: Speech,
    _folder: TempDir,
    _stop: DropGuard,
}

impl House {
    fn at(address: SocketAddr) -> Self {
        Self::with(&format!("http://{address}"), TOKEN, None, None)
    }

    fn with(url: &str, token: &str, engine: Option<&str>, language: Option<&str>) -> Self {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let settings = Settings {
            assistant: Some((url.parse().unwrap(), Token::new(token))),
            engine: engine.map(str::to_owned),
            language: language.map(str::to_owned),
            clips: folder.path().join("clips"),
            allow: BTreeSet::new(),
            own_ports: Vec::new(),
        };
        Self { speech: Speech::start(settings, stop.clone()), _folder: folder, _stop: stop.drop_guard() }
    }

    async fn says(&self, text: &str) -> Result<Recording, Unspoken> {
        self.speech.sound(Source::Text(text.to_owned())).await
    }

    /// The sentence about why it is not said.
    async fn does_not_say(&self, text: &str) -> String {
        match self.says(text).await {
            Ok(sound) => panic!("{text} is said: {:?}", sound.duration()),
            Err(why) => why.to_string(),
        }
    }
}

#[tokio::test]
async fn a_text_is_spoken_by_the_engine_and_in_the_language_that_the_owner_names() {
    let (assistant, address) = Assistant::start().await;
    assistant.says("/ha/api/tts_get_url", 200, &json!({ "path": FILE }).to_string());
    assistant.gives(&format!("/ha{FILE}"), 200, wav(22_050, 660.0, 1.0));
    let house = House::with(&format!("http://{address}/ha/"), TOKEN, Some("tts.marytts"), Some("de_DE"));
    let sound = house.says("  Bitte\nwarten. ").await.unwrap();
    let heard = tone::listen(&sound.samples, sound.rate_hz).tone_hz.unwrap();
    assert!((heard - 660.0).abs() < 10.0, "{heard}");
    let asked = json!({"engine_id": "tts.marytts", "message": "Bitte warten.", "language": "de_DE"});
    assert_eq!(assistant.asked("/ha/api/tts_get_url"), [asked]);
    assert_eq!(assistant.all_asked().len(), 2, "{:?}", assistant.all_asked());
}

#[tokio::test]
async fn without_a_name_the_first_engine_speaks_until_it_is_gone() {
    let (assistant, address) = Assistant::start().await;
    let house = House::at(address);
    for text in ["One.", "Two.", "One."] {
        house.says(text).await.unwrap();
    }
    let asked = assistant.asked("/api/tts_get_url");
    assert!(
        asked.iter().all(|asked| asked["engine_id"] == "tts.piper" && asked.get("language").is_none()),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 2, "what was said lately is not asked for again");
    assert_eq!(assistant.asked("/api/template").len(), 1);

    // Its name has changed. It is looked for once in each try.
    assistant.says("/api/template", 200, "tts.other");
    assistant.says("/api/tts_get_url", 500, "");
    let said = house.does_not_say("Three.").await;
    assert!(said.starts_with("Home Assistant's engine `tts.other` did not speak the text (500). "), "{said}");
    assistant.says("/api/tts_get_url", 200, &json!({ "path": FILE }).to_string());
    house.says("Three.").await.unwrap();
    assert_eq!(assistant.asked("/api/tts_get_url").last().unwrap()["engine_id"], "tts.other");
    assert_eq!(assistant.asked("/api/template").len(), 2);
}

#[tokio::test]
async fn a_text_that_nobody_can_say_is_not_asked_for() {
    let (assistant, address) = Assistant::start().await;
    let house = House::at(address);
    for (text, why) in [
        (String::new(), "There is no text to be said."),
        (" \n\t ".to_owned(), "There is no text to be said."),
        ("ä".repeat(10_000), "The text has 10000 characters, and no more than 1000 are said at once."),
    ] {
        assert_eq!(house.says(&text).await, Err(Unspoken::Unusable(why.to_owned())));
    }
    assert!(assistant.all_asked().is_empty());
    house.says(&"ä".repeat(1_000)).await.unwrap();
}

#[tokio::test]
async fn why_nothing_is_spoken_is_told_with_what_to_do() {
    let (assistant, address) = Assistant::start().await;
    let begins = async |house: &House, expected: &str| {
        let said = house.does_not_say("Hello.").await;
        assert!(said.starts_with(expected) && said.ends_with('.'), "{said}\n{expected}");
    };
    let stranger = House::with(&format!("http://{address}"), "another", None, None);
    begins(&stranger, &format!("Home Assistant at `{address}` does not let Doorstep ask it to speak. ")).await;
    assistant.says("/api/template", 200, "  \n");
    begins(&House::at(address), "Home Assistant has no engine that speaks text. Install one there, such as Piper")
        .await;
    assistant.says("/api/template", 200, "<html>tts. tts.a/../b sensor.a");
    begins(&House::at(address), "Home Assistant has no engine that speaks text. ").await;
    assistant.says("/api/template", 200, "tts.piper");
    for (status, expected) in [
        (404, format!("Home Assistant at `{address}` cannot speak text yet. Install an engine")),
        (400, "Home Assistant's engine `tts.piper` did not speak the text (400). Check that".to_owned()),
        (502, format!("Home Assistant at `{address}` answered 502 when it was asked to speak. Try again.")),
    ] {
        assistant.says("/api/tts_get_url", status, "{\"error\": \"canary\"}");
        begins(&House::at(address), &expected).await;
    }
    let swedish = House::with(&format!("http://{address}"), TOKEN, Some("tts.piper"), Some("sv"));
    assistant.says("/api/tts_get_url", 400, "");
    begins(&swedish, "Home Assistant's engine `tts.piper` did not speak the text in `sv` (400). ").await;
    for odd in ["no json", "[]", "{\"url\": \"http://elsewhere/a.mp3\"}", "{\"path\": 7}"] {
        assistant.says("/api/tts_get_url", 200, odd);
        let said = house_says(address).await;
        assert!(said.starts_with("Home Assistant "), "{odd}: {said}");
    }
    let nobody = House::with("http://127.0.0.1:1", TOKEN, None, None);
    begins(&nobody, "Home Assistant could not be asked to speak: `127.0.0.1:1` cannot be reached (").await;
}

async fn house_says(address: SocketAddr) -> String {
    House::at(address).does_not_say("Hello.").await
}

#[tokio::test]
async fn hostile_cloud_speaks_html_minutes_and_without_end_but_to_sound() {
    let (assistant, address) = Assistant::start().await;
    for path in ["/api/states", "/api/tts_proxy/../states", "http://127.0.0.1:1/api/tts_proxy/a", "//127.0.0.1:1/a"] {
        assistant.says("/api/tts_get_url", 200, &json!({ "path": path }).to_string());
        let said = house_says(address).await;
        assert_eq!(said, "Home Assistant did not say where the sound of the text is.", "{path}");
    }
    assert!(!assistant.all_asked().contains("/api/states"));
    assistant.says("/api/tts_get_url", 200, &json!({ "path": FILE }).to_string());
    assistant.says(FILE, 200, "<html>no sound</html>");
    let said = house_says(address).await;
    assert!(said.starts_with("What Home Assistant made of the text cannot be played: "), "{said}");
    assistant.gives(FILE, 200, wav(8_000, 440.0, 61.0));
    let said = house_says(address).await;
    assert!(said.contains("it lasts longer than 60 s"), "{said}");
    assistant.gives(FILE, 200, vec![0; 20 << 20]);
    let said = house_says(address).await;
    assert!(said.contains("sent more than"), "{said}");
}

#[tokio::test]
async fn neither_text_nor_token_nor_the_place_of_the_sound_is_in_any_log() {
    let (log, _logging) = Log::capture(Level::TRACE);
    let (assistant, address) = Assistant::start().await;
    House::at(address).says(TEXT).await.unwrap();
    assistant.says(FILE, 500, "canary-body");
    let said = House::at(address).does_not_say(TEXT).await;
    let stranger = House::with(&format!("http://{address}"), "canary-other", None, None);
    let refused = stranger.does_not_say(TEXT).await;
    assert!(!format!("{said}{refused}").contains("canary"), "{said} {refused}");
    log.holds_none_of(&["canary"]);
}

#[tokio::test]
async fn without_a_home_assistant_text_is_not_said_and_files_are() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let settings = Settings {
        assistant: None,
        engine: None,
        language: None,
        clips: folder.path().join("clips"),
        allow: BTreeSet::from(["127.0.0.1".to_owned()]),
        own_ports: Vec::new(),
    };
    let speech = Speech::start(settings, stop.clone());
    let _stop = stop.drop_guard();
    let said = speech.sound(Source::Text("Hello.".to_owned())).await.unwrap_err();
    assert!(matches!(&said, Unspoken::Unavailable(_)) && said.to_string().contains("`say.url`"), "{said}");
    let file = Bytes::from(wav(16_000, 440.0, 0.5));
    assert_eq!(speech.sound(Source::File(file.clone())).await.unwrap().samples.len(), 8_000);
    let said = speech.sound(Source::File(Bytes::from_static(b"nothing"))).await.unwrap_err().to_string();
    assert!(said.starts_with("The file cannot be played: ") && said.ends_with('.'), "{said}");
    let said = speech.sound(Source::File(vec![0; (10 << 20) + 1].into())).await.unwrap_err().to_string();
    assert_eq!(said, "The file has more than 10 MiB.");

    let server = serve(Router::new().fallback(async move || file.clone())).await;
    let url = |url: String| Source::Url(Url::parse(&url).unwrap());
    assert_eq!(speech.sound(url(format!("http://{server}/a.wav"))).await.unwrap().samples.len(), 8_000);
    let said = speech.sound(url(format!("http://127.0.0.2:{}/a?b", server.port()))).await.unwrap_err();
    let host = format!("127.0.0.2:{}", server.port());
    let expected = format!(
        "The sound was not fetched: `{host}` leads to this machine itself, or to where only this machine can reach. If \
         you want that, add `{host}` to `say.allow` in the configuration."
    );
    assert_eq!(said, Unspoken::Forbidden(expected));
    let said = speech.sound(url("file:///etc/passwd".to_owned())).await.unwrap_err();
    assert!(matches!(said, Unspoken::Unusable(_)), "{said}");
}

/// As the app does it, in a process of its own.
#[tokio::test]
async fn in_the_app_the_supervisor_leads_to_home_assistant_and_the_check_says_whether_it_speaks() {
    let stub = Stub::start().await;
    stub.says("/core/api/tts_get_url", Says::Raw(200, "application/json", json!({ "path": FILE }).to_string()));
    stub.says(&format!("/core{FILE}"), Says::File("audio/wav", wav(22_050, 440.0, 1.0)));
    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("options.json");
    std::fs::write(&options, r#"{"say": {"engine": "tts.piper"}}"#).unwrap();
    let check = async || {
        let arguments = ["check", "--config", options.to_str().unwrap(), "--data", folder.path().to_str().unwrap()];
        Program::start_with(arguments, |command| {
            command.env("SUPERVISOR_TOKEN", crate::support::supervisor::TOKEN).env("SUPERVISOR_API", stub.url());
        })
        .without_input()
        .ends()
        .await
    };
    let ended = check().await;
    assert_eq!((ended.status.code(), stub.strangers()), (Some(0), 0), "{ended:?}");
    assert!(ended.said.contains("Spoken text: Home Assistant speaks it."), "{ended:?}");
    let asked = &stub.calls("/core/api/tts_get_url")[0].body;
    assert_eq!(*asked, json!({"engine_id": "tts.piper", "message": "Doorstep"}));

    stub.says(&format!("/core{FILE}"), Says::Raw(500, "text/plain", String::new()));
    let ended = check().await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(
        ended.said.contains("Spoken text: Home Assistant's engine `tts.piper` did not speak the text (500)."),
        "{ended:?}"
    );
    assert!(!format!("{ended:?}").contains(crate::support::supervisor::TOKEN));
}
