//! The vendors. Reading [`all`] is reading the product.

mod called;
mod desk;
mod kept;
pub mod kvs;
mod lock;
mod named;
mod server_time;
pub mod vivint;
pub mod wyze;

use std::sync::Arc;

use crate::config::{Account, Config, DoorbellOverride};
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
    config.accounts().iter().map(|account| of(account, &config.doorbells, store)).collect()
}

/// One account.
pub fn of(account: &Account, wishes: &[DoorbellOverride], store: &Store) -> Arc<dyn Vendor> {
    match account {
        Account::Wyze(account) => Arc::new(wyze::Wyze::new(account, wishes, store)),
        Account::Vivint(account) => Arc::new(vivint::Vivint::new(account, wishes, store)),
        Account::Kvs(account) => Arc::new(kvs::Kvs::new(account, wishes, store)),
    }
}

/// The keys of all that is stored of an account.
pub fn stored(account: &Account) -> Vec<String> {
    match account {
        Account::Wyze(account) => wyze::stored(account),
        Account::Vivint(account) => vivint::cloud::stored(account).into(),
        Account::Kvs(account) => kvs::stored(account).into(),
    }
}

/// Whether a login of the account is stored, with which it goes on without its password.
pub fn is_logged_in(account: &Account, store: &Store) -> bool {
    match account {
        Account::Wyze(account) => account.login.as_ref().is_some_and(|login| wyze::cloud::is_logged_in(login, store)),
        Account::Vivint(account) => vivint::cloud::is_logged_in(account, store),
        Account::Kvs(_) => true,
    }
}

/// Its owner has seen to the account: a login that was refused may be tried once more, and now.
pub fn retry(account: &Account, store: &Store) {
    match account {
        Account::Wyze(account) => account.login.iter().for_each(|login| wyze::cloud::retry(login, store)),
        Account::Vivint(account) => vivint::cloud::retry(account, store),
        Account::Kvs(_) => {}
    }
}
