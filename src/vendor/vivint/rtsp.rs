//! A camera's picture and sound by RTSP (vivint reference §3.4), on `retina`.
//!
//! It reads RTSP and takes RTP apart; what is in the packets is put together here, since it knows no Opus.

mod way;

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use retina::client::{
    Credentials, Described, InitialTimestampPolicy, PacketItem, PlayOptions, Session, SessionGroup, SessionIdPolicy,
    SessionOptions, SetupOptions, Stream, UnassignedChannelDataPolicy,
};
use retina::codec::{ParametersRef, VideoParametersCodec};
use retina::rtp::ReceivedPacket;
use tokio::time::{sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use url::Url;

pub use way::{Way, Wish};

use crate::clock::{self, Instant};
use crate::media::{AudioFormat, FrameKind, MediaHub, VideoCodec};
use crate::rtc::{Depacketizer, Piece, RtpClock};
use crate::secret::Password;

/// Without a picture that can be shown for so long, a stream is over.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a camera is kept streaming after the last viewer left, for the one who comes right back.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// For the server to hear that we leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// Of one packet of sound: a second of G.711.
const LONGEST_SOUND: usize = 8_000;
const USER_AGENT: &str = concat!("doorstep/", env!("CARGO_PKG_VERSION"));

/// Who may see the picture.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub password: Password,
}

impl Login {
    pub(super) fn is(&self, other: &Self) -> bool {
        self.user == other.user && self.password.expose() == other.password.expose()
    }
}

/// Why there is no picture, or none any more. To stand behind "the camera on the LAN: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it does not answer")]
    NoAnswer,
    #[error("it refuses the login")]
    LoginRefused,
    #[error("it has no picture at the address that the account tells")]
    NotFound,
    #[error("it refuses with status {0}")]
    Refused(u16),
    #[error("it sends no H.264 picture")]
    NoPicture,
    #[error("it sends what is no RTSP")]
    Broken,
    #[error("it hung up")]
    HungUp,
    #[error("no picture has come for {} s", SILENCE.as_secs())]
    Silent,
}

impl From<retina::Error> for RtspError {
    /// What `retina` says goes to the log alone, and of that its first line: behind it are bytes.
    fn from(error: retina::Error) -> Self {
        let text = error.to_string();
        let reason: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
        tracing::debug!(reason, "the RTSP session failed");
        match error.status_code() {
            Some(401 | 403) => Self::LoginRefused,
            Some(404) => Self::NotFound,
            // A success that makes no sense.
            Some(200..300) => Self::Broken,
            Some(status) => Self::Refused(status),
            None if text.starts_with("Unable to connect") => Self::Unreachable,
            None if text.contains("EOF") => Self::HungUp,
            None => Self::Broken,
        }
    }
}

/// A stream that has begun.
pub struct Playing {
    session: Session<retina::client::Playing>,
    group: Arc<SessionGroup>,
    video: Video,
    sound: Option<Sound>,
    begun: Instant,
    /// The newest picture.
    seen: Instant,
}

/// Asks for the picture and for the sound, if that can be carried, over the connection itself.
///
/// # Errors
/// What kept the server from playing.
pub async fn open(url: Url, login: Login, within: Duration) -> Result<Playing, RtspError> {
    // In a task of its own: over some descriptions `retina` panics (one with a medium without a format), and that
    // shall not be the end of a talk.
    let opening = AbortOnDropHandle::new(tokio::spawn(play(url, login).in_current_span()));
    match timeout(within, opening).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err(RtspError::Broken),
        Err(_) => Err(RtspError::NoAnswer),
    }
}

async fn play(url: Url, login: Login) -> Result<Playing, RtspError> {
    let group = Arc::new(SessionGroup::default());
    let mut session = Session::describe(url, options(login, &group)).await?;
    let video = Video::find(&session).ok_or(RtspError::NoPicture)?;
    session.setup(video.stream, SetupOptions::default()).await?;
    let sound = Sound::find(&session);
    if let Some(sound) = &sound {
        session.setup(sound.stream, SetupOptions::default()).await?;
    }
    let policy = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
    let session = session.play(policy).await?;
    let begun = clock::now();
    Ok(Playing { session, group, video, sound, begun, seen: begun })
}

/// Cameras are let get away with what does no harm.
fn options(Login { user, password }: Login, group: &Arc<SessionGroup>) -> SessionOptions {
    let credentials = Credentials { username: user, password: password.expose().to_owned() };
    SessionOptions::default()
        .creds(Some(credentials))
        .user_agent(USER_AGENT.to_owned())
        .session_group(Arc::clone(group))
        .session_id(SessionIdPolicy::UseFirst)
        .unassigned_channel_data(UnassignedChannelDataPolicy::Ignore)
}

impl Playing {
    /// Publishes what arrives until nothing does any more, and says why. `retina` keeps the session alive meanwhile.
    pub async fn show(&mut self, hub: &MediaHub) -> RtspError {
        loop {
            tokio::select! {
                packet = self.session.next() => match packet {
                    Some(Ok(PacketItem::Rtp(packet))) => self.take(packet, hub),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error.into(),
                    None => return RtspError::HungUp,
                },
                () = sleep_until(self.seen + SILENCE) => return RtspError::Silent,
            }
        }
    }

