//! `doorstep sim wyze-cloud`: what it says first, and its life.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{RunningCloud, SecondFactor, parse, start};
use crate::sim::console::{attend, write_line};
use crate::sim::made_up::random_seed;
use crate::sim::options::WyzeCloudOptions;

/// The first line of output: all that a client needs.
#[derive(Serialize)]
struct Announcement<'a> {
    kind: &'static str,
    listen: SocketAddr,
    /// In place of each of Wyze's hosts.
    url: String,
    email: &'a str,
    password: &'a str,
    key_id: &'a str,
    api_key: &'a str,
    totp_secret: Option<&'a str>,
    devices: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    model: &'a str,
    name: &'a str,
    address: &'a str,
    uid: &'a str,
    enr: &'a str,
}

pub(in crate::sim) async fn run(
    options: WyzeCloudOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let cloud = start(options.settings(random_seed()?), stop.clone()).await?;
    let events = cloud.events();
    announce(&cloud, output)?;
    let outcome = attend(events, async |line: &str| obey(&cloud, line), lines, output, &stop).await;
    stop.cancel();
    cloud.stopped().await;
    outcome
}

fn obey(cloud: &RunningCloud, line: &str) -> Result<(), String> {
    match parse(line)? {
        Some(command) => cloud.obey(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn announce(cloud: &RunningCloud, output: &mut impl Write) -> io::Result<()> {
    let settings = &cloud.settings;
    let devices = settings.devices.iter().map(|device| Listed {
        id: &device.mac,
        model: &device.model,
        name: &device.nickname,
        address: &device.address,
        uid: &device.uid,
        enr: device.enr.expose(),
    });
    let announcement = Announcement {
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
