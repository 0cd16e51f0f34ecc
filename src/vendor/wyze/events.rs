//! What happened at an account's devices, out of the cloud's event list (wyze-cloud reference §4).
//!
//! Wyze pushes nothing to third parties, so the list is read again and again. This is the reading: which stretch of
//! time to ask for, what is news in the answer, and how long to wait; `account` does the asking.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::VENDOR;
use crate::model::{Capability, DeviceId, Event, Motion, MotionKind, RateLimit, Ring};
use crate::secret::SignedUrl;

/// How many events one answer holds at most; the cloud takes no more than 20.
const PAGE: usize = 20;
/// Of an answer that holds more all the same. Well below what is remembered: what is forgotten would be told again.
const MOST: usize = 200;

/// Reads answers and remembers what was told.
#[derive(Debug)]
pub struct Poller {
    /// The `event_value`s of a pressed button.
    ring_values: BTreeSet<u32>,
    /// When the newest event happened, in server time.
    newest_ms: u64,
    /// What happened before this is no news: it is from before the start.
    floor_ms: Option<u64>,
    told: Told,
    /// The rings whose picture was there.
    pictured: Told,
    /// Values without a known meaning, each logged once.
    strange: BTreeSet<String>,
}

/// The stretch of time that is asked for, in milliseconds of server time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    begin_ms: u64,
    end_ms: u64,
}

/// What one answer brought.
#[derive(Debug)]
pub struct Page {
    /// Oldest first.
    pub news: Vec<(DeviceId, Event)>,
    /// Each once, as soon as the camera has uploaded it.
    pub pictures: Vec<RingFile>,
    /// Where to go on at once: the answer was full, so there may be more.
    pub more: Option<Window>,
}

/// Where the cloud has the picture of a ring.
#[derive(Debug)]
pub struct RingFile {
    pub device: DeviceId,
    pub event_id: String,
    pub at: SystemTime,
    pub url: SignedUrl,
}

impl Poller {
    /// An event that is older when the service starts is not told: nobody stands at the door any more.
    const FRESH: Duration = Duration::from_secs(30);
    /// How far back a list is read that could not be read for a while.
    const LOOK_BACK: Duration = Duration::from_secs(1_000);
    /// Events reach the list late and out of order, so the last minute is asked for each time.
    const OVERLAP: Duration = Duration::from_secs(60);
    /// Clocks of cameras are ahead of the cloud's now and then.
    const AHEAD: Duration = Duration::from_secs(60);
    /// So many values are logged, and no more.
    const STRANGE: usize = 64;

    pub fn new(ring_values: &[u32]) -> Self {
        Self {
            ring_values: ring_values.iter().copied().collect(),
            newest_ms: 0,
            floor_ms: None,
            told: Told::default(),
            pictured: Told::default(),
            strange: BTreeSet::new(),
        }
    }

    /// What to ask for at `now` by the server's clock.
    pub fn window(&self, now: SystemTime) -> Window {
        let now = ms(now);
        let ago = |time| now.saturating_sub(millis(time));
        let overlapping = self.newest_ms.saturating_sub(millis(Self::OVERLAP));
        let floor = self.floor_ms.unwrap_or(ago(Self::FRESH));
        let end_ms = now.saturating_add(millis(Self::AHEAD));
        Window { begin_ms: overlapping.max(ago(Self::LOOK_BACK)).max(floor).min(end_ms), end_ms }
    }

    /// Takes the `data` of an answer to `asked` that arrived at `now` by the server's clock. `can` says what is
    /// told of which device. `None` when it is no event list.
    pub fn take(
        &mut self,
        data: &Value,
        asked: Window,
        now: SystemTime,
        can: impl Fn(&DeviceId, Capability) -> bool,
    ) -> Option<Page> {
        let (list, mut entries) = entries(data)?;
        // By the answer's clock: before the first answer ours may be wrong by a day. One that is set back takes
        // the floor with it.
        let fresh = ms(now).saturating_sub(millis(Self::FRESH));
        let floor = *self.floor_ms.insert(self.floor_ms.map_or(fresh, |floor| floor.min(fresh)));
        entries.sort_by_key(|entry| entry.at_ms);
        let newest = entries.last().map_or(0, |entry| entry.at_ms);
        // Or else one event from the future would hide all that come before it.
        self.newest_ms = self.newest_ms.max(newest).min(ms(now));
        entries.retain(|entry| entry.at_ms >= floor);
        let news = entries.iter().flat_map(|entry| self.news(entry, now, &can)).collect();
        let pictures = entries.into_iter().filter_map(|entry| self.picture(entry)).collect();
        let more = Window { begin_ms: newest.max(asked.begin_ms.saturating_add(1)), ..asked };
        let goes_on = list >= PAGE && newest > 0 && more.begin_ms < more.end_ms;
        Some(Page { news, pictures, more: goes_on.then_some(more) })
    }

