//! What is wrong in a configuration file, and where.

use std::fmt;

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place right behind `text`, whose lines may end as on any system.
    pub(super) fn behind(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let mut lines = text.split(['\n', '\r']);
        let last_line = lines.next_back().unwrap_or_default();
        Self { line: lines.count() + 1, column: last_line.chars().count() + 1 }
    }
}

/// One mistake of whoever wrote the file. Never holds a value out of the file, because that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `None` when the file could not be read at all, and for the app's options.
    pub at: Option<Position>,
    /// `wyze[0].cameras[1].enr`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what was expected.
    pub what: String,
}

/// Every mistake of one file, in the order of their places. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file's name as the owner gave it.
    pub file: String,
    pub mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    pub(super) fn new(file: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.at);
        Self { file: file.to_owned(), mistakes }
    }

    /// As whoever filled in the app's form can find them, who has never seen the file that Home Assistant made of it.
    pub(super) fn of_form(self) -> Self {
        let mistakes = self.mistakes.into_iter().map(|mistake| Mistake { at: None, ..mistake }).collect();
        Self { file: "the app's configuration".to_owned(), mistakes }
    }
}

/// One line a mistake: `doorstep.yaml:4:7: wyze[0].cameras[1].enr: missing; expected …`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}:", self.file)?;
            if let Some(Position { line, column }) = mistake.at {
                write!(f, "{line}:{column}:")?;
            }
            if !mistake.path.is_empty() {
                write!(f, " {}:", mistake.path)?;
            }
            write!(f, " {}", mistake.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
