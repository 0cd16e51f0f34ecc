//! What Doorstep must remember survives crashes, full disks and damaged files, and nobody else can read it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use doorstep::store::{Store, StoreError};
use tempfile::TempDir;

const FILE: &str = "state.json";
const NEXT: &str = "state.json.next";
const DAMAGED: &str = "state.json.damaged";
/// Older than any that there was.
const VERSION_0: &[u8] = br#"{"version":0,"entries":{}}"#;

#[test]
fn values_survive_a_restart() {
    let folder = own_folder();
    let store = Store::open(folder.path()).unwrap();
    store.put("topics", &["doorstep/a", "doorstep/b"]).unwrap();

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.get::<Vec<String>>("topics").unwrap(), ["doorstep/a", "doorstep/b"]);
    assert_eq!(store.get::<u8>("never"), None);
    assert_eq!(store.get::<u8>("topics"), None, "a value of another type is none");
}

#[test]
fn who_only_looks_in_writes_while_nobody_is_at_home_and_never_beside_the_service() {
    let folder = own_folder();
    Store::visit(folder.path()).put("first", &1).unwrap();
    let service = Store::open(folder.path()).unwrap();
    assert_eq!(service.get("first"), Some(1));

    let visitor = Store::visit(folder.path());
    assert!(visitor.is_read_only());
    visitor.put("second", &2).unwrap();
    drop((visitor, service));
    let visitor = Store::visit(folder.path());
    assert_eq!((visitor.is_read_only(), visitor.get("first"), visitor.get::<u8>("second")), (false, Some(1), None));
}

#[test]
fn root_leaves_no_file_in_the_folder_of_somebody_else() {
    let folder = own_folder();
    if let Err(error) = std::os::unix::fs::chown(folder.path(), Some(65_534), None) {
        return println!("SKIPPED: only root can give a folder away ({error})");
    }
    let visitor = Store::visit(folder.path());
    assert!(visitor.is_read_only());
    visitor.put("a", &1).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_forgotten_is_gone_from_the_disk() {
    let folder = own_folder();
    let store = Store::open(folder.path()).unwrap();
    store.put("token", &"lvtx.canary").unwrap();
    store.clear().unwrap();
    assert_eq!(store.get::<String>("token"), None);
    let file = fs::read_to_string(folder.path().join(FILE)).unwrap();
    assert!(!file.contains("canary"), "{file}");

    // A file that was moved aside may hold the same; one that cannot be deleted is not passed over.
    let aside = folder.path().join(DAMAGED);
    fs::write(&aside, "lvtx.canary").unwrap();
    store.clear().unwrap();
    assert!(!aside.exists());
    fs::create_dir(&aside).unwrap();
    assert!(matches!(store.clear(), Err(StoreError::NotWritten(file)) if file == aside));
}

#[test]
fn a_value_without_a_form_in_json_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let map = BTreeMap::from([(vec![1], 2)]);
    assert!(matches!(store.put("map", &map), Err(StoreError::Encode { key, .. }) if key == "map"));
}

#[test]
fn folder_and_file_are_made_for_their_owner_alone() {
    let folder = own_folder();
    let folder = folder.path().join("deep/er");
    let shown = warnings(|| drop(Store::open(&folder).unwrap()));
    assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
    assert_eq!(shown, [""; 0]);
}

#[test]
fn wider_rights_are_taken_away_with_a_warning_each() {
    let folder = own_folder();
    Store::open(folder.path()).unwrap().put("a", &1).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path().join(FILE), Permissions::from_mode(0o644)).unwrap();
    let shown = warnings(|| assert_eq!(Store::open(folder.path()).unwrap().get("a"), Some(1)));
    assert_eq!((mode(folder.path()), mode(&folder.path().join(FILE))), (0o700, 0o600));
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown.iter().all(|line| line.contains("others could read the stored secrets")), "{shown:?}");
}

#[test]
fn a_folder_that_everybody_shares_is_refused_and_left_as_it_is() {
    let folder = own_folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let error = Store::open(folder.path()).err().unwrap().to_string();
    let expected = "is a folder that everybody shares: name one of Doorstep's own with `--data`";
    assert_eq!(error, format!("{} {expected}", folder.path().display()));
    assert_eq!(mode(folder.path()), 0o1777);
}

#[test]
fn a_file_in_the_place_of_the_folder_is_refused_and_left_as_it_is() {
    let folder = own_folder();
    let path = folder.path().join("data");
    fs::write(&path, "mine").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let error = Store::open(&path).err().unwrap().to_string();
    assert_eq!(error, format!("{} is no folder: name another with `--data`", path.display()));
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"mine".to_vec(), 0o644));
}

