//! `doorstep sim vivint`: what it says first, and its life.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Device, Kind, RunningVivint, SecondFactor, parse, start};
use crate::sim::console::{attend, write_line};
use crate::sim::made_up::random_seed;
use crate::sim::options::VivintOptions;

/// The first line of output: all that a client needs.
#[derive(Serialize)]
struct Announcement<'a> {
    kind: &'static str,
    listen: SocketAddr,
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
    devices: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: i64,
    kind: &'static str,
    name: &'a str,
    #[serde(flatten)]
    camera: Option<ListedCamera<'a>>,
}

#[derive(Serialize)]
struct ListedCamera<'a> {
    model: &'a str,
    uuid: &'a str,
    /// With the camera's own login; `None` where it is reached through the panel only.
    rtsp: Option<String>,
    /// Without the panel's login.
    panel_rtsp: Option<String>,
}

pub(in crate::sim) async fn run(
    options: VivintOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let account = start(options.settings(random_seed()?), stop.clone()).await?;
    let events = account.events();
    announce(&account, output)?;
    let outcome = attend(events, async |line: &str| obey(&account, line), lines, output, &stop).await;
    stop.cancel();
    account.stopped().await;
    outcome
}

fn obey(account: &RunningVivint, line: &str) -> Result<(), String> {
    match parse(line)? {
        Some(command) => account.obey(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn announce(account: &RunningVivint, output: &mut impl Write) -> io::Result<()> {
    let settings = &account.settings;
    let (second_factor, totp_secret) = match &settings.second_factor {
        SecondFactor::Totp(secret) => ("totp", Some(secret.expose())),
        SecondFactor::Sms => ("sms", None),
        SecondFactor::None | SecondFactor::NoneAndTokensAtOnce => ("none", None),
    };
    let announcement = Announcement {
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
        devices: settings.devices.iter().map(listed).collect(),
    };
    write_line(output, &announcement)
}

fn listed(device: &Device) -> Listed<'_> {
    let kind = match &device.kind {
        Kind::Panel => "panel",
        Kind::Camera(_) => "camera",
        Kind::Lock { .. } => "lock",
        Kind::Garage { .. } => "garage",
    };
    let camera = device.camera().map(|camera| ListedCamera {
        model: &camera.actual_type,
        uuid: &camera.uuid,
        rtsp: camera.own_url(device.id),
        panel_rtsp: camera.panel_url(device.id),
    });
    Listed { id: device.id, kind, name: &device.name, camera }
}
