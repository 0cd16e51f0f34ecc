//! YAML as the values that JSON has, for tests that read what lies at the root for Home Assistant.

use std::fs;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};

/// The file at `path`, from the root of the repository on.
pub(crate) fn read(path: &str) -> Value {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    parse(&text.unwrap_or_else(|error| panic!("{path}: {error}")))
}

/// # Panics
/// At what is not YAML, and at a key that stands twice.
pub(crate) fn parse(text: &str) -> Value {
    let mut events = Parser::new_from_str(text).map(|event| event.unwrap().0).filter(|event| {
        !matches!(event, Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd)
    });
    let first = events.next();
    first.map_or(Value::Null, |first| value(first, &mut events))
}

fn value<'a>(event: Event<'a>, rest: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
        Event::Scalar(text, ..) => json!(text),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match rest.next().unwrap() {
                    Event::SequenceEnd => return Value::Array(items),
                    item => items.push(value(item, rest)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                let key = match rest.next().unwrap() {
                    Event::MappingEnd => return Value::Object(entries),
                    Event::Scalar(key, ..) => key.into_owned(),
                    other => panic!("{other:?} is no key"),
                };
                let event = rest.next().unwrap();
                let twice = entries.insert(key.clone(), value(event, rest));
                assert!(twice.is_none(), "`{key}` stands twice");
            }
        }
        other => panic!("{other:?} has no place in these files"),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        _ => serde_json::from_str(text).ok().filter(|value: &Value| !value.is_object()).unwrap_or_else(|| json!(text)),
    }
}
