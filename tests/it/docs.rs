//! What the documents lead to is there: links, commands, flags, configuration, the blueprint and the flow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use doorstep::config;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every document for people, by its path from the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let top = ["README.md", "DOCS.md", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(PathBuf::from);
    let mut documents: BTreeMap<_, _> = top.into_iter().map(|path| (path.clone(), read(&path))).collect();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if Path::new(ROOT).join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                documents.insert(path.clone(), read(&path));
            }
        }
    }
    assert!(documents.len() > 12, "only {} documents were found", documents.len());
    documents
}

fn read(path: &Path) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pieces between fences of this kind, and without them when `kind` is `None`.
fn fenced<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let begin = format!("```{kind}\n");
    let pieces = text.split(&begin).skip(1);
    pieces.map(|after| after.split("\n```").next().unwrap()).collect()
}

fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// What GitHub makes of a heading: small letters, digits, `-` and `_`, blanks as `-`.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text).lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// The targets of `[words](target)` and `<img src="target">`.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let of_markdown = prose.split("](").skip(1).filter_map(|after| after.split(')').next()).map(str::to_owned);
    of_markdown.filter(|link| !link.contains([' ', '`'])).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = documents();
    let mut dead = Vec::new();
    for (path, text) in &documents {
        for link in links(text).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let beside = path.parent().unwrap_or(Path::new(""));
            let target = if file.is_empty() { path.clone() } else { normal(&beside.join(file)) };
            let leads = match documents.get(&target) {
                Some(text) => place.is_empty() || anchors(text).contains(place),
                None => place.is_empty() && Path::new(ROOT).join(&target).exists(),
            };
            if !leads {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "these lead nowhere: {dead:#?}");
}

/// `docs/../README.md` is `README.md`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut so_far, piece| {
        if piece.as_os_str() == ".." {
            so_far.pop();
        } else {
            so_far.push(piece);
        }
        so_far
    })
}

