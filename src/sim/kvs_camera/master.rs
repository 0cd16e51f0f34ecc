//! The camera itself: it answers offers, plays the clip and hears what is said (kvs reference §5).

use std::io;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::settings::Settings;
use super::{CameraEvent, film};
use crate::media::MediaHub;
use crate::rtc::{self, AnswerError, Answered, Certificate, Viewers};
use crate::sim::clip::Clip;
use crate::sim::sound::Sound;

/// Packets of one microphone that wait to be heard, over a second of them; beyond that they are dropped.
const MICROPHONE: usize = 64;

pub(super) struct Master {
    viewers: Viewers,
    hub: MediaHub,
    fault: watch::Sender<Option<Fault>>,
    events: broadcast::Sender<CameraEvent>,
}

/// Why an offer got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAnswered {
    #[error("the camera is away")]
    Away,
    #[error(transparent)]
    Refused(#[from] AnswerError),
}

impl NotAnswered {
    pub(super) fn is_the_viewers_fault(&self) -> bool {
        matches!(self, Self::Refused(AnswerError::BadOffer(_) | AnswerError::NotPlayable(_)))
    }
}

impl Master {
    /// # Errors
    /// As of [`super::start`].
    pub(super) async fn start(
        settings: &Settings,
        events: broadcast::Sender<CameraEvent>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let rtc = rtc::Settings {
            bind: settings.media,
            port: 0,
            addresses: Vec::new(),
            loopback: true,
            certificate: Certificate::generate().map_err(io::Error::other)?,
        };
        let viewers = Viewers::start(rtc, stop.clone()).await?;
        let hub = MediaHub::new();
        let sound = settings.audio.map(Sound::new).transpose().map_err(io::Error::other)?;
        let films = film::film(hub.clone(), Clip::of(settings.codec), sound);
        tokio::spawn(stop.clone().run_until_cancelled_owned(films));
        let counts = count_viewers(hub.demand(), events.clone());
        tokio::spawn(stop.run_until_cancelled_owned(counts));
        Ok(Self { viewers, hub, fault: watch::Sender::new(settings.fault), events })
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        *self.fault.borrow()
    }

    pub(super) async fn misbehave(&self, fault: Option<Fault>) {
        self.fault.send_replace(fault);
        self.tell(CameraEvent::Fault { name: fault.map_or("none", Fault::name) });
        if fault == Some(Fault::Vanish) {
            self.viewers.abandon_all().await;
        }
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// [`NotAnswered`]; the viewer is told nothing of it.
    pub(super) async fn answer(&self, viewer: &str, sdp: &str) -> Result<Answered, NotAnswered> {
        match self.fault() {
            Some(Fault::NoAnswer | Fault::Vanish) => return Err(NotAnswered::Away),
            Some(Fault::LateAnswer) => tokio::time::sleep(Fault::LATE).await,
            _ => {}
        }
        let (microphone, packets) = mpsc::channel(MICROPHONE);
        let microphone = (self.fault() != Some(Fault::Recvonly)).then_some(microphone);
        let answered = self.viewers.answer(sdp, self.hub.hold(), microphone).await?;
        let events = self.events.clone();
        let tell = move |event| drop(events.send(event));
        tokio::spawn(film::listen(viewer.to_owned(), packets, tell));
        Ok(answered)
    }

    pub(super) async fn add_candidate(&self, call: u64, candidate: &str) {
        // Unknown: the viewer is gone already.
        self.viewers.add_candidates(call, candidate).await;
    }

    /// Ends a call whose viewer has made another offer.
    pub(super) async fn close(&self, call: u64) {
        self.viewers.close(call).await;
    }

    /// Resolves when every viewer has been told that it is over.
    pub(super) async fn ended(&self) {
        self.viewers.ended().await;
    }

    pub(super) fn tell(&self, event: CameraEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

async fn count_viewers(mut demand: watch::Receiver<usize>, events: broadcast::Sender<CameraEvent>) {
    while demand.changed().await.is_ok() {
        let viewers = *demand.borrow_and_update();
        let _ = events.send(CameraEvent::Watching { viewers });
    }
}
