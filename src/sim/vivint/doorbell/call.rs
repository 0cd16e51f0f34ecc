//! One call, from the offer to its end (vivint reference §8, §9).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::checks::Check;
use super::fault::Fault;
use super::message::{self, field};
use super::node::Shared;
use super::speaker::{Report, Speaker};
use super::{Codec, Event, signal};
use crate::clock;
use crate::media::{AudioFormat, FrameStream, MediaHub};
use crate::rtc::camera::{CameraPeer, Channel, Ending, Sound, Video, Wanted};
use crate::sim::dice::Dice;
use crate::sim::made_up;
use crate::sim::tone::Heard;

/// Until every address is known, at most; over a relay it takes some round trips.
const GATHER_WITHIN: Duration = Duration::from_secs(3);
/// A client that works waits as long for each of them (§5).
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// The `from` of another app of the same household.
const HOUSEHOLD: &str = "anotherAppOfTheHousehold0001";
/// Nobody knows what these bodies hold; a client passes them on as they are.
const OPAQUE: &[u8] = b"\x08\x01\x12\x06opaque";

/// Who has begun.
pub(super) enum Beginning {
    /// The app has offered this.
    Answer {
        sdp: String,
        transaction: String,
    },
    Offer,
}

/// What the app writes to the doorbell's node while it is in a call.
pub(super) enum Remote {
    Answer { sdp: String, transaction: Option<String> },
    Candidate(String),
}

/// Until the call is over.
pub(super) async fn run(
    shared: Arc<Shared>,
    app: String,
    beginning: Beginning,
    mut remote: mpsc::Receiver<Remote>,
    stop: CancellationToken,
) {
    let begun = match beginning {
        Beginning::Answer { sdp, transaction } => {
            stop.run_until_cancelled(Call::answer(shared.clone(), app.clone(), &sdp, &transaction)).await
        }
        Beginning::Offer => stop.run_until_cancelled(Call::offer(shared.clone(), app.clone(), &mut remote)).await,
    };
    match begun {
        Some(Ok(mut call)) => {
            let end = call.keep(&mut remote, &stop).await;
            call.end(end);
        }
        Some(Err(why)) => shared.tell(Event::OfferIgnored { app, why }),
        None => {}
    }
}

struct Call {
    shared: Arc<Shared>,
    app: String,
    peer: CameraPeer,
    channel: Channel,
    sound: FrameStream,
    /// Kept for the stream, which ends with it.
    _hub: MediaHub,
    format: AudioFormat,
    speaker: Speaker,
    open: bool,
    /// The app has said something.
    spoken: bool,
    has_talked: bool,
}

/// How a call ended.
enum End {
    /// The doorbell wanted it so.
    Ours(&'static str),
    Theirs(Ending),
}

/// What comes over the channel.
enum News {
    Open,
    Message(Bytes),
}

impl Call {
    /// # Errors
    /// Why there is no answer.
    async fn answer(shared: Arc<Shared>, app: String, offer: &str, transaction: &str) -> Result<Self, &'static str> {
        if shared.fault() == Some(Fault::LateAnswer) {
            sleep(Fault::LATE).await;
        }
        let hub = MediaHub::new();
        let peer = CameraPeer::answer_to(wanted(&shared, &hub), offer).await;
        shared.note(Check::Offer, peer.is_ok() && is_as_apps_offer(offer));
        let mut peer = peer.map_err(|_| "it cannot be answered")?;
        peer.gathered(GATHER_WITHIN).await;
        match shared.fault() {
            Some(Fault::Stale) => leave_yesterdays(&shared, &app, &peer.sdp()),
            Some(Fault::ForeignOffer) => offer_as_another_app(&shared, offer),
            _ => {}
        }
        describe(&shared, &app, "answer", &peer.sdp(), transaction);
        shared.tell(Event::Answered { app: app.clone() });
        Self::of(shared, app, peer, hub)
    }