fn help(of: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_doorstep")).args(of).arg("--help").output().unwrap();
    assert!(output.status.success(), "`doorstep {} --help` failed", of.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The names in a list of commands: the first word of each line that is set in by two.
fn commands(help: &str) -> BTreeSet<String> {
    let (_, list) = help.split_once("Commands:\n").expect("it lists commands");
    let lines = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_command_and_flag_that_is_named_exists() {
    let kinds = commands(&help(&["sim"]));
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let lines = fenced(&text, "sh").into_iter().flat_map(str::lines).map(str::to_owned);
        let spans = prose(&text).split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for line in lines.chain(spans) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let called = words.iter().position(|word| *word == "doorstep" || word.ends_with("/doorstep"));
            let Some(command) = called.and_then(|at| words.get(at + 1)) else { continue };
            if !command.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            let rest = &words[called.unwrap_or_default() + 2..];
            // The first line of what is signed: `doorstep lock 1`.
            if rest == ["1"] {
                continue;
            }
            let kind = rest.first().filter(|kind| *command == "sim" && kinds.contains(**kind));
            let of: Vec<&str> = [*command].into_iter().chain(kind.copied()).collect();
            if !commands(&helps.entry(String::new()).or_insert_with(|| help(&[])).clone()).contains(*command) {
                wrong.push(format!("{}: no command in `{line}`", path.display()));
                continue;
            }
            let help = helps.entry(of.join(" ")).or_insert_with(|| help(&of)).clone();
            let known = |flag: &str| help.split([' ', ',', '=', '\n']).any(|word| word == flag);
            for flag in rest.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.trim_end_matches([',', '.', ';', ')', ']']).split('=').next().unwrap();
                if !known(flag) && flag != "--help" {
                    wrong.push(format!("{}: no {flag} in `{line}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_configuration_that_is_shown_can_be_read() {
    let sections = ["mqtt:", "http:", "media:", "say:", "go2rtc:", "wyze:", "vivint:", "kvs:", "doorbells:"];
    let mut shown = 0;
    for (path, text) in documents() {
        for piece in fenced(&text, "yaml") {
            let is_ours = piece.lines().any(|line| sections.iter().any(|section| line.starts_with(section)));
            // interfaces.md lists every key with nothing behind it.
            if !is_ours || path.ends_with("interfaces.md") || piece.starts_with("go2rtc:\n  streams") {
                continue;
            }
            shown += 1;
            if let Err(errors) = config::parse(piece, "shown") {
                panic!("{} shows what cannot be read:\n{piece}\n{errors}", path.display());
            }
        }
    }
    assert!(shown > 8, "only {shown} pieces were found");
}

#[test]
fn every_option_of_the_app_is_explained_to_its_owner() {
    let (english, guide) = (read(Path::new("translations/en.yaml")), read(Path::new("DOCS.md")));
    let (_, options) = guide.split_once("\n## Options\n").expect("a chapter for them");
    let (options, _) = options.split_once("\n## ").expect("and its end");
    let (configuration, _) = english.split_once("\nnetwork:").expect("the options, then the ports");
    // `configuration:`, groups, `fields:`, keys: each is set in by two more.
    let keys = |depth: usize| {
        let set_in = " ".repeat(depth);
        let lines = configuration.lines().filter_map(move |line| line.strip_prefix(set_in.as_str())?.strip_suffix(':'));
        lines.filter(|key| !key.starts_with(' '))
    };
    let fields: BTreeSet<&str> = keys(6).collect();
    assert!(fields.len() > 20, "{fields:?}");
    let missing: Vec<_> = fields.iter().filter(|key| !options.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "DOCS.md does not explain {missing:?}");
}

#[test]
fn every_input_of_the_blueprint_is_used_and_every_one_that_is_used_exists() {
    let text = read(Path::new("blueprints/automation/doorstep/ring_notification.yaml"));
    let (blueprint, automation) = text.split_once("\nmode: ").expect("the automation begins with its mode");
    let used: BTreeSet<&str> =
        automation.split("!input ").skip(1).filter_map(|after| after.split_whitespace().next()).collect();
    // An input has a name of its own and is no section of others.
    let lines: Vec<&str> = blueprint.lines().collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let inputs: BTreeSet<&str> = lines
        .iter()
        .enumerate()
        .filter(|(n, line)| {
            let within = lines[n + 1..].iter().take_while(|next| depth(next) > depth(line));
            within.filter(|next| depth(next) == depth(line) + 2).any(|next| next.trim() == "selector:")
        })
        .map(|(_, line)| line.trim().trim_end_matches(':'))
        .collect();
    assert!(inputs.contains("ring_event") && inputs.contains("lock"), "{inputs:?}");
    assert_eq!(inputs, used, "defined, and used");
}

#[test]
fn the_blueprint_opens_a_door_only_where_it_was_asked_to() {
    let text = read(Path::new("blueprints/automation/doorstep/ring_notification.yaml"));
    let (_, from_unlock) = text.split_once("  - alias: Unlock, only if").expect("the step that unlocks");
    let (unlock, _) = from_unlock.split_once("\n  - alias: ").expect("and its end");
    assert!(unlock.contains("if: \"{{ chosen and lock != '' }}\""), "{unlock}");
    assert_eq!(text.matches("lock.unlock").count(), 1, "a door is unlocked elsewhere too");
    assert_eq!(unlock.matches("lock.unlock").count(), 1);
    assert!(text.contains("**Unlocking from the notification** is off until"), "nobody is warned");
}

#[test]
fn the_node_red_flow_can_be_imported_and_opens_nothing_by_itself() {
    let flow: Vec<Value> = serde_json::from_str(&read(Path::new("docs/node-red/doorstep-flow.json"))).unwrap();
    let ids: BTreeSet<&str> = flow.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), flow.len(), "an id stands twice");
    let known = |id: &Value| ids.contains(id.as_str().unwrap());
    for node in &flow {
        let wires = node["wires"].as_array().into_iter().flatten().flat_map(|port| port.as_array().unwrap());
        assert!(wires.clone().all(known), "a wire of {node} leads nowhere");
        assert!(
            ["z", "broker"]
                .iter()
                .filter(|_| node["type"] != "mqtt-broker")
                .all(|key| { node[key].is_null() || known(&node[key]) }),
            "{node}"
        );
        if node["type"] == "mqtt out" {
            assert_eq!((&node["retain"], &node["qos"]), (&"false".into(), &"1".into()), "{node}");
        }
        if node["type"] == "inject" {
            assert_eq!((&node["once"], &node["repeat"], &node["crontab"]), (&false.into(), &"".into(), &"".into()));
        }
        let opens = ["UNLOCK", "OPEN", "/lock/", "/garage/"].iter().any(|word| node.to_string().contains(word));
        let acts = node["type"] == "inject" || node["type"] == "change";
        assert!(!opens || !acts || node["d"] == true, "{node} is not disabled");
    }
}
