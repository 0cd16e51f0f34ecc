//! What a running virtual AWS can be told, in words on standard input too.

use super::fault::Trouble;
use super::settings::Turn;
use super::signaling::{Notice, To, What};
use crate::sim::iot::{self, Policy};

#[derive(Debug, Clone)]
pub enum AwsCommand {
    /// The signaling service says this to who is connected.
    Notice(Notice),
    /// A doorbell's ring, published as the Linux doorbell does it; without a name, the first channel's.
    Ring { channel: Option<String> },
    /// Cuts every connection; new ones get through.
    Drop,
    /// Whether anybody gets through.
    Online(bool),
    /// Misbehaves from now on; `None` for no more.
    Trouble(Option<Trouble>),
    /// AWS IoT misbehaves from now on; `None` for no more.
    IotFault(Option<iot::Fault>),
    /// At AWS IoT, from now on.
    Policy(Policy),
    /// From now on; `None` for no TURN server.
    Turn(Option<Turn>),
}

/// No channel of the account has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the account has no channel `{0}`")]
pub struct NoSuchChannel(pub(super) String);

const COMMANDS: &str = "commands: `goaway [masters|viewers]`, `reconnect-ice [masters|viewers]`, `ring [CHANNEL]`, \
    `drop`, `offline`, `online`, `fault NAME [/PATH]`, `fault none`, `iot NAME`, `iot none`, `quit`";

/// One command; `None` for an empty line.
///
/// # Errors
/// With the commands there are.
pub fn parse(line: &str) -> Result<Option<AwsCommand>, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    let notice = |what| {
        let to = match rest {
            "" => To::Everybody,
            "masters" => To::Masters,
            "viewers" => To::Viewers,
            _ => return Err(COMMANDS.to_owned()),
        };
        Ok(AwsCommand::Notice(Notice { what, to }))
    };
    Ok(Some(match (verb, rest) {
        ("", _) => return Ok(None),
        ("goaway", _) => notice(What::GoAway)?,
        ("reconnect-ice", _) => notice(What::ReconnectIceServer)?,
        ("ring", channel) => AwsCommand::Ring { channel: Some(channel.to_owned()).filter(|name| !name.is_empty()) },
        ("drop", "") => AwsCommand::Drop,
        ("offline" | "online", "") => AwsCommand::Online(verb == "online"),
        ("fault", "none") => AwsCommand::Trouble(None),
        ("fault", trouble) => AwsCommand::Trouble(Some(trouble.parse().map_err(|error| format!("{error}"))?)),
        ("iot", "none") => AwsCommand::IotFault(None),
        ("iot", fault) => AwsCommand::IotFault(Some(fault.parse().map_err(|error| format!("{error}"))?)),
        _ => return Err(COMMANDS.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_understood_and_nothing_else() {
        let heard = |line| format!("{:?}", parse(line).unwrap().unwrap());
        assert_eq!(heard("goaway"), "Notice(Notice { what: GoAway, to: Everybody })");
        assert_eq!(heard("reconnect-ice viewers"), "Notice(Notice { what: ReconnectIceServer, to: Viewers })");
        assert_eq!(heard("ring"), "Ring { channel: None }");
        assert_eq!(heard("ring front-door"), r#"Ring { channel: Some("front-door") }"#);
        assert_eq!(heard("drop"), "Drop");
        assert_eq!(heard("offline"), "Online(false)");
        assert_eq!(heard("fault none"), "Trouble(None)");
        assert!(heard("fault slow /v1/").contains(r#"fault: Slow, at: "/v1/""#));
        assert_eq!(heard("iot silent"), "IotFault(Some(Silent))");
        assert_eq!(heard("iot none"), "IotFault(None)");
        assert!(parse("").unwrap().is_none());
        for mistake in ["jump", "goaway nobody", "drop it", "fault", "fault slowly", "iot", "online now"] {
            assert!(parse(mistake).is_err(), "`{mistake}` was understood");
        }
    }
}
