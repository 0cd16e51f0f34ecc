//! The command line of `doorstep sim aws`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{AccessKey, ChannelSettings, Limits, Quotas, Settings, Trouble, Turn};
use crate::secret::Password;

/// What is not given is generated anew at each start.
#[derive(Debug, Clone, Args)]
pub struct AwsOptions {
    /// Where clients reach every host of it without TLS; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The same over TLS, and MQTT where the client asks for it by ALPN
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    tls_listen: SocketAddr,
    /// AWS IoT for clients with a certificate
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    mqtts_listen: SocketAddr,
    /// A further name, or address, that its certificate is for
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// A signaling channel [default: doorbell-channel]
    #[arg(long = "channel", value_name = "NAME")]
    channels: Vec<String>,
    /// A thing of AWS IoT, which gets a certificate [default: doorbell-thing]
    #[arg(long = "thing", value_name = "NAME")]
    things: Vec<String>,
    /// Where to write the authority's certificate and those of the things; without it they are told in the first line
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// What the key may not do, such as `kinesisvideo:ListSignalingChannels`
    #[arg(long = "deny", value_name = "ACTION")]
    denied: Vec<String>,
    /// How long a connection to the signaling service lasts before GO_AWAY
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    lifetime: u64,
    /// From GO_AWAY to the end
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    grace: u64,
    /// How long a connection to the signaling service may be silent
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    idle: u64,
    /// How long temporary credentials last
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    credentials_life: u64,
    /// Take a thousand requests a second of each kind in place of Amazon's quotas
    #[arg(long)]
    no_quotas: bool,
    /// An address of a coturn that is told of: `turn:192.0.2.7:3478?transport=udp`
    #[arg(long = "turn", value_name = "URI", requires = "turn_secret")]
    turn: Vec<String>,
    /// That coturn's `static-auth-secret`
    #[arg(long, value_name = "SECRET")]
    turn_secret: Option<String>,
    /// What its keys follow from; certificates do not [default: any]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Misbehave from the start (`fault NAME` on standard input does so later)
    #[arg(long, value_name = "NAME")]
    fault: Option<Trouble>,
}

impl AwsOptions {
    /// The AWS these options describe, and where its certificates go; what they leave open follows from the seed.
    pub(super) fn settings(self, seed: u64) -> (Settings, Option<PathBuf>) {
        let generated = Settings::generate(self.seed.unwrap_or(seed));
        let channels: Vec<ChannelSettings> = self.channels.iter().map(|name| ChannelSettings::named(name)).collect();
        let denied = |key: AccessKey| AccessKey { denied: self.denied.clone(), ..key };
        let [connection, grace, idle] = [self.lifetime, self.grace, self.idle].map(Duration::from_secs);
        let secret = self.turn_secret.filter(|_| !self.turn.is_empty());
        let settings = Settings {
            listen: self.listen,
            tls_listen: self.tls_listen,
            mqtts_listen: self.mqtts_listen,
            names: self.names,
            region: self.region,
            keys: generated.keys.into_iter().map(denied).collect(),
            channels: if channels.is_empty() { generated.channels } else { channels },
            things: if self.things.is_empty() { generated.things } else { self.things },
            credentials_life: Duration::from_secs(self.credentials_life),
            limits: Limits { connection, grace, idle },
            quotas: if self.no_quotas { Quotas::GENEROUS } else { generated.quotas },
            turn: secret.map(|secret| Turn::Secret { uris: self.turn, secret: Password::new(secret) }),
            trouble: self.fault,
            ..generated
        };
        (settings, self.certificates)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sim::aws::Fault;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: AwsOptions,
    }

    #[test]
    fn every_option_reaches_the_settings() {
        let line = "aws --listen 127.0.0.1:8493 --tls-listen 127.0.0.1:8494 --mqtts-listen 127.0.0.1:8495 \
                    --name aws.test --region eu-west-1 --channel front --channel back --thing bell \
                    --certificates /tmp/x --deny kinesisvideo:ListSignalingChannels --lifetime 5 --grace 2 --idle 3 \
                    --credentials-life 4 --no-quotas --turn turn:127.0.0.1:3478 --turn-secret s --seed 7 \
                    --fault slow";
        let (settings, folder) = Cli::try_parse_from(line.split_whitespace()).unwrap().options.settings(1);
        let ports = [settings.listen, settings.tls_listen, settings.mqtts_listen].map(|at| at.port());
        assert_eq!((ports, settings.names), ([8_493, 8_494, 8_495], vec!["aws.test".to_owned()]));
        assert_eq!((settings.region.as_str(), folder), ("eu-west-1", Some("/tmp/x".into())));
        let names: Vec<&str> = settings.channels.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!((names, settings.things), (vec!["front", "back"], vec!["bell".to_owned()]));
        assert_eq!(settings.keys[0].denied, ["kinesisvideo:ListSignalingChannels"]);
        assert_eq!(settings.keys[0].id, Settings::generate(7).keys[0].id);
        let [connection, grace, idle] = [5, 2, 3].map(Duration::from_secs);
        assert_eq!(settings.limits, Limits { connection, grace, idle });
        assert_eq!((settings.credentials_life, settings.quotas), (Duration::from_secs(4), Quotas::GENEROUS));
        assert!(matches!(settings.turn, Some(Turn::Secret { uris, .. }) if uris == ["turn:127.0.0.1:3478"]));
        assert_eq!(settings.trouble.unwrap().fault, Fault::Slow);
    }

    #[test]
    fn a_turn_server_without_its_secret_is_refused() {
        let error = Cli::try_parse_from(["aws", "--turn", "turn:127.0.0.1:3478"]).err().unwrap().to_string();
        assert!(error.contains("--turn-secret"), "{error}");
    }
}
