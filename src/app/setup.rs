//! Accounts that people add on the page: read like the configuration's, kept in the store, and run beside them.

mod book;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::config::{self, Config, Mistake};
use crate::doorbell::vendor::{BoxFuture, Retry};
use crate::doorbell::{AccountPort, Accounts, DevicePort, Vendor, VendorError};
use crate::http::{About, SetupError};
use crate::model::{self, AccountLink, Found};
use crate::proto::wyze::password_hash;
use crate::store::{Store, StoreError};
use crate::vendor;
use book::{Book, Entry, Unreadable};

/// How many may be added.
const MOST: usize = 16;
/// The keys that say to which servers an account goes.
const SERVERS: [&str; 2] = ["endpoints", "gwell"];

/// The accounts that were added, at work. Cheap to clone.
#[derive(Clone)]
pub(super) struct Setup(Arc<Shared>);

struct Shared {
    config: Config,
    store: Store,
    accounts: Accounts,
    stop: CancellationToken,
    /// Locked by whoever changes something, until it is done.
    desk: tokio::sync::Mutex<Desk>,
    labels: Mutex<BTreeMap<usize, String>>,
}

struct Desk {
    book: Book,
    running: BTreeMap<usize, Running>,
}

struct Running {
    /// `None` where its entry cannot be used.
    account: Option<config::Account>,
    /// Through which it keeps its login.
    store: Store,
    _password_goes: Option<AbortOnDropHandle<()>>,
}

impl Setup {
    /// Starts the accounts that were added before, beside those of `config`, which are running until `stop`.
    pub(super) fn open(config: &Config, store: &Store, accounts: &Accounts, stop: &CancellationToken) -> Self {
        let configured = config.accounts().into_iter().enumerate();
        let labels = configured.map(|(n, account)| (n, account.label())).collect();
        let book = Book::read(store);
        let opened = opened(config, &book);
        let setup = Self(Arc::new(Shared {
            config: config.clone(),
            store: store.clone(),
            accounts: accounts.clone(),
            stop: stop.clone(),
            desk: tokio::sync::Mutex::new(Desk { book, running: BTreeMap::new() }),
            labels: Mutex::new(labels),
        }));
        let running = opened.into_iter().map(|(n, opened)| {
            let (running, vendor) = match opened {
                Ok(account) => setup.prepare(n, account),
                Err(aside) => {
                    warn!(n, why = aside.why, "an account that was added on the page is set aside");
                    (Running { account: None, store: store.lend(), _password_goes: None }, Arc::new(aside) as _)
                }
            };
            accounts.add(n, vendor);
            (n, running)
        });
        let running = running.collect();
        // Nobody else knows of it yet.
        if let Ok(mut desk) = setup.0.desk.try_lock() {
            desk.running = running;
        }
        setup
    }

    /// All that account `n` needs to run.
    fn prepare(&self, n: usize, account: config::Account) -> (Running, Arc<dyn Vendor>) {
        let store = self.0.store.lend();
        let vendor = vendor::of(&account, &self.0.config.doorbells, &store);
        self.0.labels().insert(n, account.label());
        let waits = matches!(&account, config::Account::Vivint(account) if account.password.is_some());
        let password_goes = waits.then(|| {
            let forgetting = self.clone().forget_password(n, account.clone());
            AbortOnDropHandle::new(tokio::spawn(forgetting))
        });
        (Running { account: Some(account), store, _password_goes: password_goes }, vendor)
    }

