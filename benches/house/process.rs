//! Processes under measurement: what they write, and what the kernel says they use.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use doorstep::clock;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The program, built with the profile of this benchmark.
pub(crate) const DOORSTEP: &str = env!("CARGO_BIN_EXE_doorstep");
const PATIENCE: Duration = Duration::from_secs(30);
/// `USER_HZ`: the unit of `/proc/PID/stat` on every architecture that Doorstep is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running `doorstep`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<(Instant, String)>,
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(DOORSTEP)
            .args(arguments)
            .env("DOORSTEP_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        // More than one is written a second; whoever falls behind lets the process wait.
        let (heard, lines) = mpsc::channel(1_024);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                if heard.send((clock::now().into_std(), line)).await.is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines }
    }

    /// The next line that contains `what`, and when it came.
    pub(crate) async fn line(&mut self, what: &str) -> (Instant, String) {
        let search = async {
            loop {
                let (at, line) = self.lines.recv().await.unwrap_or_else(|| panic!("doorstep ended before `{what}`"));
                if line.contains(what) {
                    return (at, line);
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("doorstep never wrote `{what}`"))
    }

    /// Whatever is written next, until the process ends.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await.map(|(_, line)| line)
    }

    /// Forgets what was written so far. A process whose lines nobody takes has to wait with them.
    pub(crate) fn forget_lines(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    pub(crate) async fn type_line(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Of one core, in percent, over this long from now.
    pub(crate) async fn processor_over(&self, period: Duration) -> f64 {
        let (before, began) = (self.processor_seconds(), clock::now());
        tokio::time::sleep(period).await;
        (self.processor_seconds() - before) / began.elapsed().as_secs_f64() * 100.0
    }

    /// In user and kernel since it began (proc(5): fields 14 and 15, in ticks).
    fn processor_seconds(&self) -> f64 {
        let stat = self.proc_file("stat");
        // The second field is the name in brackets, in which anything may stand.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: f64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
        ticks / TICKS_PER_SECOND
    }

    /// Resident now, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = self.proc_file("status");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
        kib.trim().parse::<f64>().unwrap() / 1_024.0
    }

    /// Sockets, files and pipes that it holds.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("doorstep has ended"))
    }

    fn proc_file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.id())).unwrap()
    }
}
