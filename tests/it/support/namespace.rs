//! A network of a test's own. The test runs once more, alone, in a namespace of the kernel in which there is no network
//! but what it makes, and in which it may put other files in the place of the machine's.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Set in the test that is inside.
const INSIDE: &str = "DOORSTEP_TEST_INSIDE_A_NAMESPACE";

/// Whether this is the test inside, where loopback is up. Outside, the test `name` is run inside, and has passed here when
/// it has passed there; where this user may make no namespace, that is said and nothing is shown.
pub(crate) fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        sh("ip link set lo up");
        return true;
    }
    let link = ["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb"];
    let tried = Command::new("unshare").args(["--net", "--mount"]).args(link).output();
    let may = tried.is_ok_and(|done| done.status.success());
    if !may {
        println!("SKIPPED: this user may make no network of his own (unshare and ip)");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(own).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    println!("{said}");
    assert!(ended.status.success(), "inside: {}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("1 passed"), "it was not run inside");
    false
}

/// What a shell says to this.
pub(crate) fn sh(line: &str) -> String {
    let done = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// From now on the machine's file `path` is this, for those inside.
pub(crate) fn replace(folder: &Path, path: &str, contents: &str) {
    let own = folder.join(path.replace('/', "_"));
    fs::write(&own, contents).unwrap();
    sh(&format!("mount --bind {} {path}", own.display()));
    assert_eq!(fs::read_to_string(path).unwrap(), contents);
}
