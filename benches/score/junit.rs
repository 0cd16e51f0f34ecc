//! What came of the tests, as nextest tells it in JUnit's XML.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;

/// One test that has run. Those that were skipped do not stand in the file.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// `doorstep::it`
    pub(crate) binary: String,
    /// `mqtt::row_01_…`
    pub(crate) name: String,
    pub(crate) passed: bool,
    /// Passed, but not the first time.
    pub(crate) flaky: bool,
}

impl Case {
    /// Its name without the modules that it is in.
    pub(crate) fn last_name(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }
}

/// The newest outcome of every test that the last runs of either profile have left.
pub(crate) fn last_outcomes(root: &Path) -> anyhow::Result<Vec<Case>> {
    let mut files: Vec<(SystemTime, String)> = Vec::new();
    for profile in ["default", "nightly"] {
        let path = root.join("target/nextest").join(profile).join("junit.xml");
        if let Ok(about) = fs::metadata(&path) {
            files.push((about.modified()?, fs::read_to_string(&path)?));
        }
    }
    files.sort();
    let mut newest = BTreeMap::new();
    for (_, xml) in files {
        for case in read(&xml).context("reading nextest's JUnit file")? {
            newest.insert((case.binary.clone(), case.name.clone()), case);
        }
    }
    Ok(newest.into_values().collect())
}

fn read(xml: &str) -> Result<Vec<Case>, roxmltree::Error> {
    let document = roxmltree::Document::parse(xml)?;
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase")).map(|node| {
        let attribute = |name| node.attribute(name).unwrap_or_default().to_owned();
        let has = |tags: [&str; 2]| node.children().any(|child| tags.iter().any(|tag| child.has_tag_name(*tag)));
        Case {
            binary: attribute("classname"),
            name: attribute("name"),
            passed: !has(["failure", "error"]),
            flaky: has(["flakyFailure", "flakyError"]),
        }
    });
    Ok(cases.collect())
}
