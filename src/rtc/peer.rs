//! One viewer's engine and the order in which it has to be driven.
//!
//! After every input: all writes, all events, all reads, until a pass brings no event; an expired deadline is
//! handled at once. Two things the engine (0.21.1) does not do by itself are done here:
//! it forgets a nomination that arrives before its own check of that pair has been answered
//! (RFC 8445 §7.3.1.5), so such a request is kept and fed once more; and it drops DTLS that arrives before a
//! pair is selected, so that is kept until then.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{NackResponderBuilder, Registry, Slot};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::configure_rtcp_reports;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_HEVC, MIME_TYPE_OPUS, MIME_TYPE_PCMA, MIME_TYPE_PCMU, MediaEngine,
};
use rtc::peer_connection::configuration::setting_engine::{SettingEngine, SettingEngineBuilder};
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::peer_connection::transport::{RTCDtlsTransportState, RTCIceCandidateInit};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::certificate::Certificate;
use super::demux::{self, Kind, Stun};
use super::feedback::{self, Asked, Feedback};
use super::rtp_stream::{RtpStream, random_ssrc, track};
use super::sdp::{Accepted, AnswerError, MAX_CANDIDATES, Offer, Plan, usable_candidate};
use crate::media::{AudioCodec, AudioFormat, VideoCodec};

/// Datagrams kept back until a pair is selected: a ClientHello in fragments, and its retransmission.
const MAX_EARLY: usize = 8;
/// The engine settles within two passes; more would be a loop of its own making.
const MAX_PASSES: usize = 4;
/// A deadline that has not moved although it was handled is asked for again after this.
const STUCK: Duration = Duration::from_millis(1);
/// One UDP port means one local address a candidate; each is advertised over UDP and TCP.
const UDP_PRIORITY: u32 = 2_130_706_431;
const TCP_PRIORITY: u32 = 1_671_430_143;

/// A datagram and the way it came.
#[derive(Debug, Clone)]
pub(super) struct Inbound {
    pub(super) protocol: TransportProtocol,
    pub(super) from: SocketAddr,
    /// The candidate of ours it was sent to.
    pub(super) to: SocketAddr,
    pub(super) data: BytesMut,
}

/// What the viewer told us, besides what the engine deals with itself.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) microphone: Vec<rtp::Packet>,
    pub(super) keyframe_requests: u64,
}

/// Where RTP of one medium goes.
#[derive(Debug, Clone, Copy)]
struct Sender {
    id: RTCRtpSenderId,
    stream: RtpStream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Video,
    Audio,
}

pub(super) struct Peer {
    engine: RTCPeerConnection,
    asked: Asked,
    pub(super) ufrag: String,
    pub(super) password: String,
    video: Option<Sender>,
    audio: Option<Sender>,
    remote_candidates: usize,
    pair_selected: bool,
    connected: bool,
    dead: bool,
    nomination: Option<Inbound>,
    early: VecDeque<Inbound>,
    deadline: Instant,
    woken: Option<Instant>,
}

impl Peer {
    /// Answers the offer: the peer, and the text for the viewer.
    ///
    /// # Errors
    /// `BadOffer` when the engine finds something missing that [`Offer::parse`] does not look for.
    pub(super) fn answer(
        now: Instant,
        offer: &Offer,
        plan: &Plan,
        certificate: &Certificate,
        addresses: &[SocketAddr],
    ) -> Result<(Self, String), AnswerError> {
        let refused = |error: Error| AnswerError::BadOffer(format!("The offer cannot be answered: {error}."));
        let asked = Asked::default();
        let mut engine = build_engine(now, plan, certificate, asked.clone()).map_err(refused)?;
        let video = plan.video.as_ref().map(|accepted| add_video(&mut engine, accepted));
        let audio = plan.audio.iter().find(|accepted| accepted.to_viewer);
        let audio = audio.map(|accepted| add_audio(&mut engine, accepted));
        let (video, audio) = (video.transpose().map_err(refused)?, audio.transpose().map_err(refused)?);
        let reduced = offer.reduced(plan);
        negotiate(now, &mut engine, &reduced, addresses).map_err(refused)?;
        let sdp = engine.local_description().map(|description| description.sdp).unwrap_or_default();
        let (Some(ufrag), Some(password)) = (value(&sdp, "a=ice-ufrag:"), value(&sdp, "a=ice-pwd:")) else {
            return Err(AnswerError::BadOffer("The offer cannot be answered: it has no transport.".to_owned()));
        };
        let answer = offer.complete(plan, &sdp).ok_or_else(|| {
            AnswerError::BadOffer("The offer cannot be answered: its codecs contradict each other.".to_owned())
        })?;
        let peer = Self {
            ufrag,
            password,
            engine,
            asked,
            video,
            audio,
            remote_candidates: reduced.matches("a=candidate:").count(),
            pair_selected: false,
            connected: false,
            dead: false,
            nomination: None,
            early: VecDeque::new(),
            deadline: now,
            woken: None,
        };
        Ok((peer, answer))
    }