#[test]
fn row_38_a_crash_at_any_step_of_a_write_leaves_the_state_before_or_after_it() {
    let (before, after) = (state_with(1), state_with(2));
    for cut in 0..=after.len() {
        // Power was lost while the next file was written: it may have any length, also none.
        let folder = own_folder();
        fs::write(folder.path().join(FILE), &before).unwrap();
        fs::write(folder.path().join(NEXT), &after[..cut]).unwrap();
        let shown = warnings(|| {
            let store = Store::open(folder.path()).unwrap();
            assert_eq!(store.get("value"), Some(1), "after {cut} bytes");
            store.put("value", &3).unwrap();
        });
        assert_eq!(Store::open(folder.path()).unwrap().get("value"), Some(3), "after {cut} bytes");
        assert!(shown.iter().all(|line| line.contains("others")), "{shown:?}");
    }
    // After the rename.
    let folder = own_folder();
    fs::write(folder.path().join(FILE), &after).unwrap();
    assert_eq!(Store::open(folder.path()).unwrap().get("value"), Some(2));
    // In the very first write of all: what was begun is not taken for a state.
    for cut in 0..=after.len() {
        let folder = own_folder();
        fs::write(folder.path().join(NEXT), &after[..cut]).unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!((store.get::<i32>("value"), folder.path().join(DAMAGED).exists()), (None, false), "{cut} bytes");
    }
}

#[test]
fn row_38_every_cut_of_the_file_is_moved_aside_and_never_half_read() {
    let whole = state_with(1);
    let complete = String::from_utf8_lossy(&whole).trim_end().len();
    for cut in 0..complete {
        assert_moved_aside(&whole[..cut], &format!("{cut} bytes"));
    }
}

#[test]
fn row_38_a_file_of_something_else_is_moved_aside() {
    let zeros = vec![0; 4096];
    for bytes in
        [&zeros, &b"\xff\xfe\x00binary"[..], b"[]", b"null", br#"{"version":1}"#, br#"{"entries":{}}"#, VERSION_0]
    {
        assert_moved_aside(bytes, &String::from_utf8_lossy(bytes));
    }
}

#[test]
fn row_38_a_file_that_cannot_be_read_at_all_is_moved_aside() {
    let folder = own_folder();
    fs::create_dir(folder.path().join(FILE)).unwrap();
    fs::set_permissions(folder.path().join(FILE), Permissions::from_mode(0o600)).unwrap();
    let shown = warnings(|| Store::open(folder.path()).unwrap().put("value", &4).unwrap());
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].contains("the stored state cannot be used; Doorstep starts without it"), "{shown:?}");
    assert!(folder.path().join(DAMAGED).is_dir());
    assert_eq!(Store::open(folder.path()).unwrap().get("value"), Some(4));
}

#[test]
fn row_38_a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = own_folder();
    let file = folder.path().join(FILE);
    let newer = br#"{"version":2,"everything":"is different"}"#;
    fs::write(&file, newer).unwrap();
    let error = Store::open(folder.path()).err().unwrap().to_string();
    let expected = "was written by a newer Doorstep (form 2, this one knows 1): \
                    install that version again, or move the file away and log in anew";
    assert_eq!(error, format!("{} {expected}", file.display()));
    assert_eq!(fs::read(&file).unwrap(), newer);
}

#[test]
fn row_37_a_folder_that_cannot_be_written_costs_one_warning_and_the_memory_of_the_next_start() {
    // Root may write everywhere else.
    let shown = warnings(|| {
        let store = Store::open(Path::new("/proc/doorstep")).unwrap();
        store.put("a", &1).unwrap();
        store.put("a", &2).unwrap();
        assert_eq!(store.get("a"), Some(2));
    });
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].contains("the state cannot be stored and lasts until Doorstep stops"), "{shown:?}");
}

#[test]
fn row_37_a_disk_that_refuses_for_a_while_loses_nothing() {
    for (step, obstacle) in [("making the next file", NEXT), ("renaming it", FILE)] {
        let folder = own_folder();
        let store = Store::open(folder.path()).unwrap();
        let obstacle = folder.path().join(obstacle);
        drop(fs::remove_file(&obstacle));
        fs::create_dir_all(obstacle.join("not empty")).unwrap();
        let shown = warnings(|| (1..=3).for_each(|value| store.put("a", &value).unwrap()));
        assert_eq!(shown.len(), 1, "{step}: {shown:?}");

        fs::remove_dir_all(&obstacle).unwrap();
        store.put("b", &1).unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!((store.get("a"), store.get("b")), (Some(3), Some(1)), "{step}");
    }
}

