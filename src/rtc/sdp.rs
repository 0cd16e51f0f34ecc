//! Offer and answer: which codec each section gets, and the two texts around the engine.
//!
//! The engine is shown a *reduced* offer: only the sections that are accepted, each with the one payload type
//! that was chosen. Its answer is then *completed* with the other sections, `inactive`, so that every offered
//! section is answered in its place (RFC 3264 §6) and exactly one codec stands in each.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::media::{AudioCodec, AudioFormat, VideoCodec};

/// Why an offer got no answer, in a sentence for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The text is not an offer that can be read.
    #[error("{0}")]
    BadOffer(String),
    /// Nothing that was offered fits what the camera sends.
    #[error("{0}")]
    NotPlayable(String),
    /// The camera did not begin to stream in time.
    #[error("The camera did not answer within 10 s.")]
    NoPicture,
    /// As many viewers as are allowed are there already.
    #[error("Too many viewers are connected.")]
    Full,
}

const MAX_SECTIONS: usize = 16;
const MAX_LINES: usize = 4_000;
/// Remote candidates taken from one offer, trickled ones included.
pub(super) const MAX_CANDIDATES: usize = 32;

/// An offer that has been read as far as choosing codecs needs.
#[derive(Debug, Clone)]
pub struct Offer {
    session: Vec<String>,
    sections: Vec<Section>,
}

#[derive(Debug, Clone)]
struct Section {
    media: String,
    protocol: String,
    disabled: bool,
    formats: Vec<String>,
    /// Everything below the m-line.
    lines: Vec<String>,
}

/// What is negotiated for one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted<Codec> {
    section: usize,
    pub(super) codec: Codec,
    pub(super) payload_type: u8,
    /// The offer's `a=fmtp` for it, given back as it came.
    pub(super) fmtp: String,
    /// Whether we send, and whether the viewer does.
    pub(super) to_viewer: bool,
    pub(super) from_viewer: bool,
}

/// The answer in short: which codec goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) video: Option<Accepted<VideoCodec>>,
    /// At most two: where go2rtc's page offers its microphone in a section of its own, that is the second.
    pub(super) audio: Vec<Accepted<AudioFormat>>,
}

impl Offer {
    /// # Errors
    /// `BadOffer` when the text has no session, no media section, or more of anything than a browser ever sends.
    pub fn parse(text: &str) -> Result<Self, AnswerError> {
        let bad = |why: &str| AnswerError::BadOffer(format!("This is not a WebRTC offer: {why}."));
        let mut offer = Self { session: Vec::new(), sections: Vec::new() };
        for (number, line) in text.lines().map(str::trim_end).filter(|line| !line.is_empty()).enumerate() {
            if number >= MAX_LINES {
                return Err(bad("it is too long"));
            }
            if let Some(media) = line.strip_prefix("m=") {
                offer.sections.push(Section::parse(media).ok_or_else(|| bad("an m-line is incomplete"))?);
            } else {
                match offer.sections.last_mut() {
                    Some(section) => section.push(line),
                    None => offer.session.push(line.to_owned()),
                }
            }
        }
        match offer.sections.len() {
            _ if offer.session.first().is_none_or(|line| line != "v=0") => Err(bad("it does not begin with v=0")),
            0 => Err(bad("it has no media section")),
            1..=MAX_SECTIONS if offer.sections.iter().all(|section| section.mid().is_some()) => Ok(offer),
            1..=MAX_SECTIONS => Err(bad("a media section has no a=mid")),
            _ => Err(bad("it has too many media sections")),
        }
    }

    /// Picks one codec for each section worth having.
    ///
    /// `audio` lists the formats that can be sent, the best first; empty when the camera has no sound.
    /// `talk` says whether the viewer's microphone is wanted.
    ///
    /// # Errors
    /// `NotPlayable` when the offer asks for a picture and has no codec for the one there is, or asks for nothing.
    pub(super) fn choose(
        &self,
        video: Option<VideoCodec>,
        audio: &[AudioFormat],
        talk: bool,
    ) -> Result<Plan, AnswerError> {
        let picture = self.open_sections("video").find(|(_, section)| section.receives());
        let plan = Plan {
            video: match (picture, video) {
                (Some((index, section)), Some(codec)) => Some(section.accept_video(index, codec)?),
                _ => None,
            },
            audio: self.choose_audio(audio, talk),
        };
        if plan.video.is_none() && plan.audio.is_empty() {
            return Err(AnswerError::NotPlayable("The offer asks for nothing that this doorbell sends.".to_owned()));
        }
        Ok(plan)
    }

