//! Nothing enters the binary under a licence that would bind all of it.

use std::process::Command;

use serde_json::Value;

/// Licences that ask for a notice, or for the source of their own files (MPL-2.0), and no more.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Of jpeg-encoder: the documentation says whose work it is in part.
    "IJG",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What the binary is built for; with musl in the app's image. Crates for other systems may be missing on this machine.
const TARGETS: &[&str] = &[
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
];

#[test]
fn every_crate_may_be_used_under_a_licence_that_binds_nothing_else() {
    for target in TARGETS {
        let crates = crates_for(target);
        assert!(crates.len() > 100, "only {} crates were found for {target}", crates.len());
        let refused: Vec<&String> =
            crates.iter().filter(|(_, licence)| !is_allowed(licence)).map(|(name, _)| name).collect();
        assert!(refused.is_empty(), "{target}: no licence of {refused:?} stands in tests/it/licences.rs");
    }
}

#[test]
fn a_licence_counts_by_what_one_may_choose_and_what_one_must_take() {
    let allowed = [
        "MIT",
        "MIT/Apache-2.0",
        "Apache-2.0 / MIT",
        "GPL-3.0-only OR MIT",
        "(GPL-2.0 AND MIT) OR ISC",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    for licence in allowed {
        assert!(is_allowed(licence), "{licence} was refused");
    }
    let refused = [
        "",
        "GPL-3.0",
        "AGPL-3.0-only",
        "LGPL-2.1-or-later",
        "Proprietary",
        "MIT AND GPL-3.0",
        "GPL-3.0 OR AGPL-3.0",
        "(MIT OR ISC) AND GPL-2.0",
        "MIT OR",
        "(MIT",
        "MIT WITH something",
    ];
    for licence in refused {
        assert!(!is_allowed(licence), "{licence} was accepted");
    }
}

/// Name with version, and licence, of every crate that a build for `target` can need.
fn crates_for(target: &str) -> Vec<(String, String)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked", "--all-features", "--filter-platform", target]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    packages.iter().map(|p| (format!("{} {}", text(p, "name"), text(p, "version")), text(p, "license"))).collect()
}

/// Whether an SPDX expression can be met with allowed licences alone. `/` is an old way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    matches!(any_of(&words), Some((true, [])))
}

/// `a OR b`; what it comes to, and the words behind it. `None` when it is not an expression.
fn any_of<'a, 'w>(words: &'a [&'w str]) -> Option<(bool, &'a [&'w str])> {
    let (mut allowed, mut rest) = all_of(words)?;
    while let ["OR", more @ ..] = rest {
        let (next, behind) = all_of(more)?;
        (allowed, rest) = (allowed || next, behind);
    }
    Some((allowed, rest))
}

/// `a AND b`, which holds closer together than `OR`.
fn all_of<'a, 'w>(words: &'a [&'w str]) -> Option<(bool, &'a [&'w str])> {
    let (mut allowed, mut rest) = one(words)?;
    while let ["AND", more @ ..] = rest {
        let (next, behind) = one(more)?;
        (allowed, rest) = (allowed && next, behind);
    }
    Some((allowed, rest))
}

fn one<'a, 'w>(words: &'a [&'w str]) -> Option<(bool, &'a [&'w str])> {
    match words {
        ["(", inside @ ..] => match any_of(inside)? {
            (allowed, [")", rest @ ..]) => Some((allowed, rest)),
            _ => None,
        },
        [licence, "WITH", exception, rest @ ..] => {
            Some((ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()), rest))
        }
        [licence, rest @ ..] => Some((ALLOWED.contains(licence), rest)),
        [] => None,
    }
}
