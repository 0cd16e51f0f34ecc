//! A WebRTC connection to a camera: its picture and sound go to the hub, speech goes to its speaker, and messages go
//! both ways. Mostly we offer and the camera answers; it can be the other way round. And we can be the camera: then a
//! hub's picture and sound are shown to whoever has offered to take them.
//!
//! What the engine (`webrtc` 0.21.1) does not do by itself is done here: it tells no loss of the peer but by ICE's
//! timers, asks for no keyframe, binds no loopback address when told to bind all, stumbles over spellings of
//! candidates that cameras use, sleeps on what it has to send, and says no good-bye over a relay.

mod candidates;
mod channel;
mod codecs;
pub mod depacketize;
pub mod description;
mod ending;
mod engine;
mod outgoing;
mod receive;
pub mod reorder;
mod rtp_clock;
mod show;
mod speech;
mod text;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use webrtc::data_channel::DataChannel;
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, RTCIceCandidateInit, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription,
};

use super::feedback::Asked;
use crate::clock::{self, Instant};
use crate::media::{AudioFormat, MediaHub};
use crate::secret::Password;
pub use channel::Channel;
use channel::{Control, Origin};
use codecs::{SoundCodecs, VideoCodecs};
pub(crate) use depacketize::{Depacketizer, Piece};
use description::{Description, NoH264};
pub use ending::Ending;
use engine::{News, Patience};
use outgoing::Outgoing;
use receive::Receiver;
pub(crate) use rtp_clock::RtpClock;
use show::Show;
use speech::{Microphone, Speech};
pub use text::{TextChannel, TextChannels};

/// What a connection is for.
pub struct Wanted<'a> {
    /// What the other side films and says goes here.
    pub hub: MediaHub,
    pub video: Video,
    pub sound: Sound,
    /// The name of the data channel that the call stands and falls with, unless it is to outlive it
    /// ([`CameraPeer::outlive_channel`]). Who offers makes it.
    pub channel: Option<&'static str>,
    pub ice_servers: &'a [IceServer],
    /// Everything goes through a TURN server, of which there must be one then.
    pub relay_only: bool,
    /// The camera may be on this machine: a virtual one.
    pub loopback: bool,
}

/// What is done with pictures, which are H.264.
#[derive(Clone)]
pub enum Video {
    None,
    /// There must be one.
    Receive,
    /// We are the camera: this hub's picture is shown, and its sound played, as far as the offer takes them. Only to
    /// answer with. Whatever data channel the other side opens is taken ([`CameraPeer::take_channels`]).
    Send(MediaHub),
}

/// What is done with sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    None,
    /// Only heard, in any format that we know.
    Receive,
    /// Heard and spoken in one of these, the best first: Opus, PCMU, PCMA.
    Both(&'static [AudioFormat]),
}

/// A STUN or TURN server.
#[derive(Debug, Clone)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`. Others than UDP are passed over.
    pub urls: Vec<String>,
    pub username: String,
    pub credential: Password,
}

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("WebRTC could not be set up: {0}")]
    Setup(#[source] Error),
    /// The engine's words are left out, here and below: they may repeat lines of the SDP, which hold the ICE password.
    #[error("its offer cannot be understood")]
    BadOffer,
    #[error("its answer cannot be understood")]
    BadAnswer,
    #[error("it sends no H.264 video")]
    NoVideo,
}

/// One connection. Dropping it hangs up.
pub struct CameraPeer {
    connection: Arc<dyn PeerConnection>,
    sdp: String,
    /// Whether a picture was asked for.
    video: bool,
    sound: SoundCodecs,
    candidates: mpsc::Receiver<String>,
    next_candidate: Instant,
    remote_candidates: usize,
    gathering: watch::Receiver<RTCIceGatheringState>,
    patience: Patience,
    state: watch::Receiver<RTCPeerConnectionState>,
    microphone: Option<Microphone>,
    speech: Option<Speech>,
    control: Option<Control>,
    /// Whether the end of the data channel is the end of all.
    lives_by_channel: bool,
    /// `None` once it was taken.
    channel: Option<Channel>,
    channels: Option<TextChannels>,
    _show: Option<AbortOnDropHandle<()>>,
    /// `None` once the media flow.
    waiting: Option<Receiver>,
}

