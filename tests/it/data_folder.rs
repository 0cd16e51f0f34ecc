//! The whole program on a data folder that is full, read-only, broken or cut off in the middle of a write (fault matrix,
//! rows 37 and 38). What the store does by itself is in `store.rs`, what a door does in `door.rs`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use doorstep::clock;
use doorstep::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::demo::Demo;
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::{Ended, Program};
use crate::support::service::{PATIENCE, Page};
use crate::support::small_disk::SmallDisk;

const CANNOT: &str = "the state cannot be stored and lasts until Doorstep stops";
const AGAIN: &str = "the state can be stored again";
const ASIDE: &str = "the stored state cannot be used; Doorstep starts without it";
/// What the kernel ends a program with that writes beyond what it may.
const SIGXFSZ: i32 = 25;

#[tokio::test]
async fn row_37_on_a_full_or_read_only_disk_the_house_works_from_memory_and_no_door_opens() {
    let Some(disk) = SmallDisk::mount() else { return println!("SKIPPED: this user may not mount a small disk") };
    let data = disk.folder.path().join("data");
    let state = || fs::read(data.join("state.json")).unwrap();
    let broker = Mosquitto::start().await;
    let mut house = House::start(&broker, &data).await;
    house.opens(&broker).await;
    house.ends().await;

    disk.fill();
    let before = state();
    let mut house = House::start(&broker, &data).await;
    house.rings(&broker).await;
    house.does_not_open(&broker).await;
    house.demo.program.logs(CANNOT).await;
    assert!(state() == before, "the state file is another one, or half a one");
    disk.make_room();
    house.opens(&broker).await;
    house.demo.program.logs(AGAIN).await;
    assert!(state() != before, "nothing was stored");
    let ended = house.ends().await;
    assert_eq!([CANNOT, AGAIN].map(|what| count(&ended, what)), [1, 1], "{}", ended.log);

    disk.remount("ro");
    let before = state();
    let mut house = House::start(&broker, &data).await;
    house.rings(&broker).await;
    house.does_not_open(&broker).await;
    let ended = house.ends().await;
    assert_eq!(count(&ended, CANNOT), 1, "{}", ended.log);
    assert!(state() == before, "the state file is another one");
}

/// Anybody can be kept from writing more than so much; where that is ignored, a write fails as on a full disk.
#[tokio::test]
async fn row_37_a_write_that_is_cut_short_leaves_the_file_as_it_was() {
    let folder = Folder::with_a_state();
    let before = folder.state();
    let mut program = folder.run("trap '' XFSZ; exec prlimit --fsize=20 \"$0\" \"$@\"");
    let page = Page::at(program.page().await);
    assert_eq!(page.get("/health").await.status, 200);
    program.terminate();
    let ended = program.ends().await;
    assert_eq!((ended.status.code(), count(&ended, CANNOT)), (Some(0), 1), "{}", ended.log);
    assert!(ended.log.contains("File too large"), "the fault was another: {}", ended.log);
    assert!(folder.state() == before, "the state file is another one");
}

#[tokio::test]
async fn row_38_a_program_that_dies_in_the_middle_of_a_write_finds_the_state_from_before_it() {
    let folder = Folder::with_a_state();
    let before = folder.state();
    let steps = [0, 1, 20, before.len() / 2, before.len() - 1];
    for cut in steps {
        let ended = folder.run(&format!("exec prlimit --fsize={cut} \"$0\" \"$@\"")).ends().await;
        assert_eq!(ended.status.signal(), Some(SIGXFSZ), "it did not die in a write of {cut} bytes: {ended:?}");
        assert_eq!(fs::read(folder.data.join("state.json.next")).unwrap().len(), cut, "where it died");
        assert!(folder.state() == before, "after {cut} bytes the state file is another one");
    }
    let ended = folder.starts_and_stops().await;
    assert!(!ended.log.contains(ASIDE), "{}", ended.log);
    let kept: Value = serde_json::from_slice(&folder.state()).unwrap();
    assert_eq!(kept["entries"]["mine"], "kept", "{kept}");
}

#[tokio::test]
async fn row_38_with_any_broken_state_the_program_starts_says_what_it_did_and_what_its_owner_has_to() {
    let whole = Folder::with_a_state().state();
    let half = &whole[..whole.len() / 2];
    for (what, bytes) in
        [("half", half), ("empty", b""), ("binary", b"\x7fELF\0\xff\xfe"), ("another form", b"{\"version\":0}")]
    {
        let folder = Folder::with_a_state();
        fs::write(folder.data.join("state.json"), bytes).unwrap();
        let mut program = folder.run("exec \"$0\" \"$@\"");
        let page = Page::at(program.page().await);
        // Its login was in the state.
        let account = page.account(0, "what to do", |account| account["link"] == "needs_attention").await;
        assert!(account["why"].as_str().is_some_and(|why| why.contains("password")), "{account}");
        program.terminate();
        let ended = program.ends().await;
        assert_eq!((ended.status.code(), count(&ended, ASIDE)), (Some(0), 1), "{what}: {}", ended.log);
        assert!(ended.log.contains("kept_as=\"state.json.damaged\""), "{what}: {}", ended.log);
        assert_eq!(fs::read(folder.data.join("state.json.damaged")).unwrap(), bytes, "{what}");
        let again = folder.starts_and_stops().await;
        assert!(!again.log.contains(ASIDE), "{what}, once more: {}", again.log);
    }
}