    fn choose_audio(&self, formats: &[AudioFormat], talk: bool) -> Vec<Accepted<AudioFormat>> {
        // Without sound from the camera the microphone alone may still be wanted.
        let wanted = if formats.is_empty() { &[AudioFormat::OPUS, AudioFormat::PCMU][..] } else { formats };
        let mut accepted: Vec<Accepted<AudioFormat>> = Vec::new();
        for (index, section) in self.open_sections("audio") {
            let sends_too = accepted.iter().any(|other| other.to_viewer);
            let speaks_too = accepted.iter().any(|other| other.from_viewer);
            let to_viewer = section.receives() && !formats.is_empty() && !sends_too;
            let from_viewer = section.sends() && talk && !speaks_too;
            let codec = wanted.iter().find_map(|format| Some((*format, section.payload_type_of(*format)?)));
            let Some((codec, payload_type)) = codec.filter(|_| to_viewer || from_viewer) else { continue };
            // The engine keeps one table of payload types for all sections.
            if accepted.iter().all(|other| (other.codec, other.payload_type) == (codec, payload_type)) {
                let fmtp = section.fmtp(payload_type).unwrap_or_default().to_owned();
                accepted.push(Accepted { section: index, codec, payload_type, fmtp, to_viewer, from_viewer });
            }
        }
        accepted
    }

    fn open_sections<'a>(&'a self, media: &'a str) -> impl Iterator<Item = (usize, &'a Section)> {
        self.sections.iter().enumerate().filter(move |(_, section)| section.media == media && !section.disabled)
    }

    /// The offer that the engine sees.
    pub(super) fn reduced(&self, plan: &Plan) -> String {
        let mut text = String::new();
        let accepted = plan.by_section();
        let mids = accepted.iter().filter_map(|chosen| self.sections[chosen.section].mid());
        let bundle = mids.fold("a=group:BUNDLE".to_owned(), |group, mid| group + " " + mid);
        for line in self.session.iter().filter(|line| !line.starts_with("a=group:")) {
            push_line(&mut text, line);
        }
        push_line(&mut text, &bundle);
        for (position, chosen) in accepted.iter().enumerate() {
            self.reduce_section(&mut text, chosen, position == 0);
        }
        text
    }

    fn reduce_section(&self, text: &mut String, chosen: &Chosen, first: bool) {
        let section = &self.sections[chosen.section];
        push_line(text, &format!("m={} 9 {} {}", section.media, section.protocol, chosen.payload_type));
        push_line(text, "c=IN IP4 0.0.0.0");
        // A bundled section may lean on the first one's transport (RFC 9143 §7.2), which may have been refused.
        for name in TRANSPORT {
            if let Some(line) = self.transport_line(section, name) {
                push_line(text, line);
            }
        }
        for line in section.lines.iter().filter(|line| is_kept(line, chosen.payload_type)) {
            push_line(text, line);
        }
        push_line(text, chosen.offered_direction());
        if first {
            self.candidates().for_each(|line| push_line(text, line));
        }
    }

    fn transport_line<'a>(&'a self, section: &'a Section, name: &str) -> Option<&'a String> {
        let everywhere = self.sections.iter().flat_map(|section| &section.lines);
        section.lines.iter().chain(&self.session).chain(everywhere).find(|line| line.starts_with(name))
    }

    /// Each candidate once, however many sections repeat it.
    fn candidates(&self) -> impl Iterator<Item = &str> {
        let mut seen = std::collections::HashSet::new();
        let all = self.sections.iter().flat_map(|section| &section.lines);
        all.filter_map(|line| usable_candidate(line).map(|_| line.as_str()))
            .filter(move |line| seen.insert(*line))
            .take(MAX_CANDIDATES)
    }

    /// The engine's answer with the refused sections put back where they were offered.
    ///
    /// `None` when the engine refused what was chosen for it.
    pub(super) fn complete(&self, plan: &Plan, engine_answer: &str) -> Option<String> {
        let answer = Self::parse(engine_answer).ok()?;
        let accepted = plan.by_section();
        if answer.sections.len() != accepted.len() || answer.sections.iter().any(|section| section.disabled) {
            return None;
        }
        let mut text = String::new();
        for line in answer.session.iter().filter(|line| !line.starts_with("a=group:")) {
            push_line(&mut text, line);
        }
        let open = self.sections.iter().filter(|section| !section.is_refused_for_good());
        push_line(&mut text, &open.filter_map(Section::mid).fold("a=group:BUNDLE".to_owned(), |g, mid| g + " " + mid));
        for (index, section) in self.sections.iter().enumerate() {
            match accepted.iter().position(|chosen| chosen.section == index) {
                Some(at) => answer.sections[at].write(&mut text),
                None => section.write_refusal(&mut text, answer.sections.first()?),
            }
        }
        Some(text)
    }
}

