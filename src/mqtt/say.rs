//! The commands that have a doorbell say something, a text, an address or a clip, and those that end it.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::commands::{Answer, MAX_PAYLOAD, id_in, parse_state};
use super::poller::Message;
use super::publisher::Publisher;
use super::topics::{SayTopic, Topics};
use crate::clock::Instant;
use crate::doorbell::voice::{Source, Unspoken};
use crate::doorbell::{Doorbell, Said, SayError, Saying, wording};
use crate::media::playback::Volume;
use crate::model::ClipName;

/// A text of as many characters as may be said, whatever they are, with what stands around it in JSON.
const MAX_TEXT_PAYLOAD: usize = 8 * 1_024;

/// What a command asks for.
#[derive(Debug, Clone, PartialEq)]
enum Wish {
    Say(Saying),
    /// The clip that was played last, or else the first.
    AnyClip {
        volume: Volume,
        repeat_for: Option<Duration>,
    },
    Silence,
}

/// A command with whatever its sender wants to see again.
pub(super) struct Order {
    wish: Wish,
    topic: SayTopic,
    pub(super) id: Value,
    received: Instant,
}

impl Order {
    /// # Errors
    /// Why nothing can be said for this message; with the sender's own id, as far as that could be read.
    pub(super) fn parse(topic: SayTopic, message: &Message) -> Result<Self, (Unspoken, Value)> {
        let mut id = Value::Null;
        let wish = match topic {
            SayTopic::Say => say(&message.payload, &mut id),
            SayTopic::Stop => Ok(Wish::Silence),
            SayTopic::Siren => siren(&message.payload, &mut id),
            SayTopic::Clip => text(&message.payload, MAX_PAYLOAD).and_then(Source::clip).map(once),
        };
        match wish {
            Ok(wish) => Ok(Self { wish, topic, id, received: message.received }),
            Err(why) => Err((why, id)),
        }
    }
}

fn once(source: Source) -> Wish {
    Wish::Say(Saying::once(source))
}

/// A text as it is, or JSON. What begins as JSON is never read out.
fn say(payload: &[u8], id: &mut Value) -> Result<Wish, Unspoken> {
    let text = text(payload, MAX_TEXT_PAYLOAD)?;
    if !text.trim_start().starts_with('{') {
        return Source::text(text).map(once);
    }
    let mut object = object(text)?;
    *id = id_in(&object);
    object.remove("id");
    Saying::read(object).map(Wish::Say)
}

/// `ON`, `OFF`, or as Home Assistant's MQTT siren sends it: `{"state","tone","volume_level","duration"}`, of which
/// `state` alone is always there.
fn siren(payload: &[u8], id: &mut Value) -> Result<Wish, Unspoken> {
    const SHAPE: &str = r#"The payload must be ON, OFF or JSON as `{"state":"ON","tone":"back_door"}`."#;
    let text = text(payload, MAX_PAYLOAD)?;
    let asked = match parse_state(text) {
        Some(_) => Map::new(),
        None => object(text).map_err(|_| unusable(SHAPE))?,
    };
    *id = id_in(&asked);
    let state = parse_state(text).or_else(|| parse_state(asked.get("state")?.as_str()?));
    if !state.ok_or_else(|| unusable(SHAPE))? {
        return Ok(Wish::Silence);
    }
    let given = |key| asked.get(key).filter(|value| !value.is_null());
    let volume = given("volume_level").map_or(Ok(Volume::FULL), wording::volume_of)?;
    let repeat_for = given("duration").map(seconds).transpose()?;
    let Some(tone) = given("tone") else { return Ok(Wish::AnyClip { volume, repeat_for }) };
    let source = Source::clip(tone.as_str().unwrap_or_default())?;
    Ok(Wish::Say(Saying { source, volume, repeat_for }))
}

fn seconds(duration: &Value) -> Result<Duration, Unspoken> {
    let seconds = duration.as_f64().filter(|seconds| (1.0..=Source::LONGEST_SOUND.as_secs_f64()).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let longest = Source::LONGEST_SOUND.as_secs();
        Unspoken::Unusable(format!("The duration must be a number of seconds from 1 to {longest}."))
    })
}

fn text(payload: &[u8], most: usize) -> Result<&str, Unspoken> {
    if payload.len() > most {
        return Err(Unspoken::Unusable(format!("The payload has more than {most} bytes.")));
    }
    std::str::from_utf8(payload).map_err(|_| unusable("The payload is no text in UTF-8."))
}

