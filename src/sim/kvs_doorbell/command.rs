//! `doorstep sim kvs-doorbell`: its command line, its first line of output, what it understands, and its life.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Command, Fault, Profile, Program, Ring, RunningKvsDoorbell, Settings, bell, start};
use crate::aws;
use crate::config::{AwsKeys, IotEndpoint, KvsEndpoints, KvsIdentity, KvsLogin};
use crate::secret::{Password, Pem, Token};
use crate::sim::console::{attend, write_line};

/// What is printed below the list of options.
const HELP: &str = "\
Enter is the button, and so is a line with `ring` on standard input; `offline`, `online`, `fault NAME`, `fault none` and
`quit` are understood, too. What happens is told on standard output, one line of JSON each. Where a reason in it names
keys under `kvs` in the configuration, it means the options of these names here.

A doorbell of a Raspberry Pi with a camera, a microphone, a speaker and a door opener at a GPIO pin, which logs in with
the certificate of a thing that AWS IoT has made:

  doorstep sim kvs-doorbell --region eu-central-1 --channel front-door --thing front-door \\
    --certificate thing.pem.crt --private-key thing.pem.key --role-alias doorbell-master \\
    --credentials-endpoint https://ID.credentials.iot.eu-central-1.amazonaws.com \\
    --iot-endpoint ID-ats.iot.eu-central-1.amazonaws.com \\
    --video-from 'rpicam-vid -t 0 --codec h264 --profile baseline --inline --intra 30 --flush -o -' \\
    --sound-from 'arecord -q -t raw -f S16_LE -c 1 -r 48000' --speaker 'aplay -q -t raw -f S16_LE -c 1 -r 48000' \\
    --opener 'gpioset -t 1s,0 GPIO17=1'

The role needs kinesisvideo:DescribeSignalingChannel, GetSignalingChannelEndpoint, GetIceServerConfig and ConnectAsMaster
on the channel; the thing's policy iot:Connect on client/THING and iot:Publish on topic/doorbell/CHANNEL/ring.";

/// Without a key and without a certificate, the environment's keys are used (AWS_ACCESS_KEY_ID, …), which others on this
/// machine cannot see as they can a command line.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// Name or ARN of the signaling channel
    #[arg(long, value_parser = parse_channel)]
    channel: String,
    /// AWS region, such as us-east-1
    #[arg(long, value_parser = parse_region)]
    region: String,
    /// Whose habits it has
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// A virtual AWS in place of Amazon's: control plane, STS and AWS IoT's
    #[arg(long, value_name = "URL")]
    endpoint: Option<Url>,
    /// The authority that vouches for it: a PEM file
    #[arg(long, value_name = "FILE", value_parser = parse_pem)]
    authority: Option<Pem>,
    /// With its secret, the login in place of a certificate [default: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    /// AWS_SESSION_TOKEN, which others on this machine cannot see as they can a command line]
    #[arg(long, value_name = "ID", requires = "secret_access_key")]
    access_key_id: Option<String>,
    /// Of that key
    #[arg(long, value_name = "KEY", requires = "access_key_id", value_parser = parse_password)]
    secret_access_key: Option<Password>,
    /// Of a key that lasts some hours only
    #[arg(long, value_name = "TOKEN", requires = "access_key_id", value_parser = parse_token)]
    session_token: Option<Token>,
    /// A role to take on with them
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// X.509 certificate of the thing: a PEM file. Without one it rings with its keys
    #[arg(long, value_name = "FILE", requires = "private_key", value_parser = parse_pem)]
    certificate: Option<Pem>,
    /// Of the certificate: a PEM file
    #[arg(long, value_name = "FILE", requires = "certificate", value_parser = parse_pem)]
    private_key: Option<Pem>,
    /// With it the certificate is all that is needed: AWS IoT's credentials provider gives keys for it
    #[arg(long, value_name = "NAME", requires_all = ["certificate", "credentials_endpoint", "thing"])]
    role_alias: Option<String>,
    // No description: a bare address is none that rustdoc takes, and brackets around it would show.
    #[arg(
        long,
        value_name = "URL",
        requires = "role_alias",
        help = "Where that provider is, https://ID.credentials.iot.REGION.amazonaws.com"
    )]
    credentials_endpoint: Option<Url>,
    /// Name of the thing; its MQTT client id too, which the IoT policy must allow [default: doorbell-master]
    #[arg(long, value_name = "NAME")]
    thing: Option<String>,
    /// Where it rings, ID-ats.iot.REGION.amazonaws.com [default: asked for]
    #[arg(long, value_name = "HOST", value_parser = IotEndpoint::parse)]
    iot_endpoint: Option<IotEndpoint>,
    /// Opens the door: a program and its arguments, without a shell; it has opened it when it ends with 0 within 10 s
    #[arg(long, value_name = "PROGRAM")]
    opener: Option<Program>,
    /// Switches a light: run with `on` or `off` behind its arguments
    #[arg(long, value_name = "PROGRAM")]
    led: Option<Program>,
    /// Films, in place of the clip, while somebody watches: H.264 in Annex B on its standard output. It is started again
    /// when it ends, and cannot be asked for a keyframe: let it make one each second or two, with its parameter sets
    /// ("rpicam-vid -t 0 --codec h264 --profile baseline --inline --intra 30 --flush -o -")
    #[arg(long, value_name = "PROGRAM")]
    video_from: Option<Program>,
    /// Listens, in place of the clip's beep: 16-bit samples, little-endian, mono, 48 kHz on its standard output
    /// ("arecord -q -t raw -f S16_LE -c 1 -r 48000")
    #[arg(long, value_name = "PROGRAM")]
    sound_from: Option<Program>,
    /// Plays what viewers say: the same on its standard input ("aplay -q -t raw -f S16_LE -c 1 -r 48000"). Started for
    /// each talk
    #[arg(long, value_name = "PROGRAM")]
    speaker: Option<Program>,
    /// Misbehave from the start (`fault NAME` on standard input does so later)
    #[arg(long, value_name = "NAME")]
    fault: Option<Fault>,
}

