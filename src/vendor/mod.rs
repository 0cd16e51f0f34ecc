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
    [head.to_owned(), wyze::models::support_rows(), vivint::models::support_rows()].concat()
}

/// Every account the configuration names. Tokens are kept in `store`.
pub fn all(config: &Config, store: &Store) -> Vec<Arc<dyn Vendor>> {
    let wishes = &config.doorbells;
    let wyze = config.wyze.iter().map(|account| Arc::new(wyze::Wyze::new(account, wishes, store)) as Arc<dyn Vendor>);
    let vivint = config.vivint.iter().map(|account| Arc::new(vivint::Vivint::new(account, wishes, store)) as _);
    wyze.chain(vivint).collect()
}