impl CameraPeer {
    /// Amazon passes on 20 a second (kvs reference §4); Vivint's client keeps 50 ms too (vivint reference §8).
    const CANDIDATES_APART: Duration = Duration::from_millis(55);

    /// Makes the offer, and begins to look for candidates.
    ///
    /// # Errors
    /// `Setup`: no socket, no randomness, or relayed only without a TURN server.
    pub async fn offer(wanted: Wanted<'_>) -> Result<Self, PeerError> {
        Self::try_offer(wanted).await.map_err(PeerError::Setup)
    }

    async fn try_offer(wanted: Wanted<'_>) -> Result<Self, Error> {
        let sound = SoundCodecs::offered(wanted.sound);
        let video = if wanted.video.is_received() { VideoCodecs::offered() } else { VideoCodecs::none() };
        let (mut peer, _no_channels_of_theirs, _not_shown) = Self::begin(&wanted, sound, video).await?;
        // The order of the sections: sound, picture, messages (vivint reference §9).
        match wanted.sound {
            Sound::None => {}
            Sound::Receive => peer.receive(RtpCodecKind::Audio).await?,
            Sound::Both(_) => peer.microphone = Some(Microphone::add_to(&*peer.connection).await?),
        }
        if wanted.video.is_received() {
            peer.receive(RtpCodecKind::Video).await?;
        }
        if let Some(label) = wanted.channel {
            let channel = peer.connection.create_data_channel(label, None).await?;
            peer.carry(Origin::Ours(channel));
        }
        let offer = peer.connection.create_offer(None).await?;
        // Said for us: cameras without it wait until they know all their addresses (RFC 8840 §4.1.1).
        peer.sdp = offer.sdp.replacen("t=0 0\r\n", "t=0 0\r\na=ice-options:trickle\r\n", 1);
        peer.connection.set_local_description(offer).await?;
        Ok(peer)
    }

    /// Answers an offer of the camera's, and begins to look for candidates. The best of our formats that it offers is
    /// the one that is heard and spoken.
    ///
    /// # Errors
    /// `Setup`, `BadOffer`, `NoVideo`.
    pub async fn answer_to(wanted: Wanted<'_>, offer: &str) -> Result<Self, PeerError> {
        let mut offer = Description::parse(offer);
        let video = match wanted.video {
            Video::None => VideoCodecs::none(),
            Video::Receive if offer.offers_video() => VideoCodecs::offered(),
            Video::Receive => return Err(PeerError::NoVideo),
            Video::Send(_) => VideoCodecs::chosen(offer.picture().map_err(|NoH264| PeerError::NoVideo)?),
        };
        let sound = SoundCodecs::chosen(offer.choice(&codecs::formats(wanted.sound)));
        if wanted.video.is_sent() {
            // The engine would answer with every codec that resembles ours.
            offer.keep_only("video", video.payload_types());
            offer.keep_only("audio", sound.payload_types());
        }
        let begun = Self::begin(&wanted, sound, video.clone()).await;
        let (mut peer, channels, asked) = begun.map_err(PeerError::Setup)?;
        if matches!(wanted.sound, Sound::Both(_)) && offer.takes_sound() {
            peer.open_speaker().await.map_err(PeerError::Setup)?;
        }
        match (wanted.video, wanted.channel) {
            (Video::Send(film), _) => {
                peer.show(film, &video, asked).await.map_err(PeerError::Setup)?;
                peer.channels = Some(TextChannels::new(channels));
            }
            (_, Some(label)) => peer.carry(Origin::Theirs { label, made: channels }),
            (_, None) => {}
        }
        peer.take_offer(offer).await.map_err(|_| PeerError::BadOffer)?;
        Ok(peer)
    }

