//! What the cloud gives for a camera: the account's id and its token (gwell reference §3.1).

/// An access token, read.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    pub(super) access_id: u64,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken")
    }
}
