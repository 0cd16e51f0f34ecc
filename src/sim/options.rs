//! The command lines of `doorstep sim`.

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::tutk_camera::{ChallengeStatus, Fault, Protocol, Settings};
use crate::media::{AudioCodec, AudioFormat, VideoCodec};
use crate::proto::tutk::keys::Uid;
use crate::secret::Enr;

/// Which virtual device to start.
#[derive(Debug, Clone, Subcommand)]
pub enum Kind {
    /// A Wyze camera with TUTK firmware, on UDP
    TutkCamera(TutkCameraOptions),
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
        let Kind::TutkCamera(options) = Cli::try_parse_from(line.split(' '))?.kind;
        Ok(options.settings(1))
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
