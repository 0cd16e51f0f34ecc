//! `doorstep sim`: one virtual device that talks JSON on standard output and takes commands on standard
//! input (docs/interfaces.md §1).

use std::io::{self, BufRead, Write};

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::options::{Kind, TutkCameraOptions, VivintOptions, WyzeCloudOptions};
use super::tutk_camera::{self, CameraCommand, CameraEvent, Protocol, RunningCamera};
use super::vivint::{self, RunningVivint};
use super::wyze_cloud::{self, RunningCloud, SecondFactor};
use super::{aws, gwell_camera, gwell_server, kvs_doorbell, made_up};
use crate::media::{AudioCodec, VideoCodec};
use crate::secret::Enr;

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
        Kind::TutkCamera(options) => run_tutk_camera(options, lines, output, stop).await,
        Kind::WyzeCloud(options) => run_wyze_cloud(options, lines, output, stop).await,
        Kind::Vivint(options) => run_vivint(options, lines, output, stop).await,
        Kind::Aws(options) => aws::console::run(*options, lines, output, stop).await,
        Kind::KvsDoorbell(options) => run_kvs_doorbell(*options, lines, output, stop).await,
        Kind::GwellCamera(options) => run_gwell_camera(*options, lines, output, stop).await,
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

/// The first line of output: all that a client needs.
#[derive(Serialize)]
struct Announcement<'a> {
    kind: &'static str,
    listen: std::net::SocketAddr,
    uid: String,
    enr: &'a str,
    mac: &'a str,
    model: &'a str,
    protocol: Protocol,
    codec: VideoCodec,
    audio: Option<AudioCodec>,
    go2rtc: String,
}

async fn run_tutk_camera(
    options: TutkCameraOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let camera = tutk_camera::start(options.settings(made_up::random_seed()?), stop.clone()).await?;
    let outcome = attend(&camera, lines, output, &stop).await;
    stop.cancel();
    camera.stopped().await;
    outcome
}

/// Passes commands in and events out, until `quit`.
async fn attend(
    camera: &RunningCamera,
    mut lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut events = camera.events();
    let mut enr = camera.settings.enr_under(camera.settings.fault);
    announce(camera, &enr, output)?;
    let mut stdin_open = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            line = lines.recv(), if stdin_open => match line {
                Some(line) if line.trim() == "quit" => return Ok(()),
                Some(line) => obey(camera, &line, output).await?,
                // A device started without a terminal goes on.
                None => stdin_open = false,
            },
            event = events.recv() => match event {
                Ok(event) => report(&event, camera, &mut enr, output)?,
                Err(broadcast::error::RecvError::Lagged(count)) => write_line(output, &Missed { event: "missed", count })?,
                Err(broadcast::error::RecvError::Closed) => return Err(io::Error::other("the virtual camera stopped")),
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

/// What a client needs from now on: one fault replaces the ENR until the next.
#[derive(Serialize)]
struct Credentials<'a> {
    event: &'static str,
    enr: &'a str,
    go2rtc: String,
}

#[derive(Serialize)]
struct BadCommand<'a> {
    event: &'static str,
    line: &'a str,
    reason: String,
}

async fn obey(camera: &RunningCamera, line: &str, output: &mut impl Write) -> io::Result<()> {
    match parse(line.trim()) {
        Ok(None) => Ok(()),
        Ok(Some(command)) => {
            // A camera that has stopped closes its events too, which ends the loop.
            let _ = camera.commands.send(command).await;
            Ok(())
        }
        Err(reason) => write_line(output, &BadCommand { event: "bad_command", line, reason }),
    }
}

/// One command; `None` for an empty line.
///
/// # Errors
/// With the commands there are.
pub fn parse(line: &str) -> Result<Option<CameraCommand>, String> {
    Ok(Some(match line.split_once(' ').unwrap_or((line, "")) {
        ("", _) => return Ok(None),
        ("ring", "") => CameraCommand::Ring,
        ("motion", "") => CameraCommand::Motion,
        ("offline", "") => CameraCommand::Offline,
        ("online", "") => CameraCommand::Online,
        ("fault", "none") => CameraCommand::Fault(None),
        ("fault", name) => CameraCommand::Fault(Some(name.trim().parse().map_err(|e| format!("{e}"))?)),
        _ => return Err("commands: `ring`, `motion`, `offline`, `online`, `fault NAME`, `fault none`, `quit`".into()),
    }))
}

fn report(event: &CameraEvent, camera: &RunningCamera, enr: &mut Enr, output: &mut impl Write) -> io::Result<()> {
    write_line(output, event)?;
    let CameraEvent::Fault { name } = event else { return Ok(()) };
    let now = camera.settings.enr_under(name.parse().ok());
    if now.expose() == enr.expose() {
        return Ok(());
    }
    *enr = now;
    let go2rtc = camera.settings.go2rtc_url(camera.address, enr);
    write_line(output, &Credentials { event: "credentials", enr: enr.expose(), go2rtc })
}

