//! What several tests use.

pub(crate) mod browser;
pub(crate) mod fake_vendor;
pub(crate) mod house;
