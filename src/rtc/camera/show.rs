//! What a camera of ours shows and plays to one viewer. A viewer that joins, or has lost its picture, is shown what
//! there was since the last keyframe at once, so a film need not be able to begin anew for it.

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::Ending;
use super::outgoing::Outgoing;
use super::speech::Speech;
use crate::clock::{self, Instant};
use crate::media::{AudioFormat, Demand, MediaHub};
use crate::rtc::feed::{Feed, Item, Media};
use crate::rtc::feedback::Asked;
use crate::rtc::peer::Medium;
use crate::rtc::playout::{Gop, Packet, Playout};
use crate::rtc::rtp_stream::random_u32;

/// One viewer's show. While there is one the film is wanted.
pub(super) struct Show {
    film: Demand,
    items: mpsc::Receiver<Item>,
    _feed: Feed,
    picture: Option<Outgoing>,
    sound: Option<(AudioFormat, Outgoing)>,
    asked: Asked,
    gop: Gop,
    playout: Playout,
}

impl Show {
    /// A second and more of picture and sound. Full: the feed drops pictures up to the next keyframe.
    const ITEMS: usize = 128;

    /// Begins to take the film in.
    pub(super) fn new(film: &MediaHub, picture: Option<Outgoing>, sound: Option<Speech>, asked: Asked) -> Self {
        let film = film.hold();
        let (sender, items) = mpsc::channel(Self::ITEMS);
        let feed = Feed::start(0, film.hub(), sender);
        let sound = sound.map(Speech::into_outgoing);
        feed.want(sound.iter().map(|(format, _)| *format).collect());
        let playout = Playout::new(random_u32().unwrap_or_default());
        Self { film, items, _feed: feed, picture, sound, asked, gop: Gop::default(), playout }
    }

    /// Plays without end from when the viewer has joined; nothing, if it never does.
    pub(super) async fn run(mut self, joined: impl Future<Output = Result<(), Ending>>) {
        if self.wait_for(joined).await.is_err() {
            return;
        }
        self.catch_up();
        loop {
            self.send().await;
            let more_at = self.playout.deadline().map(Instant::from_std);
            tokio::select! {
                item = self.items.recv() => match item {
                    Some(item) => self.play(&item.media),
                    None => return,
                },
                () = sleep_until(more_at.unwrap_or_else(clock::now)), if more_at.is_some() => {}
            }
            if self.asked.take() > 0 {
                self.catch_up();
            }
        }
    }

    async fn wait_for(&mut self, joined: impl Future<Output = Result<(), Ending>>) -> Result<(), Ending> {
        let mut joined = std::pin::pin!(joined);
        loop {
            tokio::select! {
                joined = &mut joined => return joined,
                Some(item) = self.items.recv() => if let Media::Picture(picture) = &item.media {
                    self.gop.push(clock::now().into_std(), picture);
                }
            }
        }
    }

    fn play(&mut self, media: &Media) {
        match media {
            Media::Picture(picture) => {
                self.gop.push(clock::now().into_std(), picture);
                self.playout.picture(picture);
            }
            Media::Sound(sound) => self.playout.sound(sound.ticks, &sound.payload),
        }
    }

    /// A film that can begins anew besides, so that the next one who joins finds little to catch up with.
    fn catch_up(&mut self) {
        let now = clock::now().into_std();
        self.playout.replay(now, self.gop.pictures());
        if !self.gop.is_fresh(now) {
            self.film.hub().request_keyframe();
        }
    }

    async fn send(&mut self) {
        let burst: Vec<Packet> = self.playout.burst(clock::now().into_std()).collect();
        for Packet { medium, timestamp, marker, payload } in burst {
            let outgoing = match medium {
                Medium::Video => self.picture.as_mut(),
                Medium::Audio => self.sound.as_mut().map(|(_, outgoing)| outgoing),
            };
            if let Some(outgoing) = outgoing {
                outgoing.send(timestamp, marker, payload).await;
            }
        }
    }
}
