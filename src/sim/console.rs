//! `doorstep sim`: one virtual device that talks JSON on standard output and takes commands on standard
//! input (docs/interfaces.md §1). What each says first, and understands, stands in its own folder.

use std::io::{self, BufRead, Write};

use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::options::Kind;
use super::{aws, gwell_camera, gwell_server, kvs_doorbell, tutk_camera, vivint, wyze_cloud};

/// Runs a virtual device until `quit` or `stop`.
///
/// # Errors
/// When its address cannot be bound, or `output` is closed.
pub async fn run(
    kind: Kind,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    match kind {
        Kind::TutkCamera(options) => tutk_camera::console::run(options, lines, output, stop).await,
        Kind::WyzeCloud(options) => wyze_cloud::console::run(options, lines, output, stop).await,
        Kind::Vivint(options) => vivint::console::run(options, lines, output, stop).await,
        Kind::Aws(options) => aws::console::run(*options, lines, output, stop).await,
        Kind::KvsDoorbell(options) => kvs_doorbell::command::run(*options, lines, output, stop).await,
        Kind::GwellCamera(options) => gwell_camera::command::run(*options, lines, output, stop).await,
        Kind::GwellServer(options) => gwell_server::console::run(options, lines, output, stop).await,
    }
}

/// The lines of standard input, read by a thread of their own because that read cannot be cancelled.
/// Sixteen lines may wait; more wait in the pipe.
pub fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Passes commands in and events out, until `quit`.
pub(super) async fn attend<E: Serialize + Clone>(
    events: broadcast::Receiver<E>,
    obey: impl AsyncFn(&str) -> Result<(), String>,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: &CancellationToken,
) -> io::Result<()> {
    attend_telling(events, obey, |event, output| write_line(output, event), lines, output, stop).await
}

/// The same for a device of which more is to be told than its events.
pub(super) async fn attend_telling<E: Clone, W: Write>(
    mut events: broadcast::Receiver<E>,
    obey: impl AsyncFn(&str) -> Result<(), String>,
    mut tell: impl FnMut(&E, &mut W) -> io::Result<()>,
    mut lines: mpsc::Receiver<String>,
    output: &mut W,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut stdin_open = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            line = lines.recv(), if stdin_open => match line {
                Some(line) if line.trim() == "quit" => return Ok(()),
                Some(line) => {
                    if let Err(reason) = obey(line.trim()).await {
                        write_line(output, &BadCommand { event: "bad_command", line: &line, reason })?;
                    }
                }
                // A device started without a terminal goes on.
                None => stdin_open = false,
            },
            event = events.recv() => match event {
                Ok(event) => tell(&event, output)?,
                Err(RecvError::Lagged(count)) => write_line(output, &Missed { event: "missed", count })?,
                Err(RecvError::Closed) => return Err(io::Error::other("the virtual device stopped")),
            },
        }
    }
}

/// The output was read too slowly.
#[derive(Serialize)]
struct Missed {
    event: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct BadCommand<'a> {
    event: &'static str,
    line: &'a str,
    reason: String,
}