    /// Takes the password out of the store once Vivint's own tokens are there (docs/interfaces.md §2). A secret for
    /// one-time codes is of no use without it.
    async fn forget_password(self, n: usize, account: config::Account) {
        let mut changes = self.0.accounts.changes();
        while !self.is_in(n, &account) {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = changes.changed() => {}
            }
        }
        let mut desk = self.0.desk.lock().await;
        let Ok(mut entry) = desk.book.open(n) else { return };
        entry.keys.retain(|key, _| !matches!(key.as_str(), "password" | "totp_secret"));
        if let Err(error) = desk.write(|book| book.rewrite(n, &entry), &self.0.store) {
            warn!(%error, n, "the password of an account is still stored, although nobody needs it");
        }
    }

    /// Whether account `n` is logged in, and will be after a restart.
    fn is_in(&self, n: usize, account: &config::Account) -> bool {
        let all = self.0.accounts.all().into_iter();
        let is_ready = |status: watch::Receiver<model::Account>| status.borrow().link == AccountLink::Ready;
        let ready = all.filter(|(own, ..)| *own == n).any(|(.., status)| is_ready(status));
        ready && vendor::is_logged_in(account, &self.0.store)
    }

    async fn add_account(self, body: Value) -> Result<usize, SetupError> {
        let mut desk = self.0.desk.lock().await;
        if desk.book.numbers().len() >= MOST {
            return Err(SetupError::Full(MOST));
        }
        let mut entry = Entry { vendor: vendor_of(&body)?, keys: Map::new() };
        merge(&mut entry.keys, body)?;
        let (moves, others) = (goes_elsewhere(&Map::new(), &Value::Object(entry.keys.clone())), desk.others(None));
        let account = self.close(&mut entry, &others, moves)?;
        let n = desk.write(|book| book.write(&entry), &self.0.store).map_err(not_kept)?;
        self.forget(&desk.book, None, (&account, moves), &others);
        vendor::retry(&account, &self.0.store);
        let (running, vendor) = self.prepare(n, account);
        self.0.accounts.add(n, vendor);
        desk.running.insert(n, running);
        info!(n, vendor = entry.vendor, "an account was added");
        Ok(n)
    }

    async fn correct_account(self, n: usize, body: Value) -> Result<(), SetupError> {
        let mut desk = self.0.desk.lock().await;
        self.is_added(&desk, n)?;
        let mut entry = match desk.book.open(n) {
            Ok(entry) => entry,
            Err(Unreadable { vendor: Some(vendor), .. }) => Entry { vendor, keys: Map::new() },
            Err(Unreadable { vendor: None, .. }) => Entry { vendor: vendor_of(&body)?, keys: Map::new() },
        };
        if body.get("vendor").is_some_and(|vendor| vendor != entry.vendor) {
            return Err(mistaken("vendor", "an account stays with its vendor; remove it and add another"));
        }
        let moves = goes_elsewhere(&entry.keys, &body);
        if moves {
            // Whoever names other servers is not handed what only the owner knows.
            entry.keys.clear();
        }
        merge(&mut entry.keys, body)?;
        let account = self.close(&mut entry, &desk.others(Some(n)), moves)?;
        desk.write(|book| book.rewrite(n, &entry), &self.0.store).map_err(not_kept)?;
        let Desk { running, book } = &mut *desk;
        let before = running.remove(&n);
        let others = others(running, None);
        let begin = || {
            if let Some(before) = before {
                // What it has written until now is what the next one begins with.
                before.store.heed(false);
                self.forget(book, before.account.as_ref(), (&account, moves), &others);
            }
            vendor::retry(&account, &self.0.store);
            let (now, vendor) = self.prepare(n, account);
            running.insert(n, now);
            vendor
        };
        self.0.accounts.replace(n, begin).await;
        info!(n, vendor = entry.vendor, "an account was corrected");
        Ok(())
    }

    async fn remove_account(self, n: usize) -> Result<(), SetupError> {
        let mut desk = self.0.desk.lock().await;
        self.is_added(&desk, n)?;
        let running = desk.running.get(&n);
        let forgotten = running.and_then(|running| running.account.as_ref());
        let forgotten: Vec<_> = forgotten.iter().flat_map(|account| vendor::stored(account)).collect();
        let needed = self.0.needed(&desk.others(Some(n)));
        let mut book = desk.book.clone();
        book.strike(n);
        // Whatever is renewed at this moment is not written back behind us.
        running.iter().for_each(|running| running.store.heed(false));
        if let Err(error) = book.commit(&self.0.store, forgotten.into_iter().filter(|key| !needed.contains(key))) {
            running.iter().for_each(|running| running.store.heed(true));
            return Err(not_kept(error));
        }
        desk.book = book;
        desk.running.remove(&n);
        self.0.accounts.remove(n).await;
        self.0.labels().remove(&n);
        info!(n, "an account was removed");
        Ok(())
    }

    /// Whether it is one of these.
    fn is_added(&self, desk: &Desk, n: usize) -> Result<(), SetupError> {
        match desk.book.has(n) {
            true => Ok(()),
            false if n < self.0.config.accounts().len() => Err(SetupError::Configured),
            false => Err(SetupError::NoSuchAccount),
        }
    }

    /// The account that `entry` describes, from now on as it is kept: Wyze takes the password's hash as well as the
    /// password. One that `moves` to other servers has no login there yet.
    fn close(&self, entry: &mut Entry, others: &[config::Account], moves: bool) -> Result<config::Account, SetupError> {
        let read = |entry: &Entry| self.0.read(entry, others).map_err(SetupError::Mistakes);
        if entry.vendor != "vivint" {
            read(entry)?;
            entry.hash_password();
            return read(entry);
        }
        let account = self.0.read(entry, others);
        // Once it is logged in, it may do without.
        let may_be_in = match &account {
            Ok(account) => vendor::is_logged_in(account, &self.0.store),
            Err(_) => entry.keys.contains_key("username"),
        };
        let mut mistakes = account.as_ref().err().cloned().unwrap_or_default();
        if !entry.keys.contains_key("password") && (moves || !may_be_in) {
            mistakes.push(mistake("password", "missing; expected the account's password"));
        }
        account.ok().filter(|_| mistakes.is_empty()).ok_or(SetupError::Mistakes(mistakes))
    }

    /// Forgets what was stored of an account that is another now, or that moves to other servers: its login is none
    /// of theirs.
    fn forget(
        &self,
        book: &Book,
        before: Option<&config::Account>,
        (now, moves): (&config::Account, bool),
        others: &[config::Account],
    ) {
        let (mut needed, mut old) = (self.0.needed(others), before.map(vendor::stored).unwrap_or_default());
        if moves {
            old.extend(vendor::stored(now))
        } else {
            needed.extend(vendor::stored(now))
        }
        old.retain(|key| !needed.contains(key));
        if old.is_empty() {
            return;
        }
        if let Err(error) = book.commit(&self.0.store, old) {
            warn!(%error, "the login of the account as it was before is still stored");
        }
    }
}

