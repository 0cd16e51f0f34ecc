//! Modules import lower floors only, and a few names stay in the one place that is theirs (ARCHITECTURE.md §1).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. The modules of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["clock", "model", "proto", "secret"],
    &["config", "media", "net", "store"],
    &["rtc"],
    &["aws", "doorbell", "supervisor"],
    &["go2rtc", "http", "mqtt", "sim", "speech", "vendor"],
    &["app", "privileges"],
    &["cli", "main"],
];

/// The folders in `vendor`, which do not know each other either.
const VENDORS: &[&str] = &["kvs", "vivint", "wyze"];

/// What the faces may see, so that a further vendor or protocol adds no line to them.
const FACES: &[&str] = &["go2rtc", "http", "mqtt"];
const SEEN_BY_FACES: &[&str] = &["clock", "config", "doorbell", "media", "model", "net", "rtc", "secret"];

/// Words that a protocol without input and output has no use for.
const NOT_IN_PROTO: &[&str] =
    &["SystemTime", "TcpListener", "TcpStream", "UdpSocket", "async", "await", "getrandom", "rand", "tokio"];

/// Crates that are named in these modules only, so that they can be swapped.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["app", "cli", "main"]),
    ("prost", &["proto"]),
    ("rc5", &["proto"]),
    ("rcgen", &["net", "sim"]),
    ("reqwest", &["net"]),
    ("retina", &["vendor"]),
    ("rtc", &["rtc"]),
    ("rumqttc", &["aws", "mqtt", "sim"]),
    ("rumqttd", &["sim"]),
    ("rustix", &["privileges", "speech"]),
    ("saphyr_parser", &["config"]),
    ("webrtc", &["rtc"]),
];

#[test]
fn every_module_imports_lower_floors_only() {
    let mut offences = Vec::new();
    let mut files = 0;
    for (path, text) in sources() {
        files += 1;
        offences.extend(offences_in(&path, &text));
    }
    assert!(files > 10, "only {files} files were found");
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let known: BTreeSet<&str> = FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    let found: BTreeSet<String> = sources().keys().filter_map(|path| module_path(path).into_iter().next()).collect();
    let homeless: Vec<&String> = found.iter().filter(|module| !known.contains(module.as_str())).collect();
    assert!(homeless.is_empty(), "{homeless:?} have no floor in tests/it/floors.rs and ARCHITECTURE.md §1");
}

#[test]
fn an_import_of_the_same_or_a_higher_floor_is_found() {
    let found = |path, text| offences_in(Path::new(path), text);
    assert_eq!(
        found("src/media/hub.rs", "use crate::doorbell::Doorbell;"),
        ["src/media/hub.rs: `media` (floor 1) imports `crate::doorbell::Doorbell` (floor 3)"]
    );
    let offences = [
        ("src/net/mod.rs", "use crate::config;"),
        ("src/net/mod.rs", "use crate::{clock, config::Http};"),
        ("src/net/mod.rs", "use crate::{proto::{Lane, wire}, /* why */ media::{self as m}};"),
        ("src/net/link.rs", "fn f() -> crate :: media::Frame { todo!() }"),
        ("src/net/link.rs", "macro_rules! m { () => { $crate::media::Frame } }"),
        ("src/net/link.rs", "use super::super::media;"),
        ("src/net/mod.rs", "use super::media;"),
        ("src/net/mod.rs", "mod tests { use super::*; use super::super::media; }"),
        ("src/sim/mod.rs", "use crate::vendor::models;"),
        ("src/vendor/wyze/tutk.rs", "use crate::vendor::kvs::channel;"),
        ("src/vendor/wyze/mod.rs", "use super::kvs;"),
        ("src/vendor/wyze/mod.rs", "use super::{models, kvs::channel};"),
        ("src/mqtt/mod.rs", "use crate::proto::tutk;"),
        ("src/http/api.rs", "use crate::store::Store;"),
        ("src/doorbell/mod.rs", "use crate::nowhere;"),
        ("src/app.rs", "use crate::cli;"),
    ];
    for (path, text) in offences {
        assert_eq!(found(path, text).len(), 1, "{path}: {text}: {:?}", found(path, text));
    }
}

