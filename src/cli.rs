//! The command line: arguments, logging, exit codes.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::app::{self, Home, demo};
use crate::config::{self, Config, LogLevel, Place};
use crate::{privileges, sim};

/// Asked to stop and stopped cleanly is `SUCCESS`; the other two as INTERFACES §1 has them.
const FATAL: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;

/// What a home owner would want to know is `Info`. The WebRTC engine tells of every viewer's every step, and the
/// demo's broker calls each closed connection an error.
fn log_of(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    EnvFilter::new(format!("warn,doorstep={level},rtc=error,rumqttd=off"))
}

#[derive(Debug, Parser)]
#[command(name = "doorstep", version, about = "Doorbells over MQTT and WebRTC, with a way back to the speaker")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines look on standard error; `DOORSTEP_LOG` sets what is logged (`info`, `doorstep=debug`, …)
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Run(Configured),
    /// Try everything out: virtual doorbells, a broker and the service, on loopback only
    Demo(demo::Options),
    /// Read the configuration, print every mistake, and reach for each doorbell once
    Check {
        #[command(flatten)]
        configured: Configured,
        /// Read the configuration only
        #[arg(long)]
        offline: bool,
    },
    /// List the doorbells that were found
    Devices {
        #[command(flatten)]
        configured: Configured,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete stored tokens and clear every retained MQTT topic ever published
    Forget(Configured),
    /// Run one virtual device alone, for other programs to talk to
    #[command(subcommand)]
    Sim(sim::options::Kind),
}

impl Command {
    /// The folder it keeps things in.
    fn data(&self) -> Option<PathBuf> {
        match self {
            Self::Run(configured) | Self::Forget(configured) => Some(configured.data()),
            Self::Check { configured, .. } | Self::Devices { configured, .. } => Some(configured.data()),
            Self::Demo(_) | Self::Sim(_) => None,
        }
    }
}

/// Where a configured installation keeps its things.
#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration file [default: /data/options.json in the app, doorstep.yaml elsewhere]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for what must survive a restart [default: /data in the app, doorstep-data elsewhere]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Configured {
    fn config(&self) -> PathBuf {
        let default = if in_add_on() { "/data/options.json" } else { "doorstep.yaml" };
        self.config.clone().unwrap_or_else(|| default.into())
    }

    fn data(&self) -> PathBuf {
        let default = if in_add_on() { "/data" } else { "doorstep-data" };
        self.data.clone().unwrap_or_else(|| default.into())
    }

    fn load(&self, log: &Log) -> Result<Config, ExitCode> {
        let place = if in_add_on() { Place::App } else { Place::Standalone };
        let config = config::load(&self.config(), place).map_err(|errors| {
            complain(&errors);
            ExitCode::from(WRONG_CONFIGURATION)
        })?;
        if let Some(level) = config.log_level {
            log.set(level);
        }
        Ok(config)
    }
}

fn in_add_on() -> bool {
    std::env::var_os("SUPERVISOR_TOKEN").is_some_and(|token| !token.is_empty())
}

/// Runs the command line to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = start_logging(cli.log_format);
    if in_add_on()
        && let Err(error) = privileges::give_up_root(cli.command.data().as_deref(), Some(Path::new(Home::CLIPS)))
    {
        return fatal(&error.into());
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&anyhow::Error::from(error).context("starting the runtime")),
    };
    let code = runtime.block_on(execute(cli.command, &log));
    // A blocked read of standard input must not keep the process alive.
    runtime.shutdown_background();
    code
}

async fn execute(command: Command, log: &Log) -> ExitCode {
    let outcome = match command {
        Command::Run(configured) => match configured.load(log) {
            Ok(config) => run(config, configured.data()).await,
            Err(code) => return code,
        },
        Command::Demo(options) => demo::run(options).await,
        Command::Check { configured, offline } => match configured.load(log) {
            Ok(_) if offline => {
                app::report("the configuration is right");
                Ok(())
            }
            Ok(config) => match check(&config, &configured.data()).await {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::from(WRONG_CONFIGURATION),
                Err(error) => Err(error),
            },
            Err(code) => return code,
        },
        Command::Devices { configured, json } => match configured.load(log) {
            Ok(config) => app::devices(&config, &configured.data(), json).await,
            Err(code) => return code,
        },
        Command::Forget(configured) => match configured.load(log) {
            Ok(config) => forget(&config, configured.data()).await,
            Err(code) => return code,
        },
        Command::Sim(kind) => simulate(kind).await,
    };
    outcome.map_or_else(|error| fatal(&error), |()| ExitCode::SUCCESS)
}

