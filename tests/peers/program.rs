//! Somebody else's program, or a few lines around it, that speaks JSON: an object a line.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// Killed when dropped.
pub(crate) struct Program {
    pub(crate) process: Child,
    says: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Program {
    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, says, said: Vec::new() }
    }

    /// The next that it says under this name.
    pub(crate) async fn says(&mut self, name: &str) -> Value {
        self.says_all(name).await[name].take()
    }

    /// All of what it says together with this name.
    pub(crate) async fn says_all(&mut self, name: &str) -> Value {
        self.says_with(name, |_| true).await
    }

    /// The next under this name that fits.
    pub(crate) async fn says_with(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let said = async {
            loop {
                let Some(line) = self.says.next_line().await.unwrap() else {
                    panic!("the program has ended before `{name}`; it said {:#?}", self.said);
                };
                let said: Value = serde_json::from_str(&line).unwrap();
                self.said.push(line);
                if said.get(name).is_some() && fits(&said) {
                    return said;
                }
            }
        };
        let said = timeout(PATIENCE, said).await;
        said.unwrap_or_else(|_| panic!("the program says nothing of `{name}`, only {:#?}", self.said))
    }

    pub(crate) async fn tell(&mut self, what: &Value) {
        self.process.stdin.as_mut().unwrap().write_all(format!("{what}\n").as_bytes()).await.unwrap();
    }
}
