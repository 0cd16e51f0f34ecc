//! `doorstep sim aws`: what it says first, and its life.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::options::AwsOptions;
use super::{Files, RunningAws, parse, start};
use crate::secret::Token;
use crate::sim::console::{attend, write_line};
use crate::sim::made_up::random_seed;

/// The first line of output: all that a client needs.
#[derive(Serialize)]
struct Announcement<'a> {
    kind: &'static str,
    plain: SocketAddr,
    tls: SocketAddr,
    mqtts: SocketAddr,
    /// In place of each of AWS's hosts.
    url: String,
    /// The same over TLS; the credentials provider is here only.
    secure_url: String,
    region: &'a str,
    account: &'a str,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: Option<&'a str>,
    channels: Vec<Channel<'a>>,
    role_alias: &'a str,
    role_arns: Vec<&'a str>,
    authority: Pem<'a>,
    things: Vec<Thing<'a>>,
}

#[derive(Serialize)]
struct Channel<'a> {
    name: &'a str,
    arn: Option<String>,
}

#[derive(Serialize)]
struct Thing<'a> {
    name: &'a str,
    certificate: Pem<'a>,
    private_key: Pem<'a>,
}

/// Where it was written, or itself.
#[derive(Serialize)]
#[serde(untagged)]
enum Pem<'a> {
    File(PathBuf),
    Text(&'a str),
}

pub(in crate::sim) async fn run(
    options: AwsOptions,
    lines: mpsc::Receiver<String>,
    output: &mut impl Write,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop = stop.child_token();
    let (settings, folder) = options.settings(random_seed()?);
    let aws = start(settings, stop.clone()).await?;
    let files = folder.map(|folder| aws.write_certificates(&folder)).transpose()?;
    let events = aws.events();
    announce(&aws, files, output)?;
    let outcome = attend(events, async |line: &str| obey(&aws, line), lines, output, &stop).await;
    stop.cancel();
    aws.stopped().await;
    outcome
}

fn obey(aws: &RunningAws, line: &str) -> Result<(), String> {
    match parse(line)? {
        Some(command) => aws.obey(command).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn announce(aws: &RunningAws, files: Option<Files>, output: &mut impl Write) -> io::Result<()> {
    let settings = &aws.settings;
    let key = settings.keys.first();
    let (authority, written) = match files {
        Some(files) => (Pem::File(files.authority), files.things),
        None => (Pem::Text(&aws.authority_pem), Vec::new()),
    };
    let mut written = written.into_iter();
    let things = aws.things.iter().map(|thing| {
        let (certificate, private_key) = match written.next() {
            Some((certificate, key)) => (Pem::File(certificate), Pem::File(key)),
            None => (Pem::Text(&thing.certificate_pem), Pem::Text(thing.private_key_pem.expose())),
        };
        Thing { name: &thing.name, certificate, private_key }
    });
    let announcement = Announcement {
        kind: "aws",
        plain: aws.plain,
        tls: aws.tls,
        mqtts: aws.mqtts,
        url: format!("http://{}", aws.plain),
        secure_url: format!("https://{}", aws.tls),
        region: &settings.region,
        account: &settings.account,
        access_key_id: key.map_or("", |key| &key.id),
        secret_access_key: key.map_or("", |key| key.secret.expose()),
        session_token: key.and_then(|key| key.token.as_ref()).map(Token::expose),
        channels: settings.channels.iter().map(|own| Channel { name: &own.name, arn: aws.arn(&own.name) }).collect(),
        role_alias: &settings.role_alias,
        role_arns: settings.roles.iter().map(|role| role.arn.as_str()).collect(),
        authority,
        things: things.collect(),
    };
    write_line(output, &announcement)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: AwsOptions,
    }

    /// What the console prints when these lines are typed.
    async fn typed(arguments: &[&str], commands: &[&str]) -> Vec<Value> {
        let (sender, lines) = mpsc::channel(16);
        for command in commands {
            sender.send((*command).to_owned()).await.unwrap();
        }
        let options = Cli::try_parse_from([&["aws"], arguments].concat()).unwrap().options;
        let mut output = Vec::new();
        let running = run(options, lines, &mut output, CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("it quits").unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[tokio::test]
    async fn the_first_line_holds_all_that_a_client_needs_and_mistakes_are_named() {
        let lines = typed(&["--channel", "front"], &["ring back", "jump", "goaway", "quit"]).await;
        let first = &lines[0];
        for key in ["kind", "plain", "tls", "mqtts", "url", "secure_url", "region", "account", "access_key_id"] {
            assert!(first[key].is_string(), "{key} is missing in {first}");
        }
        for key in ["secret_access_key", "role_alias", "authority"] {
            assert!(first[key].is_string(), "{key} is missing in {first}");
        }
        assert_eq!(first["channels"][0]["name"], "front");
        let thing = &first["things"][0];
        assert!(thing["private_key"].as_str().unwrap().contains("-----BEGIN PRIVATE KEY-----"), "{thing}");
        let bad: Vec<&Value> = lines.iter().filter(|line| line["event"] == "bad_command").collect();
        assert_eq!(bad.len(), 2, "{lines:#?}");
        assert_eq!(bad[0]["reason"], "the account has no channel `back`");
    }

    #[tokio::test]
    async fn certificates_are_written_where_they_are_wanted_and_keys_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let first = &typed(&["--certificates", folder.path().to_str().unwrap()], &["quit"]).await[0];
        let read = |path: &Value| std::fs::read_to_string(path.as_str().unwrap()).unwrap();
        assert!(read(&first["authority"]).starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(read(&first["things"][0]["certificate"]).starts_with("-----BEGIN CERTIFICATE-----"));
        let key = first["things"][0]["private_key"].as_str().unwrap();
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
