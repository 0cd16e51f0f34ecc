//! The vendors. Reading [`all`] is reading the product.

pub mod wyze;

use std::sync::Arc;

use crate::config::Config;
use crate::doorbell::Vendor;

/// Every account the configuration names.
pub fn all(config: &Config) -> Vec<Arc<dyn Vendor>> {
    config.wyze.iter().map(|account| Arc::new(wyze::Wyze::new(account, &config.doorbells)) as Arc<dyn Vendor>).collect()
}
