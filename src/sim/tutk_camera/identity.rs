//! Who a virtual camera is, and the keys that follow from it (reference §4 and seed §2).

use crate::proto::tutk::cc51::HmacKey;
use crate::proto::tutk::keys::{AuthKey, Psk, Uid};
use crate::secret::Enr;

/// An ENR whose SHA-256 has its first zero byte at position 11 (seed §5, example 2).
pub(super) const ENR_WITH_NUL: &str = "GkB9S7cX38GgzSC6";

#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) uid: Uid,
    pub(super) enr: Enr,
    pub(super) auth_key: AuthKey,
    pub(super) hmac_key: HmacKey,
}

impl Identity {
    pub(super) fn new(uid: Uid, enr: Enr, mac: &str) -> Self {
        let auth_key = AuthKey::derive(enr.expose(), mac);
        Self { uid, hmac_key: HmacKey::new(&uid, &auth_key), auth_key, enr }
    }

    pub(super) fn psk(&self) -> Psk {
        Psk::derive(self.enr.expose())
    }
}