fn object(text: &str) -> Result<Map<String, Value>, Unspoken> {
    serde_json::from_str(text)
        .map_err(|_| unusable(r#"A payload that begins with `{` must be JSON as `{"text":"…","volume":0.8}`."#))
}

fn unusable(why: &str) -> Unspoken {
    Unspoken::Unusable(why.to_owned())
}

/// The orders of one doorbell. While it is full, further ones are answered `busy`.
pub(super) struct SayQueue(mpsc::Sender<Order>);

impl SayQueue {
    /// Whether there was room.
    pub(super) fn put(&self, order: Order) -> bool {
        self.0.try_send(order).is_ok()
    }
}

/// The other end of a [`SayQueue`]: has everything said in its order, and answers each when it is over.
pub(super) struct SayWorker {
    doorbell: Doorbell,
    topics: Topics,
    publisher: Publisher,
    orders: mpsc::Receiver<Order>,
    /// What was played last, whoever asked for it.
    last_clip: Option<ClipName>,
}

/// What has been taken on: at most as much as the doorbell takes.
type Sayings = FuturesUnordered<BoxFuture<'static, Over>>;

/// A saying that is over, and the order that it came by.
struct Over {
    order: Origin,
    outcome: Result<Said, SayError>,
}

/// What the answer to an order needs of it.
struct Origin {
    command: &'static str,
    id: Value,
    received: Instant,
}

impl SayWorker {
    /// Orders are taken off it at once, so that what ends a saying does not wait for it.
    const QUEUE: usize = 8;

    pub(super) fn new(doorbell: Doorbell, topics: Topics, publisher: Publisher) -> (SayQueue, Self) {
        let (queue, orders) = mpsc::channel(Self::QUEUE);
        (SayQueue(queue), Self { doorbell, topics, publisher, orders, last_clip: None })
    }

    pub(super) async fn run(mut self) {
        let mut state = self.doorbell.state();
        let mut sayings = Sayings::new();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.carry_out(order, &sayings),
                    None => return,
                },
                Some(Over { order, outcome }) = sayings.next() => self.tell(order, outcome.map(Some)),
                Ok(()) = state.changed() => {
                    let clip = state.borrow_and_update().speaking.as_ref().and_then(|speaking| speaking.clip.clone());
                    self.last_clip = clip.or(self.last_clip.take());
                }
            }
        }
    }

    fn carry_out(&self, Order { wish, topic, id, received }: Order, sayings: &Sayings) {
        let order = Origin { command: topic.command(), id, received };
        let saying = match wish {
            Wish::Silence => {
                self.doorbell.stop_saying();
                return self.tell(order, Ok(None));
            }
            Wish::Say(saying) => Ok(saying),
            Wish::AnyClip { volume, repeat_for } => {
                self.any_clip().map(|clip| Saying { source: Source::Clip(clip), volume, repeat_for })
            }
        };
        match saying.and_then(|saying| self.doorbell.take_on(saying)) {
            Ok(saying) => sayings.push(Box::pin(async { Over { order, outcome: saying.await } })),
            Err(why) => self.tell(order, Err(why)),
        }
    }

    fn any_clip(&self) -> Result<ClipName, SayError> {
        let clips = self.doorbell.voice().clips();
        let clips = clips.borrow();
        let last = self.last_clip.as_ref().filter(|last| clips.contains_key(*last));
        let clip = last.or_else(|| clips.keys().next()).cloned();
        clip.ok_or_else(|| unusable("There are no clips to be played.").into())
    }

    fn tell(&self, Origin { command, id, received }: Origin, outcome: Result<Option<Said>, SayError>) {
        let figures = outcome.as_ref().ok().and_then(|said| said.as_ref().map(Said::figures)).unwrap_or_default();
        let outcome = outcome.map(drop).map_err(|why| why.to_string());
        let answer = Answer { command: Some(command), outcome, took: received.elapsed(), id };
        answer.publish_with(figures, self.topics.result(&self.doorbell.info().id), &self.publisher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use bytes::Bytes;
    use serde_json::json;

    fn parse(topic: SayTopic, payload: &[u8]) -> Result<(Wish, Value), (String, Value)> {
        let payload = Bytes::copy_from_slice(payload);
        let message = Message { topic: String::new(), payload, retained: false, dup: false, received: clock::now() };
        let order = Order::parse(topic, &message).map_err(|(why, id)| (why.to_string(), id))?;
        Ok((order.wish, order.id))
    }

    fn clip(name: &str) -> Source {
        Source::Clip(ClipName::parse(name).unwrap())
    }

    #[test]
    fn a_text_is_said_as_it_is_and_json_as_it_asks() {
        let text = |text: &str| once(Source::Text(text.to_owned()));
        let back_door = Saying { volume: Volume::new(0.5).unwrap(), ..Saying::once(clip("back_door")) };
        for (payload, wish, id) in [
            ("Hello", text("Hello"), json!(null)),
            (" Grüß Gott \n", text("Grüß Gott"), json!(null)),
            ("[1]", text("[1]"), json!(null)),
            (r#"{"text":"{}"}"#, text("{}"), json!(null)),
            (r#" {"clip":"back_door","volume":0.5,"id":"k-7"}"#, Wish::Say(back_door), json!("k-7")),
        ] {
            assert_eq!(parse(SayTopic::Say, payload.as_bytes()), Ok((wish, id)), "{payload}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_the_senders_id() {
        let long = "x".repeat(Source::LONGEST_TEXT + 1);
        let longer = "x".repeat(10_000);
        let cases: [(&[u8], Value, &str); 9] = [
            (b" ", json!(null), "nothing to be said"),
            (b"\xff\xfe", json!(null), "UTF-8"),
            (long.as_bytes(), json!(null), "1001 characters"),
            (longer.as_bytes(), json!(null), "8192 bytes"),
            (b"{", json!(null), "must be JSON"),
            (br#"{"text":"a"} b"#, json!(null), "must be JSON"),
            (br#"{"id":7}"#, json!(7), "Exactly one"),
            (br#"{"id":"a","text":"b","url":"http://c/"}"#, json!("a"), "Exactly one"),
            (br#"{"id":"a","clip":"../x"}"#, json!("a"), "no such clip"),
        ];
        for (payload, id, why) in cases {
            let (told, echo) = parse(SayTopic::Say, payload).unwrap_err();
            assert!(told.contains(why), "{told}");
            assert_eq!(echo, id);
        }
    }

    #[test]
    fn a_siren_is_read_as_home_assistant_sends_it() {
        let any = |volume, seconds: Option<u64>| Wish::AnyClip {
            volume: Volume::new(volume).unwrap(),
            repeat_for: seconds.map(Duration::from_secs),
        };
        let whole = Saying {
            source: clip("back_door"),
            volume: Volume::new(0.5).unwrap(),
            repeat_for: Some(Duration::from_secs(10)),
        };
        for (payload, wish) in [
            ("ON", any(1.0, None)),
            ("off", Wish::Silence),
            (r#"{"state": "ON"}"#, any(1.0, None)),
            (r#"{"state": "OFF"}"#, Wish::Silence),
            (r#"{"state": "ON", "volume_level": 0, "duration": 60}"#, any(0.0, Some(60))),
            (r#"{"state": "ON", "tone": "back_door", "volume_level": 0.5, "duration": 10}"#, Wish::Say(whole)),
        ] {
            assert_eq!(parse(SayTopic::Siren, payload.as_bytes()).map(|(wish, _)| wish), Ok(wish), "{payload}");
        }
    }

    #[test]
    fn what_is_no_command_for_a_siren_is_refused() {
        for payload in [
            &b"LOUD"[..],
            b"{}",
            b"{",
            b"\xff",
            br#"{"state":true}"#,
            br#"{"state":"ON","tone":"../x"}"#,
            br#"{"state":"ON","tone":7}"#,
            br#"{"state":"ON","volume_level":"loud"}"#,
            br#"{"state":"ON","volume_level":-1}"#,
            br#"{"state":"ON","duration":0}"#,
            br#"{"state":"ON","duration":61}"#,
            br#"{"state":"ON","duration":"10"}"#,
            br#"{"state":"ON","duration":1e300}"#,
            "x".repeat(MAX_PAYLOAD + 1).as_bytes(),
        ] {
            assert!(parse(SayTopic::Siren, payload).is_err(), "{:?}", String::from_utf8_lossy(payload));
        }
    }
}