impl Desk {
    /// Changes the book, on the disk as well, or not at all.
    fn write<T>(&mut self, change: impl FnOnce(&mut Book) -> T, store: &Store) -> Result<T, StoreError> {
        let mut book = self.book.clone();
        let outcome = change(&mut book);
        book.commit(store, [])?;
        self.book = book;
        Ok(outcome)
    }

    /// Every account that was added, but this one.
    fn others(&self, but: Option<usize>) -> Vec<config::Account> {
        others(&self.running, but)
    }
}

fn others(running: &BTreeMap<usize, Running>, but: Option<usize>) -> Vec<config::Account> {
    let others = running.iter().filter(|(n, _)| Some(**n) != but);
    others.filter_map(|(_, running)| running.account.clone()).collect()
}

/// What each entry of the book stands for.
fn opened(config: &Config, book: &Book) -> Vec<(usize, Result<config::Account, SetAside>)> {
    let mut accounts: Vec<config::Account> = Vec::new();
    let mut open = |n| {
        let entry = book.open(n).map_err(|entry| SetAside::new(entry.vendor, entry.why.to_owned()))?;
        let read = config::account(entry.vendor, &entry.keys(), config, &accounts);
        let account = read.map_err(|mistakes| SetAside::new(Some(entry.vendor), cannot_be_used(&mistakes)))?;
        accounts.push(account.clone());
        Ok(account)
    };
    book.numbers().into_iter().map(|n| (n, open(n))).collect()
}

/// The accounts that were added, for a process that only looks in.
pub(super) fn kept(config: &Config, store: &Store) -> Vec<Arc<dyn Vendor>> {
    let vendor = |opened| match opened {
        Ok(account) => vendor::of(&account, &config.doorbells, store),
        Err(aside) => Arc::new(aside) as _,
    };
    opened(config, &Book::read(store)).into_iter().map(|(_, opened)| vendor(opened)).collect()
}

impl Shared {
    fn read(&self, entry: &Entry, others: &[config::Account]) -> Result<config::Account, Vec<Mistake>> {
        config::account(entry.vendor, &entry.keys(), &self.config, others)
    }

    /// What is stored of the accounts of the configuration, and of these.
    fn needed(&self, others: &[config::Account]) -> BTreeSet<String> {
        self.config.accounts().iter().chain(others).flat_map(vendor::stored).collect()
    }

