//! The fault matrix: what may go wrong, which tests show that it is survived, and what came of them.

use std::fmt::Write as _;

/// What goes wrong, by its row's number less one. A test of row 7 is called `row_07_…`.
pub(crate) const FAULTS: [&str; 44] = [
    "the broker restarts while much is published",
    "the broker is killed and forgets what it retained",
    "the broker is down at the start and comes a minute later",
    "the way to the broker is dead and nobody is told",
    "the broker's password is wrong, and then put right",
    "two Doorsteps share a client id",
    "Home Assistant restarts",
    "an unlock command was retained",
    "an unlock command waited in a session while Doorstep was away",
    "an unlock command is delivered twice",
    "commands for doors that there are not, and payloads that are none",
    "a flood of unlock commands",
    "the cloud refuses the access token",
    "the cloud refuses the refresh token",
    "the cloud limits requests, or fails",
    "the cloud is slow, cuts its answers off, or sends something else",
    "a token expires while pictures flow",
    "a camera goes off, restarts, or gets another address",
    "datagrams are lost: 5, 10 and 20 %",
    "everything is lost for 300 ms, or for 10 s",
    "datagrams are overtaken or come twice",
    "bits are flipped",
    "a line of 1 Mbit/s with 100 ms of jitter",
    "somebody replays or forges DTLS",
    "somebody on the LAN pretends to be the camera",
    "a camera sends impossible lengths, holes, crumbs, frames without end",
    "Vivint's signalling database redirects, revokes, repeats or falls silent",
    "the KVS signalling service goes away, changes relays or doubts the clock",
    "a viewer vanishes",
    "100 viewers on one camera",
    "one viewer is slow",
    "two people talk at once",
    "talk while the camera is away, dies or refuses",
    "the talker's page closes or loses its network",
    "SIGTERM during a talk",
    "SIGKILL during a talk",
    "the disk is full or cannot be written",
    "the state file is cut, empty, garbage or of a newer version",
    "the clock jumps",
    "mistakes in the configuration",
    "a network of IPv6 only, a broker with a dead IPv6 address",
    "names cannot be resolved, the default route flaps",
    "a malicious page in a household's browser",
    "hours of all of this at random",
];

/// A test of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowTest {
    /// Without the modules that it is in.
    pub(crate) name: String,
    pub(crate) passed: bool,
}

/// The tests of each row; as many as [`FAULTS`].
pub(crate) type Rows = Vec<Vec<RowTest>>;

/// The row that a test's name speaks of, counted from 1.
pub(crate) fn row_of(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("row_")?.split_once('_')?;
    let row = number.parse().ok().filter(|row| (1..=FAULTS.len()).contains(row));
    row.filter(|_| number.len() == 2)
}

pub(crate) fn outcome(tests: &[RowTest]) -> &'static str {
    match tests {
        [] => "not tested",
        tests if tests.iter().all(|test| test.passed) => "passed",
        _ => "FAILED",
    }
}

/// For the terminal.
pub(crate) fn lines(rows: &Rows) -> String {
    let mut text = String::from("\nFault matrix\n");
    for (n, (fault, tests)) in FAULTS.iter().zip(rows).enumerate() {
        let _ = writeln!(text, "  {:>2} {:<10}  {fault}", n + 1, outcome(tests));
        for test in tests {
            let _ = writeln!(text, "       {}{}", if test.passed { "" } else { "FAILED " }, test.name);
        }
    }
    text
}

/// For documents.
pub(crate) fn markdown(rows: &Rows) -> String {
    let mut text = String::from("| row | fault | outcome | tests |\n|---|---|---|---|\n");
    for (n, (fault, tests)) in FAULTS.iter().zip(rows).enumerate() {
        let names = tests.iter().map(|test| match test.passed {
            true => format!("`{}`", test.name),
            false => format!("`{}` FAILED", test.name),
        });
        let names = names.collect::<Vec<_>>().join("<br>");
        let _ = writeln!(text, "| {} | {fault} | {} | {names} |", n + 1, outcome(tests));
    }
    text
}
