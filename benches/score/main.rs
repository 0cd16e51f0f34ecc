//! The scoreboard: every figure that Doorstep promises, and every row of its fault matrix, from what the last runs of
//! tests and benchmarks have left on the disk. `./score` runs them first.

mod board;
mod found;
mod goal;
mod junit;
mod pages;
mod rows;

use std::path::Path;

use anyhow::Context;
use clap::Parser;
use serde_json::json;

use board::{FIGURES, Values};
use found::Found;

#[derive(Parser)]
#[command(name = "score", about = "Prints what Doorstep promises in numbers, and what was measured")]
struct Options {
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Writes the tables of README.md and docs/reliability.md, too
    #[arg(long)]
    write: bool,
    /// What `cargo bench` passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = Found::look(root)?;
    let values = found.values()?;
    if options.write {
        pages::write(root, &found, &values)?;
    }
    if options.json {
        print(&serde_json::to_string_pretty(&as_json(&found, &values)).context("writing JSON")?);
    } else {
        let (figures, matrix) = (board::lines(&values), rows::lines(&found.rows));
        print(&format!("{}\n{figures}{matrix}\n{}", found.about(), board::summary(&values).trim_end()));
    }
    Ok(())
}

fn as_json(found: &Found, values: &Values) -> serde_json::Value {
    let figures = FIGURES.iter().zip(values).map(|(figure, value)| {
        let shown = figure.shown(*value);
        let (number, of) = match *value {
            Some(goal::Value::Number(number)) => (Some(number), None),
            Some(goal::Value::Share { some, of }) => (Some(some as f64), Some(of)),
            None => (None, None),
        };
        let goal = |goal: goal::Goal| json!({"goal": goal.to_string(), "verdict": goal.verdict(shown)});
        json!({"group": figure.group, "name": figure.name, "unit": figure.unit, "value": number, "of": of,
               "first": goal(figure.first), "release": goal(figure.release)})
    });
    let rows = rows::FAULTS.iter().zip(&found.rows).enumerate().map(|(n, (fault, tests))| {
        let of_row = tests.iter().map(|test| json!({"name": test.name, "passed": test.passed}));
        json!({"row": n + 1, "fault": fault, "outcome": rows::outcome(tests), "tests": of_row.collect::<Vec<_>>()})
    });
    let (passed, failed, blank) = board::totals(values);
    json!({"about": found.about(), "figures": figures.collect::<Vec<_>>(), "matrix": rows.collect::<Vec<_>>(),
           "passed": passed, "failed": failed, "blank": blank})
}

#[expect(clippy::print_stdout, reason = "printing is what a scoreboard is for")]
fn print(text: &str) {
    println!("{text}");
}