fn announce(camera: &RunningCamera, enr: &Enr, output: &mut impl Write) -> io::Result<()> {
    let settings = &camera.settings;
    let announcement = Announcement {
        kind: "tutk-camera",
        listen: camera.address,
        uid: settings.uid_text(),
        enr: enr.expose(),
        mac: &settings.mac,
        model: &settings.model,
        protocol: settings.protocol,
        codec: settings.codec,
        audio: settings.audio.map(|format| format.codec),
        go2rtc: settings.go2rtc_url(camera.address, enr),
    };
    write_line(output, &announcement)
}

pub(super) fn write_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value).map_err(io::Error::other)?;
    writeln!(output, "{line}")?;
    output.flush()
}

/// The first line of output of a cloud.
#[derive(Serialize)]
struct CloudAnnouncement<'a> {
    kind: &'static str,
    listen: std::net::SocketAddr,
    /// In place of each of Wyze's hosts.
    url: String,
    email: &'a str,
    password: &'a str,
    key_id: &'a str,
    api_key: &'a str,
    totp_secret: Option<&'a str>,
    devices: Vec<CloudDevice<'a>>,
}

#[derive(Serialize)]
struct CloudDevice<'a> {
    id: &'a str,
    model: &'a str,
    name: &'a str,
    address: &'a str,
    uid: &'a str,
    enr: &'a str,
}

async fn run_wyze_cloud(
    options: WyzeCloudOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let cloud = wyze_cloud::start(options.settings(made_up::random_seed()?), stop.clone()).await?;
    let events = cloud.events();
    announce_cloud(&cloud, output)?;
    let outcome = attend_account(events, |line| obey_cloud(&cloud, line), lines, output, &stop).await;
    stop.cancel();
    cloud.stopped().await;
    outcome
}

fn obey_cloud(cloud: &RunningCloud, line: &str) -> Result<(), String> {
    match wyze_cloud::parse(line)? {
        Some(command) => cloud.obey(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// Passes commands in and events out, until `quit`.
pub(super) async fn attend_account<E: Serialize + Clone>(
    mut events: broadcast::Receiver<E>,
    obey: impl Fn(&str) -> Result<(), String>,
    mut lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut stdin_open = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            line = lines.recv(), if stdin_open => match line {
                Some(line) if line.trim() == "quit" => return Ok(()),
                Some(line) => {
                    if let Err(reason) = obey(line.trim()) {
                        write_line(output, &BadCommand { event: "bad_command", line: &line, reason })?;
                    }
                }
                None => stdin_open = false,
            },
            event = events.recv() => match event {
                Ok(event) => write_line(output, &event)?,
                Err(broadcast::error::RecvError::Lagged(count)) => write_line(output, &Missed { event: "missed", count })?,
                Err(broadcast::error::RecvError::Closed) => return Err(io::Error::other("the virtual cloud stopped")),
            },
        }
    }
}

fn announce_cloud(cloud: &RunningCloud, output: &mut impl Write) -> io::Result<()> {
    let settings = &cloud.settings;
    let devices = settings.devices.iter().map(|device| CloudDevice {
        id: &device.mac,
        model: &device.model,
        name: &device.nickname,
        address: &device.address,
        uid: &device.uid,
        enr: device.enr.expose(),
    });
    let announcement = CloudAnnouncement {
        kind: "wyze-cloud",
        listen: cloud.address,
        url: cloud.url(),
        email: settings.email.expose(),
        password: settings.password.expose(),
        key_id: settings.key_id.expose(),
        api_key: settings.api_key.expose(),
        totp_secret: match &settings.second_factor {
            SecondFactor::Totp(secret) => Some(secret.expose()),
            SecondFactor::None | SecondFactor::Sms => None,
        },
        devices: devices.collect(),
    };
    write_line(output, &announcement)
}

/// The first line of output of a Vivint account.
#[derive(Serialize)]
struct VivintAnnouncement<'a> {
    kind: &'static str,
    listen: std::net::SocketAddr,
    /// In place of each host: Vivint's, PubNub's, Google's and the database's.
    url: String,
    username: &'a str,
    password: &'a str,
    second_factor: &'static str,
    totp_secret: Option<&'a str>,
    firebase_api_key: &'a str,
    pubnub_key: &'a str,
    /// Of the account, at Vivint and at Firebase.
    uid: &'a str,
    panel: i64,
    panel_user: &'a str,
    panel_password: &'a str,
    devices: Vec<VivintDevice<'a>>,
}

