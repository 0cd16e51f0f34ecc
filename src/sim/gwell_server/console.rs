//! `doorstep sim gwell-server`: what it says first, and its life.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::options::GwellServerOptions;
use super::{CameraAccount, RunningServer, parse, start};
use crate::proto::gwell::token::AccessToken;
use crate::sim::console::{attend, write_line};
use crate::sim::made_up::random_seed;

/// The first line of output: all that terminals and cameras need.
#[derive(Serialize)]
struct Announcement {
    kind: &'static str,
    /// The P2P port.
    listen: SocketAddr,
    list: SocketAddr,
    udp_relay: SocketAddr,
    tcp_relay: SocketAddr,
    /// As the cloud gives them: of the account.
    access_id: String,
    access_token: String,
    cameras: Vec<Camera>,
}

/// What `doorstep sim gwell-camera` is to be started with.
#[derive(Serialize)]
struct Camera {
    name: String,
    tid: String,
    token: String,
}

impl Camera {
    fn of(account: &CameraAccount) -> Self {
        let (tid, token) = account.token.to_text();
        Self { name: account.name.clone(), tid, token }
    }
}

pub(in crate::sim) async fn run(
    options: GwellServerOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let server = start(options.settings(random_seed()?), stop.clone()).await?;
    let events = server.events();
    announce(&server, output)?;
    let outcome = attend(events, async |line: &str| obey(&server, line), lines, output, &stop).await;
    stop.cancel();
    server.stopped().await;
    outcome
}

fn obey(server: &RunningServer, line: &str) -> Result<(), String> {
    match parse(line)? {
        Some(command) => server.obey(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn announce(server: &RunningServer, output: &mut impl Write) -> io::Result<()> {
    let account = server.settings.terminals.first().map(AccessToken::to_text).unwrap_or_default();
    let announcement = Announcement {
        kind: "gwell-server",
        listen: server.address,
        list: server.list_address,
        udp_relay: server.udp_relay,
        tcp_relay: server.tcp_relay,
        access_id: account.0,
        access_token: account.1,
        cameras: server.settings.cameras.iter().map(Camera::of).collect(),
    };
    write_line(output, &announcement)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: GwellServerOptions,
    }

    #[tokio::test]
    async fn the_first_line_holds_all_that_clients_need_and_mistakes_are_named() {
        let (sender, lines) = mpsc::channel(16);
        for command in ["fault zlib", "fault tired", "jump", "wake nobody", "restart", "quit"] {
            sender.send(command.to_owned()).await.unwrap();
        }
        let options = Cli::try_parse_from(["sim", "--cameras", "2"]).unwrap().options;
        let mut output = Vec::new();
        let running = run(options, lines, &mut output, CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("it quits").unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = &lines[0];
        for key in ["listen", "list", "udp_relay", "tcp_relay", "access_id", "access_token"] {
            assert!(first[key].is_string(), "{key} is missing in {first}");
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert!(AccessToken::parse(&text(&first["access_id"]), &text(&first["access_token"])).is_ok());
        let camera = &first["cameras"][1];
        assert!(text(&camera["name"]).starts_with("GW_"), "{camera}");
        assert!(AccessToken::parse(&text(&camera["tid"]), &text(&camera["token"])).is_ok());
        assert_eq!(lines.iter().filter(|line| line["event"] == "bad_command").count(), 3, "{lines:#?}");
    }
}
