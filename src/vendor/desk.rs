//! What an account tells the house: its devices, and how it does. It is told of by two who do not know each other,
//! whoever lists the devices and whoever hears what happens at them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::model::{self, AccountLink, Found};

pub(super) struct Desk {
    /// Held while a listing is on its way, since taking one sets the account ready.
    status: tokio::sync::Mutex<watch::Sender<model::Account>>,
    listings: mpsc::Sender<Vec<Found>>,
    ails: Mutex<Ails>,
}

/// What is wrong, by what it was met at.
#[derive(Default)]
struct Ails {
    /// `Starting` until the cloud has been asked.
    listing: AccountLink,
    /// How the account does while nothing is heard by push.
    push: Option<AccountLink>,
    /// Whether it is still being found out if anything is.
    push_pending: bool,
    /// What the log has said of it last, in this trouble.
    logged: Option<String>,
}

impl Desk {
    pub(super) fn new(status: watch::Sender<model::Account>, listings: mpsc::Sender<Vec<Found>>) -> Self {
        Self { status: tokio::sync::Mutex::new(status), listings, ails: Mutex::default() }
    }

    /// Hands a listing over and waits until it is taken.
    pub(super) async fn bring(&self, found: Vec<Found>) {
        let status = self.status.lock().await;
        let mut taken = status.subscribe();
        if self.listings.send(found).await.is_ok() {
            let _house_gone = taken.changed().await;
        }
    }

    pub(super) async fn listing_is(&self, link: AccountLink) {
        self.ails().listing = link;
        self.show().await;
    }

    /// Somebody is finding out whether events are heard by push, and will say so.
    pub(super) async fn push_is_tried(&self) {
        self.ails().push_pending = true;
        self.show().await;
    }

    /// What keeps events from being heard by push; `None` when all is well.
    pub(super) async fn push_is(&self, trouble: Option<AccountLink>) {
        let (known, was_pending) = {
            let mut ails = self.ails();
            ails.log(trouble.as_ref());
            (std::mem::replace(&mut ails.push, trouble.clone()), std::mem::take(&mut ails.push_pending))
        };
        if known != trouble || was_pending {
            self.show().await;
        }
    }

    async fn show(&self) {
        let status = self.status.lock().await;
        let (link, push_pending) = {
            let ails = self.ails();
            (ails.link(), ails.push_pending)
        };
        status.send_if_modified(|account| {
            let news = account.link != link || account.push_pending != push_pending;
            (account.link, account.push_pending) = (link, push_pending);
            news
        });
    }

    fn ails(&self) -> MutexGuard<'_, Ails> {
        self.ails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ails {
    /// Before `push` changes to `trouble`. What was met first may turn out to have a cause that the owner must know.
    fn log(&mut self, trouble: Option<&AccountLink>) {
        let is_worse = match (&self.push, trouble) {
            (None, Some(_)) => true,
            (Some(AccountLink::Failing { .. }), Some(link)) => matches!(link, AccountLink::NeedsAttention { .. }),
            _ => false,
        };
        let why = trouble.and_then(AccountLink::why);
        if is_worse && why != self.logged.as_deref() {
            tracing::warn!(why, "what happens at the account's doors is not heard of");
            self.logged = why.map(str::to_owned);
        }
        if trouble.is_none() && self.push.is_some() {
            tracing::info!("what happens at the account's doors is heard of again");
            self.logged = None;
        }
    }

    fn link(&self) -> AccountLink {
        match (&self.listing, &self.push) {
            (AccountLink::Ready, Some(trouble)) => trouble.clone(),
            (listing, _) => listing.clone(),
        }
    }
}
