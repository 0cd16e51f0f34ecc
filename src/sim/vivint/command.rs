//! What a running cloud can be told, in words on standard input too.

use serde_json::Value;

use super::doorbell;
use super::fault::Trouble;
use crate::secret::Password;
use crate::sim::rtsp::RtspCommand;

/// Where no device is named, the first of its kind is meant.
#[derive(Debug, Clone)]
pub enum Command {
    Ring {
        device: Option<i64>,
    },
    /// A visitor is seen.
    Motion {
        device: Option<i64>,
    },
    /// A camera takes a still picture of its own accord.
    Picture {
        device: Option<i64>,
    },
    /// Somebody turns the bolt by hand.
    Lock {
        device: Option<i64>,
        locked: bool,
    },
    /// Somebody moves the garage door by hand.
    Door {
        device: Option<i64>,
        open: bool,
    },
    /// Whether the panel reaches a device; without a device, whether clients reach the cloud.
    Online {
        device: Option<i64>,
        online: bool,
    },
    /// Anything that a device may tell.
    Push(Value),
    Remove {
        device: i64,
    },
    Rename {
        device: i64,
        name: String,
    },
    /// The account's password was changed; tokens stay good.
    Password(Password),
    /// The panel's password is another one from now on.
    Rotate,
    /// Every token of Vivint's given out so far has expired; refresh tokens stay good.
    Expire,
    /// Misbehaves from now on; `None` for no more, of anything.
    Trouble(Option<Trouble>),
    /// A doorbell calls the account's app by itself (§8).
    Call {
        device: Option<i64>,
    },
    /// The doorbells that take calls, this one or all.
    Doorbell {
        device: Option<i64>,
        command: doorbell::Command,
    },
    /// The RTSP servers of this camera, or of all.
    Pictures {
        device: Option<i64>,
        command: RtspCommand,
    },
}

const COMMANDS: &str = "commands: `ring [ID]`, `motion [ID]`, `picture [ID]`, `lock [ID]`, `unlock [ID]`, \
    `open [ID]`, `close [ID]`, `offline [ID]`, `online [ID]`, `push JSON`, `rename ID NAME`, `remove ID`, \
    `password NEW`, `rotate`, `expire`, `fault NAME [/PATH]`, `fault rtsp NAME`, \
    `fault call NAME`, `fault none`, `call [ID]`, `hang_up [ID]`, `quit`";

/// One command; `None` for an empty line.
///
/// # Errors
/// With the commands there are.
pub fn parse(line: &str) -> Result<Option<Command>, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let wrong = || COMMANDS.to_owned();
    let named = || first.parse::<i64>().map_err(|_| wrong());
    let device = || if rest.is_empty() { Ok(None) } else { rest.parse().map(Some).map_err(|_| wrong()) };
    Ok(Some(match verb {
        "" => return Ok(None),
        "ring" => Command::Ring { device: device()? },
        "motion" => Command::Motion { device: device()? },
        "picture" => Command::Picture { device: device()? },
        "lock" | "unlock" => Command::Lock { device: device()?, locked: verb == "lock" },
        "open" | "close" => Command::Door { device: device()?, open: verb == "open" },
        "offline" | "online" => Command::Online { device: device()?, online: verb == "online" },
        "push" => Command::Push(serde_json::from_str(rest).map_err(|error| format!("`push`: {error}"))?),
        "remove" => Command::Remove { device: named()? },
        "rename" if !second.is_empty() => Command::Rename { device: named()?, name: second.to_owned() },
        "password" if !rest.is_empty() => Command::Password(Password::new(rest)),
        "rotate" if rest.is_empty() => Command::Rotate,
        "expire" if rest.is_empty() => Command::Expire,
        "fault" if rest == "none" => Command::Trouble(None),
        "call" => Command::Call { device: device()? },
        "hang_up" => Command::Doorbell { device: device()?, command: doorbell::Command::HangUp },
        "fault" if first == "call" => {
            let fault = second.trim().parse().map_err(|error| format!("{error}"))?;
            Command::Doorbell { device: None, command: doorbell::Command::Fault(Some(fault)) }
        }
        "fault" if first == "rtsp" => {
            let fault = second.trim().parse().map_err(|error| format!("{error}"))?;
            Command::Pictures { device: None, command: RtspCommand::Fault(Some(fault)) }
        }
        "fault" => Command::Trouble(Some(rest.parse().map_err(|error| format!("{error}"))?)),
        _ => return Err(wrong()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::vivint::Fault;

    #[test]
    fn each_command_is_understood_and_nothing_else() {
        let heard = |line| format!("{:?}", parse(line).unwrap().unwrap());
        assert_eq!(heard("ring"), "Ring { device: None }");
        assert_eq!(heard("motion 28"), "Motion { device: Some(28) }");
        assert_eq!(heard("picture"), "Picture { device: None }");
        assert_eq!(heard("unlock 40"), "Lock { device: Some(40), locked: false }");
        assert_eq!(heard("open"), "Door { device: None, open: true }");
        assert_eq!(heard("offline"), "Online { device: None, online: false }");
        assert_eq!(heard("online 27"), "Online { device: Some(27), online: true }");
        assert!(heard(r#"push {"_id": 27, "wiss": 71}"#).contains("71"));
        assert!(heard("rename 27 Back Door").contains(r#"name: "Back Door""#));
        assert_eq!(heard("rotate"), "Rotate");
        assert_eq!(heard("fault none"), "Trouble(None)");
        let trouble = Trouble { fault: Fault::Stall, at: "/api".into() };
        assert!(heard("fault stall /api").contains(&format!("{trouble:?}")));
        assert!(parse("").unwrap().is_none());
        assert!(heard("fault rtsp deaf").contains("Fault(Some(Deaf))"));
        assert!(heard("fault call no-answer").contains("Fault(Some(NoAnswer))"));
        assert!(parse("fault call").is_err());
        assert_eq!(heard("call 27"), "Call { device: Some(27) }");
        assert_eq!(heard("hang_up"), "Doorbell { device: None, command: HangUp }");
        for mistake in
            ["fault rtsp dead", "jump", "remove", "rename 27", "ring bell", "push {", "fault", "password", "expire now"]
        {
            assert!(parse(mistake).is_err(), "`{mistake}` was understood");
        }
    }
}
