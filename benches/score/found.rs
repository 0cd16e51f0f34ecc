//! What tests, benchmarks and the tree hold of each figure.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value as Json;

use crate::board::{FIGURES, Source, Values};
use crate::goal::Value;
use crate::junit::{self, Case};
use crate::rows::{self, FAULTS, RowTest, Rows};

/// Other people's programs, and how the names of tests begin that do not pass, or do not run, without them: mosquitto,
/// Home Assistant, Chromium, aiortc, go2rtc, AWS's SDK for JavaScript, vivintpy, the Go client of GWell.
const PEERS: [&str; 8] = [
    "doorstep::it mqtt::",
    "doorstep::peers home_assistant::",
    "doorstep::it page::",
    "doorstep::peers aiortc::",
    "doorstep::peers go2rtc_",
    "doorstep::peers kvs_js_",
    "doorstep::peers vivintpy_",
    "doorstep::peers gwell_client_",
];

/// Whom a script plays that misbehaves on purpose.
const HOSTS: [&str; 5] = ["camera", "cloud", "broker", "viewer", "page"];

pub(crate) struct Found {
    root: PathBuf,
    cases: Vec<Case>,
    pub(crate) rows: Rows,
    bench: Json,
}

impl Found {
    pub(crate) fn look(root: &Path) -> anyhow::Result<Self> {
        let cases = junit::last_outcomes(root)?;
        let mut rows: Rows = vec![Vec::new(); FAULTS.len()];
        for case in &cases {
            if let Some(row) = rows::row_of(case.last_name()) {
                rows[row - 1].push(RowTest { name: case.last_name().to_owned(), passed: case.passed });
            }
        }
        let found = Self { root: root.to_owned(), cases, rows, bench: Json::Null };
        let bench = found.left("house.json")?.unwrap_or_default();
        // Without optimisation nothing was measured.
        let is_release = !bench["machine"].as_str().unwrap_or_default().contains("DEBUG BUILD");
        Ok(Self { bench: if is_release { bench } else { Json::Null }, ..found })
    }

    /// Where, and on how much, all of it was found; one line.
    pub(crate) fn about(&self) -> String {
        let count = |is_it: fn(&Case) -> bool| self.cases.iter().filter(|case| is_it(case)).count();
        let (passed, failed, flaky) = (count(|case| case.passed), count(|case| !case.passed), count(|case| case.flaky));
        let machine = self.bench["machine"].as_str().map(|machine| format!("{}. ", machine.replace('\n', ", ")));
        format!("{}Tests: {passed} passed, {failed} failed, {flaky} flaky.", machine.unwrap_or_default())
    }

    pub(crate) fn values(&self) -> anyhow::Result<Values> {
        FIGURES.iter().map(|figure| self.value(figure.source).with_context(|| figure.name.to_owned())).collect()
    }

    fn value(&self, source: Source) -> anyhow::Result<Option<Value>> {
        Ok(match source {
            Source::Bench(name, factor) => self.measured(name).map(|value| Value::Number(value * factor)),
            Source::Good(name) => self.tally(name)?.map(|(good, of)| Value::Share { some: good, of }),
            Source::Bad(name) => self.tally(name)?.map(|(good, of)| Value::Share { some: of.saturating_sub(good), of }),
            Source::Counted(name) => self.tally(name)?.map(|(_, of)| Value::Number(of as f64)),
            Source::Soak(field) => self.left("soak.json")?.and_then(|soak| soak[field].as_f64()).map(Value::Number),
            Source::Field(folder, field) => self.added_up(folder, field)?.map(|sum| Value::Number(sum as f64)),
            Source::Files(folder) => Some(Value::Number(files(&self.root.join(folder))? as f64)),
            Source::Folders(folder) => Some(Value::Number(fs::read_dir(self.root.join(folder))?.count() as f64)),
            Source::RowsTested => self.ran(self.rows_that(|outcome| outcome != "not tested")),
            Source::RowsPassing => self.ran(self.rows_that(|outcome| outcome == "passed")),
            Source::HostileScripts => self.ran(Value::Number(self.hostile_scripts() as f64)),
            Source::Peers => self.ran(self.peers()),
            Source::OpenRules => self.open_rules(),
        })
    }

    /// Nothing is known where no test has run.
    fn ran(&self, value: Value) -> Option<Value> {
        (!self.cases.is_empty()).then_some(value)
    }

    fn measured(&self, begin: &str) -> Option<f64> {
        let figures = self.bench["figures"].as_array()?;
        figures.iter().find(|figure| figure["name"].as_str().is_some_and(|name| name.starts_with(begin)))?["value"]
            .as_f64()
    }

    fn rows_that(&self, is_it: impl Fn(&str) -> bool) -> Value {
        let some = self.rows.iter().filter(|tests| is_it(rows::outcome(tests))).count();
        Value::Share { some: some as u64, of: FAULTS.len() as u64 }
    }

    fn hostile_scripts(&self) -> usize {
        let is_hostile = |name: &str| {
            let rest = name.strip_prefix("hostile_");
            rest.is_some_and(|rest| HOSTS.iter().any(|host| rest.starts_with(&format!("{host}_"))))
        };
        self.cases.iter().filter(|case| case.passed && is_hostile(case.last_name())).count()
    }

    /// A client counts when a test with it has run, and none has failed.
    fn peers(&self) -> Value {
        let interoperates = |begin: &str| {
            let is_its = |case: &&Case| format!("{} {}", case.binary, case.name).starts_with(begin);
            let mut tests = self.cases.iter().filter(is_its).peekable();
            tests.peek().is_some() && tests.all(|case| case.passed)
        };
        let some = PEERS.iter().filter(|begin| interoperates(begin)).count();
        Value::Share { some: some as u64, of: PEERS.len() as u64 }
    }

    /// Of the integration's `quality_scale.yaml`, where each rule is `done`, `todo` or, with a comment, `exempt`.
    fn open_rules(&self) -> Option<Value> {
        let text = fs::read_to_string(self.root.join("custom_components/doorstep/quality_scale.yaml")).ok()?;
        let count = |state| {
            let states = text.lines().filter_map(|line| line.split_once(": "));
            states.filter(|(_, value)| value.trim() == state).count() as u64
        };
        Some(Value::Share { some: count("todo"), of: count("todo") + count("done") })
    }

    /// The good ones, and all of them, that tests have counted under this name.
    fn tally(&self, name: &str) -> anyhow::Result<Option<(u64, u64)>> {
        Ok(self.added_up(name, "good")?.zip(self.added_up(name, "of")?))
    }

    /// A field of every file in one folder. `None` where there is no file.
    fn added_up(&self, folder: &str, field: &str) -> anyhow::Result<Option<u64>> {
        let Ok(entries) = fs::read_dir(self.score().join(folder)) else { return Ok(None) };
        let mut sum = None;
        for entry in entries {
            let path = entry?.path();
            let json: Json = serde_json::from_str(&fs::read_to_string(&path)?)?;
            let value = json[field].as_u64().with_context(|| format!("{} has no `{field}`", path.display()))?;
            sum = Some(sum.unwrap_or(0) + value);
        }
        Ok(sum)
    }

    /// What a run has left under this name.
    fn left(&self, name: &str) -> anyhow::Result<Option<Json>> {
        let path = self.score().join(name);
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| path.display().to_string())
    }

    fn score(&self) -> PathBuf {
        self.root.join("target/tmp/score")
    }
}

/// In a folder and those in it.
fn files(folder: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        count += if path.is_dir() { files(&path)? } else { 1 };
    }
    Ok(count)
}
