//! The tables in the documents, between marks that stay.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::board::{self, Values};
use crate::found::Found;
use crate::rows;

/// The scoreboard goes into the README, the fault matrix into the page that speaks of it.
pub(crate) fn write(root: &Path, found: &Found, values: &Values) -> anyhow::Result<()> {
    put(&root.join("README.md"), "scoreboard", &board::markdown(&found.about(), values))?;
    put(&root.join("docs/reliability.md"), "fault matrix", &rows::markdown(&found.rows))
}

/// Replaces what stands between `<!-- NAME -->` and `<!-- end of the NAME -->`.
fn put(page: &Path, name: &str, table: &str) -> anyhow::Result<()> {
    let missing = || format!("{} has no place for the {name}", page.display());
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of the {name} -->"));
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    fs::write(page, format!("{before}{begin}{table}{end}{after}")).with_context(|| page.display().to_string())
}
