//! Figures with their goals, as lines or as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::machine;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Worth knowing, and promised nowhere.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Of one core.
    Percent,
    MiB,
    Kilobytes,
    MbitPerSecond,
    Milliseconds,
    Count,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Percent => "%",
            Self::MiB => "MiB",
            Self::Kilobytes => "kB",
            Self::MbitPerSecond => "Mbit/s",
            Self::Milliseconds => "ms",
            Self::Count => "",
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::Percent | Self::Kilobytes | Self::Milliseconds | Self::MbitPerSecond => 1,
            Self::MiB => 2,
            Self::Count => 0,
        }
    }
}

/// Prints each figure as soon as it is known, or all of them at the end.
pub(crate) struct Figures {
    json: bool,
    all: Vec<Value>,
}

impl Figures {
    pub(crate) fn new(json: bool) -> Self {
        let figures = Self { json, all: Vec::new() };
        figures.line(&format!("{}\n", machine::description()));
        figures
    }

    pub(crate) fn add(&mut self, name: &str, value: f64, unit: Unit, goal: Goal) {
        let (limit, met) = match goal {
            Goal::AtMost(limit) => (Some(limit), Some(value <= limit)),
            Goal::AtLeast(limit) => (Some(limit), Some(value >= limit)),
            Goal::None => (None, None),
        };
        let verdict = match (limit, met) {
            (Some(limit), Some(met)) => {
                format!("goal {limit:>5} {:<3} {}", unit.word(), if met { "met" } else { "MISSED" })
            }
            _ => String::new(),
        };
        let (word, decimals) = (unit.word(), unit.decimals());
        self.line(format!("{name:<60} {value:>8.decimals$} {word:<6}  {verdict}").trim_end());
        self.all.push(json!({"name": name, "value": value, "unit": word, "goal": limit, "met": met}));
    }

    /// Of many tries: median, 95th percentile and slowest, with the goal for one of them.
    pub(crate) fn add_times(&mut self, name: &str, times: &mut [Duration], median: Goal, p95: Goal) {
        times.sort();
        let at = |percent| percentile(times, percent);
        let name = |which: &str| format!("{name}, {which} of {}", times.len());
        self.add(&name("median"), at(50), Unit::Milliseconds, median);
        self.add(&name("95th percentile"), at(95), Unit::Milliseconds, p95);
        self.add(&name("slowest"), at(100), Unit::Milliseconds, Goal::None);
    }

    /// The 99th percentile alone, of tries enough that it is not the slowest.
    pub(crate) fn add_p99(&mut self, name: &str, times: &mut [Duration], goal: Goal) {
        times.sort();
        let name = format!("{name}, 99th percentile of {}", times.len());
        self.add(&name, percentile(times, 99), Unit::Milliseconds, goal);
    }

    pub(crate) fn finish(self) {
        self.line(&format!("\nmachine's load when finished: {}", machine::load()));
        if self.json {
            let whole = json!({"machine": machine::description(), "figures": self.all});
            print(&serde_json::to_string_pretty(&whole).unwrap());
        }
    }

    fn line(&self, line: &str) {
        if !self.json {
            print(line);
        }
    }
}

/// Of sorted times, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1_000.0
}

#[expect(clippy::print_stdout, reason = "printing is what a benchmark is for")]
fn print(text: &str) {
    println!("{text}");
}
