//! Programs that are a doorbell's hardware. They are run as they stand: no shell, and no word of our credentials.

use std::fmt;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use tokio::process::{Child, Command};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    name: String,
    arguments: Vec<String>,
}

/// There is no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no program")]
pub struct NoProgram;

impl FromStr for Program {
    type Err = NoProgram;

    /// Words are separated by white space; there are no quotes.
    fn from_str(text: &str) -> Result<Self, NoProgram> {
        let mut words = text.split_whitespace().map(str::to_owned);
        Ok(Self { name: words.next().ok_or(NoProgram)?, arguments: words.collect() })
    }
}

/// The name alone: arguments may hold anything.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Program {
    /// What runs longer is killed.
    const WITHIN: Duration = Duration::from_secs(10);

    /// With one more argument.
    pub(super) fn with(&self, argument: &str) -> Self {
        let mut program = self.clone();
        program.arguments.push(argument.to_owned());
        program
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Why it has not done what it is for.
    pub(super) async fn run(&self) -> Result<(), String> {
        let mut child = self.start(Stdio::null(), Stdio::null())?;
        match tokio::time::timeout(Self::WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it ended with {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it was killed after 10 s".to_owned()),
        }
    }

    /// Killed when the child is dropped. What it has to say goes to our standard error.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn start(&self, stdin: Stdio, stdout: Stdio) -> Result<Child, String> {
        let mut command = Command::new(&self.name);
        command.args(&self.arguments).stdin(stdin).stdout(stdout).kill_on_drop(true);
        for secret in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env_remove(secret);
        }
        command.spawn().map_err(|error| format!("it cannot be started: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(text: &str) -> Program {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn how_it_ended_is_what_counts() {
        assert_eq!(program("true").run().await, Ok(()));
        assert_eq!(program("test a = b").run().await, Err("it ended with exit status: 1".to_owned()));
        let error = program("/no/such/program at all").run().await.unwrap_err();
        assert!(error.starts_with("it cannot be started"), "{error}");
        assert_eq!(" ".parse::<Program>(), Err(NoProgram));
        // No shell: this is a file's name.
        assert!(program("true;true").run().await.is_err());
        assert_eq!(program("test a =").with("a").run().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_killed() {
        assert_eq!(program("sleep 3600").run().await, Err("it was killed after 10 s".to_owned()));
    }
}
