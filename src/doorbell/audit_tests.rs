//! Lines that are there, lines that were cut off, and disks that take none.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn entry(reason: &str) -> Entry {
    Entry {
        door: DeviceId::parse("fake_1").unwrap(),
        kind: DoorKind::Lock,
        action: Some("unlock"),
        via: "mqtt".to_owned(),
        result: Outcome::Allowed,
        reason: Some(reason.to_owned()),
        suppressed: 0,
    }
}

fn log(folder: &Path) -> Log {
    Log { folder: folder.to_owned(), next: None, failing: false }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Every line that can be read, newest file first, each file from its beginning.
fn lines(folder: &Path) -> Vec<Value> {
    let files = Log::FILES.iter().filter_map(|file| fs::read(folder.join(file)).ok());
    files
        .flat_map(|bytes| bytes.split(|byte| *byte == b'\n').flat_map(serde_json::from_slice).collect::<Vec<_>>())
        .collect()
}

fn numbers(folder: &Path) -> Vec<u64> {
    lines(folder).iter().map(|line| line["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_line_says_who_tried_what_and_is_for_its_owner_alone() {
    let folder = folder();
    let audit = Audit::open(folder.path());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "opening the log made something");
    let page = Entry { action: None, via: "http/page".to_owned(), reason: None, suppressed: 7, ..entry("") };
    let refused = Entry { result: Outcome::Refused, ..page };
    audit.write(entry("because")).await.unwrap();
    audit.write(refused).await.unwrap();
    let mut lines = lines(folder.path());
    for line in &mut lines {
        let time = line.as_object_mut().unwrap().remove("time").unwrap();
        let age = clock::unix_now().duration_since(humantime::parse_rfc3339(time.as_str().unwrap()).unwrap()).unwrap();
        assert!(age < Duration::from_secs(60), "{time}");
    }
    let expected = [
        json!({"n": 1, "door": "fake_1", "kind": "lock", "action": "unlock", "via": "mqtt", "result": "allowed",
               "reason": "because"}),
        json!({"n": 2, "door": "fake_1", "kind": "lock", "action": null, "via": "http/page", "result": "refused", "reason": null,
               "suppressed": 7}),
    ];
    assert_eq!(lines, expected);
    let file = folder.path().join("audit.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().ends_with("}\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_must_come_first_comes_first_and_decides() {
    let folder = folder();
    let audit = Audit::open(folder.path());
    let path = folder.path().to_owned();
    audit.write_after(move || lines(&path).is_empty(), entry("a")).await.unwrap();
    assert!(audit.write_after(|| false, entry("b")).await.is_err());
    assert!(audit.write_after(|| panic!("on purpose"), entry("c")).await.is_err());
    audit.write(entry("d")).await.unwrap();
    let reasons: Vec<_> = lines(folder.path()).iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["a", "d"]);
}

#[test]
fn numbers_go_on_after_a_restart_wherever_the_last_line_was_cut_off() {
    let whole = folder();
    let mut before = log(whole.path());
    (0..3).for_each(|_| assert!(before.write(&entry("x")).is_ok()));
    let bytes = fs::read(whole.path().join("audit.jsonl")).unwrap();
    let last_line = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last_line..=bytes.len() {
        let folder = folder();
        fs::write(folder.path().join("audit.jsonl"), &bytes[..cut]).unwrap();
        (0..2).for_each(|_| assert!(log(folder.path()).write(&entry("y")).is_ok()));
        let numbers = numbers(folder.path());
        let expected: &[u64] = match cut {
            // The whole line is gone, as if it had never been.
            _ if cut == last_line => &[1, 2, 3, 4],
            // Only its end is missing.
            _ if cut >= bytes.len() - 1 => &[1, 2, 3, 4, 5],
            _ => &[1, 2, 4, 5],
        };
        assert_eq!(numbers, expected, "{} of {} bytes", cut - last_line, bytes.len() - last_line);
    }
}

#[test]
fn numbers_go_on_behind_lines_of_something_else() {
    let folder = folder();
    let file = folder.path().join("audit.jsonl");
    fs::write(&file, "{\"n\":41}\nrubbish\n\0\0\n{\"n\":\"x\"}\n").unwrap();
    log(folder.path()).write(&entry("y")).unwrap();
    assert_eq!(lines(folder.path()).last().unwrap()["n"], 45);
    fs::write(&file, "rubbish\n").unwrap();
    log(folder.path()).write(&entry("y")).unwrap();
    assert_eq!(lines(folder.path()).last().unwrap()["n"], 2);
    fs::write(&file, format!("{{\"n\":{}}}\n", u64::MAX)).unwrap();
    log(folder.path()).write(&entry("y")).unwrap();
    assert_eq!(lines(folder.path()).last().unwrap()["n"], u64::MAX, "the largest there is stays");
    let huge = format!("{{\"n\":16}}\n{}\n{{\"n\":7}}\n", "x".repeat(3 << 20));
    fs::write(&file, huge).unwrap();
    log(folder.path()).write(&entry("y")).unwrap();
    assert_eq!(lines(folder.path())[0]["n"], 8);
}

#[test]
fn five_files_of_a_mebibyte_are_kept_and_numbers_go_on_through_them() {
    let folder = folder();
    let mut log = log(folder.path());
    let long = entry(&"x".repeat(100_000));
    for n in 1..=52 {
        log.write(&long).unwrap();
        if n == 10 {
            assert!(!folder.path().join("audit.jsonl.1").exists(), "ten lines fit");
        }
    }
    let kept = |file: &str| fs::read(folder.path().join(file)).unwrap();
    for file in Log::FILES {
        assert!(kept(file).len() <= 1 << 20, "{file}");
        assert!(kept(file).len() > 190_000, "{file}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    assert_eq!(lines(folder.path()).len(), 42);
    assert_eq!(numbers(folder.path())[..2], [51, 52]);
    assert_eq!(numbers(folder.path())[41], 20, "the oldest went");

    // The machine stopped right after the files were moved on.
    for (file, left) in [("audit.jsonl", &b""[..]), ("audit.jsonl", b"{\"ti")] {
        fs::write(folder.path().join(file), left).unwrap();
        let before = numbers(folder.path())[0];
        assert_eq!(before, 41);
        let next = Log { folder: folder.path().to_owned(), next: None, failing: false }.write(&entry("y"));
        assert!(next.is_ok());
        assert_eq!(numbers(folder.path())[0], 51 + u64::from(!left.is_empty()));
    }
}

#[test]
fn a_line_that_just_fits_moves_nothing() {
    let folder = folder();
    let file = folder.path().join("audit.jsonl");
    let mut log = log(folder.path());
    log.write(&entry("y")).unwrap();
    let line = fs::metadata(&file).unwrap().len();
    let fill = |room: u64| fs::write(&file, [vec![b' '; (1 << 20) - room as usize - 1], vec![b'\n']].concat()).unwrap();
    fill(line);
    log.write(&entry("y")).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 20);
    fill(line - 1);
    log.write(&entry("y")).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), line);
}

#[test]
fn a_log_that_was_taken_away_is_begun_anew_and_a_folder_that_is_gone_is_not() {
    let folder = folder();
    let mut log = log(folder.path());
    log.write(&entry("a")).unwrap();
    fs::remove_file(folder.path().join("audit.jsonl")).unwrap();
    log.write(&entry("b")).unwrap();
    assert_eq!(numbers(folder.path()), [2]);
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(log.write(&entry("c")).is_err());
    fs::create_dir(folder.path()).unwrap();
    log.write(&entry("d")).unwrap();
    assert_eq!(numbers(folder.path()), [4], "the number of a line that failed is not used again");
}

#[test]
fn a_disk_that_takes_no_line_is_told_once_and_again_when_it_does() {
    let folder = folder();
    let file = folder.path().join("audit.jsonl");
    let mut log = log(folder.path());
    let shown = warnings(|| {
        symlink("/dev/full", &file).unwrap();
        (0..3).for_each(|_| assert!(log.write(&entry("a")).is_err()));
        fs::remove_file(&file).unwrap();
        (0..3).for_each(|_| assert!(log.write(&entry("b")).is_ok()));
        fs::create_dir(folder.path().join("audit.jsonl.1")).unwrap();
        fs::write(folder.path().join("audit.jsonl.1/x"), "").unwrap();
        fs::create_dir(folder.path().join("audit.jsonl.2")).unwrap();
        fs::write(folder.path().join("audit.jsonl.2/x"), "").unwrap();
        fs::create_dir(folder.path().join("audit.jsonl.4")).unwrap();
        fs::write(folder.path().join("audit.jsonl.4/x"), "").unwrap();
        fs::write(folder.path().join("audit.jsonl.3"), "").unwrap();
        fs::write(&file, vec![b'\n'; 1 << 20]).unwrap();
        assert!(log.write(&entry("c")).is_err(), "it could not be moved on");
    });
    let words: Vec<_> = shown.iter().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(words, ["WARN", "INFO", "WARN"], "{shown:?}");
    assert!(shown[0].contains("the audit log cannot be written; until it can, no door is worked"), "{shown:?}");
    assert!(shown[0].contains("No space left on device"), "{shown:?}");
}

#[test]
fn a_line_counts_once_the_disk_has_it() {
    let folder = folder();
    // It takes every byte and has no disk to bring it to.
    symlink("/dev/null", folder.path().join(Log::FILES[0])).unwrap();
    let shown = warnings(|| assert!(log(folder.path()).write(&entry("x")).is_err()));
    assert_eq!(shown.len(), 1, "{shown:?}");
}

#[test]
fn a_log_that_cannot_be_read_gives_no_numbers_and_so_takes_no_line() {
    let folder = folder();
    fs::create_dir(folder.path().join("audit.jsonl.2")).unwrap();
    assert!(log(folder.path()).write(&entry("a")).is_err());
    assert!(!folder.path().join("audit.jsonl").exists());
}

#[test]
fn refusals_have_ten_lines_at_once_and_then_one_a_minute() {
    let start = clock::now();
    let minute = Duration::from_secs(60);
    let mut ration = Ration::new(start);
    let mut flood = |at: Instant| (0..1_000).filter(|_| ration.spend(at)).count();
    assert_eq!(flood(start), 10);
    assert_eq!(flood(start + minute - Duration::from_millis(1)), 0);
    assert_eq!(flood(start + minute), 1);
    assert_eq!(flood(start + minute + minute / 2), 0);
    assert_eq!(flood(start + 2 * minute), 1);
    assert_eq!(flood(start + 5 * minute), 3);
    assert_eq!(flood(start + 1_000 * minute), 10);
    // A full ration does not gather more.
    assert_eq!(flood(start + 1_001 * minute), 1);
    assert_eq!(ration.take_suppressed(), 8_000 - 26);
    assert_eq!(ration.take_suppressed(), 0);
    let mut calm = Ration::new(start);
    for n in 0..100 {
        assert!(calm.spend(start + n * minute), "one a minute is always told");
    }
    assert!(calm.spend(start + 1_000 * minute));
    let begun = start + 1_000 * minute + minute / 2;
    assert_eq!((0..100).filter(|_| calm.spend(begun)).count(), 9);
    assert!(!calm.spend(begun + minute / 2 - Duration::from_millis(1)));
    assert!(calm.spend(begun + minute / 2));
}

/// What `act` logs from INFO up, one a line, beginning with the level.
fn warnings(act: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), act);
    let bytes = lines.0.lock().unwrap();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

#[derive(Clone, Default)]
struct Lines(Arc<sync::Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
