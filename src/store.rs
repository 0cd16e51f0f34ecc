//! What must survive a restart: one JSON file, readable by its owner alone, replaced as a whole.
//!
//! The file is `{"version":1,"entries":{…}}`. Whoever reads it finds the state before a write or
//! after it, whenever the machine lost power: the new state goes to a second file, which is synced
//! and then renamed over the first (requirements S14 and row 38 of the fault matrix).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const FILE: &str = "state.json";
/// A new state on its way to becoming the file.
const NEXT: &str = "state.json.next";
/// A file that could not be read, kept for whoever wants to look.
const DAMAGED: &str = "state.json.damaged";

/// The form of the file that this version writes.
const VERSION: u64 = 1;

/// Why there is no store to work with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{} was written by a newer Doorstep (form {found}, this one knows {VERSION}): \
         install that version again, or move the file away and log in anew", .file.display()
    )]
    Newer { file: PathBuf, found: u64 },
    #[error("{} is a folder that everybody shares: name one of Doorstep's own with `--data`", .0.display())]
    SharedFolder(PathBuf),
    #[error("{} is no folder: name another with `--data`", .0.display())]
    NotAFolder(PathBuf),
    #[error("{} cannot be written: see to its disk and its rights", .0.display())]
    NotWritten(PathBuf),
    #[error("`{key}` cannot be written as JSON")]
    Encode { key: String, source: serde_json::Error },
}

/// Values by key. Cheap to clone; all clones are one store.
///
/// One process at a time: two that share a folder overwrite each other.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    /// Whether what this clone writes is still wanted. Read and written with `inner` locked.
    wanted: Arc<AtomicBool>,
}

struct Inner {
    entries: BTreeMap<String, Value>,
    folder: PathBuf,
    /// Whether nothing is ever written: another process may be at home here.
    read_only: bool,
    /// Whether the last write failed, so that a full disk is reported once and not at every write.
    failing: bool,
    /// The folder, locked: no process that looks in writes here. `None` where another one came first.
    _home: Option<File>,
}

#[derive(Serialize, Deserialize)]
struct Form<Entries> {
    version: u64,
    entries: Entries,
}

impl Store {
    /// Opens the store in `folder`, which is made if need be.
    ///
    /// A file that cannot be read is moved aside with a warning and the store begins empty; a folder
    /// that cannot be written to is warned of, and the store then lasts as long as the process.
    ///
    /// # Errors
    /// When the file is of a newer version, or the folder cannot be one of Doorstep's own.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        own_folder(folder)?;
        let store = Self::open_at(folder, at_home(folder))?;
        // Tried at once, so that an owner hears of a read-only folder at the start and not a week later.
        store.lock().save();
        Ok(store)
    }

    /// For a process that only looks in: the store itself while nobody else is at home, so that its login is not
    /// lost and a refused one is remembered; beside the service, [`Store::read_only`]. Who finds nothing worth
    /// keeping leaves no file.
    pub fn visit(folder: &Path) -> Self {
        let home = own_folder(folder).is_ok().then(|| at_home(folder)).flatten().filter(|_| belongs_to_us(folder));
        let opened = home.and_then(|home| Self::open_at(folder, Some(home)).ok());
        opened.unwrap_or_else(|| Self::read_only(folder))
    }

    fn open_at(folder: &Path, home: Option<File>) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        let entries = match fs::read(&file) {
            Ok(bytes) => read(&bytes, &file)?.unwrap_or_else(|| set_aside(folder, "it is not a state of Doorstep")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => set_aside(folder, &error.to_string()),
        };
        tighten(&file, 0o600);
        Ok(Self::of(Inner { entries, folder: folder.to_owned(), read_only: false, failing: false, _home: home }))
    }

    /// What is stored in `folder`, for a process that lives beside the service: nothing is written, moved or made.
    pub fn read_only(folder: &Path) -> Self {
        let file = folder.join(FILE);
        let entries = fs::read(&file).ok().and_then(|bytes| read(&bytes, &file).ok().flatten()).unwrap_or_default();
        Self::of(Inner { entries, folder: folder.to_owned(), read_only: true, failing: false, _home: None })
    }

    fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(Mutex::new(inner)), wanted: Arc::new(AtomicBool::new(true)) }
    }

    /// The same store for somebody whose writing ends before he does: see [`Store::heed`].
    pub fn lend(&self) -> Self {
        Self { inner: self.inner.clone(), wanted: Arc::new(AtomicBool::new(true)) }
    }

    /// From now on what is put into this clone and its clones is kept, or is lost without a word.
    pub fn heed(&self, wanted: bool) {
        let _no_write_meanwhile = self.lock();
        self.wanted.store(wanted, atomic::Ordering::Relaxed);
    }

    fn is_heeded(&self) -> bool {
        self.wanted.load(atomic::Ordering::Relaxed)
    }

    /// Whether what is put here is lost at the end of the process, by intention.
    pub fn is_read_only(&self) -> bool {
        self.lock().read_only
    }

    /// The value of `key`. `None` when there is none, or when it was written as something else.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.lock().entries.get(key)?.clone();
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(_) => {
                tracing::warn!(key, "a stored value has another form than expected and is not used");
                None
            }
        }
    }

    /// Sets `key` and writes the file, which waits for the disk: some milliseconds.
    ///
    /// When the disk refuses, the value holds until the process ends, and one warning says so.
    ///
    /// # Errors
    /// `Encode` when `value` has no form in JSON, such as a map whose keys are not text.
    pub fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let value = encode(key, value)?;
        let mut inner = self.lock();
        if self.is_heeded() && inner.entries.get(key) != Some(&value) {
            inner.entries.insert(key.to_owned(), value);
            inner.save();
        }
        Ok(())
    }

    /// Sets `key`, for whoever must know that no crash can undo it.
    ///
    /// # Errors
    /// `NotWritten` when the disk refuses or the store is read-only; the value then holds until the process ends.
    /// `Encode` as `put`.
    pub fn put_synced<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let value = encode(key, value)?;
        let mut inner = self.lock();
        if !self.is_heeded() {
            return Err(StoreError::NotWritten(inner.folder.join(FILE)));
        }
        inner.entries.insert(key.to_owned(), value);
        if inner.save() { Ok(()) } else { Err(StoreError::NotWritten(inner.folder.join(FILE))) }
    }

    /// Sets keys, and forgets those without a value: all of it is on the disk when this returns, or nothing has happened.
    ///
    /// # Errors
    /// `NotWritten` when the disk refuses or the store is read-only.
    pub fn commit(&self, changes: impl IntoIterator<Item = (String, Option<Value>)>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let before = inner.entries.clone();
        for (key, value) in changes {
            match value {
                Some(value) => drop(inner.entries.insert(key, value)),
                None => drop(inner.entries.remove(&key)),
            }
        }
        if inner.entries == before || inner.save() {
            return Ok(());
        }
        inner.entries = before;
        Err(StoreError::NotWritten(inner.folder.join(FILE)))
    }

    /// Forgets everything, and deletes what was kept of a file that could not be read.
    ///
    /// # Errors
    /// `NotWritten` when the disk refuses or the store is read-only; then it may all be there still.
    pub fn clear(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.entries.clear();
        if !inner.save() {
            return Err(StoreError::NotWritten(inner.folder.join(FILE)));
        }
        match fs::remove_file(inner.folder.join(DAMAGED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::NotWritten(inner.folder.join(DAMAGED)))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode<T: Serialize>(key: &str, value: &T) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|source| StoreError::Encode { key: key.to_owned(), source })
}

