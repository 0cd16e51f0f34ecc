//! A saying in the words of the faces: the JSON `{"text"|"url"|"clip": …, "volume": 0.8}` that each of them takes, and
//! the figures that each of them answers with.

use serde_json::{Map, Value, json};
use url::Url;

use super::say::{Said, Saying};
use super::voice::{Source, Unspoken};
use crate::media::playback::Volume;
use crate::model::ClipName;

impl Saying {
    /// What `object` asks for. Whatever else a face understands has been taken out of it before; `null` is as good as
    /// nothing.
    ///
    /// # Errors
    /// `Unusable`, unless it holds exactly one of `text`, `url` and `clip`, and nothing beside it but `volume`. What
    /// was sent is not repeated.
    pub fn read(mut object: Map<String, Value>) -> Result<Self, Unspoken> {
        object.retain(|_, value| !value.is_null());
        let volume = object.remove("volume").map_or(Ok(Volume::FULL), |volume| volume_of(&volume))?;
        let mut object = object.into_iter();
        let (Some((kind, what)), None) = (object.next(), object.next()) else {
            return Err(unusable(
                "Exactly one of `text`, `url` and `clip` says what is to be said; `volume` may be beside it.",
            ));
        };
        let text = |kind| what.as_str().ok_or_else(|| Unspoken::Unusable(format!("`{kind}` must be text.")));
        let source = match kind.as_str() {
            "text" => Source::text(text("text")?)?,
            "url" => Source::address(text("url")?)?,
            "clip" => Source::clip(text("clip")?)?,
            _ => {
                return Err(unusable(
                    "What is to be said is a `text`, a `url` or a `clip`; `volume` may be beside it.",
                ));
            }
        };
        Ok(Self { volume, ..Self::once(source) })
    }
}

impl Source {
    /// # Errors
    /// `Unusable` when there is nothing to speak in `text`, or more than [`Self::LONGEST_TEXT`].
    pub fn text(text: &str) -> Result<Self, Unspoken> {
        let text = text.trim();
        let characters = text.chars().count();
        match characters {
            0 => Err(unusable("There is nothing to be said in an empty text.")),
            1..=Self::LONGEST_TEXT => Ok(Self::Text(text.to_owned())),
            _ => Err(Unspoken::Unusable(format!(
                "The text has {characters} characters; at most {} are said at once.",
                Self::LONGEST_TEXT
            ))),
        }
    }

    /// # Errors
    /// `Unusable` when it is no address of the web.
    pub fn address(url: &str) -> Result<Self, Unspoken> {
        const LONGEST: usize = 2_048;
        let url = Some(url).filter(|url| url.len() <= LONGEST).and_then(|url| Url::parse(url).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map(Self::Url).ok_or_else(|| unusable("`url` must be an address that begins with `http://` or `https://`."))
    }

    /// # Errors
    /// `Unusable` when no clip can have this name.
    pub fn clip(name: &str) -> Result<Self, Unspoken> {
        ClipName::parse(name)
            .map(Self::Clip)
            .map_err(|why| Unspoken::Unusable(format!("There is no such clip: {why}.")))
    }
}

/// A number from 0 to 1.
///
/// # Errors
/// `Unusable` for anything else.
pub fn volume_of(volume: &Value) -> Result<Volume, Unspoken> {
    let volume = volume.as_f64().and_then(Volume::new);
    volume.ok_or_else(|| unusable("The volume must be a number from 0 (silence) to 1 (as it was recorded)."))
}

impl Said {
    /// `{"waited_ms", "prepared_ms", "opened_ms", "played_ms", "whole"}`.
    pub fn figures(&self) -> Map<String, Value> {
        let milliseconds = |time: std::time::Duration| json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let figures = [
            ("waited_ms", milliseconds(self.waited)),
            ("prepared_ms", milliseconds(self.prepared)),
            ("opened_ms", milliseconds(self.opened)),
            ("played_ms", milliseconds(self.played)),
            ("whole", json!(self.whole)),
        ];
        figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect()
    }
}

fn unusable(why: &str) -> Unspoken {
    Unspoken::Unusable(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Saying, Unspoken> {
        let Value::Object(object) = json else { panic!("no object") };
        Saying::read(object)
    }

    #[test]
    fn each_kind_of_saying_is_understood() {
        let text = Source::Text("Leave it at the back door.".to_owned());
        assert_eq!(read(json!({"text": " Leave it at the back door.\n"})), Ok(Saying::once(text)));
        let url = Source::Url(Url::parse("https://example.com/a.mp3").unwrap());
        assert_eq!(read(json!({"url": "https://example.com/a.mp3", "text": null})), Ok(Saying::once(url)));
        let clip = Source::Clip(ClipName::parse("back_door").unwrap());
        let quiet = Saying { volume: Volume::new(0.0).unwrap(), ..Saying::once(clip) };
        assert_eq!(read(json!({"clip": "back_door", "volume": 0})), Ok(quiet));
        assert!(read(json!({"text": "ü".repeat(Source::LONGEST_TEXT)})).is_ok(), "characters count, not bytes");
    }

    #[test]
    fn anything_else_is_refused_in_a_sentence_that_does_not_repeat_it() {
        let long = "SECRET".repeat(10_000);
        for bad in [
            json!({}),
            json!({"volume": 0.5}),
            json!({"text": "SECRET", "url": "https://example.com/"}),
            json!({"text": "SECRET", "clip": "SECRET"}),
            json!({"text": "SECRET", "SECRET": 1}),
            json!({"SECRET": "a"}),
            json!({"text": null}),
            json!({"text": 7}),
            json!({"text": ["SECRET"]}),
            json!({"text": ""}),
            json!({"text": " \n\t"}),
            json!({"text": long}),
            json!({"url": "SECRET"}),
            json!({"url": "file:///etc/SECRET"}),
            json!({"url": format!("http://example.com/{}", "SECRET".repeat(500))}),
            json!({"url": 1}),
            json!({"clip": "../SECRET"}),
            json!({"clip": "%2e%2e"}),
            json!({"clip": ""}),
            json!({"clip": "SECRET"}),
            json!({"text": "SECRET", "volume": -1}),
            json!({"text": "SECRET", "volume": 2}),
            json!({"text": "SECRET", "volume": "loud"}),
            json!({"text": "SECRET", "volume": [0.5]}),
        ] {
            let Err(Unspoken::Unusable(why)) = read(bad.clone()) else { panic!("{bad} was accepted") };
            assert!(why.ends_with('.') && !why.contains("SECRET") && why.len() < 200, "{bad}: {why}");
        }
    }
}
