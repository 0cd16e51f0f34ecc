//! What was tried at a door and what came of it: one JSON line each, on the disk before the act (requirement S12).
//!
//! `audit.jsonl` in the data folder, and when that is full `audit.jsonl.1` to `.4`, the oldest last. The file is
//! opened anew for each line, so that a log that was deleted or a folder that is gone is noticed. docs/unlock.md
//! describes the lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::clock::{self, Instant};
use crate::model::{DeviceId, DoorKind};

/// The log. Append only. Nothing is read, made or written before the first line.
pub struct Audit(Arc<Mutex<Log>>);

/// Proof that a line is on the disk. Only the log makes it.
#[derive(Debug)]
pub(super) struct Synced(());

/// The line is not on the disk, for a reason that the service's own log has.
#[derive(Debug)]
pub(super) struct NotWritten;

/// What a line tells, besides its time and its number.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    /// The doorbell's id.
    pub(super) door: DeviceId,
    /// Which of its doors.
    pub(super) kind: DoorKind,
    /// As [`DoorKind::command`] has it. `None` when the attempt could not be read.
    pub(super) action: Option<&'static str>,
    pub(super) via: String,
    pub(super) result: Outcome,
    /// In words, and never what the sender sent.
    pub(super) reason: Option<String>,
    /// How many refusals before this line have none.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) suppressed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// The lock is about to be asked.
    Allowed,
    /// The lock was not asked.
    Refused,
    /// The lock has answered.
    Done,
    /// The lock was not moved.
    Failed,
    /// The lock may have moved.
    Unknown,
}

fn is_zero(suppressed: &u64) -> bool {
    *suppressed == 0
}

impl Audit {
    /// The log in `folder`.
    pub fn open(folder: &Path) -> Self {
        Self(Arc::new(Mutex::new(Log { folder: folder.to_owned(), next: None, failing: false })))
    }

    /// Writes a line and waits until it is on the disk, some milliseconds.
    pub(super) async fn write(&self, entry: Entry) -> Result<Synced, NotWritten> {
        self.write_after(|| true, entry).await
    }

    /// Writes a line once `first`, which may wait for the disk, too, has said that all is well. There is one such
    /// pair at a time. Whoever stops waiting does not undo what has begun.
    pub(super) async fn write_after(
        &self,
        first: impl FnOnce() -> bool + Send + 'static,
        entry: Entry,
    ) -> Result<Synced, NotWritten> {
        // A disk that hangs holds one thread and no more: the others wait here.
        let mut log = self.0.clone().lock_owned().await;
        let write = move || if first() { log.write(&entry) } else { Err(NotWritten) };
        tokio::task::spawn_blocking(write).await.unwrap_or(Err(NotWritten))
    }
}

struct Log {
    folder: PathBuf,
    /// The number of the next line; not known before the first one.
    next: Option<u64>,
    /// Whether the last line was not written, so that a full disk is reported once and not at every line.
    failing: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    n: u64,
    #[serde(flatten)]
    entry: &'a Entry,
}

impl Log {
    const FULL: u64 = 1 << 20;
    /// The newest first.
    const FILES: [&str; 5] = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3", "audit.jsonl.4"];

    fn write(&mut self, entry: &Entry) -> Result<Synced, NotWritten> {
        let written = self.append(entry);
        let failed_before = std::mem::replace(&mut self.failing, written.is_err());
        let folder = self.folder.display();
        match &written {
            Ok(()) if failed_before => tracing::info!(%folder, "the audit log can be written again"),
            Err(error) if !failed_before => {
                tracing::warn!(%folder, %error, "the audit log cannot be written; until it can, no door is worked");
            }
            _ => {}
        }
        written.map(|()| Synced(())).map_err(|_| NotWritten)
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let n = match self.next {
            Some(n) => n,
            None => self.last_number()?.saturating_add(1),
        };
        // A number that did not make it to the disk is not given again: parts of its line may have.
        self.next = Some(n.saturating_add(1));
        let mut line = serde_json::to_vec(&Line { time: clock::rfc3339(clock::unix_now()), n, entry })?;
        line.push(b'\n');
        self.make_room(line.len())?;
        self.append_synced(&line)
    }

    /// The number of the last line that has one, and one more for each line behind it that was cut off.
    fn last_number(&self) -> io::Result<u64> {
        #[derive(Deserialize)]
        struct Numbered {
            n: u64,
        }
        let mut cut_off = 0;
        for file in Self::FILES {
            let bytes = match read_end(&self.folder.join(file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            for line in bytes.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                match serde_json::from_slice(line) {
                    Ok(Numbered { n }) => return Ok(n.saturating_add(cut_off)),
                    Err(_) => cut_off += 1,
                }
            }
        }
        Ok(cut_off)
    }

    /// Moves every file on by one if `bytes` more do not fit into the newest.
    fn make_room(&self, bytes: usize) -> io::Result<()> {
        let newest = fs::metadata(self.folder.join(Self::FILES[0])).map_or(0, |file| file.len());
        if newest.saturating_add(bytes as u64) <= Self::FULL {
            return Ok(());
        }
        for pair in Self::FILES.windows(2).rev() {
            let [from, to] = pair else { continue };
            match fs::rename(self.folder.join(from), self.folder.join(to)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn append_synced(&self, line: &[u8]) -> io::Result<()> {
        let path = self.folder.join(Self::FILES[0]);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        if is_cut_off(&file)? {
            file.write_all(b"\n")?;
        }
        file.write_all(line)?;
        file.sync_all()?;
        // A new file is only there for good when its folder says so.
        File::open(&self.folder)?.sync_all()
    }
}

/// What a file of the log may hold, if it is longer than that by somebody else's doing, its end.
fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(Log::FULL)))?;
    let mut bytes = Vec::new();
    file.take(Log::FULL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the last line has no end, because there was no power or no room for it.
fn is_cut_off(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// How many refusals of one door are worth a line: whoever sends many must not fill the disk, nor push the lines
/// that matter out of the log.
pub(super) struct Ration {
    left: u32,
    /// When the last one was added to those that are left.
    filled: Instant,
    suppressed: u64,
}

impl Ration {
    const MOST: u32 = 10;
    const EVERY: Duration = Duration::from_secs(60);

    pub(super) fn new(now: Instant) -> Self {
        Self { left: Self::MOST, filled: now, suppressed: 0 }
    }

    /// Whether this refusal is worth a line. Otherwise it is counted.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        while self.left < Self::MOST && now.saturating_duration_since(self.filled) >= Self::EVERY {
            self.left += 1;
            self.filled += Self::EVERY;
        }
        if self.left == Self::MOST {
            self.filled = now;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.suppressed += 1;
            return false;
        };
        self.left = left;
        true
    }

    /// How many refusals have no line; the next line tells it.
    pub(super) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
impl Synced {
    /// For tests of what comes after it.
    pub(super) fn pretended() -> Self {
        Self(())
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
