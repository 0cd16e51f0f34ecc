//! A YAML or JSON text as a tree that remembers where everything stood. The only place that names the parser.
//!
//! Anchors, aliases, tags and several documents are refused: a configuration of some twenty lines needs
//! none of them, and each would be a second way to say the same thing.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::Value as Json;

use super::mistake::{Mistake, Position};

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub at: Position,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Nothing was written, or `null` or `~`.
    Nothing,
    /// One word or line, as it was written: numbers are not touched, so `0123` stays what its owner typed.
    Text(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
}

/// `key: value`.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Position,
    pub node: Node,
}

/// A key as errors show it. Somebody who forgets the space behind a colon makes a key of a secret
/// (`{token:abc}`), so it ends where a key would have ended.
pub(super) fn shown(key: &str) -> String {
    let name: String =
        key.chars().take(Entry::SHOWN).take_while(|c| c.is_alphanumeric() || "_-.".contains(*c)).collect();
    if name == key { name } else { format!("{name}…") }
}

impl Entry {
    /// Longer than any key there is.
    const SHOWN: usize = 32;
}

impl Value {
    /// What it is called in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Section(_) => "a section of keys",
        }
    }
}

impl Node {
    /// What a form means by it: a field that was cleared holds an empty text, and a cleared line of a list is none.
    pub(super) fn of_form(self) -> Self {
        let value = match self.value {
            Value::Text(text) if text.is_empty() => Value::Nothing,
            Value::List(items) => {
                let items = items.into_iter().map(Self::of_form);
                Value::List(items.filter(|item| !matches!(item.value, Value::Nothing)).collect())
            }
            Value::Section(entries) => {
                Value::Section(entries.into_iter().map(|entry| Entry { node: entry.node.of_form(), ..entry }).collect())
            }
            other => other,
        };
        Self { at: self.at, value }
    }
}

/// Reads the whole text. Keys that stand twice are put into `mistakes`; the first of them counts.
///
/// # Errors
/// With the first place where the text stops being YAML (or JSON, which YAML contains).
pub(super) fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Result<Node, Mistake> {
    let end = Position::behind(text.trim_end());
    let mut builder = Builder { parser: Parser::new_from_str(text), text, end, mistakes };
    builder.document()
}

/// What is in JSON already. All of it stands at the beginning of a text that nobody sees.
pub(super) fn of_json(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Nothing,
        Json::Bool(_) | Json::Number(_) => Value::Text(json.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(of_json).collect()),
        Json::Object(entries) => {
            let entry =
                |(key, json): (&String, &Json)| Entry { key: key.clone(), at: Position::START, node: of_json(json) };
            Value::Section(entries.iter().map(entry).collect())
        }
    };
    Node { at: Position::START, value }
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    text: &'a str,
    /// What is missing at the end is missing behind the last thing written, not on a line that is not there.
    end: Position,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Builder<'a> {
    /// Deeper than any configuration, and far from the end of the stack.
    const MAX_DEPTH: usize = 16;

    fn document(&mut self) -> Result<Node, Mistake> {
        let mut root = Node { at: Position::START, value: Value::Nothing };
        let mut documents = 0;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), at) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(mistake(at, "a second document begins here; expected one"));
                    }
                }
                (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, at) => root = self.node(event, at, 0)?,
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Result<Node, Mistake> {
        if depth > Self::MAX_DEPTH {
            return Err(mistake(at, "nested too deeply"));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_marks(at, anchor, tag.as_deref())?;
                scalar(&text, style)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_marks(at, anchor, tag.as_deref())?;
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                refuse_marks(at, anchor, tag.as_deref())?;
                self.section(depth)?
            }
            _ => return Err(mistake(at, "an alias (`*name`); write the value itself here")),
        };
        Ok(Node { at, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn section(&mut self, depth: usize) -> Result<Value, Mistake> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Section(entries));
            }
            let Node { value: Value::Text(key), .. } = self.node(event, at, depth + 1)? else {
                return Err(mistake(at, "this is not a key; expected one word before the colon"));
            };
            let (event, value_at) = self.next()?;
            let node = self.node(event, value_at, depth + 1)?;
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => self.mistakes.push(twice(at, &key, first.at)),
                None => entries.push(Entry { key, at, node }),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Position), Mistake> {
        match self.parser.next() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, position(&start).min(self.end))),
            Some(Err(error)) => Err(self.syntax_error(position(error.marker()).min(self.end), error.info())),
            None => Ok((Event::StreamEnd, Position::START)),
        }
    }

    /// The parser's words, except for the mistakes that they describe badly.
    fn syntax_error(&self, at: Position, info: &str) -> Mistake {
        let line = self.text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        if let Some(tab) = indent.chars().position(|c| c == '\t') {
            let at = Position { column: tab + 1, ..at };
            return mistake(at, "a tab; indent with spaces");
        }
        if info == "simple key expect ':'" {
            return mistake(at, "a colon is missing before this place; expected `key: value`");
        }
        mistake(at, &format!("this is not YAML: {info}"))
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Nothing,
        _ => Value::Text(text.to_owned()),
    }
}

fn refuse_marks(at: Position, anchor: usize, tag: Option<&Tag>) -> Result<(), Mistake> {
    match tag {
        Some(tag) if tag.suffix == "secret" => {
            Err(mistake(at, "`!secret` works in Home Assistant's own files only; write the value itself here"))
        }
        Some(_) => Err(mistake(at, "a tag (`!name`); write the value without it")),
        None if anchor > 0 => Err(mistake(at, "an anchor (`&name`); write the value without it")),
        None => Ok(()),
    }
}

fn twice(at: Position, key: &str, first: Position) -> Mistake {
    mistake(at, &format!("`{}` stands here a second time; the first is on line {}", shown(key), first.line))
}

fn mistake(at: Position, what: &str) -> Mistake {
    Mistake { at: Some(at), path: String::new(), what: what.to_owned() }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}