/// What both kinds of accepted sections have in common.
struct Chosen {
    section: usize,
    payload_type: u8,
    to_viewer: bool,
    from_viewer: bool,
}

impl Chosen {
    /// As the viewer would have to offer it, to be answered as we want it.
    fn offered_direction(&self) -> &'static str {
        match (self.to_viewer, self.from_viewer) {
            (true, true) => "a=sendrecv",
            (true, false) => "a=recvonly",
            (false, true) => "a=sendonly",
            (false, false) => "a=inactive",
        }
    }
}

impl Plan {
    fn by_section(&self) -> Vec<Chosen> {
        fn chosen<Codec>(accepted: &Accepted<Codec>) -> Chosen {
            let &Accepted { section, payload_type, to_viewer, from_viewer, .. } = accepted;
            Chosen { section, payload_type, to_viewer, from_viewer }
        }
        let mut all: Vec<_> = self.video.iter().map(chosen).chain(self.audio.iter().map(chosen)).collect();
        all.sort_by_key(|chosen| chosen.section);
        all
    }
}

const TRANSPORT: [&str; 4] = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"];

/// Lines of an offered section that the engine needs for this payload type.
fn is_kept(line: &str, payload_type: u8) -> bool {
    const ALWAYS: [&str; 6] = ["a=mid:", "a=rtcp-mux", "a=rtcp-rsize", "a=ssrc", "a=msid:", "a=rtcp-fb:* "];
    let of_payload_type = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
        .iter()
        .any(|name| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(&format!("{payload_type} "))).is_some());
    of_payload_type || ALWAYS.iter().any(|name| line.starts_with(name))
}

/// The address of a candidate that a check may be sent to. Names (mDNS) are never resolved: such a viewer is
/// found by its own checks, as peer-reflexive. Nor is anything taken that is no single host's address.
pub(super) fn usable_candidate(line: &str) -> Option<IpAddr> {
    let line = line.strip_prefix("a=").unwrap_or(line);
    let mut words = line.strip_prefix("candidate:")?.split_ascii_whitespace().skip(1);
    let (component, _transport, _priority) = (words.next()?, words.next()?, words.next()?);
    let address: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let single_host = match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        // A link-local address means nothing without its interface, which candidates do not name.
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    };
    (component == "1" && port != 0 && single_host).then_some(address)
}

impl Section {
    /// From what follows `m=`.
    fn parse(m_line: &str) -> Option<Self> {
        let mut words = m_line.split_ascii_whitespace().map(str::to_owned);
        let (media, port, protocol) = (words.next()?, words.next()?, words.next()?);
        let formats: Vec<_> = words.collect();
        let disabled = port == "0";
        (!formats.is_empty()).then_some(Self { media, protocol, disabled, formats, lines: Vec::new() })
    }

    fn push(&mut self, line: &str) {
        // Such a section has port 0 as well, but is not refused (RFC 9143 §6).
        self.disabled &= line != "a=bundle-only";
        self.lines.push(line.to_owned());
    }

