//! Secrets as marks, every way in which a slip could spell them, and the search for all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;

/// A shorter text turns up by chance: in a time, a count, a random id.
const SHORTEST: usize = 8;
/// What is longer may be cut short, as a dump of a packet is, and is known by each piece of this length.
const PIECE: usize = 16;
/// What else ends a piece in two: longer than this it is cut.
const CUT: usize = 2 * PIECE;

/// What nobody should ever see, by what it is.
#[derive(Default)]
pub(super) struct Marks(BTreeMap<Vec<u8>, String>);

impl Marks {
    /// Takes note of a secret, of each line of it, and of its pieces. What is too short to be told from chance is left
    /// out.
    pub(super) fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        for line in secret.as_ref().split(|byte| *byte == b'\n') {
            if line.len() < SHORTEST || line.starts_with(b"-----") {
                continue;
            }
            let pieces = line.chunks_exact(PIECE).take(if line.len() > CUT { usize::MAX } else { 0 });
            for mark in pieces.chain([line]) {
                self.0.entry(mark.to_owned()).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// The same for each of several.
    pub(super) fn add_all<S: AsRef<[u8]>>(&mut self, all: impl IntoIterator<Item = (&'static str, S)>) {
        all.into_iter().for_each(|(name, secret)| self.add(name, secret));
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What is made to look for them: each spelling of each.
    pub(super) fn search(&self) -> Search {
        let mut spelled = BTreeMap::new();
        for (secret, name) in &self.0 {
            for spelling in spellings(secret) {
                spelled.entry(spelling).or_insert_with(|| (name.clone(), secret.clone()));
            }
        }
        let (spellings, meanings): (Vec<_>, Vec<_>) = spelled.into_iter().unzip();
        let found = AhoCorasick::builder().ascii_case_insensitive(true).build(&spellings).unwrap();
        Search { spellings, meanings, found }
    }
}

pub(super) struct Search {
    spellings: Vec<String>,
    /// Of each spelling: what the secret is, and the secret itself.
    meanings: Vec<(String, Vec<u8>)>,
    found: AhoCorasick,
}

/// A secret in a place.
pub(super) struct Leak {
    pub(super) secret: Vec<u8>,
    pub(super) what: String,
}

impl Search {
    /// Every secret in `text`, once each, with the line where it was first found.
    pub(super) fn leaks(&self, place: &str, text: &str) -> Vec<Leak> {
        let mut met = BTreeSet::new();
        let mut leaks = Vec::new();
        for found in self.found.find_overlapping_iter_of(text) {
            let (name, secret) = &self.meanings[found.0];
            if met.insert(secret) {
                let what = format!("{place} shows: {name}, as `{}`: {}", self.spellings[found.0], line(text, found.1));
                leaks.push(Leak { secret: secret.clone(), what });
            }
        }
        leaks
    }

    /// That every spelling of every secret is found where it stands in the middle of a line.
    pub(super) fn assert_finds_all_that_is_planted(&self) {
        for (spelling, (name, secret)) in self.spellings.iter().zip(&self.meanings) {
            for spelling in [spelling.clone(), spelling.to_ascii_uppercase()] {
                let text = format!("a line\n2026-11-22 DEBUG x: note=\"x{spelling}x\" y=1\nanother\n");
                let found = self.leaks("a planted line", &text);
                assert!(found.iter().any(|leak| leak.secret == *secret), "{name} was overlooked, spelled `{spelling}`");
            }
        }
    }
}

trait Overlapping {
    /// Which pattern, and where it begins.
    fn find_overlapping_iter_of(&self, text: &str) -> Vec<(usize, usize)>;
}

impl Overlapping for AhoCorasick {
    fn find_overlapping_iter_of(&self, text: &str) -> Vec<(usize, usize)> {
        self.find_overlapping_iter(text).map(|found| (found.pattern().as_usize(), found.start())).collect()
    }
}

/// The line around `at`, as far as it helps.
fn line(text: &str, at: usize) -> String {
    let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let near = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let (from, end) = (near(from.max(at.saturating_sub(300))), near(end.min(at + 300)));
    text[from..end].to_owned()
}

/// As it is, escaped as JSON (once, twice and with `\/`) and as Rust's debug output, percent-encoded, in hexadecimal
/// digits with and without something between them, as a list of numbers, and in base64 wherever it begins.
fn spellings(secret: &[u8]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    if let Ok(text) = str::from_utf8(secret) {
        let json = |text: &str| Value::from(text).to_string().trim_matches('"').to_owned();
        all.extend([text.to_owned(), json(text), json(&json(text)), json(text).replace('/', "\\/")]);
        all.extend([text.escape_debug().to_string(), json(text).escape_debug().to_string()]);
        let form: String = url::form_urlencoded::byte_serialize(secret).collect();
        all.extend([percent_encode(secret, NON_ALPHANUMERIC).to_string(), form]);
    }
    all.insert(secret.escape_ascii().to_string());
    for between in ["", " ", ":", "-", ", ", ",0x", ", 0x", "\\x"] {
        all.insert(joined(secret, between, |byte| format!("{byte:02x}")));
    }
    for between in [", ", ","] {
        all.insert(joined(secret, between, |byte| byte.to_string()));
    }
    for offset in 0..3 {
        all.extend([in_base64(&STANDARD_NO_PAD, secret, offset), in_base64(&URL_SAFE_NO_PAD, secret, offset)]);
    }
    all
}

fn joined(secret: &[u8], between: &str, spell: impl Fn(u8) -> String) -> String {
    let mut text = String::new();
    for (at, byte) in secret.iter().enumerate() {
        write!(text, "{}{}", if at == 0 { "" } else { between }, spell(*byte)).unwrap();
    }
    text
}

/// The characters that depend on the secret alone, where `offset` bytes modulo three stand before it.
fn in_base64(engine: &impl Engine, secret: &[u8], offset: usize) -> String {
    let shifted = [&vec![0; offset][..], secret].concat();
    let whole = engine.encode(&shifted);
    let from = [0, 2, 3][offset];
    let to = whole.len() - usize::from(!shifted.len().is_multiple_of(3));
    whole[from..to].to_owned()
}

#[test]
fn a_secret_is_found_however_it_is_spelled() {
    let mut marks = Marks::default();
    marks.add("password", r#"p"ss/w0rd&ü"#);
    marks.add("key", b"\x01\xfe\x7f\x80\x33\x44\x55\x66\x77");
    marks.add("a long one", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    marks.add("too short", "1234");
    let search = marks.search();
    search.assert_finds_all_that_is_planted();
    let found = |text: &str| search.leaks("here", text).len();
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for before in ["", "u", "us", "use"] {
        assert_eq!(found(&base64(&format!("{before}p\"ss/w0rd&ü:after"))), 1, "behind `{before}`");
    }
    assert_eq!(found("[1, 254, 127, 128, 51, 68, 85, 102, 119]"), 1);
    assert_eq!(found("01fe7f8033445566 77"), 0, "another one");
    assert_eq!(found("…89abcdefghijklmnopqrstuvwxyzABCDEFGHIJ…"), 1, "of a long one a piece is enough");
    assert_eq!(found("1234"), 0);
}
