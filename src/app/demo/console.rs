//! What the person at the demo's terminal types, and what the virtual doorbells tell.

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::cast::VirtualDoorbell;
use crate::app::report;
use crate::config;
use crate::model::DeviceId;
use crate::mqtt::ButtonClient;
use crate::sim::console::{parse, stdin_lines};
use crate::sim::tutk_camera::CameraEvent;

/// Lines of output that wait; more of them hold up the doorbells' tellers, which lose the oldest events then.
const LINES: usize = 64;

/// The demo's terminal: `ring`, `motion`, `offline`, `online`, `fault NAME`, each followed by an id or for the
/// first doorbell; `quit`.
pub(super) struct Console {
    cast: Vec<VirtualDoorbell>,
    button: ButtonClient,
}

impl Console {
    pub(super) fn new(broker: &config::Mqtt, cast: Vec<VirtualDoorbell>) -> Self {
        Self { button: ButtonClient::start(broker), cast }
    }

    pub(super) fn ids(&self) -> Vec<&str> {
        self.cast.iter().map(|doorbell| doorbell.id.as_str()).collect()
    }

    /// Returns on `quit`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let (happened, mut news) = mpsc::channel(LINES);
        for doorbell in &self.cast {
            tokio::spawn(tell(doorbell.id.clone(), doorbell.camera.events(), happened.clone()));
        }
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
                Some((id, event)) = news.recv() => self.heard(&id, &event),
            }
        }
    }

    async fn obey(&self, line: &str) {
        let Some(first) = self.cast.first() else { return };
        let named = self.cast.iter().find(|doorbell| line.split(' ').any(|word| word == doorbell.id.as_str()));
        let doorbell = named.unwrap_or(first);
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != doorbell.id.as_str()).collect();
        match parse(&words.join(" ")) {
            Ok(None) => {}
            Ok(Some(command)) => drop(doorbell.camera.commands.send(command).await),
            Err(commands) => say(&serde_json::json!({"event": "bad_command", "line": line, "reason": commands})),
        }
    }

    /// A pressed button speaks through its wire: an MQTT topic, as a relay beside a real chime would.
    fn heard(&self, id: &DeviceId, event: &CameraEvent) {
        if let (CameraEvent::Ring, Some(doorbell)) = (event, self.cast.iter().find(|doorbell| doorbell.id == *id)) {
            self.button.press(&doorbell.button_topic(), "ON");
        }
        let mut line = serde_json::to_value(event).unwrap_or_default();
        line["doorbell"] = id.as_str().into();
        say(&line);
    }
}

fn say(line: &serde_json::Value) {
    report(&line.to_string());
}

async fn tell(id: DeviceId, mut events: broadcast::Receiver<CameraEvent>, news: mpsc::Sender<(DeviceId, CameraEvent)>) {
    loop {
        match events.recv().await {
            Ok(event) => {
                if news.send((id.clone(), event)).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
