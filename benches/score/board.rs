//! The figures of the scoreboard, where each comes from, and how they are shown. Reading [`FIGURES`] is reading what
//! Doorstep promises in numbers.

use std::fmt::Write as _;

use super::goal::Goal::{self, All, AtLeast, AtMost, NoneOf, Open};
use super::goal::Value;

/// What has been measured or counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// The benchmark's figure whose name begins so, times this.
    Bench(&'static str, f64),
    /// The good ones of what tests have counted under this name.
    Good(&'static str),
    /// The others.
    Bad(&'static str),
    /// All of them.
    Counted(&'static str),
    /// A field of what the soak has left.
    Soak(&'static str),
    /// A field of the files in a folder, added up: what fuzzing, mutants and advisories have left.
    Field(&'static str, &'static str),
    /// Files and folders under this path.
    Files(&'static str),
    /// Folders right under it.
    Folders(&'static str),
    RowsTested,
    RowsPassing,
    /// Scripts that misbehave on purpose, and were survived.
    HostileScripts,
    /// Other people's programs whose tests have run and passed.
    Peers,
    /// Rules of Home Assistant for integrations that are not kept, of those that apply.
    OpenRules,
}

pub(crate) struct Figure {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) decimals: usize,
    pub(crate) first: Goal,
    pub(crate) release: Goal,
    pub(crate) source: Source,
}

const fn figure(
    (group, name, unit): (&'static str, &'static str, &'static str),
    decimals: usize,
    (first, release): (Goal, Goal),
    source: Source,
) -> Figure {
    Figure { group, name, unit, decimals, first, release, source }
}

const LOAD: &str = "Load held";
const FAULTS: &str = "Faults survived";
const INPUTS: &str = "Bad inputs tried";
const KEPT: &str = "Nothing lost, nothing leaked";
const TRUST: &str = "Trust";

const LOADED: &str = "viewers on one camera, each with 99.9 % of the packets over a minute";
const CAMERAS: &str = "cameras of 2 Mbit/s at once, with a viewer each";
const HOSTILE: &str = "hostile cameras, clouds, brokers, viewers and pages survived";

/// Part by part, with the goals of a first version and of a release.
#[rustfmt::skip]
pub(crate) const FIGURES: &[Figure] = &[
    figure((LOAD, LOADED, ""), 0, (AtLeast(20.0), AtLeast(100.0)), Source::Bench("viewers with 99.9 % of the packets", 1.0)),
    figure((LOAD, CAMERAS, ""), 0, (AtLeast(4.0), AtLeast(16.0)), Source::Bench("cameras that stream at once", 1.0)),
    figure((LOAD, "processor of each viewer", "% of a core"), 2, (Open, AtMost(1.0)), Source::Bench("processor of each further viewer", 1.0)),
    figure((LOAD, "memory of each viewer", "KiB"), 0, (Open, AtMost(512.0)), Source::Bench("memory of each further viewer", 1_024.0)),
    figure((LOAD, "memory, nobody watches", "MiB"), 1, (Open, AtMost(40.0)), Source::Bench("memory, nobody watches", 1.0)),
    figure((LOAD, "ring to MQTT, median", "ms"), 1, (AtMost(50.0), AtMost(20.0)), Source::Bench("ring to MQTT, median", 1.0)),
    figure((LOAD, "ring to MQTT, 99th percentile", "ms"), 1, (AtMost(250.0), AtMost(100.0)), Source::Bench("ring to MQTT, 99th percentile", 1.0)),
    figure((LOAD, "pressed microphone to first sound, 99th percentile", "ms"), 1, (AtMost(800.0), AtMost(400.0)), Source::Bench("talk, microphone to speaker, 99th percentile", 1.0)),
    figure((LOAD, "offer to first whole picture, median", "ms"), 1, (AtMost(1_500.0), AtMost(600.0)), Source::Bench("first picture after the offer, beside 10 viewers, median", 1.0)),
    figure((LOAD, "offer to first whole picture, 99th percentile", "ms"), 1, (AtMost(4_000.0), AtMost(2_000.0)), Source::Bench("first picture after the offer, beside 10 viewers, 99th percentile", 1.0)),
    figure((LOAD, "MQTT messages without loss", "per second"), 0, (AtLeast(500.0), AtLeast(5_000.0)), Source::Bench("MQTT messages without loss", 1.0)),

    figure((FAULTS, "rows of the fault matrix with a test", ""), 0, (AtLeast(15.0), All), Source::RowsTested),
    figure((FAULTS, "rows that pass", ""), 0, (AtLeast(15.0), All), Source::RowsPassing),
    figure((FAULTS, "seeds of loss, reordering and corruption tried", ""), 0, (AtLeast(100.0), AtLeast(2_000.0)), Source::Counted("seeds_held")),
    figure((FAULTS, "seeds that held", ""), 0, (All, All), Source::Good("seeds_held")),
    figure((FAULTS, "soak", "hours"), 2, (AtLeast(0.2), AtLeast(24.0)), Source::Soak("hours")),
    figure((FAULTS, "soak: memory grown", "MiB/h"), 1, (Open, AtMost(1.0)), Source::Soak("rss_mib_per_hour")),
    figure((FAULTS, "soak: panics", ""), 0, (AtMost(0.0), AtMost(0.0)), Source::Soak("panics")),

    figure((INPUTS, "fuzz targets", ""), 0, (AtLeast(6.0), AtLeast(14.0)), Source::Folders("fuzz/corpus")),
    figure((INPUTS, "files of their corpora", ""), 0, (AtLeast(200.0), AtLeast(2_000.0)), Source::Files("fuzz/corpus")),
    figure((INPUTS, "executions, guided by coverage", ""), 0, (AtLeast(1e7), AtLeast(1e9)), Source::Field("fuzz", "executions")),
    figure((INPUTS, "open crashes", ""), 0, (AtMost(0.0), AtMost(0.0)), Source::Field("fuzz", "crashes")),
    figure((INPUTS, HOSTILE, ""), 0, (AtLeast(10.0), AtLeast(60.0)), Source::HostileScripts),
    figure((INPUTS, "mistakes in a configuration told with place and remedy", ""), 0, (AtLeast(12.0), AtLeast(30.0)), Source::Good("mistakes_told")),
    figure((INPUTS, "routes that refuse whoever has no token", ""), 0, (All, All), Source::Good("routes_refusing")),

    figure((KEPT, "events delivered while the way was cut", ""), 0, (All, All), Source::Good("events_delivered")),
    figure((KEPT, "doors moved that should not have been", ""), 0, (NoneOf, NoneOf), Source::Bad("unlocks_refused")),
    figure((KEPT, "doors not moved that should have been", ""), 0, (NoneOf, NoneOf), Source::Bad("unlocks_done")),
    figure((KEPT, "talks left open at a camera", ""), 0, (NoneOf, NoneOf), Source::Bad("talks_ended")),
    figure((KEPT, "secrets found in what is written or sent", ""), 0, (NoneOf, NoneOf), Source::Bad("secrets_kept")),
    figure((KEPT, "mutants of unlock, auth and outbox that no test notices", ""), 0, (AtMost(5.0), AtMost(0.0)), Source::Field("mutants", "missed")),

    figure((TRUST, "the app's security rating", ""), 0, (AtLeast(7.0), AtLeast(8.0)), Source::Good("addon_rating")),
    figure((TRUST, "Home Assistant's rules for integrations that are open", ""), 0, (Open, NoneOf), Source::OpenRules),
    figure((TRUST, "advisories open without a dated reason", ""), 0, (AtMost(0.0), AtMost(0.0)), Source::Field("advisories", "open")),
    figure((TRUST, "independent clients that interoperate", ""), 0, (AtLeast(3.0), All), Source::Peers),
];

impl Figure {
    fn title(&self) -> String {
        if self.unit.is_empty() { self.name.to_owned() } else { format!("{} ({})", self.name, self.unit) }
    }

    /// The value as everybody sees it.
    pub(crate) fn shown(&self, value: Option<Value>) -> Option<Value> {
        value.and_then(|value| Value::read(&value.text(self.decimals)))
    }

    fn measured(&self, value: Option<Value>) -> String {
        value.map(|value| value.text(self.decimals)).unwrap_or_default()
    }
}

/// One value for each figure, in their order; `None` is blank.
pub(crate) type Values = Vec<Option<Value>>;

/// Release goals met, missed, and figures that are blank.
pub(crate) fn totals(values: &Values) -> (usize, usize, usize) {
    let verdicts = || FIGURES.iter().zip(values).map(|(figure, value)| figure.release.verdict(figure.shown(*value)));
    let count = |verdict: &str| verdicts().filter(|one| *one == verdict).count();
    (count("met"), count("MISSED"), values.iter().filter(|value| value.is_none()).count())
}

/// The last two lines, wherever the figures are shown.
pub(crate) fn summary(values: &Values) -> String {
    let (met, missed, blank) = totals(values);
    format!("{blank} of {} figures blank. By the goals of a release:\n{met} passed, {missed} failed\n", FIGURES.len())
}

/// For the terminal.
pub(crate) fn lines(values: &Values) -> String {
    let mut text = String::new();
    let mut group = "";
    for (figure, value) in FIGURES.iter().zip(values) {
        if group != figure.group {
            group = figure.group;
            let _ = writeln!(text, "\n{group}");
        }
        let goal = |goal: Goal| format!("{goal} {}", goal.verdict(figure.shown(*value)));
        let (first, release) = (goal(figure.first), goal(figure.release));
        let (title, measured) = (figure.title(), figure.measured(*value));
        let line = format!("  {title:<70} {measured:>13}   first {first:<18} release {release}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// For documents, with where it was measured in front.
pub(crate) fn markdown(about: &str, values: &Values) -> String {
    let mut text =
        format!("{about}\n\n| figure | measured | goal of a first version | goal of a release |\n|---|---|---|---|\n");
    let mut group = "";
    for (figure, value) in FIGURES.iter().zip(values) {
        if group != figure.group {
            group = figure.group;
            let _ = writeln!(text, "| **{group}** | | | |");
        }
        let goal = |goal: Goal| match goal.verdict(figure.shown(*value)) {
            "" => goal.to_string(),
            verdict => format!("{goal}, {verdict}"),
        };
        let cells = [figure.title(), figure.measured(*value), goal(figure.first), goal(figure.release)];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    format!("{text}\n{}", summary(values))
}
