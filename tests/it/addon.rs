//! What Home Assistant reads of this repository fits together, and fits what Doorstep reads (docs/interfaces.md §2).
//!
//! The rules are the Supervisor's (2026.08): the store, `validate.py`, `options.py` and `rating_security`. It drops a
//! key that it does not know without a word, so that nobody but these tests would ever say so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use doorstep::config::{self, Place};
use serde_json::{Value, json};

use crate::support::score::{Figure, tally};
use crate::support::supervisor_options::{Type, type_of, written};
use crate::support::yaml;

const LANGUAGES: &[&str] = &["de", "en", "es", "fr", "it", "nl"];

/// All that `config.yaml` may hold, but for what would take points off the rating or open the machine.
const KNOWN_KEYS: &[&str] = &[
    "arch",
    "backup",
    "backup_exclude",
    "boot",
    "breaking_versions",
    "description",
    "discovery",
    "hassio_api",
    "homeassistant",
    "homeassistant_api",
    "image",
    "ingress",
    "ingress_entry",
    "ingress_port",
    "ingress_stream",
    "init",
    "map",
    "name",
    "options",
    "panel_admin",
    "panel_icon",
    "panel_title",
    "ports",
    "schema",
    "services",
    "slug",
    "stage",
    "startup",
    "timeout",
    "url",
    "version",
    "watchdog",
];

/// Keys of a configuration file that the app does not offer, each with the reason.
const FOR_FILES_ONLY: &[(&str, &str)] = &[
    ("wyze", "accounts are added on the page, where a code can be typed and no password stays in the options"),
    ("vivint", "as wyze"),
    ("kvs", "as wyze"),
    ("http.listen", "the app's listeners are where config.yaml and the Supervisor say"),
    ("http.token", "the page makes tokens, and keeps only their hash"),
    ("media.port", "the port that config.yaml publishes"),
    ("say.url", "the Supervisor leads to the Home Assistant that the app is in"),
    ("say.token", "as say.url"),
    ("say.clips", "the app's own folder, the only one that config.yaml maps"),
];

/// Values that are right for Doorstep, for keys of no fixed choice.
const RIGHT: &[(&str, &str)] = &[
    ("doorbells.id", "kvs_front"),
    ("doorbells.name", "Front"),
    ("doorbells.unlock", "self"),
    ("doorbells.garage", "vivint_7_61"),
    ("doorbells.unlock_secret", "4f6b0c7d9e2a815346fb7cd02e918a5d"),
    ("doorbells.ring_topic", "zigbee2mqtt/button"),
    ("doorbells.ring_payload", "single"),
    ("doorbells.address", "192.168.1.20"),
    ("mqtt.url", "mqtt://user:word@192.168.1.5:1883"),
    ("mqtt.discovery_prefix", "ha"),
    ("mqtt.base_topic", "bells"),
    ("media.addresses", "192.0.2.1"),
    ("http.names", "doorstep.example.com"),
    ("http.origins", "https://panel.example.com"),
    ("go2rtc.url", "http://192.168.1.5:1984"),
    ("go2rtc.username", "me"),
    ("go2rtc.password", "word"),
    ("go2rtc.prefix", "bells_"),
    ("go2rtc.advertise_url", "http://192.168.1.5:8480"),
    ("say.engine", "tts.piper"),
    ("say.language", "de_DE"),
    ("say.allow", "homeassistant:8123"),
];