#[test]
fn what_the_floors_allow_is_not_an_offence() {
    let fine = [
        ("src/net/mod.rs", "use crate::{clock, proto::Lane}; use crate::net::link;"),
        (
            "src/net/mod.rs",
            "// use crate::media;\nconst A: &str = \"use crate::media\"; /* crate::media /* nested */ */",
        ),
        (
            "src/net/mod.rs",
            "const A: &str = r#\"\"crate::media\"#; const B: char = '\"'; const C: u8 = b'\\''; use crate::clock;",
        ),
        ("src/net/link.rs", "use super::drive; mod tests { use super::*; use super::super::drive; }"),
        ("src/net/link.rs", "fn f<'a>(x: &'a str) -> &'a str { x } use crate::model;"),
        ("src/vendor/wyze/mod.rs", "use super::models; use crate::vendor::wyze::tutk; use crate::proto;"),
        ("src/mqtt/mod.rs", "use crate::{config::Mqtt, doorbell, media, model, rtc}; use rumqttc::Event;"),
        ("src/http/whep.rs", "use crate::rtc; fn f() { rtc::viewers(); }"),
        ("src/rtc/mod.rs", "use rtc::peer_connection::X; use ::rtc::Y;"),
        ("src/main.rs", "fn main() { doorstep::cli::run(); }"),
    ];
    for (path, text) in fine {
        assert_eq!(offences_in(Path::new(path), text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn a_protocol_that_reads_clocks_or_sockets_is_found() {
    let offences = [
        "use tokio::net::UdpSocket as _;",
        "fn f() { std::time::Instant::now(); }",
        "fn f() { Instant :: now(); }",
        "use std::time::SystemTime;",
        "async fn f() {}",
        "use rand::random;",
        "fn f(b: &mut [u8]) { getrandom::fill(b); }",
    ];
    for text in offences {
        let found = offences_in(Path::new("src/proto/tutk/dtls.rs"), text);
        assert!(!found.is_empty(), "{text}");
        assert_eq!(offences_in(Path::new("src/net/drive.rs"), text), [""; 0], "{text}");
    }
    let fine = "use std::time::{Duration, Instant}; use std::net::SocketAddr; // tokio
        let operand = now; #[cfg(test)] mod tests { fn start() -> Instant { Instant::now() } }";
    assert_eq!(offences_in(Path::new("src/proto/mod.rs"), fine), [""; 0]);
}

#[test]
fn a_crate_outside_its_place_is_found() {
    let offences = [
        ("src/http/whep.rs", "use rtc::peer_connection::X;"),
        ("src/http/whep.rs", "fn f() -> ::rtc::X { todo!() }"),
        ("src/http/whep.rs", "use rumqttc;"),
        ("src/mqtt/mod.rs", "use {rumqttd::Broker};"),
        ("src/app.rs", "use saphyr_parser as yaml;"),
        ("src/net/mod.rs", "fn f() -> anyhow::Result<()> { Ok(()) }"),
    ];
    for (path, text) in offences {
        assert_eq!(offences_in(Path::new(path), text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn no_second_file_can_be_taken_for_the_add_ons_configuration() {
    // Home Assistant's store takes every config.yaml, .yml and .json of a repository for an add-on.
    let mut found: Vec<PathBuf> = Vec::new();
    walk(manifest_dir(), &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if matches!(&*name, "config.yaml" | "config.yml" | "config.json") {
            found.push(path.strip_prefix(manifest_dir()).unwrap().to_owned());
        }
    });
    found.retain(|path| path != Path::new("config.yaml"));
    assert!(found.is_empty(), "{found:?}: name them otherwise, `doorstep.yaml` or `CASE.options.json`");
}

/// What a file does that its floor forbids, one line each.
fn offences_in(path: &Path, text: &str) -> Vec<String> {
    let here = module_path(path);
    let tokens = tokens(text);
    let module = here.first().map_or("lib", String::as_str);
    let mut offences: BTreeSet<String> = BTreeSet::new();
    let paths = paths(&tokens, &here);
    for import in &paths.ours {
        offences.extend(offence_of(&here, import).map(|what| format!("{}: {what}", path.display())));
    }
    for (name, homes) in CRATES {
        if paths.foreign.contains(*name) && !homes.contains(&module) {
            let homes = homes.join(", ");
            offences
                .insert(format!("{}: `{module}` names the crate `{name}`, which belongs to {homes}", path.display()));
        }
    }
    if module == "proto" {
        let words = NOT_IN_PROTO.iter().filter(|word| tokens.iter().any(|token| token == *word)).copied();
        let clock = reads_the_clock(&tokens).then_some("Instant::now");
        offences.extend(words.chain(clock).map(|word| format!("{}: `proto` says `{word}`", path.display())));
    }
    offences.into_iter().collect()
}

/// Before `#[cfg(test)]`, behind which virtual time has to begin somewhere.
fn reads_the_clock(tokens: &[String]) -> bool {
    let tests = tokens.windows(5).position(|five| five == ["cfg", "(", "test", ")", "]"]).unwrap_or(tokens.len());
    tokens[..tests].windows(3).any(|three| three == ["Instant", "::", "now"])
}

fn offence_of(here: &[String], import: &[String]) -> Option<String> {
    let (from, to) = (here.first()?, import.first()?);
    let name = format!("crate::{}", import.join("::"));
    if from == to {
        let (mine, theirs) = (here.get(1)?, import.get(1)?);
        let neighbours =
            from == "vendor" && mine != theirs && [mine, theirs].iter().all(|name| VENDORS.contains(&name.as_str()));
        return neighbours.then(|| format!("`vendor/{mine}` imports `{name}`, its neighbour"));
    }
    let Some(theirs) = floor(to) else { return Some(format!("`{from}` imports `{name}`, which has no floor")) };
    let mine = floor(from)?;
    if theirs >= mine {
        return Some(format!("`{from}` (floor {mine}) imports `{name}` (floor {theirs})"));
    }
    let unseen = FACES.contains(&from.as_str()) && !SEEN_BY_FACES.contains(&to.as_str());
    unseen.then(|| format!("`{from}` is a face and imports `{name}`"))
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Every Rust file of `src/` by its path inside the package.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut sources = BTreeMap::new();
    walk(&manifest_dir().join("src"), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path.strip_prefix(manifest_dir()).unwrap().to_owned();
            sources.insert(inside, fs::read_to_string(path).unwrap());
        }
    });
    sources
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            walk(&path, visit);
        } else if path.is_file() {
            visit(&path);
        }
    }
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `src/vendor/wyze/mod.rs` → `vendor`, `wyze`. Empty for `src/lib.rs`.
fn module_path(path: &Path) -> Vec<String> {
    let inside = path.strip_prefix("src").unwrap().with_extension("");
    let mut names: Vec<String> = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// The paths that a file names.
struct Paths {
    /// From the root of this crate, without `crate`.
    ours: Vec<Vec<String>>,
    /// The first names of all others.
    foreign: BTreeSet<String>,
}

fn paths(tokens: &[String], file: &[String]) -> Paths {
    let mut ours = Vec::new();
    let (mut bare, mut absolute) = (BTreeSet::new(), BTreeSet::new());
    let mut here = file.to_vec();
    let (mut depth, mut inline_modules) = (0, Vec::new());
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut i = 0;
    while i < tokens.len() {
        let before = if i > 0 { at(i - 1) } else { "" };
        match at(i) {
            "{" if i >= 2 && at(i - 2) == "mod" => {
                here.push(before.to_owned());
                inline_modules.push(depth);
                depth += 1;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline_modules.pop_if(|opened| *opened == depth).is_some() {
                    here.pop();
                }
            }
            "crate" | "self" | "super" if at(i + 1) == "::" && before != "::" => {
                let mut base = if at(i) == "crate" { Vec::new() } else { here.clone() };
                if at(i) == "super" {
                    base.pop();
                }
                i += 2;
                while at(i) == "super" && at(i + 1) == "::" {
                    base.pop();
                    i += 2;
                }
                i = path_tree(tokens, i, &base, &mut ours);
                continue;
            }
            "::" if begins_a_path(&tokens[..i]) => drop(absolute.insert(at(i + 1).to_owned())),
            name if is_name(name) && before == "use" => drop(bare.insert(name.to_owned())),
            name if is_name(name) && before != "::" && at(i + 1) == "::" => drop(bare.insert(name.to_owned())),
            _ => {}
        }
        i += 1;
    }
    // `use crate::rtc;` makes a later `rtc::` ours.
    let local: BTreeSet<&String> = ours.iter().filter_map(|path| path.last()).collect();
    bare.retain(|name| !local.contains(name));
    Paths { ours, foreign: bare.union(&absolute).cloned().collect() }
}

/// Whether a `::` behind these tokens is the first of a path: not after a name, nor after the `>` of a type.
fn begins_a_path(before: &[String]) -> bool {
    match before {
        [.., dash, arrow] if arrow == ">" => dash == "-" || dash == "=",
        [.., last] => !is_name(last) || last == "use",
        [] => true,
    }
}

/// Collects what stands behind a `::`, a name or a group in braces, and says where it ends.
fn path_tree(tokens: &[String], mut i: usize, base: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    if at(i) == "{" {
        i += 1;
        while i < tokens.len() && at(i) != "}" {
            i = path_tree(tokens, i, base, found);
            while i < tokens.len() && !matches!(at(i), "," | "}") {
                i += 1; // `as name`
            }
            i += usize::from(at(i) == ",");
        }
        return i + 1;
    }
    let mut path = base.to_vec();
    if is_name(at(i)) && at(i) != "self" {
        path.push(at(i).to_owned());
    }
    if is_name(at(i)) && at(i + 1) == "::" && (is_name(at(i + 2)) || at(i + 2) == "{") {
        return path_tree(tokens, i + 2, &path, found);
    }
    found.push(path);
    i + 1
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single characters of a Rust file, without comments, texts and blanks.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if let Some(len) = comment(rest).or_else(|| literal(rest)) {
            len
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else {
            let len = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(rest[..len].to_owned());
            }
            len
        };
        rest = &rest[len..];
    }
    tokens
}

/// The length of the comment that `text` begins with. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0;
    let mut at = 0;
    loop {
        let rest = &text[at..];
        match rest {
            _ if rest.starts_with("/*") => depth += 1,
            _ if depth == 0 => return None,
            _ if rest.starts_with("*/") => depth -= 1,
            "" => return Some(at),
            _ => {
                at += rest.chars().next().map_or(0, char::len_utf8);
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The length of the text or character that `text` begins with: `"…"`, `b"…"`, `r#"…"#`, `'x'`; not of a lifetime.
fn literal(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - body.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = raw[hashes..].strip_prefix('"')?;
        let closed = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + closed);
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let is_lifetime = quote == '\'' && !body[1..].starts_with('\\') && body.chars().nth(2) != Some('\'');
    if is_lifetime {
        return None;
    }
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}
