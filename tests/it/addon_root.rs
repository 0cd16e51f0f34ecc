//! In the app the program gives up being root before it reads anything (requirement S24).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use doorstep::privileges::APP_USER;
use tempfile::TempDir;

/// A data folder as the Supervisor makes it, in a folder that everybody may enter.
struct Container {
    folder: TempDir,
}

impl Container {
    /// `None` when the tests are not run by root, who alone has something to give up.
    fn new() -> Option<Self> {
        if rustix::process::geteuid().as_raw() != 0 {
            println!("skipped: only root can give up being root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("deep/er")).unwrap();
        for (file, mode) in [("data/options.json", 0o600), ("data/deep/er/kept", 0o600), ("outside", 0o644)] {
            fs::write(folder.path().join(file), "{}").unwrap();
            fs::set_permissions(folder.path().join(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(folder.path().join("outside"), data.join("link")).unwrap();
        Some(Self { folder })
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// `doorstep check --offline` on the configuration at `config`, started by `wrapper` where there is one.
    fn check(&self, wrapper: &[&str], in_app: bool, config: &Path) -> Command {
        let program = env!("CARGO_BIN_EXE_doorstep");
        let mut words = wrapper.iter().copied().chain([program, "check", "--offline"]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--config").arg(config).arg("--data").arg(self.path("data"));
        command.env_remove("DOORSTEP_LOG").env_remove("SUPERVISOR_TOKEN");
        if in_app {
            command.env("SUPERVISOR_TOKEN", "not-a-token-of-any-supervisor");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Who owns it, not who owns what a link leads to.
fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

/// A field of `/proc/PID/status`, its words apart by one blank. `None` while the process is not what it will be.
fn status(child: &Child, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(25);
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn in_the_app_root_becomes_a_user_without_any_right_and_owns_nothing_but_its_folder() {
    let Some(container) = Container::new() else { return };
    // Reading from a pipe, the program waits for us, and by then it has given everything up.
    let pipe = container.path("options");
    assert!(Command::new("mkfifo").args(["-m", "0644"]).arg(&pipe).status().unwrap().success());
    let child = container.check(&[], true, &pipe).spawn().unwrap();

    let app = APP_USER.to_string();
    let four = [&*app; 4].join(" ");
    until("the program gives up being root", || status(&child, "NoNewPrivs").as_deref() == Some("1"));
    assert_eq!(status(&child, "Uid"), Some(four.clone()));
    assert_eq!(status(&child, "Gid"), Some(four.clone()));
    assert_eq!(status(&child, "Groups"), Some(String::new()));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(&child, set), Some("0".repeat(16)), "{set}");
    }
    fs::write(&pipe, "{}").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));

    let (ours, roots) = ((APP_USER, APP_USER), (0, 0));
    for path in ["data", "data/options.json", "data/deep", "data/deep/er", "data/deep/er/kept", "data/link"] {
        assert_eq!(owner(&container.path(path)), ours, "{path}");
    }
    assert_eq!(owner(&container.path("outside")), roots, "what a link leads to");
    assert_eq!(fs::metadata(container.path("data/deep/er/kept")).unwrap().mode() & 0o777, 0o600);

    // As at every later start: the folder is not root's any more, and the Supervisor has written the options anew.
    fs::set_permissions(container.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(container.path("data/options.json"), Some(0), Some(0)).unwrap();
    let again = container.check(&[], true, &container.path("data/options.json")).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(owner(&container.path("data/options.json")), ours);
}

#[test]
fn an_app_that_has_to_stay_root_says_so_and_does_not_start() {
    let Some(container) = Container::new() else { return };
    let options = container.path("data/options.json");
    let bound = ["setpriv", "--bounding-set=-setuid"];
    let ended = container.check(&bound, true, &options).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("could not become user 10001 (changing the user:") && said.contains("SETUID"), "{said}");
    assert!(ended.stdout.is_empty(), "nothing else was done");
}

#[test]
fn a_folder_that_cannot_be_given_away_is_named_and_root_is_given_up_all_the_same() {
    let Some(container) = Container::new() else { return };
    let options = container.path("outside");
    let bound = ["setpriv", "--bounding-set=-chown"];
    let ended = container.check(&bound, true, &options).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("cannot be given to the app's user") && said.contains("/data/"), "{said}");
}

#[test]
fn outside_the_app_root_stays_root_and_nothing_changes_hands() {
    let Some(container) = Container::new() else { return };
    let ended = container.check(&[], false, &container.path("data/options.json")).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    for path in ["data", "data/options.json", "data/deep/er/kept"] {
        assert_eq!(owner(&container.path(path)), (0, 0), "{path}");
    }
}