    /// Takes one datagram. [`Self::drain`] must follow.
    pub(super) fn receive(&mut self, now: Instant, inbound: Inbound) {
        let kind = demux::kind(&inbound.data);
        if self.pair_selected {
            self.feed(now, inbound);
            // The engine has no event for the viewer's close_notify: its connection stays "connected".
            self.dead |= kind == Some(Kind::Dtls) && self.is_dtls_closed();
            return;
        }
        if kind != Some(Kind::Stun) {
            if self.early.len() < MAX_EARLY {
                self.early.push_back(inbound);
            }
            return;
        }
        let stun = Stun::parse(&inbound.data);
        let confirms = stun.is_some_and(|stun| stun.is_binding_success());
        if stun.is_some_and(|stun| stun.nominates()) {
            self.nomination = Some(inbound.clone());
        }
        let from = inbound.from;
        self.feed(now, inbound);
        if confirms && let Some(nomination) = self.nomination.take_if(|kept| kept.from == from) {
            self.feed(now, nomination);
        }
    }

    fn feed(&mut self, now: Instant, inbound: Inbound) {
        let transport = TransportContext {
            local_addr: inbound.to,
            peer_addr: inbound.from,
            ecn: None,
            transport_protocol: inbound.protocol,
        };
        // An error is about this one datagram; a connection that is beyond help says so by its state.
        let _ = self.engine.handle_read(TaggedBytesMut { now, transport, message: inbound.data });
    }

    fn is_dtls_closed(&mut self) -> bool {
        let Some(sender) = self.video.or(self.audio) else { return false };
        let Some(sender) = self.engine.rtp_sender(sender.id) else { return false };
        let state = sender.transport().map(|transport| transport.state());
        matches!(state, Some(RTCDtlsTransportState::Closed | RTCDtlsTransportState::Failed))
    }

    /// Lets time pass. [`Self::drain`] must follow.
    pub(super) fn wake(&mut self, now: Instant) {
        self.woken = Some(now);
        let _ = self.engine.handle_timeout(now);
    }

    /// Queues one RTP packet. [`Self::flush`] or [`Self::drain`] must follow.
    ///
    /// This is the seam for sealing SRTP ourselves: everything that is sent as media passes here and nowhere else.
    pub(super) fn send(&mut self, now: Instant, medium: Medium, timestamp: u32, marker: bool, payload: Bytes) {
        let sender = match medium {
            Medium::Video => &mut self.video,
            Medium::Audio => &mut self.audio,
        };
        let Some(sender) = sender else { return };
        let Some(mut track) = self.engine.rtp_sender(sender.id) else { return };
        let _ = track.write_rtp(now, sender.stream.packet(timestamp, marker, payload));
    }

    /// Brings out what was queued with [`Self::send`]. Media raise no events and move no deadline that matters:
    /// what was known before stays true, and with a hundred viewers asking again is what costs.
    pub(super) fn flush(&mut self, mut write: impl FnMut(TaggedBytesMut)) {
        while let Some(datagram) = self.engine.poll_write() {
            write(datagram);
        }
    }