    /// # Errors
    /// Why there is no call.
    async fn offer(
        shared: Arc<Shared>,
        app: String,
        remote: &mut mpsc::Receiver<Remote>,
    ) -> Result<Self, &'static str> {
        let hub = MediaHub::new();
        let peer = CameraPeer::offer(wanted(&shared, &hub)).await;
        let mut peer = peer.map_err(|_| "the doorbell has no WebRTC")?;
        peer.gathered(GATHER_WITHIN).await;
        let transaction = made_up::uuid(&mut Dice::new(made_up::random_seed().unwrap_or_default()));
        describe(&shared, &app, "offer", &peer.sdp(), &transaction);
        shared.tell(Event::Offered { app: app.clone() });
        let answered = answered(&mut peer, remote, &transaction);
        timeout(ANSWERED_WITHIN, answered).await.map_err(|_| "the app does not answer")??;
        Self::of(shared, app, peer, hub)
    }

    fn of(shared: Arc<Shared>, app: String, mut peer: CameraPeer, hub: MediaHub) -> Result<Self, &'static str> {
        let channel = peer.take_channel().ok_or("the doorbell has no channel")?;
        let format = codecs(shared.settings.codec)[0];
        Ok(Self {
            shared,
            app,
            peer,
            channel,
            sound: hub.listen(),
            _hub: hub,
            format,
            speaker: Speaker::new(format),
            open: false,
            spoken: false,
            has_talked: false,
        })
    }

    async fn keep(&mut self, remote: &mut mpsc::Receiver<Remote>, stop: &CancellationToken) -> End {
        let mut connected = std::pin::pin!(self.peer.connected());
        let given_up_at = clock::now() + CONNECTED_WITHIN;
        let mut flowing = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return End::Ours("the doorbell hung up"),
                () = sleep_until(given_up_at), if !self.open => return End::Ours("it took too long"),
                outcome = &mut connected, if flowing.is_none() => match outcome {
                    Ok(()) => {
                        flowing = Some(self.peer.flow());
                        self.tell(|app| Event::CallConnected { app });
                    }
                    Err(ending) => return End::Theirs(ending),
                },
                ending = over(&mut flowing) => return End::Theirs(ending),
                news = news(&mut self.channel, self.open) => match news {
                    Some(News::Open) => self.opened().await,
                    Some(News::Message(message)) => if let Some(end) = self.hear(&message).await {
                        return end;
                    },
                    None => return End::Theirs(Ending::HungUp),
                },
                Some(frame) = self.sound.next() => self.play(&frame.data),
                Some(candidate) = self.peer.candidate() => self.tell_candidate(&candidate),
                Some(remote) = remote.recv() => if let Remote::Candidate(candidate) = remote {
                    self.peer.add_candidate(&candidate).await;
                },
            }
        }
    }

    fn tell_candidate(&self, candidate: &str) {
        let line_end = if self.shared.fault() == Some(Fault::CandidateLineEnds) { "\r" } else { "" };
        let uuid = &self.shared.settings.uuid;
        let message = signal::candidate(&format!("{candidate}{line_end}"), uuid, clock::unix_now());
        self.shared.put(&self.app, message);
    }

    async fn opened(&mut self) {
        self.open = true;
        self.tell(|app| Event::ChannelOpen { app });
        if self.shared.fault() == Some(Fault::Pings) {
            self.say(field::PING, &[]).await;
        }
    }

    /// What the app says. `Some` when that is the end of the call.
    async fn hear(&mut self, message: &[u8]) -> Option<End> {
        let field = message::decode(message);
        self.shared.note(Check::Message, field.is_some_and(message::is_of_apps));
        let field = field?;
        if !self.spoken {
            self.spoken = true;
            self.shared.note(Check::PingFirst, matches!(field, field::PING | field::PONG));
        }
        match field {
            field::PING => self.pong().await,
            field::PONG => self.tell(|app| Event::Pong { app }),
            field::TWO_WAY_TALK_START => return self.start_talk().await,
            field::TWO_WAY_TALK_END => {
                self.end_talk();
                self.say(field::TWO_WAY_TALK_END_RESPONSE, &[]).await;
            }
            _ => self.asked(field).await,
        }
        None
    }

    async fn pong(&mut self) {
        self.tell(|app| Event::Ping { app });
        if self.shared.fault() != Some(Fault::NoPong) {
            self.say(field::PONG, &[]).await;
        }
    }

    async fn start_talk(&mut self) -> Option<End> {
        let mut body: &[u8] = &[];
        match self.shared.fault() {
            Some(Fault::CloseChannel) => return Some(End::Ours("fault")),
            Some(Fault::ConsentWithBody) => body = b"\x08\x00",
            Some(Fault::Garbage) => {
                self.send(Bytes::from_static(b"\x52\x05")).await;
                self.say(field::NOT_YET_INVENTED, OPAQUE).await;
            }
            _ => {}
        }
        if let Some(unheard) = self.speaker.on() {
            self.has_talked = true;
            self.tell(|app| Event::TalkStarted { app, unheard });
        }
        if self.shared.fault() != Some(Fault::NoConsent) {
            self.say(field::TWO_WAY_TALK_START_RESPONSE, body).await;
        }
        None
    }

    fn end_talk(&mut self) {
        if let Some((frames, rest)) = self.speaker.off() {
            rest.into_iter().for_each(|report| self.tell_report(report));
            self.tell(|app| Event::TalkEnded { app, frames });
        }
    }

    /// Nobody has seen an answer to most of what can be asked, so there is none.
    async fn asked(&mut self, field: u32) {
        self.tell(|app| Event::Asked { app, field });
        match field {
            field::GET_OLDEST_TIMESTAMP => self.say(field::OLDEST_TIMESTAMP, OPAQUE).await,
            field::GET_METADATA => self.say(field::METADATA, OPAQUE).await,
            _ => {}
        }
    }

    fn play(&mut self, packet: &[u8]) {
        if let Some(report) = self.speaker.take(packet) {
            self.tell_report(report);
        }
    }

    fn tell_report(&self, Report { frames, heard: Heard { tone_hz, level_db }, samples }: Report) {
        let codec = self.format.codec;
        self.tell(|app| Event::TalkAudio { app, frames, codec, tone_hz, level_db, samples });
    }

    async fn say(&self, field: u32, body: &[u8]) {
        self.send(message::encode(field, body)).await;
    }

    async fn send(&self, message: Bytes) {
        // Told by the channel's end.
        let _over = self.channel.send(message).await;
    }

    fn end(&mut self, end: End) {
        let why = match end {
            End::Ours(why) => why.to_owned(),
            End::Theirs(ending) => {
                if self.has_talked {
                    self.shared.note(Check::Farewell, !self.speaker.is_on());
                }
                match ending {
                    Ending::HungUp => "the app hung up",
                    _ => "the app was lost",
                }
                .to_owned()
            }
        };
        self.end_talk();
        let unheard = self.speaker.off_for();
        self.tell(|app| Event::CallEnded { app, why, unheard });
    }

    fn tell(&self, event: impl FnOnce(String) -> Event) {
        self.shared.tell(event(self.app.clone()));
    }
}

