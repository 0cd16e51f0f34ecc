//! The accounts that were added on the page, as they are kept: `{"next":102,"entries":[{"n":100,"version":1,
//! "vendor":"wyze","account":{…}},…]}` under one key of the store. `account` is a section of the configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::VENDORS;
use crate::store::{Store, StoreError};

/// Where in the store it is.
const KEY: &str = "accounts";
/// Where one goes that cannot be read, so that a person could still save it.
const DAMAGED: &str = "accounts_damaged";
/// The form of an entry that this version writes.
const VERSION: u64 = 1;
/// The number of the first one.
pub(super) const FIRST: usize = 100;

/// Every entry by its number, whether it can be read or not.
#[derive(Clone)]
pub(super) struct Book {
    /// No number is given twice.
    next: usize,
    entries: BTreeMap<usize, Value>,
}

/// What an entry says. Holds secrets in the clear, so it cannot be printed.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) vendor: &'static str,
    /// As its section in the configuration.
    pub(super) keys: Map<String, Value>,
}

/// An entry that is kept as it is, and not understood.
pub(super) struct Unreadable {
    /// Where that is known.
    pub(super) vendor: Option<&'static str>,
    /// And what its owner can do.
    pub(super) why: &'static str,
}

impl Entry {
    pub(super) fn keys(&self) -> Value {
        Value::Object(self.keys.clone())
    }
}

impl Book {
    pub(super) fn read(store: &Store) -> Self {
        let Some(kept) = store.get::<Value>(KEY) else { return Self { next: FIRST, entries: BTreeMap::new() } };
        let Some(listed) = kept["entries"].as_array() else {
            tracing::warn!(
                kept_as = DAMAGED,
                "the accounts that were added on the page cannot be read. Add them there again."
            );
            let aside = [(DAMAGED.to_owned(), Some(kept)), (KEY.to_owned(), None)];
            let _still_there = store.commit(aside);
            return Self { next: FIRST, entries: BTreeMap::new() };
        };
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n >= FIRST);
        let highest = listed.iter().filter_map(|entry| number(&entry["n"])).max();
        let past = highest.map_or(FIRST, |highest| highest.saturating_add(1));
        let mut book = Self { next: number(&kept["next"]).unwrap_or(FIRST).max(past), entries: BTreeMap::new() };
        for entry in listed {
            match number(&entry["n"]).filter(|n| !book.entries.contains_key(n)) {
                Some(n) => drop(book.entries.insert(n, entry.clone())),
                None => drop(book.add(entry.clone())),
            }
        }
        book
    }

    /// Writes the book, and forgets these keys of the store: both or nothing.
    pub(super) fn commit(&self, store: &Store, forgotten: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let entries: Vec<&Value> = self.entries.values().collect();
        let kept = json!({ "next": self.next, "entries": entries });
        store.commit(forgotten.into_iter().map(|key| (key, None)).chain([(KEY.to_owned(), Some(kept))]))
    }

    pub(super) fn numbers(&self) -> Vec<usize> {
        self.entries.keys().copied().collect()
    }

    pub(super) fn has(&self, n: usize) -> bool {
        self.entries.contains_key(&n)
    }

    /// The entry of this number.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open(&self, n: usize) -> Result<Entry, Unreadable> {
        let entry = self.entries.get(&n).unwrap_or(&Value::Null);
        let vendor = VENDORS.into_iter().find(|known| entry["vendor"] == *known);
        match (entry["version"].as_u64(), vendor, entry["account"].as_object()) {
            (Some(VERSION), Some(vendor), Some(keys)) => Ok(Entry { vendor, keys: keys.clone() }),
            (Some(version), vendor, _) if version > VERSION => Err(Unreadable {
                vendor,
                why: "This account was added by a newer Doorstep. Install that version again, or remove the account and \
                      add it anew.",
            }),
            (_, vendor, _) => Err(Unreadable {
                vendor,
                why: "What was kept of this account is damaged. Remove the account and add it anew.",
            }),
        }
    }

    /// The number of the new entry.
    pub(super) fn write(&mut self, entry: &Entry) -> usize {
        let n = self.add(Value::Null);
        self.rewrite(n, entry);
        n
    }

    pub(super) fn rewrite(&mut self, n: usize, Entry { vendor, keys }: &Entry) {
        let entry = json!({ "n": n, "version": VERSION, "vendor": vendor, "account": keys });
        self.entries.insert(n, entry);
    }

    pub(super) fn strike(&mut self, n: usize) {
        self.entries.remove(&n);
    }

    fn add(&mut self, mut entry: Value) -> usize {
        let n = self.next;
        self.next += 1;
        if let Some(fields) = entry.as_object_mut() {
            fields.insert("n".to_owned(), n.into());
        }
        self.entries.insert(n, entry);
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(email: &str) -> Entry {
        let Value::Object(keys) = json!({ "email": email }) else { unreachable!() };
        Entry { vendor: "wyze", keys }
    }

    fn unreadable(book: &Book, n: usize) -> Unreadable {
        book.open(n).err().expect("it can be read")
    }

    #[test]
    fn a_number_is_given_once_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut book = Book::read(&store);
        assert_eq!((book.write(&entry("a")), book.write(&entry("b"))), (100, 101));
        book.strike(101);
        book.commit(&store, []).unwrap();
        let mut book = Book::read(&Store::open(folder.path()).unwrap());
        assert_eq!((book.numbers(), book.write(&entry("c"))), (vec![100], 102));
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_and_the_others_live() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let good = json!({"n": 104, "version": 1, "vendor": "vivint", "account": {"username": "a"}});
        let entries = json!([
            {"n": 100, "version": 2, "vendor": "vivint", "shape": "new"}, good, 7, {"n": 104}, {"n": 3, "version": 1}
        ]);
        store.put("accounts", &json!({ "next": 101, "entries": entries })).unwrap();
        let book = Book::read(&store);
        assert_eq!(book.numbers(), [100, 104, 105, 106, 107]);
        assert!(book.open(104).is_ok_and(|entry| entry.keys["username"] == "a"));
        assert!(unreadable(&book, 100).why.contains("newer Doorstep"));
        assert_eq!(unreadable(&book, 100).vendor, Some("vivint"));
        for n in 105..=107 {
            assert!(unreadable(&book, n).why.contains("damaged"), "{n}");
        }
        // As they were, for the newer version.
        book.commit(&store, []).unwrap();
        assert_eq!(store.get::<Value>("accounts").unwrap()["entries"][0]["shape"], "new");
    }

    #[test]
    fn a_book_that_is_none_is_begun_anew_and_the_old_one_is_kept_for_whoever_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put("accounts", &json!("nonsense")).unwrap();
        assert_eq!(Book::read(&store).numbers(), Vec::<usize>::new());
        assert_eq!(store.get::<Value>("accounts_damaged"), Some(json!("nonsense")));
    }

    #[test]
    fn what_the_disk_does_not_take_has_not_happened() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put("tokens", &"secret").unwrap();
        // In the way of the second file, under which a new state is written.
        let in_the_way = folder.path().join("state.json.next");
        std::fs::create_dir(&in_the_way).unwrap();
        let mut book = Book::read(&store);
        book.write(&entry("a"));
        assert!(book.commit(&store, ["tokens".to_owned()]).is_err());
        std::fs::remove_dir(&in_the_way).unwrap();
        store.put("something", &"else").unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.get::<String>("tokens").as_deref(), Some("secret"));
        assert!(Book::read(&store).numbers().is_empty());
    }
}
