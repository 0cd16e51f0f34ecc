//! `doorstep sim gwell-camera`: its command line, its first line of output, what it understands, and its life.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{CameraCommand, Fault, RunningCamera, Settings, start_telling, way};
use crate::proto::gwell::session::Path;
use crate::proto::gwell::token::AccessToken;
use crate::sim::console::{attend, write_line};

/// `doorstep sim gwell-server` prints the names, TIDs and tokens of the cameras that it knows.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The P2P server that it logs in to
    #[arg(long, value_name = "IP:PORT")]
    server: SocketAddr,
    /// As servers list it
    #[arg(long, value_name = "GW_…")]
    name: String,
    /// By which servers know it
    #[arg(long, value_name = "NUMBER")]
    tid: String,
    /// What it logs in with: 128 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    token: String,
    /// Where viewers on its LAN reach it, over UDP and TCP; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The ways on which media may go [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    paths: Vec<PathName>,
    /// What its pictures are encoded with
    #[arg(long, value_enum, default_value_t = Video::H264)]
    codec: Video,
    /// Fills its pictures up to this rate; the clip alone has about 130 kbit/s
    #[arg(long, value_name = "KBIT/S", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    bitrate: Option<u32>,
    /// What its microphone sends
    #[arg(long, value_enum, default_value_t = Audio::Pcmu)]
    audio: Audio,
    /// Misbehave from the start (`fault NAME` on standard input does so later)
    #[arg(long, value_name = "NAME")]
    fault: Option<Fault>,
    /// Sleeps until its server or `wake` wakes it, and again when nobody watches
    #[arg(long)]
    sleeps: bool,
    /// From the wake-up until it hears calls
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    wake_delay: Duration,
    /// Falls silent when somebody has watched for so long, as doorbells on batteries do [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    live_for: Option<Duration>,
    /// Drops a viewer whose meters have not come for so long
    #[arg(long, value_name = "SECONDS", default_value = "119", value_parser = seconds)]
    patience: Duration,
    /// How many may watch at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    viewers: usize,
    /// How many of its datagrams are lost, in either direction
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    loss: f64,
    /// What is random in it follows from this number [default: another each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Video {
    H264,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Audio {
    /// G.711 µ-law, 16 kHz
    Pcmu,
    /// No microphone
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PathName {
    LanTcp,
    LanUdp,
    RelayTcp,
    RelayUdp,
    Passthrough,
}

impl From<PathName> for Path {
    fn from(name: PathName) -> Self {
        match name {
            PathName::LanTcp => Self::LanTcp,
            PathName::LanUdp => Self::LanUdp,
            PathName::RelayTcp => Self::RelayTcp,
            PathName::RelayUdp => Self::RelayUdp,
            PathName::Passthrough => Self::Passthrough,
        }
    }
}

impl Options {
    /// The camera that these options describe.
    ///
    /// # Errors
    /// When TID and token are none.
    pub fn settings(self) -> Result<Settings, String> {
        let Video::H264 = self.codec;
        let token = AccessToken::parse(&self.tid, &self.token).map_err(|error| error.to_string())?;
        let all = Settings::new(self.server, self.name, token);
        Ok(Settings {
            listen: self.listen,
            paths: match self.paths.is_empty() {
                true => all.paths,
                false => self.paths.into_iter().map(Path::from).collect(),
            },
            kbit_per_second: self.bitrate,
            sound: self.audio == Audio::Pcmu,
            fault: self.fault,
            sleeps: self.sleeps,
            wake_delay: self.wake_delay,
            live_for: self.live_for,
            patience: self.patience,
            max_viewers: self.viewers,
            loss: self.loss,
            seed: self.seed,
            ..all
        })
    }
}

/// The first line of output. The token is not in it: no viewer needs that.
#[derive(Serialize)]
pub struct Announcement<'a> {
    kind: &'static str,
    listen: SocketAddr,
    server: SocketAddr,
    name: &'a str,
    /// In quotes, since it has more digits than JSON's numbers.
    tid: String,
    codec: &'static str,
    audio: Option<&'static str>,
    paths: Vec<&'static str>,
    sleeps: bool,
}

impl<'a> Announcement<'a> {
    pub fn of(camera: &'a RunningCamera) -> Self {
        let settings = &camera.settings;
        Self {
            kind: "gwell-camera",
            listen: camera.address,
            server: settings.server,
            name: &settings.name,
            tid: settings.tid().to_string(),
            codec: "h264",
            audio: settings.sound.then_some("pcmu"),
            paths: settings.paths.iter().map(|path| way::name(*path)).collect(),
            sleeps: settings.sleeps,
        }
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
        ("wake", "") => CameraCommand::Wake,
        ("offline", "") => CameraCommand::Offline,
        ("online", "") => CameraCommand::Online,
        ("loss", percent) => CameraCommand::Loss { percent: whole_percent(percent)? },
        ("fault", "none") => CameraCommand::Fault(None),
        ("fault", name) => CameraCommand::Fault(Some(name.trim().parse().map_err(|error| format!("{error}"))?)),
        _ => {
            return Err("commands: `ring`, `motion`, `wake`, `offline`, `online`, `loss PERCENT`, `fault NAME`, \
                        `fault none`, `quit`"
                .into());
        }
    }))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..100.0).contains(percent));
    percent.map(|percent: f64| percent / 100.0).ok_or_else(|| "not a number from 0 to less than 100".to_owned())
}

fn whole_percent(text: &str) -> Result<u8, String> {
    let percent = text.trim().parse().ok().filter(|percent| *percent < 100);
    percent.ok_or_else(|| "not a whole number from 0 to 99".to_owned())
}

pub(in crate::sim) async fn run(
    options: Options,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let settings = options.settings().map_err(io::Error::other)?;
    let teller = broadcast::Sender::new(256);
    // It logs in sooner than the next line is reached.
    let events = teller.subscribe();
    let camera = start_telling(settings, stop.clone(), teller).await?;
    write_line(output, &Announcement::of(&camera))?;
    let obey = async |line: &str| {
        camera.obey(parse(line)?).await;
        Ok(())
    };
    let outcome = attend(events, obey, lines, output, &stop).await;
    stop.cancel();
    camera.stopped().await;
    outcome
}
