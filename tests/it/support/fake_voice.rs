//! A voice that has the sounds that a test gives it, and remembers what it was asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::voice::{Clips, NotKept, Source, Unspoken, Voice};
use doorstep::doorbell::{Options, Saying};
use doorstep::media::Recording;
use doorstep::model::ClipName;
use tokio::sync::watch;

/// What comes of a text.
#[derive(Debug, Clone)]
pub(crate) enum OnSay {
    Is(Recording),
    Refuses(Unspoken),
    /// Until it is told otherwise.
    Hangs,
    Panics,
}

#[derive(Default)]
pub(crate) struct FakeVoice {
    script: watch::Sender<BTreeMap<String, OnSay>>,
    asked: Mutex<Vec<String>>,
    clips: watch::Sender<Clips>,
    on_keep: Mutex<Option<NotKept>>,
}

impl FakeVoice {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn options(self: &Arc<Self>) -> Options {
        Options { voice: self.clone(), ..Options::default() }
    }

    /// From now on, also for whoever waits for it already.
    pub(crate) fn on(&self, text: &str, what: OnSay) {
        self.script.send_modify(|script| drop(script.insert(text.to_owned(), what)));
    }

    /// `text` is so much of one sample, at 8 kHz.
    pub(crate) fn knows(&self, text: &str, lasts: Duration, sample: i16) -> Saying {
        let samples = vec![sample; lasts.as_millis() as usize * 8];
        self.on(text, OnSay::Is(Recording { samples, rate_hz: 8_000 }));
        Saying::once(Source::Text(text.to_owned()))
    }

    /// There is a clip of this name from now on, of silence.
    pub(crate) fn has_clip(&self, name: &str, lasts: Duration) {
        self.knows(name, lasts, 0);
        let name = ClipName::parse(name).unwrap();
        self.clips.send_if_modified(|clips| clips.insert(name, lasts) != Some(lasts));
    }

    pub(crate) fn loses_clip(&self, name: &str) {
        let name = ClipName::parse(name).unwrap();
        self.clips.send_if_modified(|clips| clips.remove(&name).is_some());
    }

    /// No clip is kept from now on.
    pub(crate) fn keeps_none(&self, why: NotKept) {
        *self.on_keep.lock().unwrap() = Some(why);
    }

    /// The texts, clips and addresses that it was asked for, and the lengths of files, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Voice for FakeVoice {
    fn sound(&self, source: Source) -> BoxFuture<'static, Result<Recording, Unspoken>> {
        let name = match source {
            Source::Text(text) => text,
            Source::Clip(name) => name.to_string(),
            Source::Url(url) => url.to_string(),
            Source::File(file) => format!("a file of {} bytes", file.len()),
        };
        self.asked.lock().unwrap().push(name.clone());
        let mut script = self.script.subscribe();
        Box::pin(async move {
            loop {
                let what = script.borrow_and_update().get(&name).cloned();
                match what {
                    Some(OnSay::Is(recording)) => return Ok(recording),
                    Some(OnSay::Refuses(why)) => return Err(why),
                    Some(OnSay::Panics) => panic!("the voice was told to panic"),
                    Some(OnSay::Hangs) => script.changed().await.expect("the voice is there"),
                    None => return Err(Unspoken::Unusable(format!("Nobody knows `{name}`."))),
                }
            }
        })
    }

    fn clips(&self) -> watch::Receiver<Clips> {
        self.clips.subscribe()
    }

    /// Each file is as many milliseconds as bytes.
    fn keep(&self, name: ClipName, file: Bytes) -> BoxFuture<'static, Result<(), NotKept>> {
        let refused = self.on_keep.lock().unwrap().clone();
        if refused.is_none() {
            self.has_clip(name.as_str(), Duration::from_millis(file.len() as u64));
        }
        Box::pin(async { refused.map_or(Ok(()), Err) })
    }

    fn remove(&self, name: ClipName) -> BoxFuture<'static, Result<bool, NotKept>> {
        let was_there = self.clips.send_if_modified(|clips| clips.remove(&name).is_some());
        Box::pin(async move { Ok(was_there) })
    }
}