async fn run(config: Config, data: PathBuf) -> anyhow::Result<()> {
    app::run(config, data, Home::from_env()?).await
}

async fn check(config: &Config, data: &Path) -> anyhow::Result<bool> {
    Ok(app::check(config, data, Home::from_env()?.as_ref()).await)
}

async fn forget(config: &Config, data: PathBuf) -> anyhow::Result<()> {
    app::forget(config, data, Home::from_env()?.as_ref()).await
}

/// `doorstep sim`: one virtual device on standard input and output.
async fn simulate(kind: sim::options::Kind) -> anyhow::Result<()> {
    let lines = sim::console::stdin_lines();
    let mut output = std::io::stdout();
    let device = sim::console::run(kind, lines, &mut output, CancellationToken::new());
    tokio::select! {
        ended = device => ended.context("the virtual device stopped"),
        signal = app::asked_to_stop() => signal,
    }
}

fn fatal(error: &anyhow::Error) -> ExitCode {
    complain(&format_args!("{error:#}"));
    ExitCode::from(FATAL)
}

/// Tells the person at the terminal.
#[expect(clippy::print_stderr, reason = "this is the command line's voice")]
fn complain(what: &impl std::fmt::Display) {
    eprintln!("{what}");
}

/// What is logged, for as long as only `log_level` of the configuration is to say so.
struct Log(Option<reload::Handle<EnvFilter, Registry>>);

impl Log {
    fn set(&self, level: LogLevel) {
        if let Some(Err(error)) = self.0.as_ref().map(|filter| filter.reload(log_of(level))) {
            tracing::warn!(%error, "`log_level` of the configuration has no effect");
        }
    }
}

/// `DOORSTEP_LOG` is what whoever looks for a fault says now; it goes before the configuration.
fn start_logging(format: LogFormat) -> Log {
    let wanted = EnvFilter::try_from_env("DOORSTEP_LOG");
    let is_usual = wanted.is_err();
    let (filter, handle) = reload::Layer::new(wanted.unwrap_or_else(|_| log_of(LogLevel::Info)));
    let log = tracing_subscriber::registry().with(filter).with(filter_fn(has_no_secret));
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
    Log(is_usual.then_some(handle))
}

fn has_no_secret(line: &Metadata<'_>) -> bool {
    may_be_shown(line.target(), *line.level())
}

/// At their most talkative libraries print what goes over their connections: signed addresses and descriptions of
/// calls (`tungstenite`), the ICE passwords of cameras and viewers (`rtc_ice`), the names of RTSP sessions, which are
/// all it takes to end them (`retina`). `rumqttc` prints any packet that no broker should send, at every level: of an
/// address that returns what it gets that is our own login. Why a connection ended, `mqtt` says. No `DOORSTEP_LOG`
/// shows that.
fn may_be_shown(target: &str, level: Level) -> bool {
    const TALKATIVE: [&str; 3] = ["tungstenite", "rtc_ice", "retina"];
    let library = target.split("::").next().unwrap_or_default();
    library != "rumqttc" && (level <= Level::INFO || !TALKATIVE.contains(&library))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_print_of_their_connections_is_never_shown() {
        for target in ["tungstenite::protocol", "rtc_ice::agent", "retina::client", "retina"] {
            assert!(!may_be_shown(target, Level::DEBUG) && !may_be_shown(target, Level::TRACE), "{target}");
            assert!(may_be_shown(target, Level::INFO), "{target}");
        }
        assert!(!may_be_shown("rumqttc::state", Level::ERROR));
        for target in ["doorstep::vendor::vivint::rtsp", "rtc_sctp::association", "hyper"] {
            assert!(may_be_shown(target, Level::TRACE), "{target}");
        }
    }
}
