//! Spoken text, by an engine of Home Assistant's (docs/interfaces.md §2): its REST API makes an address of the text
//! (`POST /api/tts_get_url`), and gives the sound there (`GET /api/tts_proxy/…`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;

use super::lately::Lately;
use super::read;
use crate::doorbell::voice::{Source, Unspoken};
use crate::media::Recording;
use crate::net::http::{Answer, Client, HttpError, Method, Request};
use crate::secret::Token;

/// From the text to the last byte of its sound.
const WITHIN: Duration = Duration::from_secs(15);
/// Where the sound of every text is.
const PROXY: &str = "/api/tts_proxy/";
/// The engines that Home Assistant has and that work.
const ENGINES: &str =
    "{{ states.tts | rejectattr('state', 'eq', 'unavailable') | map(attribute='entity_id') | join(' ') }}";

/// A Home Assistant that speaks.
pub(super) struct Speaker {
    http: Client,
    /// Up to `/api`.
    base: Url,
    token: Token,
    engine: Option<String>,
    language: Option<String>,
    /// The engine that Home Assistant named when it was asked.
    found: Mutex<Option<String>>,
    lately: Lately<String>,
}

/// Why an engine gave no sound.
enum Failure {
    /// It does not know the engine, or the engine not the language.
    Engine(u16),
    Other(Unspoken),
}

impl Speaker {
    pub(super) fn new(assistant: (Url, Token), engine: Option<String>, language: Option<String>) -> Self {
        let (base, token) = assistant;
        Self { http: Client::new(), base, token, engine, language, found: Mutex::default(), lately: Lately::new() }
    }

    pub(super) async fn speak(&self, text: &str) -> Result<Recording, Unspoken> {
        let text = tidy(text)?;
        if let Some(recording) = self.lately.get(&text) {
            return Ok(recording);
        }
        let sound = tokio::time::timeout(WITHIN, self.sound(&text)).await;
        let sound = sound.unwrap_or_else(|_| Err(unavailable("Home Assistant did not speak the text in time.")))?;
        let recording = read(sound, "What Home Assistant made of the text").await?;
        self.lately.keep(text, &recording);
        Ok(recording)
    }

    async fn sound(&self, text: &str) -> Result<Bytes, Unspoken> {
        if let Some(engine) = &self.engine {
            return self.sound_by(engine, text).await.map_err(|failure| self.told(engine, failure));
        }
        let remembered = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(engine) = remembered {
            match self.sound_by(&engine, text).await {
                // It may have been taken away since.
                Err(Failure::Engine(_)) => {}
                outcome => return outcome.map_err(|failure| self.told(&engine, failure)),
            }
        }
        let engine = self.find_engine().await?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine.clone());
        self.sound_by(&engine, text).await.map_err(|failure| self.told(&engine, failure))
    }

    async fn sound_by(&self, engine: &str, text: &str) -> Result<Bytes, Failure> {
        let mut asked = json!({"engine_id": engine, "message": text});
        if let Some(language) = &self.language {
            asked["language"] = json!(language);
        }
        let request = Request::post_json(self.url("/api/tts_get_url"), asked.to_string());
        let answer = self.ask(request).await.map_err(Failure::Other)?;
        match answer.status() {
            200 => {}
            // An error that it cannot write down is a 500.
            status @ (400 | 500) => return Err(Failure::Engine(status)),
            _ => return Err(Failure::Other(refused(&answer))),
        }
        let told = answer.json().map_err(|error| Failure::Other(unanswered(&error)))?;
        let path = path(&told)
            .ok_or_else(|| Failure::Other(unavailable("Home Assistant did not say where the sound of the text is.")))?;
        let answer = self.ask(Request::new(Method::GET, self.url(path))).await.map_err(Failure::Other)?;
        match answer.status() {
            200 => Ok(answer.body().clone()),
            status @ (404 | 500) => Err(Failure::Engine(status)),
            _ => Err(Failure::Other(refused(&answer))),
        }
    }

    /// The first engine that Home Assistant has.
    async fn find_engine(&self) -> Result<String, Unspoken> {
        let request = Request::post_json(self.url("/api/template"), json!({"template": ENGINES}).to_string());
        let answer = self.ask(request).await?;
        if !answer.is_success() {
            return Err(refused(&answer));
        }
        let is_engine = |word: &&str| {
            let name = word.strip_prefix("tts.").unwrap_or_default();
            !name.is_empty() && word.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let engines = String::from_utf8_lossy(answer.body());
        engines.split_whitespace().find(is_engine).map(str::to_owned).ok_or_else(|| {
            unavailable(
                "Home Assistant has no engine that speaks text. Install one there, such as Piper, or name one under \
                 `say.engine`.",
            )
        })
    }

    async fn ask(&self, request: Request) -> Result<Answer, Unspoken> {
        let request = request.header("authorization", &format!("Bearer {}", self.token.expose())).within(WITHIN);
        self.http.send(request).await.map_err(|error| unanswered(&error))
    }

    /// `path` of Home Assistant, begins with a slash.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn told(&self, engine: &str, failure: Failure) -> Unspoken {
        match (failure, &self.language) {
            (Failure::Other(why), _) => why,
            (Failure::Engine(status), None) => Unspoken::Unavailable(format!(
                "Home Assistant's engine `{engine}` did not speak the text ({status}). Check that Home Assistant has it \
                 and that it works there; another one is named under `say.engine`."
            )),
            (Failure::Engine(status), Some(language)) => Unspoken::Unavailable(format!(
                "Home Assistant's engine `{engine}` did not speak the text in `{language}` ({status}). Check that Home \
                 Assistant has it and that it knows the language; see `say.engine` and `say.language`."
            )),
        }
    }
}