    /// Brings out everything that the engine has to say after an input.
    pub(super) fn drain(&mut self, now: Instant, mut write: impl FnMut(TaggedBytesMut)) -> Heard {
        let mut heard = Heard::default();
        for _ in 0..MAX_PASSES {
            while let Some(datagram) = self.engine.poll_write() {
                write(datagram);
            }
            let was_selected = self.pair_selected;
            let mut settled = true;
            while let Some(event) = self.engine.poll_event() {
                settled = false;
                self.note(&event);
            }
            while let Some(message) = self.engine.poll_read() {
                // Nothing else is ever delivered: no RTCP is marked for it, no data channel negotiated.
                if let RTCMessage::RtpPacket(_, packet) = message.message {
                    heard.microphone.push(packet);
                }
            }
            if self.pair_selected && !was_selected {
                self.start_dtls(now);
            } else if settled {
                break;
            }
        }
        self.deadline = self.engine.poll_timeout().unwrap_or(now + Duration::from_secs(1));
        heard.keyframe_requests = self.asked.take();
        if self.woken == Some(now) && self.deadline <= now {
            self.deadline = now + STUCK;
        }
        heard
    }

    fn note(&mut self, event: &RTCPeerConnectionEvent) {
        use RTCPeerConnectionEvent::{OnConnectionStateChangeEvent, OnIceConnectionStateChangeEvent};
        match event {
            OnIceConnectionStateChangeEvent(RTCIceConnectionState::Connected | RTCIceConnectionState::Completed) => {
                self.pair_selected = true;
            }
            OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected) => self.connected = true,
            OnConnectionStateChangeEvent(RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) => {
                self.dead = true;
            }
            _ => {}
        }
    }

    /// The engine makes its ClientHello when ICE gets connected and lets it out at the next time-out only.
    fn start_dtls(&mut self, now: Instant) {
        self.nomination = None;
        self.wake(now);
        for inbound in std::mem::take(&mut self.early) {
            self.feed(now, inbound);
        }
    }

    /// Candidates that came after the offer (an SDP fragment, RFC 8840). [`Self::drain`] must follow.
    pub(super) fn add_candidates(&mut self, fragment: &str) {
        for line in fragment.lines().map(str::trim) {
            if usable_candidate(line).is_some() && self.remote_candidates < MAX_CANDIDATES {
                self.remote_candidates += 1;
                let candidate = line.strip_prefix("a=").unwrap_or(line).to_owned();
                let _ = self.engine.add_remote_candidate(RTCIceCandidateInit { candidate, ..Default::default() });
            }
        }
    }

    /// Says good-bye; what `write` is given is the last of this peer.
    pub(super) fn close(&mut self, mut write: impl FnMut(TaggedBytesMut)) {
        let _ = self.engine.close();
        while let Some(datagram) = self.engine.poll_write() {
            write(datagram);
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether media can be sent.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the viewer is gone: ICE failed, or DTLS was closed or refused.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }
}

fn build_engine(
    now: Instant,
    plan: &Plan,
    certificate: &Certificate,
    asked: Asked,
) -> Result<RTCPeerConnection, Error> {
    let mut media = MediaEngine::default();
    if let Some(video) = &plan.video {
        let codec = RTCRtpCodecParameters { rtp_codec: video_codec(video), payload_type: video.payload_type };
        media.register_codec(codec, RtpCodecKind::Video)?;
    }
    if let Some(audio) = plan.audio.first() {
        let codec = RTCRtpCodecParameters { rtp_codec: audio_codec(audio), payload_type: audio.payload_type };
        media.register_codec(codec, RtpCodecKind::Audio)?;
    }
    let registry = Registry::new().with(feedback::slot(), Feedback::new(asked, now));
    let registry = configure_rtcp_reports(answer_nacks(registry, &mut media));
    let configuration = RTCConfigurationBuilder::new().with_certificates(vec![certificate.engine.clone()]).build();
    RTCPeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings())
        .build(now)
}

/// The answering half of the engine's `configure_nack`. The asking half is about video that arrives, and would
/// only be one more stage for each packet that leaves.
fn answer_nacks(registry: Registry, media: &mut MediaEngine) -> Registry {
    for parameter in ["", "pli"] {
        let feedback = RTCPFeedback { typ: "nack".to_owned(), parameter: parameter.to_owned() };
        media.register_feedback(feedback, RtpCodecKind::Video);
    }
    registry.with(Slot::NackResponder, NackResponderBuilder::new().build())
}

