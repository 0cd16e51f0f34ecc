//! A virtual AWS with one doorbell's channel, and what somebody else's program is told of it: where it is, whom to
//! trust, and with which keys to come.

use std::path::PathBuf;

use doorstep::aws::{self, Aws};
use doorstep::config::{AwsKeys, IotEndpoint, KvsIdentity, KvsLogin};
use doorstep::secret::Pem;
use doorstep::sim::aws::{self as sim, AccessKey, Quotas, RunningAws, Settings};
use doorstep::sim::kvs_doorbell::{self, Profile, Ring, RunningKvsDoorbell};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::wait::PATIENCE;

/// Stops when dropped.
pub(crate) struct House {
    pub(crate) aws: RunningAws,
    pub(crate) stop: CancellationToken,
    files: TempDir,
    _stops: DropGuard,
}

/// For clients that may hurry.
pub(crate) fn settings() -> Settings {
    Settings { quotas: Quotas::GENEROUS, ..Settings::generate(1) }
}

impl House {
    pub(crate) async fn start(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let aws = sim::start(settings, stop.clone()).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("authority.pem"), &aws.authority_pem).unwrap();
        for identity in &aws.identities {
            std::fs::write(files.path().join(format!("{}.pem", identity.thing)), &identity.certificate_pem).unwrap();
            std::fs::write(files.path().join(format!("{}.key", identity.thing)), &identity.private_key_pem).unwrap();
        }
        Self { aws, stop: stop.clone(), files, _stops: stop.drop_guard() }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.files.path().join("authority.pem")
    }

    pub(crate) fn channel(&self) -> &str {
        &self.aws.settings.channels[0].name
    }

    fn key(&self) -> &AccessKey {
        &self.aws.settings.keys[0]
    }

    /// The files of the first thing's certificate.
    pub(crate) fn identity(&self) -> Value {
        let thing = &self.aws.settings.things[0];
        let file = |ending: &str| self.files.path().join(format!("{thing}.{ending}"));
        json!({ "certificate": file("pem"), "private_key": file("key") })
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
            "keys": keys(self.key()),
            "channel": self.channel(),
            "role": self.aws.settings.roles[0].arn,
        })
    }

    /// Ourselves at that account.
    pub(crate) fn settings(&self) -> aws::Settings {
        let key = self.key();
        aws::Settings {
            region: self.aws.settings.region.clone(),
            login: KvsLogin::Keys(AwsKeys {
                access_key_id: key.id.clone(),
                secret_access_key: key.secret.clone(),
                session_token: key.token.clone(),
            }),
            role_arn: None,
            endpoints: self.aws.secure_endpoints(),
            identity: self.aws.identities.first().map(|identity| KvsIdentity {
                certificate: Pem::new(&identity.certificate_pem),
                private_key: Pem::new(identity.private_key_pem.expose()),
            }),
        }
    }

    pub(crate) fn ourselves(&self) -> Aws {
        Aws::new(self.settings()).unwrap()
    }

    /// A doorbell of this kind at the channel, online.
    pub(crate) async fn doorbell(&self, profile: Profile) -> RunningKvsDoorbell {
        let settings = kvs_doorbell::Settings {
            aws: self.settings(),
            channel: self.channel().to_owned(),
            profile,
            ring: Ring { endpoint: Some(self.iot_endpoint(self.aws.mqtts.port())), client_id: "doorbell".to_owned() },
            opener: None,
            led: None,
            video_from: None,
            sound_from: None,
            speaker: None,
            fault: None,
        };
        let mut happens = self.aws.events();
        let doorbell = kvs_doorbell::start(settings, self.stop.clone()).unwrap();
        let online =
            async { while !matches!(happens.recv().await.unwrap(), sim::Event::Connected { role: "MASTER", .. }) {} };
        timeout(PATIENCE, online).await.expect("the doorbell does not come online");
        doorbell
    }

    pub(crate) fn iot_endpoint(&self, port: u16) -> IotEndpoint {
        IotEndpoint { host: "localhost".to_owned(), port: Some(port), tls: true }
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