/// What can be said of `text`: in one line.
fn tidy(text: &str) -> Result<String, Unspoken> {
    let text = text.replace(char::is_control, " ").trim().to_owned();
    match text.chars().count() {
        0 => Err(Unspoken::Unusable("There is no text to be said.".to_owned())),
        many if many > Source::LONGEST_TEXT => Err(Unspoken::Unusable(format!(
            "The text has {many} characters, and no more than {} are said at once.",
            Source::LONGEST_TEXT
        ))),
        _ => Ok(text),
    }
}

/// Where the sound is. Whatever Home Assistant says, nothing else of it is asked for.
fn path(told: &Value) -> Option<&str> {
    let path = told["path"].as_str()?;
    let file = path.strip_prefix(PROXY)?;
    let fits = (1..=1_024).contains(&file.len()) && !file.contains("..");
    (fits && file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))).then_some(path)
}

fn refused(answer: &Answer) -> Unspoken {
    let host = answer.host();
    Unspoken::Unavailable(match answer.status() {
        401 | 403 => format!(
            "Home Assistant at `{host}` does not let Doorstep ask it to speak. In the app, reinstall the app from its \
             repository; elsewhere, check `say.token`, which has to be an administrator's."
        ),
        404 => format!(
            "Home Assistant at `{host}` cannot speak text yet. Install an engine there, such as Piper, and check \
             `say.url` if it is set."
        ),
        status => format!("Home Assistant at `{host}` answered {status} when it was asked to speak. Try again."),
    })
}

fn unanswered(error: &HttpError) -> Unspoken {
    Unspoken::Unavailable(format!("Home Assistant could not be asked to speak: {error}."))
}

fn unavailable(sentence: &str) -> Unspoken {
    Unspoken::Unavailable(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_said_in_one_line_or_not_at_all() {
        assert_eq!(tidy(" Leave it\r\nat the back door.\0 ").as_deref(), Ok("Leave it  at the back door."));
        for nothing in ["", "  ", "\n\t\u{7}"] {
            assert!(matches!(tidy(nothing), Err(Unspoken::Unusable(_))), "{nothing:?}");
        }
        assert!(tidy(&"ü".repeat(Source::LONGEST_TEXT)).is_ok());
        let said = tidy(&"ü".repeat(10_000)).unwrap_err().to_string();
        assert_eq!(said, "The text has 10000 characters, and no more than 1000 are said at once.");
    }

    #[test]
    fn only_sound_is_fetched_from_home_assistant() {
        let good = "/api/tts_proxy/42f18378fd4393d18c8dd11d03fa9563c1e54491_en-us_6e8b81ac47_demo.mp3";
        assert_eq!(path(&json!({"path": good, "url": "http://elsewhere"})), Some(good));
        for bad in [
            "/api/tts_proxy/",
            "/api/tts_proxy/../states",
            "/api/tts_proxy/a/../../states",
            "/api/tts_proxy/..%2fstates",
            "/api/tts_proxy/a?b",
            "/api/states",
            "http://elsewhere/api/tts_proxy/a.mp3",
            "//elsewhere/api/tts_proxy/a.mp3",
            "",
        ] {
            assert_eq!(path(&json!({ "path": bad })), None, "{bad}");
        }
        assert_eq!(path(&json!({"url": good})), None);
    }
}