fn settings() -> SettingEngine {
    SettingEngineBuilder::new()
        // The first check goes out at once, and a lost one is repeated long before anybody notices.
        .with_ice_connection_attempts(Some(Duration::from_millis(50)), Some(40))
        // Disconnected after 5 s, failed 5 s later: a viewer that vanished is gone within 12 s.
        .with_ice_timeouts(Some(Duration::from_secs(5)), Some(Duration::from_secs(5)), Some(Duration::from_secs(2)))
        // The default opens a multicast socket for each peer.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build()
}

fn negotiate(now: Instant, engine: &mut RTCPeerConnection, offer: &str, addresses: &[SocketAddr]) -> Result<(), Error> {
    engine.set_remote_description(now, RTCSessionDescription::offer(offer.to_owned())?)?;
    let answer = engine.create_answer(None)?;
    engine.set_local_description(now, answer)?;
    for (index, address) in addresses.iter().enumerate() {
        for candidate in candidates(index, address.ip(), address.port()) {
            engine.add_local_candidate(RTCIceCandidateInit { candidate, ..Default::default() })?;
        }
    }
    engine.add_local_candidate(RTCIceCandidateInit::default())
}

/// Host candidates (RFC 8839 §5.1, RFC 6544 §4.5) for one address: UDP, and TCP for where UDP is blocked.
fn candidates(index: usize, ip: IpAddr, port: u16) -> [String; 2] {
    // Among equal kinds the earlier address is preferred (RFC 8445 §5.1.2.1: local preference in bits 8 to 23).
    let less = u32::try_from(index).unwrap_or(u32::MAX).min(1000) << 8;
    let (udp, tcp) = (UDP_PRIORITY - less, TCP_PRIORITY - less);
    let (udp_foundation, tcp_foundation) = (2 * index + 1, 2 * index + 2);
    [
        format!("candidate:{udp_foundation} 1 udp {udp} {ip} {port} typ host"),
        format!("candidate:{tcp_foundation} 1 tcp {tcp} {ip} {port} typ host tcptype passive"),
    ]
}

fn video_codec(accepted: &Accepted<VideoCodec>) -> RTCRtpCodec {
    let mime_type = match accepted.codec {
        VideoCodec::H264 => MIME_TYPE_H264,
        VideoCodec::H265 => MIME_TYPE_HEVC,
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: accepted.fmtp.clone(),
        rtcp_feedback: vec![RTCPFeedback { typ: "ccm".to_owned(), parameter: "fir".to_owned() }],
    }
}

fn audio_codec(accepted: &Accepted<AudioFormat>) -> RTCRtpCodec {
    let (mime_type, channels) = match accepted.codec.codec {
        AudioCodec::Pcmu => (MIME_TYPE_PCMU, 0),
        AudioCodec::Pcma => (MIME_TYPE_PCMA, 0),
        AudioCodec::Opus | AudioCodec::Aac | AudioCodec::Pcm => (MIME_TYPE_OPUS, 2),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: accepted.codec.rate_hz,
        channels,
        sdp_fmtp_line: accepted.fmtp.clone(),
        rtcp_feedback: vec![],
    }
}

fn add_video(engine: &mut RTCPeerConnection, accepted: &Accepted<VideoCodec>) -> Result<Sender, Error> {
    add_track(engine, RtpCodecKind::Video, video_codec(accepted), accepted.payload_type)
}

fn add_audio(engine: &mut RTCPeerConnection, accepted: &Accepted<AudioFormat>) -> Result<Sender, Error> {
    add_track(engine, RtpCodecKind::Audio, audio_codec(accepted), accepted.payload_type)
}

fn add_track(
    engine: &mut RTCPeerConnection,
    kind: RtpCodecKind,
    codec: RTCRtpCodec,
    payload_type: u8,
) -> Result<Sender, Error> {
    let ssrc = random_ssrc()?;
    let label = if kind == RtpCodecKind::Video { "video" } else { "audio" };
    let id = engine.add_track(track(label, kind, ssrc, codec))?;
    Ok(Sender { id, stream: RtpStream::new(ssrc, payload_type)? })
}

/// The first attribute of this name, as it stands in one line of an SDP.
fn value(sdp: &str, name: &str) -> Option<String> {
    sdp.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}
