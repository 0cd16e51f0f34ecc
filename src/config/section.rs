//! Reading a section key by key, so that every mistake in it is found and not only the first.

use super::mistake::{Mistake, Position};
use super::tree::{Entry, Node, Value, shown};

/// Why a value is not what was expected. Static, so that it cannot quote a secret out of the file.
pub(super) type Reason = &'static str;

/// A sort of single value: how it is described to owners and how it is read.
pub(super) struct Kind<T> {
    pub expected: &'static str,
    pub parse: fn(&str) -> Result<T, Reason>,
}

/// One section of the file while it is read. The keys that were asked for are the keys it may have.
pub(super) struct Section<'a> {
    path: String,
    at: Position,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

/// Reads `node` as a section by `read`, and reports the keys that `read` did not ask for.
/// `None` when it is something else, which is reported, or when `read` had to give up.
pub(super) fn read_section<T>(
    node: &Node,
    path: String,
    mistakes: &mut Vec<Mistake>,
    read: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Option<T> {
    let entries: &[Entry] = match &node.value {
        Value::Section(entries) => entries,
        Value::Nothing => &[],
        other => {
            mistakes.push(wrong_kind(
                node.at,
                path,
                "a section of keys (`key: value`, a space behind the colon)",
                other,
            ));
            return None;
        }
    };
    let mut section = Section { path, at: node.at, entries, asked: Vec::new(), mistakes };
    let value = read(&mut section);
    section.report_unknown_keys();
    value
}

impl<'a> Section<'a> {
    /// A value that may be left out. `None` when it is, or when it is wrong, which is reported.
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        let node = self.ask(key)?;
        read_text(node, self.path_of(key), kind, self.mistakes)
    }

    /// A value that must be there. `None` when it is missing or wrong, which is reported.
    pub(super) fn required<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        if self.ask(key).is_none() {
            let at = self.entry(key).map_or(self.at, |entry| entry.at);
            self.report(at, key, format!("missing; expected {}", kind.expected));
        }
        self.optional(key, kind)
    }

    /// A section that may be left out.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.ask(key)?;
        read_section(node, self.path_of(key), self.mistakes, read)
    }

    /// A list of sections; empty when left out. What is wrong in it is reported and left out.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        self.list(key, |node, path, mistakes| read_section(node, path, mistakes, &mut read))
    }

    /// A list of single values; empty when left out. What is wrong in it is reported and left out.
    pub(super) fn texts<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Vec<T> {
        self.list(key, |node, path, mistakes| match &node.value {
            Value::Nothing => {
                mistakes.push(Mistake {
                    at: Some(node.at),
                    path,
                    what: format!("missing; expected {}", kind.expected),
                });
                None
            }
            _ => read_text(node, path, kind, mistakes),
        })
    }

    /// Reports something about the value of `key` that only shows beside other values.
    pub(super) fn report_value(&mut self, key: &'static str, what: &str) {
        let at = self.ask(key).map_or(self.at, |node| node.at);
        self.report(at, key, what.to_owned());
    }

    /// Whether anything but `null` is written there, right or wrong.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.ask(key).is_some()
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Node, String, &mut Vec<Mistake>) -> Option<T>,
    ) -> Vec<T> {
        let Some(node) = self.ask(key) else { return Vec::new() };
        let path = self.path_of(key);
        let Value::List(items) = &node.value else {
            self.mistakes.push(wrong_kind(node.at, path, "a list", &node.value));
            return Vec::new();
        };
        let numbered = items.iter().enumerate();
        numbered.filter_map(|(index, item)| read(item, format!("{path}[{index}]"), self.mistakes)).collect()
    }

    /// The node of `key`, unless nothing is written there.
    fn ask(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let node = &self.entry(key)?.node;
        (!matches!(node.value, Value::Nothing)).then_some(node)
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn report(&mut self, at: Position, key: &str, what: String) {
        let path = self.path_of(key);
        self.mistakes.push(Mistake { at: Some(at), path, what });
    }

    fn report_unknown_keys(&mut self) {
        for entry in self.entries {
            if !self.asked.contains(&entry.key.as_str()) {
                let what = unknown_key(&entry.key, &self.asked);
                self.report(entry.at, &shown(&entry.key), what);
            }
        }
    }
}

fn read_text<T>(node: &Node, path: String, kind: &Kind<T>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    let Value::Text(text) = &node.value else {
        mistakes.push(wrong_kind(node.at, path, kind.expected, &node.value));
        return None;
    };
    match (kind.parse)(text) {
        Ok(value) => Some(value),
        Err(reason) => {
            let what = format!("{reason}; expected {}", kind.expected);
            mistakes.push(Mistake { at: Some(node.at), path, what });
            None
        }
    }
}

fn wrong_kind(at: Position, path: String, expected: &str, found: &Value) -> Mistake {
    Mistake { at: Some(at), path, what: format!("this is {}; expected {expected}", found.kind()) }
}

fn unknown_key(key: &str, known: &[&'static str]) -> String {
    if key.split_once(':').is_some_and(|(name, _)| known.contains(&name)) {
        return "a space is missing behind the colon".to_owned();
    }
    match nearest(key, known) {
        Some(nearest) => format!("unknown key; did you mean `{nearest}`?"),
        None => format!("this version does not know this key; it knows here: {}", known.join(", ")),
    }
}

/// The known key that `key` was probably meant to be: at most a third of its letters differ.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&key.to_lowercase(), candidate);
    let best = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(best) <= best.len().div_ceil(3)).then_some(best)
}
