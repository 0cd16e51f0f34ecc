//! What a running P2P server can be told, in words on standard input too.

use super::quirk::Quirk;
use crate::proto::gwell::token::AccessToken;

#[derive(Debug, Clone)]
pub enum ServerCommand {
    /// From now on.
    Begin(Quirk),
    End(Quirk),
    /// No quirk any more.
    Behave,
    /// Forgets every session, call and pair, without a word to anybody.
    Restart,
    /// Sends WakeUp to the camera of this name, as the cloud does when it is asked to.
    Wake {
        camera: String,
    },
    /// Drops every session of a camera or account: the name of the one, the access id of the other.
    Kick {
        who: String,
    },
    /// A token that is good from now on: a renewed one, or of another account.
    Token(AccessToken),
    /// No token that this access id has so far is good any more. Sessions go on.
    Revoke {
        access_id: u64,
    },
}

const COMMANDS: &str = "commands: `fault NAME`, `mend NAME`, `fault none`, `restart`, `wake CAMERA`, \
    `kick CAMERA|ACCESS_ID`, `token ACCESS_ID TOKEN`, `revoke ACCESS_ID`, `quit`";

/// One command; `None` for an empty line.
///
/// # Errors
/// With the commands there are.
pub fn parse(line: &str) -> Result<Option<ServerCommand>, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    let wrong = || COMMANDS.to_owned();
    let named = || if rest.is_empty() { Err(wrong()) } else { Ok(rest.to_owned()) };
    let quirk = || rest.parse::<Quirk>().map_err(|error| error.to_string());
    Ok(Some(match verb {
        "" => return Ok(None),
        "fault" if rest == "none" => ServerCommand::Behave,
        "fault" => ServerCommand::Begin(quirk()?),
        "mend" => ServerCommand::End(quirk()?),
        "restart" if rest.is_empty() => ServerCommand::Restart,
        "wake" => ServerCommand::Wake { camera: named()? },
        "kick" => ServerCommand::Kick { who: named()? },
        "token" => {
            let (id, token) = rest.split_once(' ').ok_or_else(wrong)?;
            ServerCommand::Token(AccessToken::parse(id, token).map_err(|error| error.to_string())?)
        }
        "revoke" => ServerCommand::Revoke { access_id: rest.parse().map_err(|_| wrong())? },
        _ => return Err(wrong()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_understood_and_nothing_else() {
        let heard = |line: &str| format!("{:?}", parse(line).unwrap().unwrap());
        assert_eq!(heard("fault certify-code:3"), "Begin(CertifyCode(3))");
        assert_eq!(heard("mend slow"), "End(Slow)");
        assert_eq!(heard("fault none"), "Behave");
        assert_eq!(heard("restart"), "Restart");
        assert_eq!(heard("wake GW_DBD_1"), r#"Wake { camera: "GW_DBD_1" }"#);
        assert_eq!(heard("kick 7"), r#"Kick { who: "7" }"#);
        assert_eq!(heard("revoke 7"), "Revoke { access_id: 7 }");
        assert!(heard(&format!("token 7 {}", "5a".repeat(64))).starts_with("Token("));
        assert!(parse("").unwrap().is_none());
        for mistake in
            ["jump", "fault", "fault tired", "mend", "restart now", "wake", "kick", "token 7", "token 7 5a", "revoke x"]
        {
            assert!(parse(mistake).is_err(), "`{mistake}` was understood");
        }
    }
}
