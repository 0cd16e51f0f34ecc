//! What this process has in memory. Each test is a process of its own.

use std::fs;

pub(crate) const MIB: usize = 1 << 20;

/// In bytes.
pub(crate) fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// Since it was `before`, in MiB.
pub(crate) fn grown_mib(before: usize) -> usize {
    resident().saturating_sub(before) / MIB
}
