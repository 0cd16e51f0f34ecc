//! What several tests use.

pub(crate) mod fake_vendor;
pub(crate) mod viewer;
