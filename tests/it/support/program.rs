//! The real binary as a process of its own.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(25);

/// `doorstep` with arguments; killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Standard output and standard error, line by line.
    said: watch::Receiver<Vec<String>>,
    logged: watch::Receiver<Vec<String>>,
}

impl Program {
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::start_with(arguments, |_| {})
    }

    pub(crate) fn start_with<S: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = S>,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorstep"));
        command.args(arguments).env_remove("DOORSTEP_LOG").env_remove("SUPERVISOR_TOKEN").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let (said, logged) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, stdin, said, logged }
    }

    /// Waits for a line on standard output.
    pub(crate) async fn says(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        find(&mut self.said, what, is_it).await.unwrap_or_else(|said| panic!("{said}\nlog: {}", self.log()))
    }

    /// All that stands on standard output by now.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.borrow().clone()
    }

    /// Waits for a line on standard error.
    pub(crate) async fn logs(&mut self, what: &str) -> String {
        find(&mut self.logged, what, |line| line.contains(what)).await.unwrap_or_else(|logged| panic!("{logged}"))
    }

    /// Where `doorstep run` serves its page, once it does.
    pub(crate) async fn page(&mut self) -> SocketAddr {
        let line = self.logs(" page=").await;
        let (_, address) = line.split_once(" page=").unwrap();
        address.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.logged.borrow().join("\n")
    }

    pub(crate) async fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it has an input");
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Nothing more is typed, as with `</dev/null`.
    pub(crate) fn without_input(mut self) -> Self {
        self.stdin = None;
        self
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Without a chance to take leave of anybody.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
    }

    /// Of its memory, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
        kib.trim().parse::<f64>().unwrap() / 1_024.0
    }

    /// Sockets, files and pipes that it holds.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    fn id(&self) -> u32 {
        self.child.id().expect("it still runs")
    }

    fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Its end, and all that it has written by then.
    pub(crate) async fn ends(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end; log: {}", self.log())).unwrap();
        for pipe in [&mut self.said, &mut self.logged] {
            // The readers end, and drop their senders, when the pipes are empty.
            let emptied = async { while pipe.changed().await.is_ok() {} };
            timeout(PATIENCE, emptied).await.expect("the pipes are closed");
        }
        Ended { status, said: self.said.borrow().join("\n"), log: self.log() }
    }
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
    pub(crate) log: String,
}

fn lines(pipe: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (all, read) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            all.send_modify(|all| all.push(line));
        }
    });
    read
}

/// The first line that is it, or everything there was instead.
async fn find(
    lines: &mut watch::Receiver<Vec<String>>,
    what: &str,
    is_it: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let (mut read, mut found) = (0, None);
    let looking = lines.wait_for(|lines| {
        found = lines[read..].iter().find(|line| is_it(line)).cloned();
        read = lines.len();
        found.is_some()
    });
    let outcome = timeout(PATIENCE, looking).await.map(|outcome| outcome.map(drop));
    found.ok_or_else(|| format!("{what} never came ({outcome:?}), but:\n{}", lines.borrow().join("\n")))
}