    async fn begin(
        wanted: &Wanted<'_>,
        sound: SoundCodecs,
        video: VideoCodecs,
    ) -> Result<(Self, mpsc::Receiver<Arc<dyn DataChannel>>, Asked), Error> {
        let (connection, news) = engine::connection(wanted, &sound, &video).await?;
        let News { candidates, tracks, channels, gathering, state, asked } = news;
        let video = wanted.video.is_received();
        // From here on whatever fails hangs up.
        let peer = Self {
            connection,
            sdp: String::new(),
            video,
            waiting: Some(Receiver::new(wanted.hub.clone(), video, sound.clone(), tracks)),
            sound,
            candidates,
            next_candidate: clock::now(),
            remote_candidates: 0,
            gathering,
            patience: Patience::with(&wanted.video),
            state,
            microphone: None,
            speech: None,
            control: None,
            lives_by_channel: true,
            channel: None,
            channels: None,
            _show: None,
        };
        Ok((peer, channels, asked))
    }

    /// Shows a film from when the way to the viewer is open until the connection is dropped.
    async fn show(&mut self, film: MediaHub, video: &VideoCodecs, asked: Asked) -> Result<(), Error> {
        let picture = match video.first() {
            Some(codec) => Some(Outgoing::picture(&*self.connection, codec).await?),
            None => None,
        };
        let show = Show::new(&film, picture, self.speech.take(), asked);
        let (connection, joined, connected) = (self.connection.clone(), self.connected(), self.connected());
        let hurried = async move {
            if connected.await.is_ok() {
                engine::hurry(&*connection).await;
            }
        };
        let showing = async { _ = tokio::join!(hurried, show.run(joined)) };
        self._show = Some(AbortOnDropHandle::new(tokio::spawn(showing.in_current_span())));
        Ok(())
    }

    /// Opens the data channel as soon as there is a connection.
    fn carry(&mut self, origin: Origin) {
        let (connection, connected, state) = (self.connection.clone(), self.connected(), self.state.clone());
        let connection_over = async move {
            if connected.await.is_ok() {
                engine::hurry(&*connection).await;
            }
            ending::over(state).await;
        };
        let (control, channel) = Control::start(origin, connection_over);
        self.control = Some(control);
        self.channel = Some(channel);
    }

