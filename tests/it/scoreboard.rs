//! The scoreboard's tables in the documents are as `./score --write` writes them: the figures and goals there are, every
//! value one that could have been measured, every verdict the one that follows from it, every test one that exists.

use std::fs;
use std::path::Path;

use board::FIGURES;
use goal::Value;
use rows::RowTest;

#[allow(dead_code, reason = "shared with the scoreboard")]
#[path = "../../benches/score/board.rs"]
mod board;
#[allow(dead_code, reason = "shared with the scoreboard")]
#[path = "../../benches/score/goal.rs"]
mod goal;
#[allow(dead_code, reason = "shared with the scoreboard")]
#[path = "../../benches/score/rows.rs"]
mod rows;

const README: &str = include_str!("../../README.md");
const RELIABILITY: &str = include_str!("../../docs/reliability.md");
const STALE: &str = "write it anew with `./score --last --write`, after the tests have run";

/// What stands between the marks of this name.
fn table<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no place for the {name}"));
    rest.split_once(&format!("<!-- end of the {name} -->")).unwrap_or_else(|| panic!("no end of the {name}")).0
}

/// One column of a table, without its head and the lines that only name a group.
fn column(table: &str, number: usize) -> Vec<&str> {
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **"));
    rows.skip(1).map(|row| row.trim_matches('|').split('|').nth(number).unwrap_or_default().trim()).collect()
}

#[test]
fn the_readmes_scoreboard_is_a_generated_one() {
    let shown = table(README, "scoreboard");
    let (about, _) = shown.split_once("\n\n").expect("a line that says where it was measured");
    let read = |cell: &str| {
        let value = Value::read(cell);
        assert!(cell.is_empty() || value.is_some(), "`{cell}` is no value");
        value
    };
    let values: Vec<_> = column(shown, 1).into_iter().map(read).collect();
    assert_eq!(values.len(), FIGURES.len(), "the README shows other figures; {STALE}");
    assert_eq!(shown, board::markdown(about, &values), "the README's scoreboard is stale; {STALE}");
}

#[test]
fn the_fault_matrix_is_a_generated_one_and_names_tests_that_exist() {
    let shown = table(RELIABILITY, "fault matrix");
    let named = |cell: &str| -> Vec<RowTest> {
        let tests = cell.split("<br>").filter_map(|test| test.strip_prefix('`')?.split_once('`'));
        tests.map(|(name, rest)| RowTest { name: name.to_owned(), passed: rest.is_empty() }).collect()
    };
    let tests: Vec<_> = column(shown, 3).into_iter().map(named).collect();
    assert_eq!(shown, rows::markdown(&tests), "docs/reliability.md is stale; {STALE}");
    let sources = sources();
    for (n, test) in tests.iter().enumerate().flat_map(|(n, tests)| tests.iter().map(move |test| (n, test))) {
        assert_eq!(rows::row_of(&test.name), Some(n + 1), "{} stands in the wrong row", test.name);
        assert!(sources.contains(&test.name), "there is no test {}; {STALE}", test.name);
    }
}

/// Every source file in which a test may be.
fn sources() -> String {
    let mut folders = ["src", "tests"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).to_vec();
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                // What other people's programs have brought along.
                folders.extend((name != "node_modules" && name != ".venv").then_some(path.clone()));
            } else if name.ends_with(".rs") {
                all += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    all
}

#[test]
fn a_goal_is_met_by_what_is_shown_and_by_nothing_else() {
    use goal::Goal::{All, AtLeast, AtMost, NoneOf, Open};
    let share = |some, of| Value::Share { some, of };
    for (goal, value, met) in [
        (AtLeast(100.0), Value::Number(100.0), Some(true)),
        (AtLeast(15.0), share(14, 44), Some(false)),
        (AtMost(20.0), Value::Number(20.1), Some(false)),
        (All, share(44, 44), Some(true)),
        (All, share(43, 44), Some(false)),
        // Where nothing was tried nothing was shown.
        (All, share(0, 0), Some(false)),
        (NoneOf, share(0, 0), Some(false)),
        (NoneOf, share(0, 512), Some(true)),
        (NoneOf, share(1, 512), Some(false)),
        (Open, Value::Number(3.0), None),
    ] {
        assert_eq!(goal.is_met(value), met, "{goal:?} {value:?}");
    }
    for (text, value) in
        [("12.50", Value::Number(12.5)), ("0 of 48", share(0, 48)), ("1 234 567", Value::Number(1_234_567.0))]
    {
        assert_eq!(Value::read(text), Some(value));
        assert_eq!(value.text(if text.contains('.') { 2 } else { 0 }), text);
    }
    assert_eq!((Value::read("many"), Value::read("1 of many")), (None, None));
    assert_eq!(Value::Number(-0.01).text(1), "0.0");
}

#[test]
fn a_row_is_passed_only_if_all_its_tests_are() {
    assert_eq!(rows::row_of("row_07_each_topic_comes_once"), Some(7));
    for name in ["row_7_x", "row_45_x", "row_00_x", "row_07", "a_row_07_x"] {
        assert_eq!(rows::row_of(name), None, "{name}");
    }
    let test = |passed| RowTest { name: "row_01_x".to_owned(), passed };
    assert_eq!(rows::outcome(&[]), "not tested");
    assert_eq!(rows::outcome(&[test(true), test(true)]), "passed");
    assert_eq!(rows::outcome(&[test(true), test(false)]), "FAILED");
}