    fn news(
        &mut self,
        entry: &Entry,
        now: SystemTime,
        can: impl Fn(&DeviceId, Capability) -> bool,
    ) -> Vec<(DeviceId, Event)> {
        let meaning = self.meaning(entry);
        let told = &mut self.told;
        let heard =
            meaning.into_iter().filter(|said| can(&entry.device, said.capability()) && told.is_news(entry, *said));
        heard.map(|said| (entry.device.clone(), said.event(entry, now))).collect()
    }

    /// Of a ring that was told, the first time that it has one.
    fn picture(&mut self, entry: Entry) -> Option<RingFile> {
        let Entry { id, device, at_ms, picture, .. } = &entry;
        let url = picture.clone()?;
        let is_told = self.told.known.contains(&(id.clone(), Said::Ring));
        let at = UNIX_EPOCH + Duration::from_millis(*at_ms);
        (is_told && self.pictured.is_news(&entry, Said::Ring)).then(|| RingFile {
            device: device.clone(),
            event_id: id.clone(),
            at,
            url,
        })
    }

    fn meaning(&mut self, entry: &Entry) -> BTreeSet<Said> {
        if entry.value.parse().is_ok_and(|value| self.ring_values.contains(&value)) {
            return BTreeSet::from([Said::Ring]);
        }
        let seen: BTreeSet<Said> = entry.tags.iter().filter_map(|tag| kind_of_tag(*tag)).map(Said::Motion).collect();
        match entry.value.as_str() {
            _ if !seen.is_empty() => seen,
            "1" | "6" | "7" | "13" => BTreeSet::from([Said::Motion(MotionKind::Motion)]),
            "2" => BTreeSet::from([Said::Motion(MotionKind::Sound)]),
            "12" => BTreeSet::from([Said::Motion(MotionKind::Face)]),
            // Other, smoke, carbon monoxide, contact sensor, scene.
            "3" | "4" | "5" | "8" | "11" => BTreeSet::new(),
            strange => {
                if self.strange.len() < Self::STRANGE && self.strange.insert(strange.to_owned()) {
                    tracing::info!(
                        value = strange,
                        "an event of unknown meaning; if the button was pressed, add it to `ring_events`"
                    );
                }
                BTreeSet::new()
            }
        }
    }
}

impl Window {
    /// The body of event list v4, whose `nonce` comes with the signature.
    pub(super) fn v4(self, devices: &[&str]) -> Value {
        json!({
            "begin_time": self.begin_ms,
            "count": PAGE,
            "device_id_list": devices,
            "end_time": self.end_ms,
            "event_tag_list": [],
            "event_value_list": [],
            "order_by": 1,
        })
    }

    /// The fields of event list v2, beside those of every request.
    pub(super) fn v2(self, devices: &[&str]) -> Value {
        json!({
            "begin_time": self.begin_ms,
            "count": PAGE,
            "device_mac": "",
            "device_mac_list": devices,
            "end_time": self.end_ms,
            "event_tag_list": [],
            "event_type": "",
            "event_value_list": [],
            "order_by": 1,
        })
    }
}

/// One event as the cloud lists it, of either version.
#[derive(Debug)]
struct Entry {
    id: String,
    device: DeviceId,
    value: String,
    at_ms: u64,
    tags: BTreeSet<u64>,
    picture: Option<SignedUrl>,
}

impl Entry {
    /// `None` for one that cannot be told: without its id it would be told at every poll.
    fn read(event: &Value) -> Option<Self> {
        let device = text(event.get("device_id").or_else(|| event.get("device_mac"))?)?;
        let tags = event.get("tag_list").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            id: text(event.get("event_id")?)?,
            device: DeviceId::from_hardware(VENDOR, &device),
            value: text(event.get("event_value")?)?,
            at_ms: number(event.get("event_ts")?)?,
            tags: tags.iter().filter_map(number).collect(),
            picture: event.get("file_list").and_then(picture),
        })
    }
}