    async fn receive(&self, kind: RtpCodecKind) -> Result<(), Error> {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: vec![],
            send_encodings: vec![],
        };
        self.connection.add_transceiver_from_kind(kind, Some(init)).await?;
        Ok(())
    }

    /// Prepares to speak in the format that was chosen of an offer, if there was any.
    async fn open_speaker(&mut self) -> Result<(), Error> {
        if let Some(format) = self.sound.first() {
            let microphone = Microphone::add_to(&*self.connection).await?;
            self.speech = Some(microphone.negotiated(format, &self.sound).await?);
        }
        Ok(())
    }

    async fn take_offer(&mut self, offer: Description) -> Result<(), Error> {
        self.connection.set_remote_description(RTCSessionDescription::offer(offer.sdp)?).await?;
        let answer = self.connection.create_answer(None).await?;
        self.sdp.clone_from(&answer.sdp);
        self.connection.set_local_description(answer).await
    }

    /// Waits until every candidate of ours is known, or the time is up. From then on [`Self::sdp`] holds those that
    /// are known, for cameras that want them there.
    pub async fn gathered(&mut self, within: Duration) {
        let gathering = &mut self.gathering;
        let complete = async { gathering.wait_for(|state| *state == RTCIceGatheringState::Complete).await.is_ok() };
        let _known_so_far = tokio::time::timeout(within, complete).await;
        if let Some(description) = self.connection.local_description().await {
            self.sdp = description.sdp;
        }
    }

    /// Our offer or answer; without candidates, unless [`Self::gathered`] was called.
    pub fn sdp(&self) -> String {
        self.sdp.clone()
    }

    /// The next address of ours that the camera is to be told; `None` when there will be no more. May be cancelled.
    pub async fn candidate(&mut self) -> Option<String> {
        tokio::time::sleep_until(self.next_candidate).await;
        let candidate = self.candidates.recv().await;
        self.next_candidate = clock::now() + Self::CANDIDATES_APART;
        candidate
    }

    /// Takes the camera's answer, once. One that refuses the data channel is an answer all the same.
    ///
    /// # Errors
    /// `BadAnswer`, `NoVideo`.
    pub async fn answer(&mut self, text: &str) -> Result<(), PeerError> {
        let answer = Description::parse(text);
        if self.video && !answer.sends_video() {
            return Err(PeerError::NoVideo);
        }
        if !answer.takes_messages() {
            (self.control, self.channel) = (None, None);
        }
        if let (Some(microphone), Some(format)) = (self.microphone.take(), answer.speech(&self.sound)) {
            self.speech = Some(microphone.negotiated(format, &self.sound).await.map_err(PeerError::Setup)?);
        }
        let description = RTCSessionDescription::answer(answer.sdp).map_err(|_| PeerError::BadAnswer)?;
        self.connection.set_remote_description(description).await.map_err(|_| PeerError::BadAnswer)
    }

    /// Takes an address of the camera. To be called after the answer has been taken.
    pub async fn add_candidate(&mut self, candidate: &str) {
        let Some(candidate) = candidates::cleaned(candidate) else { return };
        if self.remote_candidates < engine::MOST_CANDIDATES {
            self.remote_candidates += 1;
            // One that the engine refuses is one that leads nowhere.
            let candidate = RTCIceCandidateInit { candidate, ..Default::default() };
            let _refused = self.connection.add_ice_candidate(candidate).await;
            engine::wake(&*self.connection).await;
        }
    }

    /// Resolves when the way to the camera is open and encrypted.
    ///
    /// # Errors
    /// `NoPath` when that cannot be.
    pub fn connected(&self) -> impl Future<Output = Result<(), Ending>> + Send + use<> {
        use RTCPeerConnectionState::{Closed, Connected, Failed};
        let mut state = self.state.clone();
        async move {
            let settled = state.wait_for(|state| matches!(state, Connected | Failed | Closed)).await;
            let connected = settled.is_ok_and(|state| *state == Connected);
            if connected { Ok(()) } else { Err(Ending::NoPath) }
        }
    }

    /// From now on pictures and sound flow on when the data channel is closed.
    pub fn outlive_channel(&mut self) {
        self.lives_by_channel = false;
    }

    /// Whether what is sent goes through a TURN server, ours or the camera's.
    pub async fn is_relayed(&self) -> bool {
        engine::is_relayed(&*self.connection).await
    }

    /// Lets the media flow to the hub, once, until the connection or its data channel has ended, or the handle is
    /// aborted or dropped.
    pub fn flow(&mut self) -> AbortOnDropHandle<Ending> {
        let (receiver, state, connection) = (self.waiting.take(), self.state.clone(), self.connection.clone());
        let control = self.control.as_ref().filter(|_| self.lives_by_channel).map(Control::closed);
        let grace = self.patience.grace;
        let flowing = async move {
            let Some(receiver) = receiver else { return Ending::HungUp };
            tokio::select! {
                biased;
                ending = ending::unreachable(state, grace) => ending,
                () = ending::hung_up(&*connection, control) => Ending::HungUp,
                () = receiver.run() => Ending::Silent,
            }
        };
        AbortOnDropHandle::new(tokio::spawn(flowing.in_current_span()))
    }

    /// What the camera's speaker takes, if it has said that it takes anything.
    pub fn speech_format(&self) -> Option<AudioFormat> {
        self.speech.as_ref().map(|speech| speech.format)
    }

    /// Sends 20 ms of sound in that format.
    pub async fn speak(&mut self, payload: Bytes) {
        if let Some(speech) = &mut self.speech {
            speech.send(payload).await;
        }
    }

    /// What the viewer opens data channels for, once, where we are the camera.
    pub fn take_channels(&mut self) -> Option<TextChannels> {
        self.channels.take()
    }

    /// Opens a data channel by ourselves, as some cameras do beside the viewer's.
    ///
    /// # Errors
    /// `Setup`: the connection is over.
    pub async fn open_channel(&self, label: &'static str) -> Result<TextChannel, PeerError> {
        let channel = self.connection.create_data_channel(label, None).await.map_err(PeerError::Setup)?;
        Ok(TextChannel::new(label.to_owned(), channel))
    }

    /// The data channel, once, where one was asked for and the camera has not refused it.
    pub fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }
}

