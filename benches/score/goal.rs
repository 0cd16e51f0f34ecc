//! A figure's value, its goals, and whether it meets them.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Share { some: u64, of: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Each one, and there must be one.
    All,
    /// Not a single one of those that there must be.
    NoneOf,
    /// Worth knowing, and promised nowhere.
    Open,
}

impl Goal {
    /// `None` where there is nothing to meet.
    pub(crate) fn is_met(self, value: Value) -> Option<bool> {
        let (number, of) = match value {
            Value::Number(number) => (number, None),
            Value::Share { some, of } => (some as f64, Some(of)),
        };
        match self {
            Self::AtLeast(limit) => Some(number >= limit),
            Self::AtMost(limit) => Some(number <= limit),
            Self::All => Some(of.is_some_and(|of| of > 0 && number == of as f64)),
            Self::NoneOf => Some(of != Some(0) && number == 0.0),
            Self::Open => None,
        }
    }

    pub(crate) fn verdict(self, value: Option<Value>) -> &'static str {
        match value.and_then(|value| self.is_met(value)) {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "≥ {}", grouped(*limit, usize::from(limit.fract() != 0.0))),
            Self::AtMost(limit) => write!(f, "≤ {}", grouped(*limit, usize::from(limit.fract() != 0.0))),
            Self::All => f.write_str("all"),
            Self::NoneOf => f.write_str("none"),
            Self::Open => Ok(()),
        }
    }
}

impl Value {
    /// As it is shown: `12.5`, `0 of 48`.
    pub(crate) fn text(self, decimals: usize) -> String {
        match self {
            Self::Number(number) => grouped(number, decimals),
            Self::Share { some, of } => format!("{} of {}", grouped(some as f64, 0), grouped(of as f64, 0)),
        }
    }

    /// What stands there, which is all that is judged: nothing is met by a digit that nobody sees.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let plain = text.replace(' ', "");
        match text.split_once(" of ") {
            Some((some, of)) => {
                let count = |text: &str| text.replace(' ', "").parse().ok();
                Some(Self::Share { some: count(some)?, of: count(of)? })
            }
            None => plain.parse().ok().map(Self::Number),
        }
    }
}

/// With blanks between thousands where there are five digits or more.
fn grouped(number: f64, decimals: usize) -> String {
    let plain = format!("{number:.decimals$}");
    // A number that is too small to be seen has no sign either.
    let plain = if plain.trim_start_matches('-').parse() == Ok(0.0) { plain.trim_start_matches('-') } else { &plain };
    let (whole, fraction) = plain.split_once('.').map_or((plain, None), |(whole, rest)| (whole, Some(rest)));
    let mut text = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && whole.len() > 4 && (whole.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    fraction.map_or(text.clone(), |fraction| format!("{text}.{fraction}"))
}
