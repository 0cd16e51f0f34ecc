//! What several tests use.

pub(crate) mod chromium;
pub(crate) mod fake_vendor;
pub(crate) mod http;
pub(crate) mod viewer;