pub(super) fn write_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value).map_err(io::Error::other)?;
    writeln!(output, "{line}")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        kind: Kind,
    }

    /// What the console prints when these lines are typed.
    async fn typed(arguments: &str, commands: &[&str]) -> Vec<Value> {
        let (sender, lines) = mpsc::channel(16);
        for command in commands {
            sender.send((*command).to_owned()).await.unwrap();
        }
        let kind = Cli::try_parse_from(arguments.split(' ')).unwrap().kind;
        let mut output = Vec::new();
        let stop = CancellationToken::new();
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, run(kind, lines, &mut output, stop)).await.expect("it quits").unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[tokio::test]
    async fn a_doorbell_at_amazon_says_whose_it_is_and_no_secret() {
        let line = "sim kvs-doorbell --channel porch --region us-east-1 --endpoint http://127.0.0.1:1/ \
                    --access-key-id AKID --secret-access-key hunter2";
        let lines = typed(line, &["offline", "", "jump", "quit"]).await;
        let expected = serde_json::json!({
            "kind": "kvs-doorbell",
            "channel": "porch",
            "region": "us-east-1",
            "profile": "ameba",
            "topic": "doorbell/porch/ring",
            "kinesisvideo": "http://127.0.0.1:1/",
        });
        assert_eq!(lines[0], expected);
        assert!(lines.iter().any(|line| line["event"] == "bad_command" && line["line"] == "jump"), "{lines:?}");
        assert!(!format!("{lines:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_gwell_camera_says_who_it_is_and_no_secret() {
        let token = "5a".repeat(64);
        let line = format!(
            "sim gwell-camera --server 127.0.0.1:1 --name GW_DBD_1 --tid 7 --token {token} --paths lan-udp --sleeps"
        );
        let lines = typed(&line, &["loss 5", "", "loss much", "fault none", "jump", "quit"]).await;
        let first = &lines[0];
        assert_eq!((&first["kind"], &first["tid"]), (&"gwell-camera".into(), &"7".into()));
        assert_eq!(first["paths"], serde_json::json!(["lan_udp"]));
        for key in ["listen", "server", "name", "codec", "audio", "sleeps"] {
            assert!(!first[key].is_null(), "{key} is missing in {first}");
        }
        assert_eq!(lines.iter().filter(|line| line["event"] == "bad_command").count(), 2, "{lines:?}");
        assert!(!format!("{lines:?}").contains(&token));
    }

    #[tokio::test]
    async fn the_first_line_holds_all_that_a_client_needs() {
        let lines = typed("sim tutk-camera --uid HSBJYB5HSETGCDWD111A --audio none", &["quit"]).await;
        let first = lines[0].as_object().unwrap();
        for key in ["kind", "listen", "uid", "enr", "mac", "model", "protocol", "codec", "audio", "go2rtc"] {
            assert!(first.contains_key(key), "{key} is missing in {first:?}");
        }
        assert_eq!(first["kind"], "tutk-camera");
        assert_eq!(first["uid"], "HSBJYB5HSETGCDWD111A");
        assert_eq!(first["protocol"], "new");
        assert_eq!(first["audio"], Value::Null);
        let listen = first["listen"].as_str().unwrap();
        assert!(
            first["go2rtc"].as_str().unwrap().starts_with(&format!("wyze://{listen}?uid=HSBJYB5HSETGCDWD111A&enr="))
        );
    }

    #[tokio::test]
    async fn commands_become_events_and_mistakes_are_named() {
        let told = |lines: &[Value], event: &str| lines.iter().filter(|line| line["event"] == event).count();
        let (sender, lines) = mpsc::channel(16);
        let (mut output, stop) = (Shared::default(), CancellationToken::new());
        let kind = Cli::try_parse_from(["sim", "tutk-camera"]).unwrap().kind;
        let seen = output.clone();
        let console = async { run(kind, lines, &mut output, stop).await.unwrap() };
        let typing = async {
            for command in ["ring", "motion", "fault swap", "fault frieze", "", "jump", "fault enr-with-nul", "offline"]
            {
                sender.send(command.to_owned()).await.unwrap();
            }
            while told(&seen.lines(), "offline") == 0 {
                tokio::task::yield_now().await;
            }
            sender.send("quit".into()).await.unwrap();
        };
        tokio::join!(console, typing);
        let lines = seen.lines();
        for (event, count) in [("ring", 1), ("motion", 1), ("fault", 2), ("bad_command", 2), ("credentials", 1)] {
            assert_eq!(told(&lines, event), count, "{event} in {lines:?}");
        }
    }

    #[tokio::test]
    async fn a_cloud_says_all_that_a_client_needs_and_what_it_is_told() {
        let lines = typed(
            "sim wyze-cloud --email a@b.c --second-factor totp",
            &["ring", "ring nobody", "jump", "add HL_DB2 Gate", "fault 500 /app", "quit"],
        )
        .await;
        let first = lines[0].as_object().unwrap();
        for key in ["kind", "listen", "url", "email", "password", "key_id", "api_key", "totp_secret", "devices"] {
            assert!(first.contains_key(key), "{key} is missing in {first:?}");
        }
        assert_eq!((&first["kind"], &first["email"]), (&Value::from("wyze-cloud"), &Value::from("a@b.c")));
        assert_eq!(first["url"], format!("http://{}", first["listen"].as_str().unwrap()));
        let bell = &first["devices"][0];
        assert!(["id", "model", "name", "address", "uid", "enr"].iter().all(|key| bell[key].is_string()), "{bell}");
        let bad: Vec<&Value> = lines.iter().filter(|line| line["event"] == "bad_command").collect();
        assert_eq!(bad.len(), 2, "{lines:#?}");
        assert_eq!(bad[0]["reason"], "the account has no device `nobody`");
    }

    /// Output that can be read while it is written.
    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Shared {
        fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_vivint_account_says_all_that_a_client_needs_and_what_it_is_told() {
        let commands = ["ring", "unlock", "rotate", "fault db_stale", "fault rtsp deaf", "jump", "ring 40", "quit"];
        let lines = typed("sim vivint --second-factor totp", &commands).await;
        let first = &lines[0];
        assert_eq!((&first["kind"], &first["second_factor"]), (&"vivint".into(), &"totp".into()));
        for key in ["listen", "url", "username", "password", "totp_secret", "firebase_api_key", "pubnub_key", "uid"] {
            assert!(first[key].is_string(), "{key} is missing in {first}");
        }
        let devices = first["devices"].as_array().unwrap();
        let kinds: Vec<&str> = devices.iter().filter_map(|device| device["kind"].as_str()).collect();
        assert_eq!(kinds, ["panel", "camera", "camera", "lock", "garage"]);
        assert!(devices[1]["rtsp"].as_str().unwrap().starts_with("rtsp://viewer:"), "{}", devices[1]);
        assert!(devices[1]["uuid"].is_string() && devices[2]["rtsp"].is_null() && devices[2]["panel_rtsp"].is_string());
        assert_eq!(lines.iter().filter(|line| line["event"] == "bad_command").count(), 2);
    }
}
