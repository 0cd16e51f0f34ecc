//! What a virtual P2P server can be told to do in another way, or wrong. Several at a time.

use std::fmt;
use std::str::FromStr;

use crate::sim::fault::UnknownFault;

/// One odd way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// Everybody's CertifyReq is answered with this code.
    CertifyCode(u16),
    /// Every terminal's CertifyReq is answered with code 8020; sessions go on, cameras too.
    TokenRevoked,
    /// 0x0D is sent without the 0x0C ack.
    ResponseOnly,
    /// 0x0D is sent before the 0x0C ack.
    ResponseFirst,
    /// The 0x0C ack is sent without 0x0D.
    AckOnly,
    /// The device list counts a device as offline in `[30..32]`, which makes its count absurd as 32 bits.
    OfflineFlags,
    /// Sessions of an account that has one already get no device list.
    NoListForSecondSession,
    /// What an account's session is sent, its others are sent as well.
    CrossSession,
    /// The camera's and the caller's addresses are withheld from each other.
    RelayOnly,
    /// Every camera sleeps between calls.
    Sleeping,
    /// Frames that ask for an ack get one, as the SDK sends them.
    Acks,
    /// Device lists come compressed, as bit 0 of the flags says.
    Zlib,
    /// Answers come a second late.
    Slow,
    /// The list server hears only requests that are encrypted as their flags say.
    EncryptedListsOnly,
    SilentList,
    SilentDetect,
    SilentCertify,
    SilentInitInfo,
    SilentSubscribe,
    /// CALLING is neither answered nor passed on.
    SilentCalling,
    /// CALLING gets its ack and no MtpReply.
    NoMtpReply,
    /// PassthroughData is not passed on.
    NoPassthrough,
    /// Relays take registrations and pass nothing on.
    DeafRelays,
}

/// Those whose name is all.
const NAMED: [(&str, Quirk); 22] = [
    ("token-revoked", Quirk::TokenRevoked),
    ("response-only", Quirk::ResponseOnly),
    ("response-first", Quirk::ResponseFirst),
    ("ack-only", Quirk::AckOnly),
    ("offline-flags", Quirk::OfflineFlags),
    ("no-list-for-second-session", Quirk::NoListForSecondSession),
    ("cross-session", Quirk::CrossSession),
    ("relay-only", Quirk::RelayOnly),
    ("sleeping", Quirk::Sleeping),
    ("acks", Quirk::Acks),
    ("zlib", Quirk::Zlib),
    ("slow", Quirk::Slow),
    ("encrypted-lists-only", Quirk::EncryptedListsOnly),
    ("silent-list", Quirk::SilentList),
    ("silent-detect", Quirk::SilentDetect),
    ("silent-certify", Quirk::SilentCertify),
    ("silent-init-info", Quirk::SilentInitInfo),
    ("silent-subscribe", Quirk::SilentSubscribe),
    ("silent-calling", Quirk::SilentCalling),
    ("no-mtp-reply", Quirk::NoMtpReply),
    ("no-passthrough", Quirk::NoPassthrough),
    ("deaf-relays", Quirk::DeafRelays),
];

const CERTIFY_CODE: &str = "certify-code:";

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertifyCode(code) => write!(f, "{CERTIFY_CODE}{code}"),
            named => {
                let name = NAMED.iter().find(|(_, quirk)| quirk == named).map_or("", |(name, _)| name);
                f.write_str(name)
            }
        }
    }
}

impl FromStr for Quirk {
    type Err = UnknownFault;

    /// `certify-code:N`, or a name.
    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let named = || NAMED.iter().find(|(name, _)| *name == text).map(|(_, quirk)| *quirk);
        let code = text.strip_prefix(CERTIFY_CODE).and_then(|code| code.parse().ok()).map(Self::CertifyCode);
        code.or_else(named).ok_or_else(|| {
            let names = NAMED.iter().map(|(name, _)| (*name).to_owned());
            UnknownFault::new(text, &[format!("{CERTIFY_CODE}N")].into_iter().chain(names).collect::<Vec<_>>())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_is_found_by_its_name_and_no_other() {
        for quirk in NAMED.iter().map(|(_, quirk)| *quirk).chain([Quirk::CertifyCode(8_020)]) {
            assert_eq!(quirk.to_string().parse(), Ok(quirk));
        }
        for wrong in ["", "quiet", "certify-code", "certify-code:", "certify-code:65536"] {
            let error = wrong.parse::<Quirk>().unwrap_err().to_string();
            assert!(error.contains("there are `certify-code:N`, `token-revoked`, "), "{error}");
        }
    }
}
