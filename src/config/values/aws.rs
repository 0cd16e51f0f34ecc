//! What Amazon's services name things by, and log in with.

use url::Url;

use super::super::section::{Kind, Reason};
use super::super::{DoorCommand, IotEndpoint};
use super::{endpoint, filled, one_word};
use crate::secret::{Password, Pem, Token};

pub(in crate::config) const REGION: Kind<String> =
    Kind { expected: "an AWS region, such as `eu-central-1`", parse: region };

pub(in crate::config) const CHANNEL: Kind<String> =
    Kind { expected: "the name or the ARN of a signaling channel, `doorbell-channel`", parse: channel };

pub(in crate::config) const AWS_NAME: Kind<String> =
    Kind { expected: "1 to 128 letters, digits, `_`, `-`, `.`, `:`, `=`, `,` and `@`", parse: aws_name };

pub(in crate::config) const ROLE_ARN: Kind<String> =
    Kind { expected: "the ARN of a role, `arn:aws:iam::123456789012:role/name`", parse: role_arn };

pub(in crate::config) const AWS_HOST: Kind<Url> = Kind {
    expected: "the host of the credentials provider, `<id>.credentials.iot.<region>.amazonaws.com`",
    parse: |text| if text.contains("://") { endpoint(text) } else { endpoint(&format!("https://{text}")) },
};

pub(in crate::config) const IOT_ENDPOINT: Kind<IotEndpoint> = Kind {
    expected: "the host of AWS IoT, `<id>-ats.iot.<region>.amazonaws.com`, with `:443` where 8883 is blocked",
    parse: IotEndpoint::parse,
};

pub(in crate::config) const RING_TOPIC: Kind<String> =
    Kind { expected: "an MQTT topic filter, such as `doorbell/{channel}/ring`", parse: ring_topic };

pub(in crate::config) const DOOR_COMMAND: Kind<DoorCommand> =
    Kind { expected: "`open_door` or `OPEN_DOOR`", parse: door_command };

pub(in crate::config) const PEM: Kind<Pem> =
    Kind { expected: "the path of a PEM file, or its text", parse: |text| filled(text).map(Pem::new) };

pub(in crate::config) const ACCESS_KEY_ID: Kind<String> =
    Kind { expected: "an access key's id, such as `AKIAIOSFODNN7EXAMPLE`", parse: access_key_id };

pub(in crate::config) const SECRET_ACCESS_KEY: Kind<Password> =
    Kind { expected: "the access key's secret", parse: |text| one_word(text).map(Password::new) };

pub(in crate::config) const SESSION_TOKEN: Kind<Token> =
    Kind { expected: "the session token of temporary keys", parse: |text| one_word(text).map(Token::new) };

fn access_key_id(text: &str) -> Result<String, Reason> {
    let fits = (16..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(text.to_owned()) } else { Err("not an access key's id") }
}

/// It becomes part of host names.
fn region(text: &str) -> Result<String, Reason> {
    let parts: Vec<&str> = text.split('-').collect();
    let (Some((number, words)), 3..) = (parts.split_last(), parts.len()) else { return Err("not a region") };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let fits = words.iter().all(is_word) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if fits && text.len() <= 32 { Ok(text.to_owned()) } else { Err("not a region") }
}

/// The patterns of kvs reference §2.
fn channel(text: &str) -> Result<String, Reason> {
    let is_name = |text: &str| {
        (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let fits = match parts[..] {
        ["arn", _, "kinesisvideo", _, _, resource] => {
            let resource: Vec<&str> = resource.split('/').collect();
            matches!(resource[..], ["channel", name, made] if is_name(name) && made.bytes().all(|b| b.is_ascii_digit()))
        }
        _ => is_name(text),
    };
    if fits { Ok(text.to_owned()) } else { Err("not a channel") }
}

fn aws_name(text: &str) -> Result<String, Reason> {
    let fits =
        (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:=,@".contains(&b));
    if fits { Ok(text.to_owned()) } else { Err("not a name at AWS") }
}

fn role_arn(text: &str) -> Result<String, Reason> {
    let fits = text.starts_with("arn:") && text.contains(":role/") && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("not the ARN of a role") }
}

/// As AWS IoT takes it: at most 7 slashes and 256 bytes.
fn ring_topic(text: &str) -> Result<String, Reason> {
    let levels: Vec<&str> = text.split('/').collect();
    let fits = (1..=256).contains(&text.len()) && levels.len() <= 8 && !text.chars().any(char::is_control);
    let last = levels.len() - 1;
    let wild =
        |(at, level): (usize, &&str)| *level == "+" || (*level == "#" && at == last) || !level.contains(['+', '#']);
    let fits = fits && levels.iter().enumerate().all(wild);
    if fits { Ok(text.to_owned()) } else { Err("not a topic filter that AWS IoT takes") }
}

fn door_command(text: &str) -> Result<DoorCommand, Reason> {
    match text {
        "open_door" => Ok(DoorCommand::OpenDoor),
        "OPEN_DOOR" => Ok(DoorCommand::Legacy),
        _ => Err("no doorbell knows it"),
    }
}