impl Options {
    /// The doorbell that these options describe.
    pub fn settings(self) -> Settings {
        let mut endpoints = KvsEndpoints::of(&self.region);
        endpoints.authority = self.authority;
        if let Some(endpoint) = self.endpoint {
            (endpoints.kinesisvideo, endpoints.sts, endpoints.iot) = (endpoint.clone(), endpoint.clone(), endpoint);
            // Amazon's STUN server has nothing to say to a virtual cloud.
            endpoints.ice_servers = Vec::new();
        }
        let identity = self.certificate.zip(self.private_key);
        let identity = identity.map(|(certificate, private_key)| KvsIdentity { certificate, private_key });
        let provider = self.role_alias.zip(self.credentials_endpoint).zip(self.thing.clone()).zip(identity.clone());
        let login = match (self.access_key_id.zip(self.secret_access_key), provider) {
            (Some((access_key_id, secret_access_key)), _) => {
                KvsLogin::Keys(AwsKeys { access_key_id, secret_access_key, session_token: self.session_token })
            }
            (None, Some((((role_alias, endpoint), thing), identity))) => {
                KvsLogin::Certificate { endpoint, role_alias, thing, identity }
            }
            (None, None) => KvsLogin::Environment,
        };
        Settings {
            aws: aws::Settings { region: self.region, login, role_arn: self.role_arn, endpoints, identity },
            channel: self.channel,
            profile: self.profile,
            ring: Ring {
                endpoint: self.iot_endpoint,
                client_id: self.thing.unwrap_or_else(|| "doorbell-master".to_owned()),
            },
            opener: self.opener,
            led: self.led,
            video_from: self.video_from,
            sound_from: self.sound_from,
            speaker: self.speaker,
            fault: self.fault,
        }
    }
}

/// The first line of output. It connects and is connected to by nobody, so there is no address.
#[derive(Serialize)]
pub(in crate::sim) struct Announcement<'a> {
    kind: &'static str,
    channel: &'a str,
    region: &'a str,
    profile: Profile,
    /// Where it rings.
    topic: String,
    kinesisvideo: &'a str,
}

impl<'a> Announcement<'a> {
    pub(in crate::sim) fn of(doorbell: &'a RunningKvsDoorbell) -> Self {
        let Settings { aws, channel, profile, .. } = &doorbell.settings;
        let (region, kinesisvideo) = (&aws.region, aws.endpoints.kinesisvideo.as_str());
        Self { kind: "kvs-doorbell", channel, region, profile: *profile, topic: bell::topic(channel), kinesisvideo }
    }
}

/// One line of standard input. An empty one is the button.
///
/// # Errors
/// With the commands there are.
pub fn parse(line: &str) -> Result<Command, String> {
    Ok(match line.split_once(' ').unwrap_or((line, "")) {
        ("" | "ring", "") => Command::Ring,
        ("online", "") => Command::Online(true),
        ("offline", "") => Command::Online(false),
        ("fault", "none") => Command::Fault(None),
        ("fault", name) => Command::Fault(Some(name.trim().parse().map_err(|error| format!("{error}"))?)),
        _ => {
            return Err(
                "commands: `ring` or nothing but Enter, `online`, `offline`, `fault NAME`, `fault none`, `quit`".into(),
            );
        }
    })
}

/// As far as addresses are made of it; AWS says whether there is one of this name.
fn parse_region(text: &str) -> Result<String, &'static str> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(text.to_owned()) } else { Err("expected an AWS region, such as us-east-1") }
}

fn parse_channel(text: &str) -> Result<String, &'static str> {
    let fits =
        (1..=1_024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-:/".contains(&b));
    if fits { Ok(text.to_owned()) } else { Err("expected the channel's name or ARN") }
}

fn parse_pem(text: &str) -> Result<Pem, &'static str> {
    if text.is_empty() { Err("expected a file") } else { Ok(Pem::new(text)) }
}

