//! What a virtual device verifies about its clients, and how that stands. Each device names its own checks.

use std::collections::{BTreeMap, VecDeque};

/// One change of a check's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict<Check> {
    pub(crate) check: Check,
    pub(crate) ok: bool,
    /// How often any check was broken since the device started, this time included.
    pub(crate) violations: u64,
}

/// The standing of every check that was made; tells of each change once.
#[derive(Debug)]
pub(crate) struct Checks<Check> {
    standing: BTreeMap<Check, bool>,
    violations: u64,
    news: VecDeque<Verdict<Check>>,
}

impl<Check> Default for Checks<Check> {
    fn default() -> Self {
        Self { standing: BTreeMap::new(), violations: 0, news: VecDeque::new() }
    }
}

impl<Check: Copy + Ord> Checks<Check> {
    /// Makes a check and returns its outcome.
    pub(crate) fn note(&mut self, check: Check, ok: bool) -> bool {
        self.violations += u64::from(!ok);
        if self.standing.insert(check, ok) != Some(ok) {
            self.news.push_back(Verdict { check, ok, violations: self.violations });
        }
        ok
    }

    /// The next change that was not told yet.
    pub(crate) fn news(&mut self) -> Option<Verdict<Check>> {
        self.news.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_once_and_again_when_it_changes() {
        let mut checks = Checks::default();
        for ok in [true, true, false, false, true] {
            checks.note("hmac", ok);
        }
        checks.note("uid", true);
        let told: Vec<_> = std::iter::from_fn(|| checks.news()).map(|v| (v.check, v.ok, v.violations)).collect();
        assert_eq!(told, [("hmac", true, 0), ("hmac", false, 1), ("hmac", true, 2), ("uid", true, 2)]);
    }
}
