//! What the README and the troubleshooting page say is true.

use std::fs;
use std::path::Path;

use doorstep::config::{self, KvsLogin, Unlock};
use doorstep::vendor::support_table;

const README: &str = include_str!("../../README.md");

#[test]
fn the_support_table_is_the_generated_one() {
    let (_, after) = README.split_once("<!-- support table -->\n").expect("the README marks where the table begins");
    let (shown, _) = after.split_once("<!-- end of the support table -->").expect("and where it ends");
    let table = support_table();
    assert_eq!(shown, table, "\nThe README's table is stale. It should read:\n\n{table}");
}

#[test]
fn the_two_commands_are_there_and_the_gate_is_the_one_that_ci_runs() {
    let ci = include_str!("../../.ci/run");
    for command in ["cargo run --release -- demo", "./gate"] {
        assert!(README.contains(&format!("\n{command}\n")), "the README does not show `{command}`");
    }
    assert!(
        ci.lines().any(|line| line.split_whitespace().next() == Some("./gate")),
        ".ci/run does not call the README's test command"
    );
}

#[test]
fn the_configuration_it_shows_is_right() {
    let shown = README.split("```yaml\n").skip(1).map(|after| after.split_once("```").expect("and where it ends").0);
    let read = |text| config::parse(text, "README.md").unwrap_or_else(|errors| panic!("{errors}"));
    let [account, doorbells, vivint, kvs, camera] =
        shown.map(read).collect::<Vec<_>>().try_into().expect("it shows five pieces");
    assert!(account.wyze[0].login.is_some(), "the first is no account");
    assert!(vivint.vivint[0].firebase_api_key.is_some(), "the third does not talk");
    assert!(matches!(kvs.kvs[0].login, KvsLogin::Certificate { .. }), "the fourth has no certificate");
    assert!(matches!(kvs.doorbells[0].unlock, Some(Unlock::Own(_))), "the fourth opens no door");
    let id = camera.wyze[0].cameras[0].id();
    assert_eq!(id, doorbells.doorbells[0].id, "the doorbell it names is not its camera");
}

#[test]
fn interfaces_names_every_key_of_an_account() {
    let accounts = [
        ("vivint", "{username: a@b.c, none: 1}"),
        ("vivint", "{username: a@b.c, endpoints: {none: 1}}"),
        ("kvs", "{region: us-east-1, none: 1}"),
        ("kvs", "{region: us-east-1, endpoints: {none: 1}}"),
    ];
    for (vendor, account) in accounts {
        let begins = format!("{vendor}:");
        let line = include_str!("../../docs/interfaces.md").lines().find(|line| line.starts_with(&begins));
        let line = line.unwrap_or_else(|| panic!("the example has no account of {vendor}"));
        let error = config::parse(&format!("{vendor}: [{account}]"), "x").unwrap_err().to_string();
        let (_, known) = error.trim().split_once("it knows here: ").unwrap_or_else(|| panic!("{error}"));
        let missing: Vec<&str> = known.split(", ").filter(|key| !line.contains(&format!("{key}: "))).collect();
        assert!(missing.is_empty(), "docs/interfaces.md does not name {missing:?}");
    }
}

#[test]
fn every_message_that_troubleshooting_explains_is_one_that_can_be_met() {
    let said = everything_said(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let troubleshooting = include_str!("../../docs/troubleshooting.md");
    let messages: Vec<&str> =
        troubleshooting.lines().filter(|line| line.starts_with("**")).flat_map(messages_in).collect();
    assert!(messages.len() > 20, "only {} messages were found", messages.len());
    let nowhere: Vec<&&str> = messages.iter().filter(|message| !said.contains(**message)).collect();
    assert!(nowhere.is_empty(), "nothing in src/ says {nowhere:#?}");
}

/// The literal pieces of the messages in a headline: `` **`begins … ends`** `` has two.
fn messages_in(headline: &str) -> impl Iterator<Item = &str> {
    let quoted = headline.split("**").filter_map(|part| part.strip_prefix('`')?.strip_suffix('`'));
    quoted.flat_map(|message| message.trim_matches('`').split('…')).map(str::trim).filter(|piece| !piece.is_empty())
}

/// The text of every source file, long literals joined as the compiler joins them.
fn everything_said(folder: &Path) -> String {
    let mut said = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            said += &everything_said(&path);
        } else if let Ok(text) = fs::read_to_string(&path) {
            said.extend(
                text.split("\\\n").enumerate().map(|(n, piece)| if n == 0 { piece } else { piece.trim_start() }),
            );
        }
    }
    said
}
