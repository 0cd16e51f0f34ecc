//! The vendors. Reading [`all`] is reading the product.

mod called;
mod desk;
mod kept;
pub mod kvs;
mod lock;
pub mod vivint;
pub mod wyze;

use std::sync::Arc;

use crate::config::Config;
use crate::doorbell::Vendor;
use crate::store::Store;

/// The table of the README, in Markdown.
pub fn support_table() -> String {
    let head =
        "| model | sold as | reached by | picture, sound | talk | ring | lock |\n|---|---|---|---|---|---|---|\n";
    let rows = [wyze::models::support_rows(), vivint::models::support_rows(), kvs::models::support_rows()];
    format!("{head}{}", rows.concat())
}

/// Every account the configuration names. Tokens are kept in `store`.
pub fn all(config: &Config, store: &Store) -> Vec<Arc<dyn Vendor>> {
    let wishes = &config.doorbells;
    let wyze = config.wyze.iter().map(|account| Arc::new(wyze::Wyze::new(account, wishes, store)) as Arc<dyn Vendor>);
    let vivint = config.vivint.iter().map(|account| Arc::new(vivint::Vivint::new(account, wishes, store)) as _);
    let kvs = config.kvs.iter().map(|account| Arc::new(kvs::Kvs::new(account, wishes, store)) as _);
    wyze.chain(vivint).chain(kvs).collect()
}