    fn take(&mut self, packet: ReceivedPacket, hub: &MediaHub) {
        let now = clock::now();
        let arrived = now - self.begun;
        if packet.stream_id() == self.video.stream {
            if self.video.take(&packet, arrived, hub) {
                self.seen = now;
            }
        } else if let Some(sound) = &mut self.sound {
            sound.take(packet, arrived, hub);
        }
    }

    /// Tells the server that nobody watches any more.
    pub async fn close(self) {
        let Self { session, group, .. } = self;
        drop(session);
        let _told_or_too_late = timeout(FAREWELL, group.await_teardown()).await;
    }
}

struct Video {
    stream: usize,
    pictures: Depacketizer,
    clock: Option<RtpClock>,
}

impl Video {
    fn find(session: &Session<Described>) -> Option<Self> {
        let is_picture = |stream: &Stream| stream.media() == "video" && stream.encoding_name() == "h264";
        let stream = session.streams().iter().position(is_picture)?;
        let mut pictures = Depacketizer::default();
        if let Some(sets) = parameter_sets(&session.streams()[stream]) {
            pictures.remember(sets);
        }
        Some(Self { stream, pictures, clock: None })
    }

    /// Whether there was a picture to show.
    fn take(&mut self, packet: &ReceivedPacket, arrived: Duration, hub: &MediaHub) -> bool {
        let timestamp = packet.header().timestamp();
        let piece = Piece { timestamp, marker: packet.mark(), payload: packet.payload() };
        let clock = self.clock.get_or_insert_with(|| first_clock(packet, 90_000));
        let pictures = self.pictures.push(piece, packet.loss() > 0);
        let any = pictures.iter().any(Option::is_some);
        for picture in pictures.into_iter().flatten() {
            let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: picture.unit.keyframe };
            hub.publish(kind, clock.place(picture.timestamp, arrived), picture.unit.data);
        }
        any
    }
}

/// As the description has them, in Annex B: some cameras tell them nowhere else.
fn parameter_sets(stream: &Stream) -> Option<Bytes> {
    let Some(ParametersRef::Video(parameters)) = stream.parameters() else { return None };
    let VideoParametersCodec::H264 { sps, pps } = parameters.codec_params() else { return None };
    let mut sets = BytesMut::with_capacity(8 + sps.len() + pps.len());
    for set in [sps, pps] {
        sets.put_slice(&[0, 0, 0, 1]);
        sets.put_slice(set);
    }
    Some(sets.freeze())
}

struct Sound {
    stream: usize,
    format: AudioFormat,
    clock: Option<RtpClock>,
}

impl Sound {
    fn find(session: &Session<Described>) -> Option<Self> {
        let streams = session.streams().iter().enumerate().filter(|(_, stream)| stream.media() == "audio");
        let mut formats = streams.map(|(n, stream)| (n, stream.encoding_name(), sound_format(stream)));
        if let Some((stream, format)) = formats.clone().find_map(|(n, _, format)| Some((n, format?))) {
            return Some(Self { stream, format, clock: None });
        }
        if let Some((_, encoding, _)) = formats.next() {
            let encoding: String = encoding.chars().take(32).collect();
            tracing::warn!(encoding, "the camera's sound is of a kind that Doorstep does not know; it is left out");
        }
        None
    }

    fn take(&mut self, packet: ReceivedPacket, arrived: Duration, hub: &MediaHub) {
        let clock = self.clock.get_or_insert_with(|| first_clock(&packet, self.format.rate_hz));
        let pts = clock.place(packet.header().timestamp(), arrived);
        if (1..=LONGEST_SOUND).contains(&packet.payload().len()) {
            hub.publish(FrameKind::Audio(self.format), pts, packet.into_payload_bytes());
        }
    }
}

/// What goes to the viewers as it comes.
fn sound_format(stream: &Stream) -> Option<AudioFormat> {
    let mono = stream.channels().is_none_or(|channels| channels.get() == 1);
    match (stream.encoding_name(), stream.clock_rate_hz()) {
        // RFC 7587 §4.2: whatever is in it, always told as two channels of 48 kHz.
        ("opus", 48_000) => Some(AudioFormat::OPUS),
        ("pcmu", 8_000) if mono => Some(AudioFormat::PCMU),
        ("pcma", 8_000) if mono => Some(AudioFormat::PCMA),
        _ => None,
    }
}

/// A stream's clock, from the start that the server told where it told one (`RTP-Info`): picture and sound are in step
/// by it from the first packet on. Without it they are in step as they arrive.
fn first_clock(packet: &ReceivedPacket, rate_hz: u32) -> RtpClock {
    let since = packet.timestamp();
    // The first packet is the start, too, of a stream that was told none.
    if since.elapsed() == 0 { RtpClock::new(rate_hz) } else { RtpClock::starting(rate_hz, since.start()) }
}
