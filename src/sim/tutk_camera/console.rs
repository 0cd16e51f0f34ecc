//! `doorstep sim tutk-camera`: what it says first, what it understands, and its life.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{CameraCommand, CameraEvent, Protocol, RunningCamera, start};
use crate::media::{AudioCodec, VideoCodec};
use crate::secret::Enr;
use crate::sim::console::{attend_telling, write_line};
use crate::sim::made_up::random_seed;
use crate::sim::options::TutkCameraOptions;

/// The first line of output: all that a client needs.
#[derive(Serialize)]
struct Announcement<'a> {
    kind: &'static str,
    listen: SocketAddr,
    uid: String,
    enr: &'a str,
    mac: &'a str,
    model: &'a str,
    protocol: Protocol,
    codec: VideoCodec,
    audio: Option<AudioCodec>,
    go2rtc: String,
}

/// What a client needs from now on: one fault replaces the ENR until the next.
#[derive(Serialize)]
struct Credentials<'a> {
    event: &'static str,
    enr: &'a str,
    go2rtc: String,
}

pub(in crate::sim) async fn run(
    options: TutkCameraOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let camera = start(options.settings(random_seed()?), stop.clone()).await?;
    let mut enr = camera.settings.enr_under(camera.settings.fault);
    let events = camera.events();
    announce(&camera, &enr, output)?;
    let obey = async |line: &str| {
        camera.obey(parse(line)?).await;
        Ok(())
    };
    let tell = |event: &CameraEvent, output: &mut _| report(event, &camera, &mut enr, output);
    let outcome = attend_telling(events, obey, tell, lines, output, &stop).await;
    stop.cancel();
    camera.stopped().await;
    outcome
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