    /// Nothing panics while it holds the lock.
    fn labels(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl crate::http::Setup for Setup {
    fn about(&self, n: usize) -> About {
        About { label: self.0.labels().get(&n).cloned().unwrap_or_default(), added_here: n >= book::FIRST }
    }

    fn add(&self, body: Value) -> BoxFuture<'static, Result<usize, SetupError>> {
        finished(self.clone().add_account(body))
    }

    fn correct(&self, n: usize, body: Value) -> BoxFuture<'static, Result<(), SetupError>> {
        finished(self.clone().correct_account(n, body))
    }

    fn remove(&self, n: usize) -> BoxFuture<'static, Result<(), SetupError>> {
        finished(self.clone().remove_account(n))
    }
}

/// Done to its end, although nobody may wait for it any more.
fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, SetupError>> + Send + 'static,
) -> BoxFuture<'static, Result<T, SetupError>> {
    let work = tokio::spawn(work);
    Box::pin(async move {
        work.await.unwrap_or_else(|panic| {
            error!(%panic, "setting up an account failed; this is a bug");
            Err(SetupError::Failed)
        })
    })
}

impl Entry {
    fn hash_password(&mut self) {
        let Some(password) = self.keys.get_mut("password").filter(|_| self.vendor == "wyze") else { return };
        // Somebody may have a password that JSON takes for a number.
        let clear = password.as_str().map_or_else(|| password.to_string(), str::to_owned);
        *password = format!("md5:{}", password_hash(&clear)).into();
    }
}

/// Writes the fields of `body` over `keys`.
///
/// # Errors
/// Where it has none.
fn merge(keys: &mut Map<String, Value>, body: Value) -> Result<(), SetupError> {
    let Value::Object(body) = body else {
        return Err(mistaken("", "this is no object; expected one with the keys of the account's configuration"));
    };
    for (key, value) in body.into_iter().filter(|(key, _)| key != "vendor") {
        match value {
            Value::Null => drop(keys.remove(&key)),
            // A field that nobody has typed into.
            Value::String(text) if text.is_empty() => {}
            value => drop(keys.insert(key, value)),
        }
    }
    Ok(())
}

/// Whether `body` sends the account of `keys` to other servers.
fn goes_elsewhere(keys: &Map<String, Value>, body: &Value) -> bool {
    let now = |key| keys.get(key).unwrap_or(&Value::Null);
    SERVERS.into_iter().any(|key| body.get(key).is_some_and(|then| then != now(key)))
}

/// # Errors
/// Where `body` names no vendor.
fn vendor_of(body: &Value) -> Result<&'static str, SetupError> {
    const WHOSE: &str = "expected `wyze`, `vivint` or `kvs`";
    match &body["vendor"] {
        Value::Null => Err(mistaken("vendor", &format!("missing; {WHOSE}"))),
        named => config::VENDORS
            .into_iter()
            .find(|vendor| named == vendor)
            .ok_or_else(|| mistaken("vendor", &format!("not a vendor; {WHOSE}"))),
    }
}

fn mistaken(path: &str, what: &str) -> SetupError {
    SetupError::Mistakes(vec![mistake(path, what)])
}

fn mistake(path: &str, what: &str) -> Mistake {
    Mistake { at: None, path: path.to_owned(), what: what.to_owned() }
}

fn not_kept(error: StoreError) -> SetupError {
    SetupError::NotKept(error.to_string())
}

fn cannot_be_used(mistakes: &[Mistake]) -> String {
    let one = |Mistake { path, what, .. }: &Mistake| format!("`{path}`: {what}");
    let all = mistakes.iter().map(one).collect::<Vec<_>>().join(". ");
    format!("This account cannot be used as it was added. {all}. Correct it on Doorstep's page, or remove it there.")
}

/// Stands for an account whose entry cannot be used, and says why.
struct SetAside {
    vendor: &'static str,
    why: String,
}

impl SetAside {
    fn new(vendor: Option<&'static str>, why: String) -> Self {
        Self { vendor: vendor.unwrap_or("unknown"), why }
    }

    fn error(&self) -> VendorError {
        VendorError { vendor: self.vendor, what: self.why.clone(), retry: Retry::WaitForUser, source: None }
    }
}

impl Vendor for SetAside {
    fn name(&self) -> &'static str {
        self.vendor
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Err(self.error()) })
    }

    fn run_account(
        self: Arc<Self>,
        _: AccountPort,
        _: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { Err(self.error()) })
    }

    fn run_device(self: Arc<Self>, _: DevicePort, _: CancellationToken) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { Err(self.error()) })
    }
}
