//! What the person at the demo's terminal types, and what the virtual doorbells and their cloud tell.

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::Houses;
use super::cast::News;
use crate::app::report;
use crate::model::DeviceId;
use crate::sim::console::stdin_lines;

/// Lines of output that wait; more of them hold up the tellers, which lose the oldest events then.
const LINES: usize = 64;

/// The demo's terminal: `ring`, `motion`, `offline`, `online`, `fault NAME`, each followed by an id or for the
/// first doorbell; with `cloud` in front, a command of the virtual Wyze cloud (`cloud fault jammed`); `quit`.
pub(super) struct Console {
    houses: Houses,
}

impl Console {
    pub(super) fn new(houses: Houses) -> Self {
        Self { houses }
    }

    /// Returns on `quit`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let (happened, mut news) = mpsc::channel(LINES);
        self.houses.tell(&happened);
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
        let ids = self.houses.ids();
        let named = ids.iter().find(|id| line.split(' ').any(|word| word == id.as_str()));
        let Some(id) = named.or(ids.first()) else { return };
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != id.as_str()).collect();
        if let Err(commands) = self.houses.obey(id, &words.join(" ")).await {
            say(&serde_json::json!({"event": "bad_command", "line": line, "reason": commands}));
        }
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