fn parse_password(text: &str) -> Result<Password, &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(Password::new(text)) }
}

fn parse_token(text: &str) -> Result<Token, &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(Token::new(text)) }
}

pub(in crate::sim) async fn run(
    options: Options,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let doorbell = start(options.settings(), stop.clone()).map_err(io::Error::other)?;
    let events = doorbell.events();
    write_line(output, &Announcement::of(&doorbell))?;
    let obey = async |line: &str| doorbell.obey(parse(line)?).map_err(|error| error.to_string());
    let outcome = attend(events, obey, lines, output, &stop).await;
    stop.cancel();
    doorbell.stopped().await;
    outcome
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn settings(line: &str) -> Result<Settings, clap::Error> {
        let words = ["sim", "--channel", "porch", "--region", "us-east-1"].into_iter().chain(line.split_whitespace());
        Ok(Cli::try_parse_from(words)?.options.settings())
    }

    #[test]
    fn without_more_it_is_amazons_and_the_environments() {
        let settings = settings("").unwrap();
        assert!(matches!(settings.aws.login, KvsLogin::Environment));
        assert_eq!(settings.aws.endpoints.kinesisvideo.as_str(), "https://kinesisvideo.us-east-1.amazonaws.com/");
        assert_eq!(settings.aws.endpoints.ice_servers, ["stun:stun.kinesisvideo.us-east-1.amazonaws.com:443"]);
        assert_eq!((settings.profile, settings.ring.endpoint), (Profile::Ameba, None));
        assert_eq!((settings.opener, settings.video_from, settings.fault), (None, None, None));
    }

    #[test]
    fn every_option_reaches_the_doorbell() {
        let keys =
            settings("--access-key-id AKID --secret-access-key s3 --session-token t --role-arn r --profile linux");
        let Settings { aws, profile, .. } = keys.unwrap();
        let KvsLogin::Keys(keys) = &aws.login else { panic!("{:?}", aws.login) };
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.expose()), ("AKID", "s3"));
        assert_eq!((keys.session_token.as_ref().unwrap().expose(), aws.role_arn.as_deref()), ("t", Some("r")));
        assert_eq!(profile, Profile::Linux);
        let certificate = "--certificate c.pem --private-key k.pem --role-alias a --credentials-endpoint https://x/ \
                           --thing t --iot-endpoint h:443 --endpoint http://127.0.0.1:1/ --authority ca.pem --fault echo";
        let Settings { aws, ring, fault, .. } = settings(certificate).unwrap();
        let KvsLogin::Certificate { role_alias, thing, .. } = &aws.login else { panic!("{:?}", aws.login) };
        assert_eq!((role_alias.as_str(), thing.as_str(), ring.client_id.as_str()), ("a", "t", "t"));
        assert_eq!(ring.endpoint, Some(IotEndpoint { host: "h".into(), port: Some(443), tls: true }));
        assert_eq!((aws.endpoints.iot.port(), aws.endpoints.ice_servers.len()), (Some(1), 0));
        assert!(aws.identity.is_some() && aws.endpoints.authority.is_some());
        assert_eq!(fault, Some(Fault::Echo));
        let words =
            ["sim", "--channel", "a", "--region", "b", "--opener", "gpioset -t 1s,0 GPIO17=1", "--speaker", "aplay"];
        let settings = Cli::try_parse_from(words).unwrap().options.settings();
        assert_eq!(settings.opener, "gpioset -t 1s,0 GPIO17=1".parse().ok());
        assert_eq!(settings.speaker, "aplay".parse().ok());
    }

    #[test]
    fn half_a_login_and_what_is_no_name_are_refused() {
        for mistake in [
            "--access-key-id AKID",
            "--session-token t",
            "--certificate c.pem",
            "--certificate c --private-key k --role-alias a",
            "--iot-endpoint mqtt://plain",
            "--fault frieze",
            "--profile c",
        ] {
            assert!(settings(mistake).is_err(), "{mistake}");
        }
        for words in [["--region", "a b"], ["--region", "x/../"], ["--channel", "a b"], ["--opener", " "]] {
            let all = ["sim", "--channel", "porch", "--region", "us-east-1"].into_iter().chain(words);
            assert!(Cli::try_parse_from(all).is_err(), "{words:?}");
        }
    }

    #[test]
    fn each_command_is_understood_and_nothing_else() {
        assert_eq!(parse(""), Ok(Command::Ring));
        assert_eq!(parse("ring"), Ok(Command::Ring));
        assert_eq!(parse("offline"), Ok(Command::Online(false)));
        assert_eq!(parse("fault silent-door"), Ok(Command::Fault(Some(Fault::SilentDoor))));
        assert_eq!(parse("fault none"), Ok(Command::Fault(None)));
        for mistake in ["jump", "ring twice", "fault", "fault x"] {
            assert!(parse(mistake).is_err(), "`{mistake}` was understood");
        }
    }
}
