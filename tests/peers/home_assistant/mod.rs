//! Home Assistant's Core (Apache-2.0, home-assistant.io) as a process, with mosquitto and our demo around it: what it
//! makes of our MQTT discovery, and the integration in `custom_components/doorstep` in it. The tests themselves are
//! Python beside this file, since whatever they ask Core is.
//!
//! `$HOME_ASSISTANT_PYTHON` names a Python that has what `requirements.txt` here names; without it, that of a virtual
//! environment here, made by a Python as new as the file `python` says: `python3.13 -m venv
//! tests/peers/home_assistant/.venv`, then `tests/peers/home_assistant/.venv/bin/pip install -r
//! tests/peers/home_assistant/requirements.txt`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use tokio::process::Command;
use tokio::time::timeout;

use crate::promise;

/// How long one file of tests may take: it starts a Core of its own, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("home_assistant::has_every_entity_and_its_commands_arrive", || pass("test_entities.py")),
        promise("home_assistant::plays_the_camera_and_the_microphone_is_heard", || pass("test_companion.py")),
        promise("home_assistant::finds_the_app_by_its_supervisor", || pass("test_supervisor.py")),
        promise("home_assistant::has_doorbells_say_what_it_wants", || pass("test_say.py")),
        promise("home_assistant::has_a_client_that_believes_little", || pass("test_client.py")),
        promise("home_assistant::shows_the_card_on_a_dashboard", || pass("test_dashboard.py")),
        promise("home_assistant::tells_phones_of_a_ring_by_the_blueprint", || pass("test_blueprint.py")),
        promise("home_assistant::speaks_what_doorbells_say", || pass("test_speech.py")),
        promise("home_assistant::knows_of_a_ring_soon_after_the_broker", || pass("test_latency.py")),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let needed = "import homeassistant, hass_frontend, aiortc, pytest_asyncio";
    let found = Blocking::new(python()).args(["-c", needed]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        let why = "has not what tests/peers/home_assistant/requirements.txt names";
        return Some(format!("the Home Assistant tests: {} {why}", python().display()));
    }
    let stray = ["mosquitto", "mosquitto_pub", "mosquitto_sub"].into_iter().find(|program| !is_there(program));
    stray.map(|program| format!("the Home Assistant tests: there is no {program}"))
}

fn is_there(program: &str) -> bool {
    Blocking::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/home_assistant")
}

fn python() -> PathBuf {
    env::var_os("HOME_ASSISTANT_PYTHON").map_or_else(|| folder().join(".venv/bin/python"), PathBuf::from)
}

/// Runs one file of tests to its end.
async fn pass(file: &str) {
    let mut tests = Command::new(python());
    tests.args(["-B", "-m", "pytest", file]).current_dir(folder()).env("DOORSTEP", env!("CARGO_BIN_EXE_doorstep"));
    let ended = timeout(PATIENCE, tests.kill_on_drop(true).output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{file} goes on for more than {PATIENCE:?}")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    report(&said);
}

#[expect(clippy::print_stderr, reason = "the figures of a test that passes are shown by `--no-capture`")]
fn report(said: &str) {
    eprintln!("{said}");
}