impl Video {
    fn is_received(&self) -> bool {
        matches!(self, Self::Receive)
    }

    fn is_sent(&self) -> bool {
        matches!(self, Self::Send(_))
    }
}

impl Drop for CameraPeer {
    /// The engine goes on without an end unless it is closed, and closing takes seconds when the camera is silent.
    fn drop(&mut self) {
        let (connection, control) = (self.connection.clone(), self.control.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Some(control) = control {
                    control.close().await;
                }
                connection.close().await
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(sound: Sound) -> Wanted<'static> {
        let (hub, channel) = (MediaHub::new(), None);
        Wanted { hub, video: Video::Receive, sound, channel, ice_servers: &[], relay_only: false, loopback: true }
    }

    #[tokio::test]
    async fn the_offer_is_small_and_says_what_cameras_look_for() {
        let spoken = Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU, AudioFormat::PCMA]);
        for (sound, direction) in [(spoken, "a=sendrecv"), (Sound::Receive, "a=recvonly")] {
            let peer = CameraPeer::offer(wanted(sound)).await.unwrap();
            let sdp = peer.sdp();
            let (session, sections) = sdp.split_once("m=").unwrap();
            assert!(
                session.contains("a=ice-options:trickle\r\n") && session.contains("a=group:BUNDLE 0 1"),
                "{session}"
            );
            let (sound, video) = sections.split_once("m=").unwrap();
            assert!(sound.starts_with("audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\n") && sound.contains(direction), "{sound}");
            assert!(video.starts_with("video 9 UDP/TLS/RTP/SAVPF 102 104 106\r\n"), "{video}");
            assert!(video.contains("a=rtcp-fb:102 nack pli") && video.contains("a=recvonly"), "{video}");
            assert!(!sdp.contains("a=candidate:"));
            // Of the 10,000 characters of base64 that Amazon passes on.
            assert!(sdp.len() < 3_000, "{} bytes", sdp.len());
        }
    }

    /// The order and the wording of the client that works against real doorbells (vivint reference §9).
    #[tokio::test]
    async fn sections_stand_in_the_order_that_cameras_know() {
        let spoken = Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU]);
        for (video, media) in
            [(Video::Receive, &["audio", "video", "application"][..]), (Video::None, &["audio", "application"])]
        {
            let wanted = Wanted { video, channel: Some("channel"), ..wanted(spoken) };
            let mut peer = CameraPeer::offer(wanted).await.unwrap();
            peer.gathered(Duration::from_secs(10)).await;
            let sdp = peer.sdp();
            let found: Vec<&str> =
                sdp.split("\r\nm=").skip(1).filter_map(|section| section.split(' ').next()).collect();
            assert_eq!(found, media);
            let mids: Vec<&str> = sdp.lines().filter_map(|line| line.strip_prefix("a=mid:")).collect();
            assert_eq!(mids, ["0", "1", "2"][..media.len()]);
            assert!(sdp.contains(&format!("a=group:BUNDLE {}\r\n", mids.join(" "))), "{sdp}");
            assert!(sdp.contains("audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n") && sdp.contains("a=setup:actpass"), "{sdp}");
            assert!(sdp.contains("webrtc-datachannel") && sdp.contains("a=candidate:"), "{sdp}");
        }
    }

    #[tokio::test]
    async fn what_is_no_offer_is_refused() {
        for text in
            ["", "v=0\r\n", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=x"]
        {
            let wanted = Wanted { video: Video::None, ..wanted(Sound::Receive) };
            let error = CameraPeer::answer_to(wanted, text).await.err();
            assert!(matches!(error, Some(PeerError::BadOffer)), "{text:?}: {error:?}");
        }
        let error = CameraPeer::answer_to(wanted(Sound::Receive), "v=0\r\n").await.err();
        assert!(matches!(error, Some(PeerError::NoVideo)), "{error:?}");
    }
}