#[test]
fn the_supervisor_knows_every_key_of_the_app() {
    let app = yaml::read("config.yaml");
    let unknown: Vec<&String> = app.as_object().unwrap().keys().filter(|key| !KNOWN_KEYS.contains(&&***key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let text = |key: &str| app[key].as_str().unwrap_or_else(|| panic!("{key} is missing or no text")).to_owned();
    assert_eq!((text("name"), text("slug")), ("Doorstep".to_owned(), "doorstep".to_owned()));
    assert!(!text("description").is_empty());
    assert_eq!(app["arch"], json!(["aarch64", "amd64"]));
    assert_eq!((text("startup"), text("boot"), text("backup")), ("application".into(), "auto".into(), "hot".into()));
    assert!(["experimental", "stable"].contains(&&*text("stage")));
    let minimum: Vec<u32> = text("homeassistant").split('.').map(|part| part.parse().unwrap()).collect();
    assert!(minimum >= vec![2024, 11, 0], "entities are announced by device, which older versions do not take");
    assert!((10..=300).contains(&app["timeout"].as_u64().unwrap()));
    assert_eq!(app["init"], json!(true), "the image has no init of its own");
    // An image's name has a registry in front, which only a release knows.
    assert_eq!(app.get("image"), None, "addon/release writes it");
    let repository = yaml::read("repository.yaml");
    let keys: Vec<&String> = repository.as_object().unwrap().keys().collect();
    assert!(repository["name"].is_string() && keys.iter().all(|key| ["name", "url", "maintainer"].contains(&&***key)));
    assert_eq!(yaml::read("build.yaml"), json!({"args": {}}), "it is read for local builds only, and is deprecated");
}

#[test]
fn the_app_is_reached_by_ingress_one_media_port_and_nothing_else() {
    let app = yaml::read("config.yaml");
    assert_eq!(app["ports"], json!({"8555/tcp": 8555, "8555/udp": 8555, "8480/tcp": null}));
    assert_eq!(app["ingress"], json!(true));
    assert_eq!(app["ingress_port"], json!(8099));
    assert_eq!(app["panel_admin"], json!(false), "else only administrators could answer the door");
    assert_eq!(app["services"], json!(["mqtt:want"]));
    assert_eq!(app["discovery"], json!(["doorstep"]));
    assert_eq!(app["hassio_api"], json!(true), "it tells the host's addresses");
    assert_eq!(app["homeassistant_api"], json!(true), "its engines speak");
    assert_eq!(app["map"], json!(["addon_config:rw"]), "one folder beside /data, and none of anybody else's");
    assert_eq!(app["watchdog"], json!("http://[HOST]:[PORT:8099]/health"));
    assert_eq!(config::Media::default().port, 8555);
}

#[test]
fn the_security_rating_is_the_best_there_is() {
    let rating = rating(&yaml::read("config.yaml"), true);
    tally(Figure::AddonRating, usize::try_from(rating).unwrap(), 8);
    assert_eq!(rating, 8);
}

#[test]
fn what_weakens_the_app_lowers_its_rating() {
    let mut app = yaml::read("config.yaml");
    assert_eq!(rating(&app, false), 7);
    let weaker =
        [("host_network", json!(true), 7), ("hassio_role", json!("admin"), 6), ("privileged", json!(["SYS_ADMIN"]), 7)];
    for (key, value, expected) in weaker {
        app[key] = value;
        assert_eq!(rating(&app, true), expected, "{key}");
        app.as_object_mut().unwrap().remove(key);
    }
    app["docker_api"] = json!(true);
    assert_eq!(rating(&app, true), 1);
}

/// As the Supervisor computes it (`rating_security`); no image counts as signed there.
fn rating(app: &Value, own_profile: bool) -> i64 {
    let is = |key: &str| app[key] == json!(true);
    let points = |is: bool, points: i64| if is { points } else { 0 };
    let apparmor = if app["apparmor"] == json!(false) { -1 } else { points(own_profile, 1) };
    let entry = if is("ingress") { 2 } else { points(is("auth_api"), 1) };
    let role = points(app["hassio_role"] == json!("manager"), -1) + points(app["hassio_role"] == json!("admin"), -2);
    let privileged = app["privileged"].as_array().is_some_and(|all| !all.is_empty()) || is("kernel_modules");
    let open = points(privileged, -1) + points(is("host_network"), -1) + points(is("host_pid"), -2);
    if is("docker_api") || is("full_access") { 1 } else { (5 + apparmor + entry + role + open).clamp(1, 8) }
}

#[test]
fn the_options_are_of_types_that_the_supervisor_takes() {
    let app = yaml::read("config.yaml");
    let (schema, defaults) = (app["schema"].as_object().unwrap(), app["options"].as_object().unwrap());
    for (key, kind) in schema {
        let default = defaults.get(key);
        match kind {
            Value::String(kind) => {
                type_of(kind).unwrap();
                assert_eq!((kind.ends_with('?'), default), (true, None), "{key}: optional, and so without a default");
            }
            Value::Array(_) => assert_eq!(default, Some(&json!([])), "{key}: compulsory, so it needs a default"),
            Value::Object(_) => assert_eq!(default, Some(&json!({})), "{key}: compulsory, so it needs a default"),
            other => panic!("{key}: {other}"),
        }
    }
    assert!(defaults.keys().all(|key| schema.contains_key(key)), "{defaults:?}");
    // `leaves` takes what it finds on the second floor for single values or lists of them.
    for (path, kind) in leaves(&app["schema"]) {
        let (_, optional) = type_of(&kind).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert!(optional || path == "doorbells.id", "{path}: what nobody must say is optional");
    }
    assert_eq!(written(&app["schema"], &app["options"], &json!({})), Ok(app["options"].clone()));
}

#[test]
fn every_option_is_read_and_every_key_is_an_option_or_for_files_only() {
    let offered: BTreeSet<String> = leaves(&yaml::read("config.yaml")["schema"]).into_keys().collect();
    let sections = |known: &BTreeSet<String>| {
        let top = offered.iter().filter_map(|path| path.split_once('.')).map(|(top, _)| top.to_owned());
        top.filter(|top| known.contains(top)).collect::<BTreeSet<String>>()
    };
    let top = known_keys("");
    let sections = sections(&top);
    let mut read: BTreeSet<String> = top.difference(&sections).cloned().collect();
    for section in &sections {
        read.extend(known_keys(section).iter().map(|key| format!("{section}.{key}")));
    }
    let for_files: BTreeSet<String> = FOR_FILES_ONLY.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(read.difference(&offered).cloned().collect::<BTreeSet<_>>(), for_files, "read, and not offered");
    assert_eq!(offered.difference(&read).collect::<Vec<_>>(), Vec::<&String>::new(), "offered, and not read");
}

/// The keys that the reader knows in a section, out of its own mouth.
fn known_keys(section: &str) -> BTreeSet<String> {
    let stranger = json!({"qqqqqqqqqqqqqqqqqqqq": 1});
    let options = match section {
        "" => stranger,
        "doorbells" => json!({"doorbells": [stranger]}),
        section => json!({section: stranger}),
    };
    let said = config::parse_at(&options.to_string(), "options.json", Place::App).unwrap_err().to_string();
    let (_, known) = said.split_once("it knows here: ").unwrap_or_else(|| panic!("{said}"));
    known.lines().next().unwrap().split(", ").map(str::to_owned).collect()
}

#[test]
fn every_choice_and_bound_that_is_offered_is_understood() {
    let app = yaml::read("config.yaml");
    let right: BTreeMap<&str, &str> = RIGHT.iter().copied().collect();
    for (path, kind) in leaves(&app["schema"]) {
        let (taken, refused) = match type_of(&kind).unwrap().0 {
            Type::OneOf(choices) => (choices.iter().map(|choice| json!(choice)).collect(), vec![json!("otherwise")]),
            Type::Whole(range) => {
                (vec![json!(range.start()), json!(range.end())], vec![json!(range.start() - 1), json!(range.end() + 1)])
            }
            Type::Bool => (vec![json!(true), json!(false)], vec![json!("perhaps")]),
            Type::Text | Type::Password => {
                let value = right.get(&*path).unwrap_or_else(|| panic!("{path} has no sample in RIGHT"));
                (vec![json!(value)], Vec::new())
            }
        };
        for value in taken {
            let options = with(&app["schema"], &path, &value);
            let written = written(&app["schema"], &app["options"], &options).unwrap();
            config::parse_at(&written.to_string(), "options.json", Place::App).unwrap_or_else(|said| panic!("{said}"));
        }
        for value in refused {
            let options = with(&app["schema"], &path, &value).to_string();
            let said = config::parse_at(&options, "options.json", Place::App).unwrap_err().to_string();
            assert!(said.contains(path.split_once('.').map_or(&*path, |(_, key)| key)), "{path}: {said}");
        }
    }
}

/// Options in which `path` has this value, and beside it what it needs.
fn with(schema: &Value, path: &str, value: &Value) -> Value {
    let Some((section, key)) = path.split_once('.') else { return json!({path: value}) };
    if schema[section].is_object() {
        let is_list = schema[section][key].is_array();
        let mut entry = if path.ends_with("word") { json!({"username": "me"}) } else { json!({}) };
        entry[key] = if is_list { json!([value]) } else { value.clone() };
        if key == "username" {
            entry["password"] = json!("word");
        }
        return json!({section: entry});
    }
    let mut entry = json!({"id": "kvs_front", "unlock": "self"});
    entry[key] = value.clone();
    json!({section: [entry]})
}

/// `doorbells.talk_limit_s` → `int(10,3600)?`, and so on for all.
fn leaves(schema: &Value) -> BTreeMap<String, String> {
    let single = |kind: &Value| kind.as_str().or_else(|| kind.get(0)?.as_str()).map(str::to_owned);
    let mut leaves = BTreeMap::new();
    for (key, kind) in schema.as_object().unwrap() {
        if let Some(kind) = single(kind) {
            leaves.insert(key.clone(), kind);
            continue;
        }
        let fields = kind.as_object().or_else(|| kind[0].as_object()).unwrap();
        for (field, kind) in fields {
            let kind = single(kind).unwrap_or_else(|| panic!("{key}.{field} is nested too deeply"));
            leaves.insert(format!("{key}.{field}"), kind);
        }
    }
    leaves
}

#[test]
fn every_option_and_port_has_its_name_in_every_language() {
    let found: BTreeSet<PathBuf> =
        fs::read_dir(root().join("translations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let expected: BTreeSet<PathBuf> =
        LANGUAGES.iter().map(|language| root().join(format!("translations/{language}.yaml"))).collect();
    assert_eq!(found, expected);
    let app = yaml::read("config.yaml");
    for language in LANGUAGES {
        let words = yaml::read(&format!("translations/{language}.yaml"));
        assert_eq!(keys(&words), ["configuration", "network"], "{language}");
        assert_eq!(keys(&words["network"]), keys(&app["ports"]), "{language}");
        named(&format!("{language}: "), &words["configuration"], &app["schema"]);
        for (port, words) in words["network"].as_object().unwrap() {
            assert!(words.as_str().is_some_and(|words| !words.is_empty()), "{language}: {port}");
        }
    }
}

/// Each key of `schema`, and nothing else, has a name and a description.
fn named(place: &str, words: &Value, schema: &Value) {
    assert_eq!(keys(words), keys(schema), "{place}");
    for (key, kind) in schema.as_object().unwrap() {
        let words = &words[key];
        for part in ["name", "description"] {
            assert!(words[part].as_str().is_some_and(|text| !text.is_empty()), "{place}{key} has no {part}");
        }
        match kind.as_object().or_else(|| kind.get(0)?.as_object()) {
            Some(fields) => named(&format!("{place}{key}."), &words["fields"], &json!(fields)),
            None => assert_eq!(words.get("fields"), None, "{place}{key}"),
        }
        let known = ["name", "description", "fields"];
        assert!(keys(words).iter().all(|part| known.contains(&&**part)), "{place}{key}: {words}");
    }
}

fn keys(section: &Value) -> Vec<String> {
    let mut keys: Vec<String> = section.as_object().unwrap_or_else(|| panic!("{section}")).keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn one_version_is_told_everywhere() {
    let version = yaml::read("config.yaml")["version"].as_str().unwrap().to_owned();
    assert_eq!(version, env!("CARGO_PKG_VERSION"), "config.yaml and Cargo.toml");
    let heading = format!("## [{version}]");
    let changes = text("CHANGELOG.md");
    assert!(changes.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md has no `{heading}`");
}

#[test]
fn the_image_holds_one_program_and_whom_it_trusts() {
    let dockerfile = text("Dockerfile");
    let (_, image) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert_eq!(image.lines().next(), Some("scratch"));
    for said in [
        "io.hass.type=\"app\"",
        "io.hass.name=\"Doorstep\"",
        "io.hass.version=\"$BUILD_VERSION\"",
        "io.hass.arch=\"$BUILD_ARCH\"",
        "ENTRYPOINT [\"/doorstep\"]",
        "CMD [\"run\"]",
        "COPY --from=build /image/ /",
    ] {
        assert!(image.contains(said), "{said}");
    }
    assert!(!image.contains("\nRUN "), "there is no shell in it");
    let description = yaml::read("config.yaml")["description"].as_str().unwrap().to_owned();
    assert!(image.contains(&format!("io.hass.description=\"{description}\"")));
    for said in ["--platform=$BUILDPLATFORM", "addon/build \"$TARGETARCH\"", "ca-certificates.crt"] {
        assert!(dockerfile.contains(said), "{said}");
    }
    let copied = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).flat_map(str::split_whitespace);
    let sent = text(".dockerignore");
    for path in copied.filter(|word| root().join(word).exists() && !["./", "/"].contains(word)) {
        assert!(sent.contains(&format!("!{path}\n")), "{path} is copied and not sent to the builder");
    }
    let build = text("addon/build");
    assert!(build.contains("--no-default-features --features vendored-openssl"));
}

#[test]
fn the_icons_have_the_sizes_that_the_store_shows() {
    assert_eq!((size_of_png("icon.png"), size_of_png("logo.png")), ((128, 128), (250, 100)));
}

fn size_of_png(path: &str) -> (u32, u32) {
    let bytes = fs::read(root().join(path)).unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{path}");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn the_app_armor_profile_allows_what_the_program_uses_and_no_more() {
    let profile = text("apparmor.txt");
    let slug = yaml::read("config.yaml")["slug"].as_str().unwrap().to_owned();
    let heads: Vec<&str> = profile.lines().filter(|line| line.starts_with("profile ")).collect();
    assert_eq!(heads, [format!("profile {slug} flags=(attach_disconnected,mediate_deleted) {{")]);
    let rules: Vec<&str> = profile.lines().map(str::trim).filter(|line| line.ends_with(',')).collect();
    let capabilities: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.strip_prefix("capability ")).collect();
    assert_eq!(capabilities, BTreeSet::from(["chown,", "dac_override,", "kill,", "setgid,", "setuid,"]));
    let written: Vec<&&str> = rules.iter().filter(|rule| has(rule, 'w')).collect();
    let ours = ["/data/", "/config/clips/", "/dev/null "];
    assert!(written.iter().all(|rule| ours.iter().any(|ours| rule.starts_with(ours))), "{written:?}");
    let executed: Vec<&&str> = rules.iter().filter(|rule| has(rule, 'x')).collect();
    assert_eq!(executed, [&"/sbin/docker-init mrix,", &"/doorstep mrix,"]);
    for too_much in ["file,", "network,", "capability,", "mount", "ptrace", "dbus", "/** "] {
        assert!(!rules.iter().any(|rule| rule.starts_with(too_much)), "{too_much}");
    }
}

/// Whether a rule about files grants this right.
fn has(rule: &str, right: char) -> bool {
    let about_files = rule.starts_with('/') || rule.starts_with("@{");
    about_files && rule.trim_end_matches(',').rsplit(' ').next().is_some_and(|rights| rights.contains(right))
}

#[test]
fn the_app_armor_profile_is_one_that_the_kernels_tool_compiles() {
    let parser = Command::new("apparmor_parser")
        .args(["--skip-kernel-load", "--skip-cache", "--stdout"])
        .arg(root().join("apparmor.txt"))
        .output();
    let Ok(parser) = parser else {
        return println!("skipped: apparmor_parser (Debian's package apparmor) is not installed");
    };
    assert!(parser.status.success() && !parser.stdout.is_empty(), "{}", String::from_utf8_lossy(&parser.stderr));
}

#[test]
fn a_release_names_its_image_and_is_refused_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("addon")).unwrap();
    for file in ["addon/release", "config.yaml", "Cargo.toml"] {
        fs::copy(root().join(file), folder.path().join(file)).unwrap();
    }
    let release = |image: &str| {
        let made = Command::new(folder.path().join("addon/release")).args(["--config-only", image]).output().unwrap();
        made.status.success()
    };
    let app = || fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    for wrong in ["", "doorstep", "registry.example/Owner/doorstep", "registry.example/owner/doorstep:1", "a b/c"] {
        assert!(!release(wrong), "{wrong}");
    }
    assert_eq!(app(), text("config.yaml"));
    for image in ["registry.example/owner/doorstep", "registry.example:5000/another/doorstep"] {
        assert!(release(image));
        assert_eq!(yaml::parse(&app())["image"], json!(image));
    }
    let other = app().replace(env!("CARGO_PKG_VERSION"), "99.0.0");
    fs::write(folder.path().join("config.yaml"), other).unwrap();
    assert!(!release("registry.example/owner/doorstep"), "the versions differ");
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