    fn mid(&self) -> Option<&str> {
        self.value("a=mid:").filter(|mid| !mid.is_empty())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name))
    }

    fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|own| own == line)
    }

    /// Whether the offering side wants to receive here.
    fn receives(&self) -> bool {
        !self.has("a=sendonly") && !self.has("a=inactive")
    }

    /// Whether the offering side wants to send here.
    fn sends(&self) -> bool {
        !self.has("a=recvonly") && !self.has("a=inactive")
    }

    /// Data channels and other things that cannot be kept open without a codec.
    fn is_refused_for_good(&self) -> bool {
        self.disabled || !matches!(self.media.as_str(), "audio" | "video")
    }

    /// `H264/90000` of `a=rtpmap:102 H264/90000`.
    fn encoding(&self, payload_type: u8) -> Option<&str> {
        self.value(&format!("a=rtpmap:{payload_type} "))
    }

    fn fmtp(&self, payload_type: u8) -> Option<&str> {
        self.value(&format!("a=fmtp:{payload_type} "))
    }

    fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats.iter().filter_map(|format| format.parse().ok()).filter(|payload_type| *payload_type < 128)
    }

    fn accept_video(&self, section: usize, codec: VideoCodec) -> Result<Accepted<VideoCodec>, AnswerError> {
        let name = if codec == VideoCodec::H264 { "H264/90000" } else { "H265/90000" };
        let of_codec =
            self.payload_types().filter(|&pt| self.encoding(pt).is_some_and(|e| e.eq_ignore_ascii_case(name)));
        let best = of_codec.filter_map(|pt| Some((rank(codec, self.fmtp(pt).unwrap_or_default())?, pt))).min();
        let Some((_, payload_type)) = best else { return Err(not_playable(codec)) };
        let fmtp = self.fmtp(payload_type).unwrap_or_default().to_owned();
        Ok(Accepted { section, codec, payload_type, fmtp, to_viewer: true, from_viewer: false })
    }

    fn payload_type_of(&self, format: AudioFormat) -> Option<u8> {
        let (encoding, fixed) = match format.codec {
            AudioCodec::Opus => ("opus/48000/2", None),
            AudioCodec::Pcmu => ("PCMU/8000", Some(0)),
            AudioCodec::Pcma => ("PCMA/8000", Some(8)),
            AudioCodec::Pcm | AudioCodec::Aac => return None,
        };
        self.payload_types().find(|&pt| match self.encoding(pt) {
            Some(offered) => {
                offered.eq_ignore_ascii_case(encoding) || offered.eq_ignore_ascii_case(&format!("{encoding}/1"))
            }
            // The static payload types need no a=rtpmap (RFC 3551 §6).
            None => fixed == Some(pt),
        })
    }

    fn write(&self, text: &mut String) {
        push_line(text, &format!("m={} 9 {} {}", self.media, self.protocol, self.formats.join(" ")));
        self.lines.iter().for_each(|line| push_line(text, line));
    }

    /// Answers this offered section with nothing: `inactive` on the common transport, so that it stays in the
    /// bundle even where it stands first, or port 0 where there is nothing to keep.
    fn write_refusal(&self, text: &mut String, transport: &Self) {
        let port = if self.is_refused_for_good() { 0 } else { 9 };
        push_line(text, &format!("m={} {port} {} {}", self.media, self.protocol, self.formats[0]));
        push_line(text, "c=IN IP4 0.0.0.0");
        if let Some(mid) = self.mid() {
            push_line(text, &format!("a=mid:{mid}"));
        }
        if self.is_refused_for_good() {
            return;
        }
        for line in transport.lines.iter().filter(|line| TRANSPORT.iter().any(|name| line.starts_with(name))) {
            push_line(text, line);
        }
        push_line(text, "a=rtcp-mux");
        push_line(text, "a=inactive");
        for name in ["a=rtpmap:", "a=fmtp:"] {
            let own = self.lines.iter().find(|line| line.starts_with(&format!("{name}{} ", self.formats[0])));
            own.into_iter().for_each(|line| push_line(text, line));
        }
    }
}

/// How well an offered format suits: the lowest is taken, `None` is never taken.
fn rank(codec: VideoCodec, fmtp: &str) -> Option<u8> {
    match codec {
        VideoCodec::H264 => rank_h264(fmtp),
        // Main profile, single session transmission: what cameras send. Both are the defaults (RFC 7798 §7.1).
        VideoCodec::H265 => Some(u8::from(parameter(fmtp, "profile-id").is_some_and(|profile| profile != "1"))),
    }
}

/// By profile alone; the level is what a viewer promises, and decoders take more (Safari offers 640c34).
/// Without packetization-mode 1 no picture of a camera fits.
pub(super) fn rank_h264(fmtp: &str) -> Option<u8> {
    if parameter(fmtp, "packetization-mode") != Some("1") {
        return None;
    }
    let profile = parameter(fmtp, "profile-level-id").unwrap_or("420010").to_ascii_lowercase();
    Some(match profile.get(..4) {
        Some("42e0") => 0,
        Some("4200") => 1,
        Some(other) if other.starts_with("42") => 2,
        Some(other) if other.starts_with("4d") => 3,
        Some(other) if other.starts_with("64") => 4,
        _ => 5,
    })
}

/// The value of one parameter of an `a=fmtp` (`key=value;key=value`).
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    let pairs = fmtp.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn not_playable(codec: VideoCodec) -> AnswerError {
    AnswerError::NotPlayable(match codec {
        VideoCodec::H264 => "This doorbell sends H.264 and the offer has none (packetization-mode 1).".to_owned(),
        VideoCodec::H265 => "This doorbell sends H.265, which this browser cannot play here. \
                             Choose H.264 in the camera's settings, or let go2rtc with ffmpeg transcode it."
            .to_owned(),
    })
}

fn push_line(text: &mut String, line: &str) {
    let _ = write!(text, "{line}\r\n");
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
