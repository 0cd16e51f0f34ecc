//! The command line of `doorstep sim gwell-server`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::quirk::Quirk;
use super::settings::{Limits, Relays, Settings};

/// What is not given is generated anew at each start.
#[derive(Debug, Clone, Args)]
pub struct GwellServerOptions {
    /// The P2P port; port 0 takes any free one. The list server and the relays take free ones of the same address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What clients are told to send to in place of that address
    #[arg(long, value_name = "IP")]
    advertise: Option<Ipv4Addr>,
    /// How many cameras the account has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    cameras: u8,
    /// Which relays are named to the two sides of a call
    #[arg(long, value_enum, default_value_t = Named::None)]
    relays: Named,
    /// Closer to each other, two sessions of the account get each other's frames
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    min_stagger: u64,
    /// What its ids and tokens follow from [default: any]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Be odd from the start (`fault NAME` on standard input does so later)
    #[arg(long = "quirk", value_name = "NAME")]
    quirks: Vec<Quirk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Named {
    None,
    Udp,
    Tcp,
    Both,
}

impl GwellServerOptions {
    /// The server these options describe; what they leave open follows from the seed.
    pub(super) fn settings(self, seed: u64) -> Settings {
        let generated = Settings::with_cameras(self.seed.unwrap_or(seed), self.cameras.into());
        Settings {
            listen: self.listen,
            advertise: self.advertise,
            relays: Relays {
                tcp: matches!(self.relays, Named::Tcp | Named::Both),
                udp: matches!(self.relays, Named::Udp | Named::Both),
            },
            limits: Limits { min_stagger: Duration::from_secs(self.min_stagger), ..generated.limits },
            quirks: self.quirks,
            seed: self.seed,
            ..generated
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: GwellServerOptions,
    }

    fn settings(line: &str) -> Settings {
        Cli::try_parse_from(line.split_whitespace()).unwrap().options.settings(1)
    }

    #[test]
    fn every_option_reaches_the_settings() {
        let settings = settings(
            "server --listen 127.0.0.1:28800 --advertise 192.0.2.7 --cameras 3 --relays tcp --min-stagger 15 --seed 7 \
             --quirk zlib --quirk certify-code:3",
        );
        assert_eq!((settings.listen.port(), settings.advertise), (28_800, Some([192, 0, 2, 7].into())));
        assert_eq!((settings.cameras.len(), settings.relays), (3, Relays { tcp: true, udp: false }));
        assert_eq!(settings.limits.min_stagger, Duration::from_secs(15));
        assert_eq!((settings.quirks, settings.seed), (vec![Quirk::Zlib, Quirk::CertifyCode(3)], Some(7)));
        assert_eq!(settings.cameras[2].tid(), Settings::with_cameras(7, 3).cameras[2].tid());
    }

    #[test]
    fn without_options_there_is_one_camera_and_no_relay() {
        let settings = settings("server");
        assert_eq!((settings.cameras.len(), settings.relays), (1, Relays::default()));
        assert!(settings.listen.ip().is_loopback() && settings.quirks.is_empty());
    }
}