#[test]
fn row_37_what_must_be_on_the_disk_is_there_or_an_error() {
    let folder = own_folder();
    let store = Store::open(folder.path()).unwrap();
    store.put_synced("a", &1).unwrap();
    assert_eq!(Store::open(folder.path()).unwrap().get("a"), Some(1));

    let file = folder.path().join(FILE);
    fs::create_dir_all(folder.path().join(NEXT).join("not empty")).unwrap();
    let shown = warnings(|| {
        for value in [2, 2] {
            let error = store.put_synced("a", &value).unwrap_err().to_string();
            assert_eq!(error, format!("{} cannot be written: see to its disk and its rights", file.display()));
        }
    });
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].contains("Is a directory"), "the reason is another: {shown:?}");
    assert_eq!(store.get("a"), Some(2), "it holds until the process ends");
    assert_eq!(Store::read_only(folder.path()).get("a"), Some(1));
    fs::remove_dir_all(folder.path().join(NEXT)).unwrap();
    store.put_synced("a", &2).unwrap();
    assert_eq!(Store::open(folder.path()).unwrap().get("a"), Some(2), "it was in memory and not on the disk");

    let map = BTreeMap::from([(vec![1], 2)]);
    assert!(matches!(store.put_synced("map", &map), Err(StoreError::Encode { key, .. }) if key == "map"));
}

#[test]
fn row_37_a_disk_that_refuses_and_then_does_not_is_told_once_each() {
    let folder = own_folder();
    let obstacle = folder.path().join(NEXT).join("not empty");
    let shown = logged(tracing::Level::INFO, || {
        let store = Store::open(folder.path()).unwrap();
        for value in 0..9 {
            match value {
                3 => fs::create_dir_all(&obstacle).unwrap(),
                6 => fs::remove_dir_all(folder.path().join(NEXT)).unwrap(),
                _ => {}
            }
            store.put("a", &value).unwrap();
        }
    });
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown[0].contains("the state cannot be stored"), "{shown:?}");
    assert!(shown[1].contains("the state can be stored again"), "{shown:?}");
}

#[test]
fn a_process_beside_the_service_reads_and_never_writes() {
    let folder = own_folder();
    let store = Store::open(folder.path()).unwrap();
    store.put("a", &1).unwrap();
    assert!(!store.is_read_only());
    let before = fs::read(folder.path().join(FILE)).unwrap();
    let shown = warnings(|| {
        let beside = Store::read_only(folder.path());
        assert!(beside.is_read_only());
        assert_eq!(beside.get("a"), Some(1));
        beside.put("a", &2).unwrap();
        assert!(matches!(beside.put_synced("c", &3), Err(StoreError::NotWritten(_))));
        assert_eq!((beside.get("a"), beside.get("c")), (Some(2), Some(3)));
        assert!(matches!(beside.clear(), Err(StoreError::NotWritten(_))));
    });
    assert_eq!(shown, [""; 0]);
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), before);
    for damaged in [&before[..9], br#"{"version":2}"#, br#"{"version":1,"entries":7}"#] {
        fs::write(folder.path().join(FILE), damaged).unwrap();
        assert_eq!(Store::read_only(folder.path()).get::<i32>("a"), None);
        assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), damaged);
    }
    assert_eq!(Store::read_only(Path::new("/proc/doorstep")).get::<i32>("a"), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn assert_moved_aside(bytes: &[u8], what: &str) {
    let folder = own_folder();
    fs::write(folder.path().join(FILE), bytes).unwrap();
    fs::set_permissions(folder.path().join(FILE), Permissions::from_mode(0o600)).unwrap();
    let shown = warnings(|| {
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.get::<i32>("value"), None, "{what}");
        store.put("value", &4).unwrap();
    });
    assert_eq!(shown.len(), 1, "{what}: {shown:?}");
    assert!(shown[0].contains("the stored state cannot be used; Doorstep starts without it"), "{what}: {shown:?}");
    assert_eq!(fs::read(folder.path().join(DAMAGED)).unwrap(), bytes, "{what}");
    assert_eq!(Store::open(folder.path()).unwrap().get("value"), Some(4), "{what}");
}

/// The bytes of a state whose `value` is this one, beside what else a state has: sections, lists, letters of several
/// bytes, and names that look like its own.
fn state_with(value: i32) -> Vec<u8> {
    let folder = own_folder();
    let store = Store::open(folder.path()).unwrap();
    let account = serde_json::json!({"version": 2, "tokens": ["lvtx.canary", null], "name": "T\u{fc}r \u{1f514}"});
    store.put("account", &account).unwrap();
    store.put("value", &value).unwrap();
    fs::read(folder.path().join(FILE)).unwrap()
}

fn own_folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The warnings that `act` logs, one a line.
fn warnings(act: impl FnOnce()) -> Vec<String> {
    logged(tracing::Level::WARN, act)
}

/// What `act` logs, one a line.
fn logged(level: tracing::Level, act: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
    tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), act);
    let bytes = lines.0.lock().unwrap();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
