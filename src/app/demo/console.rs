//! What the person at the demo's terminal types, and what the virtual doorbells and their cloud tell.

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::cast::{News, VirtualDoorbell};
use crate::app::report;
use crate::config;
use crate::model::DeviceId;
use crate::mqtt::ButtonClient;
use crate::sim::console::stdin_lines;

/// Lines of output that wait; more of them hold up the tellers, which lose the oldest events then.
const LINES: usize = 64;

/// The demo's terminal: `ring`, `motion`, `offline`, `online`, `fault NAME`, each followed by an id or for the
/// first doorbell; `quit`.
pub(super) struct Console {
    cast: Vec<VirtualDoorbell>,
    account: Account,
    button: ButtonClient,
}

impl Console {
    pub(super) fn new(broker: &config::Mqtt, cast: Vec<VirtualDoorbell>, account: Account) -> Self {
        Self { button: ButtonClient::start(broker), cast, account }
    }

    pub(super) fn ids(&self) -> Vec<&str> {
        self.cast.iter().map(|doorbell| doorbell.id.as_str()).collect()
    }

    /// Returns on `quit`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let (happened, mut news) = mpsc::channel(LINES);
        self.cast.iter().for_each(|doorbell| doorbell.tell(happened.clone()));
        self.account.tell(happened);
        let mut lines = stdin_lines();
        let mut terminal = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                line = lines.recv(), if terminal => match line {
                    Some(line) if line.trim() == "quit" => return,
                    Some(line) => self.obey(line.trim()).await,
                    None => terminal = false,
                },
                Some((id, mut line)) = news.recv() => {
                    line["doorbell"] = id.as_str().into();
                    say(&line);
                }
            }
        }
    }

    async fn obey(&self, line: &str) {
        let Some(first) = self.cast.first() else { return };
        let named = self.cast.iter().find(|doorbell| line.split(' ').any(|word| word == doorbell.id.as_str()));
        let doorbell = named.unwrap_or(first);
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != doorbell.id.as_str()).collect();
        match words[..] {
            ["ring"] => self.ring(doorbell),
            ["motion"] => self.account.motion(doorbell),
            _ => {
                if let Err(commands) = doorbell.obey(&words.join(" ")).await {
                    say(&serde_json::json!({"event": "bad_command", "line": line, "reason": commands}));
                }
            }
        }
    }

    /// The cloud hears of every press, a while later; a wired button says so at once, as a relay beside a real
    /// chime would.
    fn ring(&self, doorbell: &VirtualDoorbell) {
        if let Some(topic) = doorbell.button_topic() {
            self.button.press(&topic, "ON");
        }
        self.account.ring(doorbell);
    }
}

fn say(line: &serde_json::Value) {
    report(&line.to_string());
}

/// Passes on what a camera tells.
pub(super) async fn tell(
    id: DeviceId,
    mut events: broadcast::Receiver<impl Clone + Serialize>,
    news: mpsc::Sender<News>,
) {
    while let Ok(event) = next(&mut events).await {
        let line = serde_json::to_value(&event).unwrap_or_default();
        if news.send((id.clone(), line)).await.is_err() {
            return;
        }
    }
}

/// The next event that was not missed.
pub(super) async fn next<E: Clone>(events: &mut broadcast::Receiver<E>) -> Result<E, broadcast::error::RecvError> {
    loop {
        match events.recv().await {
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            outcome => return outcome,
        }
    }
}
