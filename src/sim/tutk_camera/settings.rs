//! What a virtual camera is made of.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::fault::Fault;
use super::identity::ENR_WITH_NUL;
use crate::media::{AudioFormat, VideoCodec};
use crate::proto::tutk::keys::Uid;
use crate::secret::Enr;
use crate::sim::dice::Dice;

/// Which transport a camera speaks, or a session was opened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TransCode, as firmware up to 4.52.9.4188.
    Old,
    /// 0xCC51, as firmware from 4.52.9.5332.
    New,
    /// Whichever the client chooses.
    Both,
}

/// How the camera enciphers its challenge (seed §7, K10001).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeStatus {
    /// 1: with the default key.
    Default,
    /// 3: with the first 16 characters of the ENR.
    Enr16,
    /// 6: twice, with both halves of a 32-character ENR.
    Enr32,
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub protocol: Protocol,
    /// As the cloud lists it; decides which resolution command a client must use.
    pub model: String,
    pub uid: Uid,
    pub enr: Enr,
    /// Twelve hexadecimal digits.
    pub mac: String,
    /// Port 0 for any free one.
    pub listen: SocketAddr,
    pub codec: VideoCodec,
    /// What its pictures are filled up to; `None` leaves the clip as it is.
    pub kbit_per_second: Option<u32>,
    /// None for a camera without a microphone.
    pub audio: Option<AudioFormat>,
    pub challenge: ChallengeStatus,
    /// How it misbehaves from the start.
    pub fault: Option<Fault>,
}

impl Settings {
    /// A second-generation Wyze doorbell on any free loopback port; its credentials follow from the seed.
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let uid = Uid::parse(&text(&mut dice, 20, b"ABCDEFGHJKLMNPQRSTUVWXYZ123456789"));
        let enr = text(&mut dice, 32, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
        Self {
            protocol: Protocol::New,
            model: "HL_DB2".into(),
            uid: uid.expect("20 letters and digits"),
            enr: Enr::new(enr),
            mac: format!("D03F27{}", text(&mut dice, 6, b"0123456789ABCDEF")),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            codec: VideoCodec::H264,
            kbit_per_second: None,
            audio: Some(AudioFormat::PCMU),
            challenge: ChallengeStatus::Enr16,
            fault: None,
        }
    }

    /// The ENR in use: that of the settings, unless the fault replaces it.
    pub fn enr_under(&self, fault: Option<Fault>) -> Enr {
        if fault == Some(Fault::EnrWithNul) { Enr::new(ENR_WITH_NUL) } else { self.enr.clone() }
    }

    pub fn uid_text(&self) -> String {
        String::from_utf8_lossy(self.uid.as_bytes()).into_owned()
    }

    /// The address under which go2rtc's native Wyze source finds this camera; from this machine, when the
    /// camera listens on every interface.
    pub fn go2rtc_url(&self, mut address: SocketAddr, enr: &Enr) -> String {
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("uid", &self.uid_text())
            .append_pair("enr", enr.expose())
            .append_pair("mac", &self.mac)
            .append_pair("model", &self.model)
            .append_pair("dtls", "true")
            .finish();
        format!("wyze://{address}?{query}")
    }
}

fn text(dice: &mut Dice, len: usize, alphabet: &[u8]) -> String {
    (0..len).map(|_| char::from(*dice.pick(alphabet))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_have_the_shape_of_wyzes_and_follow_from_the_seed() {
        let settings = Settings::generate(1);
        assert_eq!(settings.uid_text().len(), 20);
        assert_eq!(settings.mac.len(), 12);
        assert_eq!(settings.uid, Settings::generate(1).uid);
        assert_ne!(settings.uid, Settings::generate(2).uid);
    }

    #[test]
    fn the_go2rtc_address_survives_odd_characters() {
        let settings = Settings::generate(1);
        let url = settings.go2rtc_url(SocketAddr::from(([127, 0, 0, 1], 32_761)), &Enr::new("a+b/c=d&e"));
        assert!(url.starts_with("wyze://127.0.0.1:32761?uid="), "{url}");
        assert!(url.contains("&enr=a%2Bb%2Fc%3Dd%26e&mac=D03F27"), "{url}");
        assert!(url.ends_with("&model=HL_DB2&dtls=true"), "{url}");
        let everywhere = settings.go2rtc_url(SocketAddr::from(([0, 0, 0, 0], 1)), &settings.enr);
        assert!(everywhere.starts_with("wyze://127.0.0.1:1?"), "{everywhere}");
    }
}
