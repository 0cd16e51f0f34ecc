//! What several tests use.

pub(crate) mod fake_vendor;
