//! One account by itself, as people add it on the page: read like an entry of its vendor's section of the file.

use std::collections::HashSet;

use serde_json::Value;

use super::mistake::Mistake;
use super::section::{self, Section};
use super::{Config, Kvs, Mac, Unlock, Vivint, Wyze, kvs, tree, vivint, wyze};
use crate::secret::{Email, Pem};

/// An account of one of the vendors.
#[derive(Debug, Clone)]
pub enum Account {
    Wyze(Wyze),
    Vivint(Vivint),
    Kvs(Kvs),
}

/// The vendors, as the sections of the file are called.
pub const VENDORS: [&str; 3] = ["wyze", "vivint", "kvs"];

/// What only one account may have, of those that were read so far.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) macs: HashSet<Mac>,
    pub(super) emails: HashSet<String>,
    pub(super) usernames: HashSet<String>,
    /// Names of channels.
    pub(super) channels: HashSet<String>,
}

impl Taken {
    fn by<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Self {
        let mut taken = Self::default();
        for account in accounts {
            match account {
                Account::Wyze(account) => {
                    taken.macs.extend(account.cameras.iter().map(|camera| camera.mac.clone()));
                    taken.emails.extend(account.login.iter().map(|login| login.email.expose().to_lowercase()));
                }
                Account::Vivint(account) => drop(taken.usernames.insert(account.username.expose().to_lowercase())),
                Account::Kvs(account) => taken.channels.extend(account.channel_names()),
            }
        }
        taken
    }
}

impl Account {
    /// Enough for its owner to know it by, and too little for anybody else: `y…@example.com`.
    pub fn label(&self) -> String {
        match self {
            Self::Wyze(Wyze { login: Some(login), .. }) => masked(&login.email),
            Self::Wyze(Wyze { cameras, .. }) if cameras.len() == 1 => "1 camera".to_owned(),
            Self::Wyze(Wyze { cameras, .. }) => format!("{} cameras", cameras.len()),
            Self::Vivint(account) => masked(&account.username),
            Self::Kvs(account) => account.region.clone(),
        }
    }

    fn is_kvs_without_channels(&self) -> bool {
        matches!(self, Self::Kvs(account) if account.channels.is_empty())
    }
}

/// The first letter, and where the letters go.
fn masked(name: &Email) -> String {
    let name = name.expose();
    let first: String = name.chars().take(1).collect();
    match name.rsplit_once('@') {
        Some((_, host)) => format!("{first}…@{host}"),
        None => format!("{first}…"),
    }
}

impl Config {
    /// Every account that the file names, in the order of their numbers.
    pub fn accounts(&self) -> Vec<Account> {
        let wyze = self.wyze.iter().cloned().map(Account::Wyze);
        let vivint = self.vivint.iter().cloned().map(Account::Vivint);
        wyze.chain(vivint).chain(self.kvs.iter().cloned().map(Account::Kvs)).collect()
    }
}

/// Reads an account of `vendor`: `keys` are those of its section in the file. `config` and `others` are what there is
/// beside it.
///
/// # Errors
/// With every mistake, in the words that the file's would be told in. Their places say nothing.
pub fn account(vendor: &str, keys: &Value, config: &Config, others: &[Account]) -> Result<Account, Vec<Mistake>> {
    let beside: Vec<Account> = config.accounts().into_iter().chain(others.iter().cloned()).collect();
    let mut taken = Taken::by(&beside);
    let mut mistakes = Vec::new();
    let account = section::read_section(&tree::of_json(keys), String::new(), &mut mistakes, |section| {
        let account = match vendor {
            "wyze" => Account::Wyze(wyze::read(section, &mut taken)?),
            "vivint" => Account::Vivint(vivint::read(section, &mut taken)?),
            "kvs" => Account::Kvs(kvs::read(section, &mut taken)?),
            _ => {
                section.report_value("vendor", "not a vendor; expected `wyze`, `vivint` or `kvs`");
                return None;
            }
        };
        refuse_paths(&account, section);
        refuse_ambiguous_openers(&account, section, config, &beside);
        Some(account)
    });
    match account {
        Some(account) if mistakes.is_empty() => Ok(account),
        _ => Err(mistakes),
    }
}

/// Whoever may add an account may not have Doorstep read the machine's files.
fn refuse_paths(account: &Account, section: &mut Section<'_>) {
    const WHAT: &str = "this is a path; expected the text of the PEM file, with its `-----BEGIN` line";
    let Account::Kvs(account) = account else { return };
    let is_path = |pem: &Pem| matches!(pem, Pem::File(_));
    if account.identity.as_ref().is_some_and(|identity| is_path(&identity.certificate)) {
        section.report_value("certificate", WHAT);
    }
    if account.identity.as_ref().is_some_and(|identity| is_path(&identity.private_key)) {
        section.report_value("private_key", WHAT);
    }
    if account.endpoints.authority.as_ref().is_some_and(is_path) {
        section.report_value("endpoints", "`authority` is a path; expected the text of the PEM file");
    }
}

