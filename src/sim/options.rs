//! The command lines of `doorstep sim`.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::aws::AwsOptions;
use super::gwell_server::GwellServerOptions;
use super::tutk_camera::{ChallengeStatus, Fault, Protocol, Settings};
use super::{gwell_camera, kvs_doorbell, vivint, wyze_cloud};
use crate::media::{AudioCodec, AudioFormat, VideoCodec};
use crate::proto::gwell::token::AccessToken;
use crate::proto::tutk::keys::Uid;
use crate::secret::{Email, Enr, Password, Token};

/// Which virtual device to start.
#[derive(Debug, Clone, Subcommand)]
pub enum Kind {
    /// A Wyze camera with TUTK firmware, on UDP
    TutkCamera(TutkCameraOptions),
    /// Wyze's cloud with one account, on HTTP
    WyzeCloud(WyzeCloudOptions),
    /// A Vivint account: cloud, signalling database, doorbells and their RTSP servers
    Vivint(VivintOptions),
    /// AWS with signaling channels of doorbells: Kinesis Video Streams, STS, and AWS IoT
    Aws(Box<AwsOptions>),
    /// A doorbell at AWS, virtual or not: the master of a signaling channel of Kinesis Video Streams
    KvsDoorbell(Box<kvs_doorbell::command::Options>),
    /// A Wyze camera or doorbell with GWell firmware, at a P2P server, on UDP and TCP
    GwellCamera(Box<gwell_camera::command::Options>),
    /// The P2P service of GWell cameras: signalling, list server and relays, with one account
    GwellServer(GwellServerOptions),
}

/// What is not given is generated anew at each start.
#[derive(Debug, Clone, Args)]
pub struct TutkCameraOptions {
    /// Which transport it speaks
    #[arg(long, value_enum, default_value_t = Protocol::New)]
    protocol: Protocol,
    /// Model name as the cloud lists it
    #[arg(long, default_value = "HL_DB2")]
    model: String,
    /// P2P identity: 20 letters and digits
    #[arg(long, value_parser = Uid::parse)]
    uid: Option<Uid>,
    /// Camera secret: 16 characters, or 32
    #[arg(long, value_parser = parse_enr)]
    enr: Option<Enr>,
    /// MAC address: 12 hexadecimal digits, with or without colons
    #[arg(long, value_parser = parse_mac)]
    mac: Option<String>,
    /// Where clients reach it; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What its pictures are encoded with
    #[arg(long, value_enum, default_value_t = Video::H264)]
    codec: Video,
    /// Fills its pictures up to this rate; the clip alone has about 130 kbit/s
    #[arg(long, value_name = "KBIT/S", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    bitrate: Option<u32>,
    /// What its microphone sends
    #[arg(long, value_enum, default_value_t = Audio::Pcmu)]
    audio: Audio,
    /// Status byte of its K10001 challenge, which says how the client must decipher it
    #[arg(long, value_name = "1|3|6", default_value = "3", value_parser = parse_challenge)]
    challenge: ChallengeStatus,
    /// Misbehave from the start (`fault NAME` on standard input does so later)
    #[arg(long, value_name = "NAME")]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Video {
    H264,
    H265,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Audio {
    /// G.711 µ-law, 8 kHz
    Pcmu,
    /// G.711 A-law, 8 kHz
    Pcma,
    /// Signed 16-bit samples, 16 kHz
    Pcm,
    /// Signed 16-bit samples, 8 kHz
    Pcm8k,
    /// AAC-LC, 16 kHz
    Aac,
    /// Opus, 48 kHz stereo
    Opus,
    /// No microphone
    None,
}

impl TutkCameraOptions {
    /// The camera these options describe; what they leave open follows from the seed.
    pub fn settings(self, seed: u64) -> Settings {
        let generated = Settings::generate(seed);
        Settings {
            protocol: self.protocol,
            model: self.model,
            uid: self.uid.unwrap_or(generated.uid),
            enr: self.enr.unwrap_or(generated.enr),
            mac: self.mac.unwrap_or(generated.mac),
            listen: self.listen,
            codec: match self.codec {
                Video::H264 => VideoCodec::H264,
                Video::H265 => VideoCodec::H265,
            },
            kbit_per_second: self.bitrate,
            audio: self.audio.format(),
            challenge: self.challenge,
            fault: self.fault,
        }
    }
}

/// What is not given is generated anew at each start.
#[derive(Debug, Clone, Args)]
pub struct WyzeCloudOptions {
    /// Where clients reach every host of it; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Of the account [default: made up, as whatever else a login takes]
    #[arg(long, value_parser = parse_secret(Email::new))]
    email: Option<Email>,
    /// In the clear, as its owner types it
    #[arg(long, value_parser = parse_secret(Password::new))]
    password: Option<Password>,
    /// Of the developer console
    #[arg(long, value_parser = parse_secret(Password::new))]
    key_id: Option<Password>,
    /// Of the developer console
    #[arg(long, value_parser = parse_secret(Token::new))]
    api_key: Option<Token>,
    /// What a login asks for besides the password
    #[arg(long, value_enum, default_value_t = CodeBy::None)]
    second_factor: CodeBy,
    /// How long an access token lives
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    token_life: u64,
    /// Models on the account, separated by commas [default: one of each]
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    devices: Vec<String>,
    /// Where every device's pictures are signalled; without it, no device has a stream over WebRTC
    #[arg(long, value_name = "URL")]
    signaling_url: Option<String>,
    /// A camera of GWell's on the account, as `sim gwell-server` names it, and what the account logs in with there. May
    /// be given again
    #[arg(long, value_name = "NAME:ACCESS_ID:TOKEN", value_parser = parse_gwell)]
    gwell: Vec<GwellCamera>,
    /// Misbehave from the start (`fault NAME` on standard input does so later)
    #[arg(long, value_name = "NAME")]
    fault: Option<wyze_cloud::Trouble>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodeBy {
    None,
    /// A code of an authenticator app
    Totp,
    /// A code by text message, which is told on standard output
    Sms,
}

/// A camera at a P2P server, and its owner there.
#[derive(Debug, Clone)]
struct GwellCamera {
    name: String,
    owner: AccessToken,
}

impl GwellCamera {
    fn device(&self) -> wyze_cloud::Device {
        let model = self.name.rsplit_once('_').map_or(&*self.name, |(model, _)| model);
        wyze_cloud::Device { mac: self.name.clone(), ..wyze_cloud::Device::generate(model, &self.name, 0) }
    }

