//! The command line: arguments, logging, exit codes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::app::{self, Home, demo};
use crate::config::{self, Config, Place};
use crate::sim;

/// Asked to stop and stopped cleanly is `SUCCESS`; the other two as INTERFACES §1 has them.
const FATAL: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;
/// What a home owner would want to know. The WebRTC engine tells of every viewer's every step, and the demo's
/// broker calls each closed connection an error.
const DEFAULT_LOG: &str = "warn,doorstep=info,rtc=error,rumqttd=off";

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

/// Where a configured installation keeps its things.
#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration file [default: /data/options.json in the add-on, doorstep.yaml elsewhere]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for what must survive a restart [default: /data in the add-on, doorstep-data elsewhere]
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

    fn load(&self) -> Result<Config, ExitCode> {
        let place = if in_add_on() { Place::App } else { Place::Standalone };
        config::load(&self.config(), place).map_err(|errors| {
            complain(&errors);
            ExitCode::from(WRONG_CONFIGURATION)
        })
    }
}

fn in_add_on() -> bool {
    std::env::var_os("SUPERVISOR_TOKEN").is_some_and(|token| !token.is_empty())
}

/// Runs the command line to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.log_format);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&anyhow::Error::from(error).context("starting the runtime")),
    };
    let code = runtime.block_on(execute(cli.command));
    // A blocked read of standard input must not keep the process alive.
    runtime.shutdown_background();
    code
}

async fn execute(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Run(configured) => match configured.load() {
            Ok(config) => run(config, configured.data()).await,
            Err(code) => return code,
        },
        Command::Demo(options) => demo::run(options).await,
        Command::Check { configured, offline } => match configured.load() {
            Ok(_) if offline => {
                app::report("the configuration is right");
                Ok(())
            }
            Ok(config) if app::check(&config, &configured.data()).await => Ok(()),
            Ok(_) => return ExitCode::from(WRONG_CONFIGURATION),
            Err(code) => return code,
        },
        Command::Devices { configured, json } => match configured.load() {
            Ok(config) => app::devices(&config, &configured.data(), json).await,
            Err(code) => return code,
        },
        Command::Forget(configured) => match configured.load() {
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

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("DOORSTEP_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let log = tracing_subscriber::registry().with(filter).with(filter_fn(has_no_secret));
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
}

fn has_no_secret(line: &Metadata<'_>) -> bool {
    may_be_shown(line.target(), *line.level())
}

/// At their most talkative libraries print what goes over their connections: signed addresses and descriptions of
/// calls (`tungstenite`), the ICE passwords of cameras and viewers (`rtc_ice`), the names of RTSP sessions, which are
/// all it takes to end them (`retina`). No `DOORSTEP_LOG` shows that.
fn may_be_shown(target: &str, level: Level) -> bool {
    const TALKATIVE: [&str; 3] = ["tungstenite", "rtc_ice", "retina"];
    let library = target.split("::").next().unwrap_or_default();
    level <= Level::INFO || !TALKATIVE.contains(&library)
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
        for target in ["doorstep::vendor::vivint::rtsp", "rtc_sctp::association", "hyper"] {
            assert!(may_be_shown(target, Level::TRACE), "{target}");
        }
    }
}
