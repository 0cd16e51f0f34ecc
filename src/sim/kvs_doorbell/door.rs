//! What text over a data channel does: one command opens the door (kvs reference §7).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use super::fault::Fault;
use super::led::{Led, Source};
use super::program::Program;
use super::{Event, Tell};

/// The opener and the light beside it.
pub(super) struct Door {
    opener: Option<Program>,
    pub(super) led: Led,
    fault: watch::Receiver<Option<Fault>>,
    /// There is one door: who comes second waits.
    open: Arc<Mutex<()>>,
    tell: Tell,
}

impl Door {
    /// The master looks for these bytes and for nothing that means the same.
    const COMMAND: &str = r#""action":"open_door""#;
    /// So long the opener's line is up, and nothing else is heard on that channel.
    const PULSE: Duration = Duration::from_secs(1);

    pub(super) fn new(
        opener: Option<Program>,
        led: Option<Program>,
        fault: watch::Receiver<Option<Fault>>,
        tell: Tell,
    ) -> Self {
        Self { opener, led: Led::start(led, tell.clone()), fault, open: Arc::default(), tell }
    }

    /// Does what the text says, and returns the reply, if there is one.
    pub(super) async fn hear(&self, viewer: &str, source: Source, text: &str) -> Option<String> {
        let fault = *self.fault.borrow();
        if fault == Some(Fault::Vanish) {
            return None;
        }
        if fault == Some(Fault::Echo) || !text.contains(Self::COMMAND) {
            self.tell.tell(Event::Message { viewer: viewer.to_owned(), bytes: text.len() });
            return Some(echo(text));
        }
        self.led.light(source);
        let reply = self.work(viewer.to_owned()).await;
        (fault != Some(Fault::SilentDoor)).then(|| reply.to_owned())
    }

    async fn work(&self, viewer: String) -> &'static str {
        let turn = self.open.clone().lock_owned().await;
        let (opener, tell) = (self.opener.clone(), self.tell.clone());
        let working = async move {
            let _one_at_a_time = turn;
            work(opener, viewer, &tell).await
        };
        // A task of its own: an opener that were killed with its work half done, because the viewer hangs up, might
        // leave the door open.
        tokio::spawn(working).await.unwrap_or(NOT_OPENED)
    }
}

const NOT_OPENED: &str = "Door did not open";

async fn work(opener: Option<Program>, viewer: String, tell: &Tell) -> &'static str {
    let pulse = tokio::time::sleep(Door::PULSE);
    let outcome = match &opener {
        Some(opener) => opener.run().await,
        None => Ok(()),
    };
    match outcome {
        Ok(()) => {
            tell.tell(Event::DoorOpened { viewer });
            pulse.await;
            "Door opened successfully"
        }
        Err(why) => {
            tell.tell(Event::DoorNotOpened { viewer, why });
            NOT_OPENED
        }
    }
}

/// What masters say to text that they do not know.
pub(super) fn echo(text: &str) -> String {
    format!("Received {} bytes, ECHO: {text}", text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::sync::broadcast;

    use super::*;
    use crate::clock;

    struct House {
        door: Door,
        events: broadcast::Receiver<Event>,
        _fault: watch::Sender<Option<Fault>>,
    }

    fn house(opener: Option<&str>, fault: Option<Fault>) -> House {
        let (sender, fault) = (broadcast::Sender::new(16), watch::Sender::new(fault));
        let events = sender.subscribe();
        let opener = opener.map(|program| program.parse().unwrap());
        House { door: Door::new(opener, None, fault.subscribe(), Tell(sender)), events, _fault: fault }
    }

    fn vector(id: &str) -> Value {
        let all: Value = serde_json::from_str(include_str!("../../../tests/vectors/kvs/doorbell.json")).unwrap();
        all["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap()["out"].clone()
    }

    fn opened(events: &mut broadcast::Receiver<Event>) -> bool {
        std::iter::from_fn(|| events.try_recv().ok()).any(|event| matches!(event, Event::DoorOpened { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn the_command_opens_the_door_and_is_answered_a_second_later() {
        let House { door, mut events, _fault } = house(None, None);
        let (vector, begun) = (vector("dc-open-door-current"), clock::now());
        let reply = door.hear("viewer-1", 1, vector["send"].as_str().unwrap()).await;
        assert_eq!(vector["reply"], reply.unwrap());
        assert_eq!(begun.elapsed().as_millis(), 1_000);
        assert!(opened(&mut events));
    }

    #[tokio::test]
    async fn what_only_means_the_same_is_echoed() {
        let House { door, mut events, _fault } = house(None, None);
        for id in ["dc-open-door-legacy", "dc-open-door-spaced-is-refused"] {
            let vector = vector(id);
            let reply = door.hear("viewer-1", 1, vector["send"].as_str().unwrap()).await;
            assert_eq!(vector["reply_ameba"], reply.unwrap());
        }
        assert_eq!(door.hear("viewer-1", 1, "").await.as_deref(), Some("Received 0 bytes, ECHO: "));
        assert!(!opened(&mut events));
    }

    async fn asked(opener: &str) -> (String, bool) {
        let House { door, mut events, _fault } = house(Some(opener), None);
        let reply = door.hear("viewer-1", 1, r#"{"action":"open_door"}"#).await;
        (reply.unwrap(), opened(&mut events))
    }

    #[tokio::test]
    async fn the_door_is_open_when_the_opener_says_so() {
        assert_eq!(asked("true").await, ("Door opened successfully".to_owned(), true));
        for opener in ["false", "/no/such/opener"] {
            assert_eq!(asked(opener).await, ("Door did not open".to_owned(), false), "{opener}");
        }
    }

    /// Time stands still for the program only.
    #[tokio::test(start_paused = true)]
    async fn an_opener_that_hangs_has_not_opened_the_door() {
        assert_eq!(asked("sleep 3600").await, ("Door did not open".to_owned(), false));
    }

    #[tokio::test]
    async fn a_viewer_who_leaves_does_not_stop_the_opener_half_way() {
        let House { door, mut events, _fault } = house(Some("sleep 0.3"), None);
        let hearing = door.hear("viewer-1", 1, r#"{"action":"open_door"}"#);
        assert!(tokio::time::timeout(Duration::from_millis(100), hearing).await.is_err());
        let ended = async {
            loop {
                match events.recv().await.unwrap() {
                    Event::DoorOpened { .. } => return true,
                    Event::DoorNotOpened { .. } => return false,
                    _ => {}
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it was killed"));
    }

    #[tokio::test(start_paused = true)]
    async fn faults_of_the_door() {
        let command = r#"{"action":"open_door"}"#;
        let House { door, mut events, _fault } = house(None, Some(Fault::Echo));
        assert_eq!(door.hear("viewer-1", 1, command).await, Some(echo(command)));
        assert!(!opened(&mut events));
        let House { door, mut events, _fault } = house(None, Some(Fault::SilentDoor));
        assert_eq!(door.hear("viewer-1", 1, command).await, None);
        assert!(opened(&mut events));
    }
}