fn wanted<'a>(shared: &'a Shared, hub: &MediaHub) -> Wanted<'a> {
    let relay = &shared.settings.relay;
    Wanted {
        hub: hub.clone(),
        video: Video::None,
        sound: Sound::Both(codecs(shared.settings.codec)),
        channel: Some("channel"),
        ice_servers: relay.as_slice(),
        relay_only: relay.is_some(),
        loopback: true,
    }
}

fn codecs(codec: Codec) -> &'static [AudioFormat] {
    match codec {
        Codec::Opus => &[AudioFormat::OPUS],
        Codec::Pcmu => &[AudioFormat::PCMU],
    }
}

/// Sound, then perhaps a picture, then messages (§9). One that only wants to ask something needs no sound.
fn is_as_apps_offer(sdp: &str) -> bool {
    let media: Vec<&str> = sdp.lines().filter_map(|line| line.strip_prefix("m=")?.split(' ').next()).collect();
    matches!(media[..], ["application"] | ["audio", "application"] | ["audio", "video", "application"])
}

fn describe(shared: &Shared, app: &str, kind: &str, sdp: &str, transaction: &str) {
    shared.put(app, signal::description(kind, sdp, transaction, &shared.settings.uuid, clock::unix_now()));
}

/// Puts the app's answer in place. Candidates that overtake it wait.
async fn answered(
    peer: &mut CameraPeer,
    remote: &mut mpsc::Receiver<Remote>,
    transaction: &str,
) -> Result<(), &'static str> {
    let mut early = Vec::new();
    loop {
        match remote.recv().await.ok_or("the doorbell hung up")? {
            Remote::Candidate(candidate) => early.push(candidate),
            Remote::Answer { sdp, transaction: of } if of.as_deref() == Some(transaction) => {
                peer.answer(&sdp).await.map_err(|_| "its answer cannot be understood")?;
                break;
            }
            Remote::Answer { .. } => {}
        }
    }
    for candidate in early {
        peer.add_candidate(&candidate).await;
    }
    Ok(())
}

/// What a call of yesterday has left behind, of which this answer might have been part.
fn leave_yesterdays(shared: &Shared, app: &str, sdp: &str) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (uuid, yesterday) = (&shared.settings.uuid, clock::unix_now() - DAY);
    shared.put(app, signal::candidate("candidate:1 1 udp 2130706431 192.0.2.1 9 typ host", uuid, yesterday));
    let of_yesterday = "00000000-0000-4000-8000-000000000000";
    shared.put(app, signal::description("answer", sdp, of_yesterday, uuid, yesterday));
}

fn offer_as_another_app(shared: &Shared, sdp: &str) {
    let theirs = "11111111-1111-4111-8111-111111111111";
    let message = signal::description("offer", sdp, theirs, HOUSEHOLD, clock::unix_now());
    shared.put(&shared.settings.uuid, message);
}

/// May be cancelled. `None` when the channel is closed.
async fn news(channel: &mut Channel, open: bool) -> Option<News> {
    if open {
        return channel.next().await.map(News::Message);
    }
    channel.opened().await.ok().map(|()| News::Open)
}

/// Never, before media flow.
async fn over(flowing: &mut Option<AbortOnDropHandle<Ending>>) -> Ending {
    match flowing {
        Some(flowing) => flowing.await.unwrap_or(Ending::HungUp),
        None => std::future::pending().await,
    }
}