/// The address of the picture among the files of an event, once it is uploaded; one that is encrypted is of no use.
fn picture(files: &Value) -> Option<SignedUrl> {
    const LONGEST: usize = 4 << 10;
    let is = |file: &Value, key: &str, expected: u64| file.get(key).and_then(number).is_none_or(|is| is == expected);
    let is_picture = |file: &&Value| {
        file.get("type").and_then(number) == Some(1) && is(file, "status", 1) && is(file, "en_algorithm", 0)
    };
    let url = files.as_array()?.iter().find(is_picture)?.get("url")?.as_str()?;
    (url.len() <= LONGEST).then(|| SignedUrl::new(url))
}

/// What an event means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Said {
    Ring,
    Motion(MotionKind),
}

impl Said {
    fn capability(self) -> Capability {
        match self {
            Self::Ring => Capability::Ring,
            Self::Motion(_) => Capability::Motion,
        }
    }

    fn event(self, entry: &Entry, now: SystemTime) -> Event {
        let at = UNIX_EPOCH + Duration::from_millis(entry.at_ms);
        match self {
            Self::Ring => {
                let latency = Some(now.duration_since(at).unwrap_or_default());
                Event::Ring(Ring { at, event_id: entry.id.clone(), source: "cloud", latency })
            }
            // One event may show a person with a package, and what it shows may be told after that it moved.
            Self::Motion(kind) => {
                let seen = format!("{kind:?}").to_lowercase();
                Event::Motion(Motion { at, event_id: format!("{}_{seen}", entry.id), kind })
            }
        }
    }
}

/// The tags of Wyze's picture and sound recognition.
fn kind_of_tag(tag: u64) -> Option<MotionKind> {
    match tag {
        101 => Some(MotionKind::Person),
        101_001 => Some(MotionKind::Face),
        102 => Some(MotionKind::Vehicle),
        103 => Some(MotionKind::Pet),
        104 => Some(MotionKind::Package),
        // A crying baby, barking, mewing.
        800_001..=800_003 => Some(MotionKind::Sound),
        _ => None,
    }
}

/// What was told, as far back as an answer can repeat it.
#[derive(Debug, Default)]
struct Told {
    known: HashSet<(String, Said)>,
    oldest_first: VecDeque<(String, Said)>,
}

impl Told {
    const MOST: usize = 1_024;

    /// Whether this is said of the event for the first time. Remembers it.
    fn is_news(&mut self, entry: &Entry, said: Said) -> bool {
        let key = (entry.id.clone(), said);
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.oldest_first.push_back(key);
        if self.oldest_first.len() > Self::MOST
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// Whether this is the `data` of an event list that can be read.
pub fn is_list(data: &Value) -> bool {
    entries(data).is_some()
}

/// How many events are listed, and those that can be read. `None` when this is no event list: one of which nothing
/// can be read has changed its form, and must not look like a quiet day.
fn entries(data: &Value) -> Option<(usize, Vec<Entry>)> {
    let list = data.get("event_list")?.as_array()?;
    let entries: Vec<Entry> = list.iter().take(MOST).filter_map(Entry::read).collect();
    (list.is_empty() || !entries.is_empty()).then_some((list.len(), entries))
}

/// How long to wait between two readings when all is well: `poll`, or as much longer as the requests that the
/// cloud still grants have to last.
pub fn pause(poll: Duration, limits: Option<RateLimit>, now: SystemTime) -> Duration {
    /// Left for listings, logins and locks.
    const RESERVE: u32 = 10;
    const LONGEST: Duration = Duration::from_secs(3_600);
    let Some(limits) = limits else { return poll };
    let until_reset = limits.resets_at.duration_since(now).unwrap_or_default().min(LONGEST);
    match limits.remaining.saturating_sub(RESERVE) {
        0 => until_reset.max(poll),
        spare => (until_reset / spare).max(poll),
    }
}

/// A short text; ids are kept for a while, and must not grow with what somebody sends.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| (1..=128).contains(&text.len())).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

fn ms(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