    fn user(&self) -> wyze_cloud::GwellUser {
        let (access_id, access_token) = self.owner.to_text();
        wyze_cloud::GwellUser { access_id, access_token: Token::new(access_token), expire: None }
    }
}

impl WyzeCloudOptions {
    /// The cloud these options describe; what they leave open follows from the seed.
    pub fn settings(self, seed: u64) -> wyze_cloud::Settings {
        let generated = wyze_cloud::Settings::generate(seed);
        let listed = |(seed, model): (u64, &String)| wyze_cloud::Device::generate(model, &format!("Door {seed}"), seed);
        let listed = (seed..).zip(&self.devices).map(listed);
        let devices: Vec<_> = listed.chain(self.gwell.iter().map(GwellCamera::device)).collect();
        let (signaling_url, gwell) = (self.signaling_url, self.gwell);
        wyze_cloud::Settings {
            listen: self.listen,
            email: self.email.unwrap_or(generated.email),
            password: self.password.unwrap_or(generated.password),
            key_id: self.key_id.unwrap_or(generated.key_id),
            api_key: self.api_key.unwrap_or(generated.api_key),
            second_factor: match self.second_factor {
                CodeBy::None => wyze_cloud::SecondFactor::None,
                CodeBy::Totp => wyze_cloud::SecondFactor::totp(seed),
                CodeBy::Sms => wyze_cloud::SecondFactor::Sms,
            },
            token_life: Duration::from_secs(self.token_life),
            devices: if devices.is_empty() { generated.devices } else { devices },
            streams: Arc::new(move |_| {
                let signaling_url = signaling_url.clone()?;
                Some(wyze_cloud::Stream { signaling_url, ice_servers: Vec::new() })
            }),
            gwell: Arc::new(move |id| gwell.iter().find(|camera| camera.name == id).map(GwellCamera::user)),
            trouble: self.fault,
            ..generated
        }
    }
}

/// What is not given is generated anew at each start.
#[derive(Debug, Clone, Args)]
pub struct VivintOptions {
    /// Where clients reach every host of it; port 0 takes any free one. Its cameras are there too
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddrV4,
    /// Of the account [default: made up, as whatever else a login takes]
    #[arg(long, value_parser = parse_secret(Email::new))]
    username: Option<Email>,
    #[arg(long, value_parser = parse_secret(Password::new))]
    password: Option<Password>,
    /// What a login asks for besides the password
    #[arg(long, value_enum, default_value_t = CodeBy::Sms)]
    second_factor: CodeBy,
    /// The web API key that its Firebase takes
    #[arg(long, value_parser = parse_secret(Token::new))]
    firebase_api_key: Option<Token>,
    /// How long a token lives, Firebase's too
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    token_life: u64,
    /// Misbehave from the start (`fault NAME` on standard input does so later)
    #[arg(long, value_name = "NAME")]
    fault: Option<vivint::Trouble>,
}

impl VivintOptions {
    /// The account these options describe; what they leave open follows from the seed.
    pub fn settings(self, seed: u64) -> vivint::Settings {
        let generated = vivint::Settings::generate(seed);
        vivint::Settings {
            listen: SocketAddr::V4(self.listen),
            username: self.username.unwrap_or(generated.username),
            password: self.password.unwrap_or(generated.password),
            second_factor: match self.second_factor {
                CodeBy::None => vivint::SecondFactor::None,
                CodeBy::Totp => vivint::SecondFactor::totp(seed),
                CodeBy::Sms => vivint::SecondFactor::Sms,
            },
            firebase_api_key: self.firebase_api_key.unwrap_or(generated.firebase_api_key),
            token_life: Duration::from_secs(self.token_life),
            devices: generated.devices.into_iter().map(|device| device.at(*self.listen.ip())).collect(),
            trouble: self.fault,
            ..generated
        }
    }
}

fn parse_secret<T>(new: fn(String) -> T) -> impl Fn(&str) -> Result<T, &'static str> + Clone {
    move |text| if text.is_empty() { Err("must not be empty") } else { Ok(new(text.to_owned())) }
}

impl Audio {
    fn format(self) -> Option<AudioFormat> {
        let mono = |codec, rate_hz| Some(AudioFormat { codec, rate_hz, channels: 1 });
        match self {
            Self::Pcmu => Some(AudioFormat::PCMU),
            Self::Pcma => Some(AudioFormat::PCMA),
            Self::Pcm => mono(AudioCodec::Pcm, 16_000),
            Self::Pcm8k => mono(AudioCodec::Pcm, 8_000),
            Self::Aac => mono(AudioCodec::Aac, 16_000),
            Self::Opus => Some(AudioFormat::OPUS),
            Self::None => None,
        }
    }
}

fn parse_gwell(text: &str) -> Result<GwellCamera, String> {
    let (name, owner) = text.split_once(':').ok_or("no NAME:ACCESS_ID:TOKEN")?;
    let (access_id, token) = owner.split_once(':').ok_or("no NAME:ACCESS_ID:TOKEN")?;
    let owner = AccessToken::parse(access_id, token).map_err(|error| error.to_string())?;
    Ok(GwellCamera { name: name.to_owned(), owner })
}

fn parse_enr(text: &str) -> Result<Enr, &'static str> {
    match text.len() {
        1..=256 => Ok(Enr::new(text)),
        _ => Err("an ENR has 1 to 256 characters"),
    }
}