#[tokio::test]
async fn row_38_a_state_of_a_newer_version_stops_the_program_with_what_to_do_and_stays() {
    let folder = Folder::with_a_state();
    let newer = br#"{"version":2,"everything":"is different"}"#;
    fs::write(folder.data.join("state.json"), newer).unwrap();
    let ended = folder.run("exec \"$0\" \"$@\"").ends().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let what = "was written by a newer Doorstep (form 2, this one knows 1): install that version again, or move the \
                file away and log in anew";
    assert!(ended.log.contains(what), "{ended:?}");
    assert_eq!(folder.state(), newer);
    assert_eq!(fs::read_dir(&folder.data).unwrap().count(), 1, "something was left beside it");
}

/// A data folder with a state, and a configuration with an account whose login was in it.
struct Folder {
    _folder: TempDir,
    file: PathBuf,
    data: PathBuf,
}

impl Folder {
    fn with_a_state() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        Store::open(&data).unwrap().put("mine", &"kept").unwrap();
        let nowhere = "\"http://127.0.0.1:1\"";
        let text = format!(
            "http: {{listen: \"127.0.0.1:0\"}}\nmedia: {{port: {}}}\ngo2rtc: {{enabled: false}}\nvivint: [{{username: \
             me@example.com, endpoints: {{identity: {nowhere}, api: {nowhere}, pubnub: {nowhere}}}}}]\n",
            free_port()
        );
        fs::write(&file, text).unwrap();
        Self { _folder: folder, file, data }
    }

    fn state(&self) -> Vec<u8> {
        fs::read(self.data.join("state.json")).unwrap()
    }

    /// By this line of a shell, whose `$0` is the program.
    fn run(&self, line: &str) -> Program {
        let arguments = ["run", "--config", self.file.to_str().unwrap(), "--data", self.data.to_str().unwrap()];
        Program::start_by_shell(line, arguments)
    }

    async fn starts_and_stops(&self) -> Ended {
        let mut program = self.run("exec \"$0\" \"$@\"");
        program.page().await;
        program.terminate();
        let ended = program.ends().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        ended
    }
}

/// The demo's Vivint doorbell, with its lock.
struct House {
    demo: Demo,
    id: String,
    commands: usize,
}

impl House {
    async fn start(broker: &Mosquitto, data: &Path) -> Self {
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        let demo = Demo::start(&["--mqtt", &url, "--only", "vivint", "--data", data.to_str().unwrap()]).await;
        let id = demo.ids[0].clone();
        let page = Page::at(demo.page);
        page.until(&id, "its lock is known", |doorbell| doorbell["door"]["lock"].is_string()).await;
        Self { demo, id, commands: 0 }
    }

    async fn rings(&mut self, broker: &Mosquitto) {
        let mut rings = broker.listen(&format!("doorstep/{}/ring", self.id)).await;
        self.demo.program.type_line("ring").await;
        rings.next().await;
    }

    async fn opens(&mut self, broker: &Mosquitto) {
        let outcome = self.unlock(broker, |outcome| outcome["ok"] == true).await;
        assert_eq!(outcome["command"], "unlock", "{outcome}");
        self.demo.program.says("that it is open", |line| line.contains("\"event\":\"unlocked\"")).await;
    }

    async fn does_not_open(&mut self, broker: &Mosquitto) {
        let why = |outcome: &Value| outcome["error"].as_str().unwrap_or_default().to_owned();
        self.unlock(broker, |outcome| why(outcome).contains("what cannot be written down first is not done")).await;
        let told = self.demo.program.said();
        assert!(!told.iter().any(|line| line.contains("\"event\":\"unlock")), "the lock has moved: {told:?}");
    }

    /// Commands with an id, until one has the outcome: for a while after a start and after another one none is taken.
    async fn unlock(&mut self, broker: &Mosquitto, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut results = broker.listen(&format!("doorstep/{}/result", self.id)).await;
        let begun = clock::now();
        loop {
            self.commands += 1;
            let now = clock::unix_now().duration_since(UNIX_EPOCH).unwrap();
            let id = format!("{}-{}", now.as_nanos(), self.commands);
            let command = json!({"cmd": "unlock", "id": id, "ts": now.as_secs()});
            broker.publish(&format!("doorstep/{}/lock/set", self.id), command.to_string(), &[]);
            let mut result = results.next().await.json();
            while result["id"] != *id {
                result = results.next().await.json();
            }
            if wanted(&result) {
                return result;
            }
            assert!(begun.elapsed() < PATIENCE, "it never came to this, but: {result}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn ends(self) -> Ended {
        self.demo.program.terminate();
        let ended = self.demo.program.ends().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        ended
    }
}

fn count(ended: &Ended, what: &str) -> usize {
    ended.log.lines().filter(|line| line.contains(what)).count()
}
