//! What a running cloud can be told, in words on standard input too.

use std::time::Duration;

use super::device::Device;
use super::event_list::Scripted;
use super::fault::Trouble;
use crate::secret::Password;
use crate::sim::made_up::random_seed;

#[derive(Debug, Clone)]
pub enum CloudCommand {
    Happen(Scripted),
    Add(Box<Device>),
    Remove {
        device: String,
    },
    Rename {
        device: String,
        nickname: String,
    },
    /// A device has moved to another address.
    Address {
        device: String,
        address: String,
    },
    /// A device's plug, as the cloud sees it; without a device, that of the cloud itself.
    Online {
        device: Option<String>,
        online: bool,
    },
    /// A device was switched on or off in the app.
    Power {
        device: String,
        on: bool,
    },
    /// The account's password was changed; tokens stay good.
    Password(Password),
    /// Misbehaves from now on; `None` for no more.
    Trouble(Option<Trouble>),
}

const COMMANDS: &str = "commands: `ring [ID [SECONDS_AGO]]`, `motion [ID [TAG…]]`, `event VALUE [ID]`, \
    `add MODEL NAME`, `rename ID NAME`, `remove ID`, `address ID IP[:PORT]`, `offline [ID]`, `online [ID]`, \
    `power_off ID`, `power_on ID`, `password NEW`, `fault NAME [/PATH]`, `fault none`, `quit`";

/// One command; `None` for an empty line.
///
/// # Errors
/// With the commands there are.
pub fn parse(line: &str) -> Result<Option<CloudCommand>, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, second) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
    let device = Some(first.to_owned()).filter(|id| !id.is_empty());
    let wrong = || COMMANDS.to_owned();
    // Of a command that does nothing without a device.
    let named = device.clone().ok_or_else(wrong);
    Ok(Some(match verb {
        "" => return Ok(None),
        "ring" => {
            let ago = if second.is_empty() { 0 } else { second.parse().map_err(|_| wrong())? };
            CloudCommand::Happen(Scripted { device, ago: Duration::from_secs(ago), ..Scripted::ring() })
        }
        "motion" => {
            let tags: Result<Vec<u32>, _> = second.split_whitespace().map(str::parse).collect();
            CloudCommand::Happen(Scripted { device, ..Scripted::motion(&tags.map_err(|_| wrong())?) })
        }
        "event" => {
            let device = Some(second.to_owned()).filter(|id| !id.is_empty());
            let value = first.parse().map_err(|_| wrong())?;
            CloudCommand::Happen(Scripted { device, value, ..Scripted::ring() })
        }
        "add" => {
            let seed = random_seed().map_err(|error| error.to_string())?;
            CloudCommand::Add(Box::new(Device::generate(&named?, second, seed)))
        }
        "remove" => CloudCommand::Remove { device: named? },
        "rename" if !second.is_empty() => CloudCommand::Rename { device: named?, nickname: second.to_owned() },
        "address" => CloudCommand::Address { device: named?, address: second.to_owned() },
        "offline" | "online" => CloudCommand::Online { device, online: verb == "online" },
        "power_off" | "power_on" => CloudCommand::Power { device: named?, on: verb == "power_on" },
        "password" => CloudCommand::Password(Password::new(named?)),
        "fault" if rest == "none" => CloudCommand::Trouble(None),
        "fault" => CloudCommand::Trouble(Some(rest.trim().parse().map_err(|error| format!("{error}"))?)),
        _ => return Err(wrong()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::wyze_cloud::Fault;

    #[test]
    fn each_command_is_understood_and_nothing_else() {
        let heard = |line| format!("{:?}", parse(line).unwrap().unwrap());
        assert!(heard("ring").contains("device: None, value: 10, tags: [], ago: 0ns"), "{}", heard("ring"));
        assert!(heard("ring AA 40").contains(r#"device: Some("AA"), value: 10, tags: [], ago: 40s"#));
        assert!(heard("motion AA 101 104").contains("value: 13, tags: [101, 104]"));
        assert!(heard("event 99").contains("device: None, value: 99"));
        assert!(heard("add HL_DB2 Back Door").contains(r#"nickname: "Back Door""#));
        assert!(heard("rename AA Back Door").contains(r#"nickname: "Back Door""#));
        assert!(heard("address AA 127.0.0.1:9").contains(r#"address: "127.0.0.1:9""#));
        assert!(heard("offline").contains("device: None, online: false"));
        assert!(heard("online AA").contains(r#"device: Some("AA"), online: true"#));
        assert!(heard("power_off AA").contains("on: false"));
        assert!(heard("fault none").contains("None"));
        let trouble = Trouble { fault: Fault::Stall, at: "/app".into() };
        assert!(heard("fault stall /app").contains(&format!("{trouble:?}")));
        assert!(parse("").unwrap().is_none());
        for mistake in ["jump", "remove", "rename AA", "ring AA soon", "motion AA cat", "event ring", "fault", "add"] {
            assert!(parse(mistake).is_err(), "`{mistake}` was understood");
        }
    }
}