fn parse_mac(text: &str) -> Result<String, &'static str> {
    let digits: String = text.chars().filter(|&c| c != ':').map(|c| c.to_ascii_uppercase()).collect();
    let well_formed = digits.len() == 12 && digits.chars().all(|c| c.is_ascii_hexdigit());
    if well_formed { Ok(digits) } else { Err("a MAC address has 12 hexadecimal digits") }
}

fn parse_challenge(text: &str) -> Result<ChallengeStatus, &'static str> {
    match text {
        "1" => Ok(ChallengeStatus::Default),
        "3" => Ok(ChallengeStatus::Enr16),
        "6" => Ok(ChallengeStatus::Enr32),
        _ => Err("the status is 1, 3 or 6"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        kind: Kind,
    }

    fn settings(line: &str) -> Result<Settings, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.kind {
            Kind::TutkCamera(options) => Ok(options.settings(1)),
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn every_option_reaches_the_camera() {
        let line = "sim tutk-camera --protocol old --model WYZEDB3 --uid HSBJYB5HSETGCDWD111A --enr aKzdqckqZ8HUHFe5 \
                    --mac aa:bb:cc:dd:ee:ff --listen 127.0.0.1:32761 --codec h265 --bitrate 2000 \
                    --audio aac --challenge 6 --fault swap";
        let settings = settings(line).unwrap();
        assert_eq!(settings.protocol, Protocol::Old);
        assert_eq!(settings.model, "WYZEDB3");
        assert_eq!(settings.uid_text(), "HSBJYB5HSETGCDWD111A");
        assert_eq!(settings.enr.expose(), "aKzdqckqZ8HUHFe5");
        assert_eq!(settings.mac, "AABBCCDDEEFF");
        assert_eq!(settings.listen.port(), 32_761);
        assert_eq!(settings.codec, VideoCodec::H265);
        assert_eq!(settings.kbit_per_second, Some(2_000));
        assert_eq!(settings.audio.unwrap().codec, AudioCodec::Aac);
        assert_eq!(settings.challenge, ChallengeStatus::Enr32);
        assert_eq!(settings.fault, Some(Fault::Swap));
    }

    #[test]
    fn every_option_reaches_the_cloud() {
        let line = "sim wyze-cloud --listen 127.0.0.1:8491 --email a@b.c --password hunter2 --key-id id --api-key key \
                    --second-factor totp --token-life 5 --devices HL_DB2,YD.LO1 --signaling-url ws://x/ --fault 500";
        let Kind::WyzeCloud(options) = Cli::try_parse_from(line.split_whitespace()).unwrap().kind else {
            panic!("{line} is another device")
        };
        let settings = options.settings(1);
        assert_eq!(settings.listen.port(), 8_491);
        assert_eq!(settings.email.expose(), "a@b.c");
        assert_eq!(settings.password.expose(), "hunter2");
        assert_eq!((settings.key_id.expose(), settings.api_key.expose()), ("id", "key"));
        assert!(matches!(settings.second_factor, wyze_cloud::SecondFactor::Totp(_)));
        assert_eq!(settings.token_life, Duration::from_secs(5));
        let models: Vec<&str> = settings.devices.iter().map(|device| device.model.as_str()).collect();
        assert_eq!(models, ["HL_DB2", "YD.LO1"]);
        assert_ne!(settings.devices[0].mac, settings.devices[1].mac);
        assert_eq!((settings.streams)("any").unwrap().signaling_url, "ws://x/");
        assert_eq!(settings.trouble.unwrap().fault, wyze_cloud::Fault::ServerError);
    }

    #[test]
    fn the_cloud_has_each_gwell_camera_that_a_p2p_server_names_with_its_owners_token() {
        let token = "5a".repeat(64);
        let cloud = |rest: &str| Cli::try_parse_from(format!("sim wyze-cloud {rest}").split_whitespace());
        let line = format!("--gwell GW_DBD_0A1B2C3D4E5F:12:{token} --gwell GW_GC1_1:7:{token}");
        let Kind::WyzeCloud(options) = cloud(&line).unwrap().kind else { panic!("{line} is another device") };
        let settings = options.settings(1);
        let devices: Vec<_> = settings.devices.iter().map(|one| (one.model.as_str(), one.mac.as_str())).collect();
        assert_eq!(devices, [("GW_DBD", "GW_DBD_0A1B2C3D4E5F"), ("GW_GC1", "GW_GC1_1")]);
        let user = (settings.gwell)("GW_DBD_0A1B2C3D4E5F").unwrap();
        assert_eq!((&*user.access_id, user.access_token.expose()), ("12", &*token));
        assert!((settings.gwell)("GW_DBD_1").is_none());
        for (mistake, reason) in [("GW_DBD_1", "NAME:ACCESS_ID:TOKEN"), ("GW_DBD_1:7:5a", "token")] {
            let error = cloud(&format!("--gwell {mistake}")).err().unwrap().to_string();
            assert!(error.contains(reason), "{mistake}: {error}");
        }
    }

    #[test]
    fn every_option_reaches_the_vivint_account() {
        let line = "sim vivint --listen 127.0.0.1:8492 --username a@b.c --password hunter2 --second-factor totp \
                    --firebase-api-key AIza --token-life 5 --fault db_stale";
        let Kind::Vivint(options) = Cli::try_parse_from(line.split_whitespace()).unwrap().kind else {
            panic!("{line} is another device")
        };
        let settings = options.settings(1);
        assert_eq!(settings.listen.port(), 8_492);
        assert_eq!((settings.username.expose(), settings.password.expose()), ("a@b.c", "hunter2"));
        assert!(matches!(settings.second_factor, vivint::SecondFactor::Totp(_)));
        assert_eq!(settings.firebase_api_key.expose(), "AIza");
        assert_eq!(settings.token_life, Duration::from_secs(5));
        assert_eq!(settings.trouble.unwrap().fault, vivint::Fault::Stale);
    }

    #[test]
    fn mistakes_are_refused_with_the_reason() {
        for (arguments, reason) in [
            ("--uid short", "20 letters and digits"),
            ("--mac 12:34", "12 hexadecimal digits"),
            ("--bitrate 0", "1..=100000"),
            ("--challenge 2", "1, 3 or 6"),
            ("--fault frieze", "`freeze`"),
        ] {
            let error = settings(&format!("sim tutk-camera {arguments}")).unwrap_err().to_string();
            assert!(error.contains(reason), "{arguments}: {error}");
        }
    }
}
