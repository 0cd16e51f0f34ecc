//! `doorstep sim`: one virtual device that talks JSON on standard output and takes commands on standard
//! input (docs/interfaces.md §1).

use std::io::{self, BufRead, Write};

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::options::{Kind, TutkCameraOptions};
use super::tutk_camera::{self, CameraCommand, CameraEvent, Protocol, RunningCamera};
use crate::media::{AudioCodec, VideoCodec};

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
    mut lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let _stop_with_us = stop.clone().drop_guard();
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let camera = tutk_camera::start(options.settings(u64::from_le_bytes(seed)), stop.clone()).await?;
    let mut events = camera.events();
    announce(&camera, output)?;
    let mut stdin_open = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            line = lines.recv(), if stdin_open => match line {
                Some(line) if line.trim() == "quit" => return Ok(()),
                Some(line) => obey(&camera, &line, output).await?,
                // A device started without a terminal goes on.
                None => stdin_open = false,
            },
            event = events.recv() => match event {
                Ok(event) => report(&event, &camera, output)?,
                Err(broadcast::error::RecvError::Lagged(missed)) => write_line(output, &Missed { event: "missed", missed })?,
                Err(broadcast::error::RecvError::Closed) => return Err(io::Error::other("the virtual camera stopped")),
            },
        }
    }
}

/// The output was read too slowly.
#[derive(Serialize)]
struct Missed {
    event: &'static str,
    missed: u64,
}

/// What a client needs from now on.
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

fn report(event: &CameraEvent, camera: &RunningCamera, output: &mut impl Write) -> io::Result<()> {
    write_line(output, event)?;
    let CameraEvent::Fault { name } = event else { return Ok(()) };
    // One fault replaces the ENR until the next.
    let enr = camera.settings.enr_under(name.parse().ok());
    let go2rtc = camera.settings.go2rtc_url(camera.address, &enr);
    write_line(output, &Credentials { event: "credentials", enr: enr.expose(), go2rtc })
}

fn announce(camera: &RunningCamera, output: &mut impl Write) -> io::Result<()> {
    let settings = &camera.settings;
    let enr = settings.enr_under(settings.fault);
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
        go2rtc: settings.go2rtc_url(camera.address, &enr),
    };
    write_line(output, &announcement)
}

fn write_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value).map_err(io::Error::other)?;
    writeln!(output, "{line}")?;
    output.flush()
}