/// A door opener of the configuration is a channel's by its name: no other account may bring one of that name.
fn refuse_ambiguous_openers(account: &Account, section: &mut Section<'_>, config: &Config, beside: &[Account]) {
    let Account::Kvs(_) = account else { return };
    let openers = config.doorbells.iter().any(|doorbell| matches!(doorbell.unlock, Some(Unlock::Own(_))));
    let has_others = beside.iter().any(|other| matches!(other, Account::Kvs(_)));
    if !openers || !has_others {
        return;
    }
    if account.is_kvs_without_channels() {
        section.report_value(
            "channels",
            "there is another AWS account, and `doorbells` in the configuration has an opener (`unlock: self`), which \
             a channel of either might come to mean; expected the names of this account's channels",
        );
    } else if beside.iter().any(Account::is_kvs_without_channels) {
        section.report_value(
            "channels",
            "another AWS account does not name its `channels`, so that an opener under `doorbells` (`unlock: self`) \
             might come to mean another door; name that account's channels first",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;

    fn wyze(email: &str) -> Value {
        json!({"email": email, "password": "hunter2", "key_id": "id", "api_key": "key"})
    }

    fn told(read: Result<Account, Vec<Mistake>>) -> Vec<(String, String)> {
        let mistakes = read.expect_err("it was taken");
        mistakes.into_iter().map(|Mistake { path, what, .. }| (path, what)).collect()
    }

    #[test]
    fn an_account_by_itself_is_told_its_mistakes_in_the_words_of_the_file() {
        let keys =
            json!({"email": "nobody", "pasword": "x", "key_id": "id", "poll_s": 900, "endpoints": {"auth": "ftp://x"}});
        let file = config::parse(&json!({"wyze": [keys]}).to_string(), "file").expect_err("it was taken");
        let mut expected: Vec<_> =
            file.mistakes.into_iter().map(|mistake| (mistake.path.replace("wyze[0].", ""), mistake.what)).collect();
        let mut told = told(account("wyze", &keys, &Config::default(), &[]));
        expected.sort();
        told.sort();
        assert_eq!(told, expected);
        assert!(told.len() >= 5, "{told:?}");
    }

    #[test]
    fn an_account_that_is_there_already_is_told_wherever_it_is() {
        let config = config::parse(
            "wyze: [{email: a@example.com, password: p, key_id: i, api_key: k}]\n\
             vivint: [{username: b@example.com}]\nkvs: [{region: eu-west-1, channels: [front]}]",
            "file",
        );
        let config = config.unwrap();
        let added = account("wyze", &wyze("c@example.com"), &config, &[]).unwrap();
        for (vendor, keys, path) in [
            ("wyze", wyze("A@Example.com"), "email"),
            ("wyze", wyze("c@example.com"), "email"),
            ("vivint", json!({"username": "B@example.com"}), "username"),
            ("kvs", json!({"region": "eu-west-1", "channels": ["back", "front"]}), "channels"),
        ] {
            let told = told(account(vendor, &keys, &config, std::slice::from_ref(&added)));
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].0, path);
        }
    }

    #[test]
    fn no_second_account_may_come_to_mean_the_door_of_the_first() {
        let kvs = |channels: Value| json!({"region": "eu-west-1", "channels": channels});
        for (first, second, is_refused) in
            [("[front]", json!(["back"]), false), ("[front]", json!([]), true), ("[]", json!(["back"]), true)]
        {
            let text = format!(
                "kvs: [{{region: eu-west-1, channels: {first}}}]\ndoorbells: [{{id: kvs_front, unlock: self}}]"
            );
            let config = config::parse(&text, "file").unwrap();
            let read = account("kvs", &kvs(second.clone()), &config, &[]);
            assert_eq!(read.is_err(), is_refused, "{first} and {second}: {read:?}");
        }
        let alone = config::parse("doorbells: [{id: kvs_front, unlock: self}]", "file").unwrap();
        assert!(account("kvs", &kvs(json!([])), &alone, &[]).is_ok());
    }

    #[test]
    fn nobody_has_a_file_of_the_machine_read() {
        let keys = json!({"region": "eu-west-1", "certificate": "/etc/shadow", "private_key": "-----BEGIN X",
            "endpoints": {"authority": "/etc/passwd"}});
        let paths: Vec<_> =
            told(account("kvs", &keys, &Config::default(), &[])).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["certificate", "endpoints"]);
    }

    #[test]
    fn a_label_says_whose_it_is_to_nobody_else() {
        for (vendor, keys, label) in [
            ("wyze", wyze("yvonne@example.com"), "y…@example.com"),
            ("vivint", json!({"username": "yvonne"}), "y…"),
            ("kvs", json!({"region": "eu-west-1"}), "eu-west-1"),
        ] {
            assert_eq!(account(vendor, &keys, &Config::default(), &[]).unwrap().label(), label);
        }
    }
}
