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

    /// The texts that it was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Voice for FakeVoice {
    fn sound(&self, source: Source) -> BoxFuture<'static, Result<Recording, Unspoken>> {
        let name = match source {
            Source::Text(text) => text,
            Source::Clip(name) => name.to_string(),
            other => panic!("it knows texts and clips alone, not {other:?}"),
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
        watch::channel(Clips::new()).1
    }

    fn keep(&self, _: ClipName, _: Bytes) -> BoxFuture<'static, Result<(), NotKept>> {
        Box::pin(async { Err(NotKept::Unwritable("There is no folder for clips.".to_owned())) })
    }

    fn remove(&self, _: ClipName) -> BoxFuture<'static, Result<bool, NotKept>> {
        Box::pin(async { Ok(false) })
    }
}
