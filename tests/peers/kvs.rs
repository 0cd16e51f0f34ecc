//! A virtual AWS with one doorbell's channel, and what somebody else's program is told of it: where it is, whom to
//! trust, and with which keys to come.

use std::path::Path;

use doorstep::aws::{self, Aws};
use doorstep::sim::aws::{self as aws_sim, AccessKey, Event, Files, Quotas, RunningAws, Settings};
use doorstep::sim::kvs_doorbell::{self, Command, Profile, Ring, RunningKvsDoorbell};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::told::happens;

/// Stops when dropped.
pub(crate) struct House {
    pub(crate) aws: RunningAws,
    pub(crate) stop: CancellationToken,
    happened: Receiver<Event>,
    files: Files,
    _folder: TempDir,
    _stops: DropGuard,
}

/// For clients that may hurry.
pub(crate) fn settings() -> Settings {
    Settings { quotas: Quotas::GENEROUS, ..Settings::generate(1) }
}

impl House {
    pub(crate) async fn start(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let aws = aws_sim::start(settings, stop.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = aws.write_certificates(folder.path()).unwrap();
        let happened = aws.events();
        Self { aws, stop: stop.clone(), happened, files, _folder: folder, _stops: stop.drop_guard() }
    }

    pub(crate) fn authority(&self) -> &Path {
        &self.files.authority
    }

    pub(crate) fn channel(&self) -> &str {
        &self.aws.settings.channels[0].name
    }

    /// The files of the first thing's certificate.
    pub(crate) fn identity(&self) -> Value {
        let (certificate, private_key) = &self.files.things[0];
        json!({ "certificate": certificate, "private_key": private_key })
    }

    /// Where that thing has its credentials from.
    pub(crate) fn credentials(&self) -> String {
        format!("https://{}/role-aliases/{}/credentials", self.aws.tls, self.aws.settings.role_alias)
    }

    /// What every program is told; the addresses are those of its listener with TLS.
    pub(crate) fn account(&self) -> Value {
        let endpoints = self.aws.secure_endpoints();
        json!({
            "region": self.aws.settings.region,
            "endpoint": trimmed(&endpoints.kinesisvideo),
            "endpoints": {
                "kinesisvideo": trimmed(&endpoints.kinesisvideo),
                "sts": trimmed(&endpoints.sts),
                "iot": trimmed(&endpoints.iot),
            },
            "authority": self.authority(),
            "keys": keys(&self.aws.settings.keys[0]),
            "channel": self.channel(),
            "role": self.aws.settings.roles[0].arn,
        })
    }

    /// Ourselves at that account.
    pub(crate) fn settings(&self) -> aws::Settings {
        aws::Settings {
            region: self.aws.settings.region.clone(),
            login: self.aws.login().unwrap(),
            role_arn: None,
            endpoints: self.aws.secure_endpoints(),
            identity: self.aws.identity(),
        }
    }

    /// Panics if the virtual AWS has refused anything so far.
    pub(crate) fn assert_content(&mut self) {
        loop {
            match self.happened.try_recv() {
                Ok(event @ (Event::Refused { .. } | Event::FrameRefused { .. })) => panic!("{event:?}"),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    pub(crate) fn ourselves(&self) -> Aws {
        Aws::new(self.settings()).unwrap()
    }

    /// A doorbell of this kind at the channel, online.
    pub(crate) async fn doorbell(&self, profile: Profile) -> RunningKvsDoorbell {
        let ring = Ring { endpoint: Some(self.aws.iot_endpoint()), client_id: "doorbell".to_owned() };
        let settings =
            kvs_doorbell::Settings { profile, ring, ..kvs_doorbell::Settings::at(self.settings(), self.channel()) };
        let mut events = self.aws.events();
        let doorbell = kvs_doorbell::start(settings, self.stop.clone()).unwrap();
        if profile == Profile::Linux {
            // It connects when somebody has rung.
            doorbell.obey(Command::Ring).unwrap();
        }
        let is_online = |event: &Event| matches!(event, Event::Connected { role: "MASTER", .. });
        happens(&mut events, "the doorbell's connection", is_online).await;
        doorbell
    }
}

pub(crate) fn keys(key: &AccessKey) -> Value {
    let mut keys = json!({ "access_key_id": key.id, "secret_access_key": key.secret.expose() });
    if let Some(token) = &key.token {
        keys["session_token"] = token.expose().into();
    }
    keys
}

fn trimmed(url: &url::Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}