#[derive(Serialize)]
struct VivintDevice<'a> {
    id: i64,
    kind: &'static str,
    name: &'a str,
    #[serde(flatten)]
    camera: Option<VivintCamera<'a>>,
}

#[derive(Serialize)]
struct VivintCamera<'a> {
    model: &'a str,
    uuid: &'a str,
    /// With the camera's own login; `None` where it is reached through the panel only.
    rtsp: Option<String>,
    /// Without the panel's login.
    panel_rtsp: Option<String>,
}

async fn run_vivint(
    options: VivintOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let account = vivint::start(options.settings(made_up::random_seed()?), stop.clone()).await?;
    let events = account.events();
    announce_vivint(&account, output)?;
    let outcome = attend_account(events, |line| obey_vivint(&account, line), lines, output, &stop).await;
    stop.cancel();
    account.stopped().await;
    outcome
}

fn obey_vivint(account: &RunningVivint, line: &str) -> Result<(), String> {
    match vivint::parse(line)? {
        Some(command) => account.obey(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn announce_vivint(account: &RunningVivint, output: &mut impl Write) -> io::Result<()> {
    let settings = &account.settings;
    let (second_factor, totp_secret) = match &settings.second_factor {
        vivint::SecondFactor::Totp(secret) => ("totp", Some(secret.expose())),
        vivint::SecondFactor::Sms => ("sms", None),
        vivint::SecondFactor::None | vivint::SecondFactor::NoneAndTokensAtOnce => ("none", None),
    };
    let announcement = VivintAnnouncement {
        kind: "vivint",
        listen: account.address,
        url: account.url(),
        username: settings.username.expose(),
        password: settings.password.expose(),
        second_factor,
        totp_secret,
        firebase_api_key: settings.firebase_api_key.expose(),
        pubnub_key: &settings.pubnub_key,
        uid: &settings.uid,
        panel: settings.panel,
        panel_user: &settings.panel_login.user,
        panel_password: settings.panel_login.password.expose(),
        devices: settings.devices.iter().map(announced).collect(),
    };
    write_line(output, &announcement)
}

fn announced(device: &vivint::Device) -> VivintDevice<'_> {
    let kind = match &device.kind {
        vivint::Kind::Panel => "panel",
        vivint::Kind::Camera(_) => "camera",
        vivint::Kind::Lock { .. } => "lock",
        vivint::Kind::Garage { .. } => "garage",
    };
    let camera = device.camera().map(|camera| VivintCamera {
        model: &camera.actual_type,
        uuid: &camera.uuid,
        rtsp: camera.own_url(device.id),
        panel_rtsp: camera.panel_url(device.id),
    });
    VivintDevice { id: device.id, kind, name: &device.name, camera }
}

async fn run_kvs_doorbell(
    options: kvs_doorbell::command::Options,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let doorbell = kvs_doorbell::start(options.settings(), stop.clone()).map_err(io::Error::other)?;
    let events = doorbell.events();
    write_line(output, &kvs_doorbell::command::Announcement::of(&doorbell))?;
    let obey = |line: &str| doorbell.obey(kvs_doorbell::command::parse(line)?).map_err(|error| error.to_string());
    let outcome = attend_account(events, obey, lines, output, &stop).await;
    stop.cancel();
    doorbell.stopped().await;
    outcome
}

async fn run_gwell_camera(
    options: gwell_camera::command::Options,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let settings = options.settings().map_err(io::Error::other)?;
    let teller = broadcast::Sender::new(256);
    // It logs in sooner than the next line is reached.
    let events = teller.subscribe();
    let camera = gwell_camera::start_telling(settings, stop.clone(), teller).await?;
    write_line(output, &gwell_camera::command::Announcement::of(&camera))?;
    let outcome = attend_account(events, |line| obey_gwell_camera(&camera, line), lines, output, &stop).await;
    stop.cancel();
    camera.stopped().await;
    outcome
}

fn obey_gwell_camera(camera: &gwell_camera::RunningCamera, line: &str) -> Result<(), String> {
    match gwell_camera::command::parse(line)? {
        Some(command) => camera.commands.try_send(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
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
        let console = tokio::spawn(async move { run(kind, lines, &mut output, stop).await });
        for command in ["ring", "motion", "fault swap", "fault frieze", "", "jump", "fault enr-with-nul", "offline"] {
            sender.send(command.to_owned()).await.unwrap();
        }
        while told(&seen.lines(), "offline") == 0 {
            tokio::task::yield_now().await;
        }
        let lines = seen.lines();
        for (event, count) in [("ring", 1), ("motion", 1), ("fault", 2), ("bad_command", 2), ("credentials", 1)] {
            assert_eq!(told(&lines, event), count, "{event} in {lines:?}");
        }
        sender.send("quit".into()).await.unwrap();
        console.await.unwrap().unwrap();
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