impl Inner {
    /// Whether everything is on the disk now.
    fn save(&mut self) -> bool {
        if self.read_only {
            return false;
        }
        let folder = &self.folder;
        let form = Form { version: VERSION, entries: &self.entries };
        let written = serde_json::to_vec_pretty(&form).map_err(io::Error::from).and_then(|json| replace(folder, &json));
        let on_disk = written.is_ok();
        match written {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(folder = %folder.display(), "the state can be stored again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(folder = %folder.display(), %error, "the state cannot be stored and lasts until Doorstep stops");
            }
            _ => {}
        }
        on_disk
    }
}

/// Puts `contents` in the place of the file in `folder`, as a whole or not at all.
fn replace(folder: &Path, contents: &[u8]) -> io::Result<()> {
    let next = folder.join(NEXT);
    // What a crash left behind may have other modes, which opening it would keep.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&next, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

/// `None` when these bytes are not a state.
pub fn read(bytes: &[u8], file: &Path) -> Result<Option<BTreeMap<String, Value>>, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    // The version first: of a newer file nothing else is known.
    let Ok(Version { version: found }) = serde_json::from_slice(bytes) else { return Ok(None) };
    match found.cmp(&VERSION) {
        Ordering::Less => Ok(None),
        Ordering::Equal => Ok(serde_json::from_slice(bytes).ok().map(|form: Form<_>| form.entries)),
        Ordering::Greater => Err(StoreError::Newer { file: file.to_owned(), found }),
    }
}

/// Moves the file out of the way of a new one, so that nothing is lost that a person could still save.
fn set_aside(folder: &Path, why: &str) -> BTreeMap<String, Value> {
    let file = folder.join(FILE);
    let moved = fs::rename(&file, folder.join(DAMAGED)).is_ok();
    let (file, kept_as) = (file.display(), if moved { DAMAGED } else { FILE });
    tracing::warn!(%file, why, kept_as, "the stored state cannot be used; Doorstep starts without it");
    BTreeMap::new()
}

/// Makes `folder` with mode 0700, or sees to it that nobody else can look into it.
fn own_folder(folder: &Path) -> Result<(), StoreError> {
    // When this fails, so does the first write, which warns.
    drop(DirBuilder::new().recursive(true).mode(0o700).create(folder));
    match fs::metadata(folder) {
        Ok(found) if !found.is_dir() => return Err(StoreError::NotAFolder(folder.to_owned())),
        // The sticky bit of /tmp and its like: closing such a folder to others would harm them.
        Ok(found) if found.mode() & 0o1000 != 0 => return Err(StoreError::SharedFolder(folder.to_owned())),
        _ => tighten(folder, 0o700),
    }
    Ok(())
}

/// Locks `folder` for as long as the file is open; `None` when another process has done so.
fn at_home(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    folder.try_lock().is_ok().then_some(folder)
}

/// Whether what we write there can be read by whoever lives there: root may look in, and leaves nothing.
fn belongs_to_us(folder: &Path) -> bool {
    let owner = |path: &Path| fs::metadata(path).map(|found| found.uid());
    matches!((owner(folder), owner(Path::new("/proc/self"))), (Ok(theirs), Ok(ours)) if theirs == ours)
}

/// Takes rights beyond `mode` away, with a warning.
fn tighten(path: &Path, mode: u32) {
    let Ok(found) = fs::metadata(path).map(|found| found.mode() & 0o777) else { return };
    if found & !mode == 0 {
        return;
    }
    let found_mode = format!("{found:04o}");
    match fs::set_permissions(path, Permissions::from_mode(found & mode)) {
        Ok(()) => tracing::warn!(path = %path.display(), found_mode, "others could read the stored secrets; no longer"),
        Err(error) => tracing::warn!(path = %path.display(), found_mode, %error, "others can read the stored secrets"),
    }
}
