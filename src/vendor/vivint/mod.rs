//! Vivint: the doorbells, cameras, locks and garage doors of an account.

pub mod database;
pub mod devices;
pub mod firebase;

use crate::doorbell::VendorError;
use crate::doorbell::vendor::BoxFuture;
use crate::secret::Token;

/// Its name in ids, topics and logs.
pub const VENDOR: &str = "vivint";

/// Who has the account's id token, which other clouds take in exchange for theirs (vivint reference §6).
pub trait IdTokens: Send + Sync {
    /// One that is good for a while. `renew` when the last one was refused.
    fn id_token(&self, renew: bool) -> BoxFuture<'_, Result<Token, VendorError>>;
}
