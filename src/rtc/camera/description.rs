//! What a camera's offer or answer says, as far as we need to know before the engine does.

use super::candidates::cleaned;
use super::codecs::{self, SoundCodecs};
use crate::media::AudioFormat;
use crate::rtc::sdp::{MAX_CANDIDATES, rank_h264};

/// A picture is wanted, and not of a kind that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoH264;

/// The other side's SDP.
pub struct Description {
    /// With the candidates that lead somewhere, spelled as the engine's parser takes them. They stay inside: the
    /// engine begins its checks when it is given the description, and takes its time for those that come behind it.
    pub sdp: String,
}

impl Description {
    pub fn parse(text: &str) -> Self {
        let mut sdp = String::with_capacity(text.len());
        let mut candidates = 0;
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.starts_with("a=candidate:") {
                if let Some(candidate) = cleaned(line).filter(|_| candidates < MAX_CANDIDATES) {
                    candidates += 1;
                    sdp.extend(["a=", &candidate, "\r\n"]);
                }
            } else if line != "a=end-of-candidates" {
                sdp.extend([line, "\r\n"]);
            }
        }
        Self { sdp }
    }

    /// Of an answer: it sends the H.264 that we have offered.
    pub fn sends_video(&self) -> bool {
        self.accepted("video").any(|section| section.formats().any(codecs::is_video))
    }

    /// Of an offer: there is H.264 in it.
    pub fn offers_video(&self) -> bool {
        self.accepted("video").any(|section| section.formats().any(|format| section.maps(format, "H264/90000")))
    }

    /// Of an answer: what it takes from us of what we have offered, when it takes sound.
    pub(super) fn speech(&self, offered: &SoundCodecs) -> Option<AudioFormat> {
        self.speakers().find_map(|section| section.formats().find_map(|format| offered.format(format)))
    }

    /// Of an offer: it takes sound.
    pub fn takes_sound(&self) -> bool {
        self.speakers().next().is_some()
    }

    /// Of an offer: the best of these formats that it has, and its payload type there.
    pub fn choice(&self, formats: &[AudioFormat]) -> Option<(u8, AudioFormat)> {
        let section = self.accepted("audio").next()?;
        let wanted = |format: AudioFormat| Some((section.formats().find(|pt| section.carries(*pt, format))?, format));
        formats.iter().find_map(|format| wanted(*format))
    }

    /// Of an answer: it takes the data channel.
    pub fn takes_messages(&self) -> bool {
        self.accepted("application").next().is_some()
    }

    /// Of an offer: the best H.264 that it takes, as the payload type and the parameters it has there; `None` when it
    /// takes no picture.
    ///
    /// # Errors
    /// [`NoH264`].
    pub fn picture(&self) -> Result<Option<(u8, String)>, NoH264> {
        let Some(section) = self.accepted("video").find(Section::takes) else { return Ok(None) };
        let h264 = section.formats().filter(|format| section.maps(*format, "H264/90000"));
        let ranked = h264.filter_map(|format| Some((rank_h264(section.parameters(format))?, format)));
        let (_, format) = ranked.min().ok_or(NoH264)?;
        Ok(Some((format, section.parameters(format).to_owned())))
    }

    /// Takes the other payload types out of sections of this medium that have one of these.
    pub fn keep_only(&mut self, medium: &str, payload_types: Vec<u8>) {
        let mut sections = self.sdp.split("\r\nm=");
        let mut sdp = sections.next().unwrap_or_default().to_owned();
        for text in sections {
            let section = Section(text);
            let kept: Vec<u8> = section.formats().filter(|format| payload_types.contains(format)).collect();
            let reduced = section.accepts(medium) && !kept.is_empty();
            sdp.push_str("\r\nm=");
            sdp.push_str(&if reduced { section.reduced_to(&kept) } else { text.to_owned() });
        }
        self.sdp = sdp;
    }

    fn speakers(&self) -> impl Iterator<Item = Section<'_>> {
        self.accepted("audio").filter(Section::takes)
    }

    fn accepted<'a>(&'a self, medium: &'a str) -> impl Iterator<Item = Section<'a>> {
        self.sdp.split("\r\nm=").skip(1).map(Section).filter(move |section| section.accepts(medium))
    }
}

/// From behind one `m=` to the next.
#[derive(Clone, Copy)]
struct Section<'a>(&'a str);

impl<'a> Section<'a> {
    /// RFC 9143 §6: a bundled section may have port 0 too, and says so.
    fn accepts(&self, medium: &str) -> bool {
        let mut words = self.0.split_ascii_whitespace();
        let is_medium = words.next() == Some(medium);
        is_medium && (words.next() != Some("0") || self.has("a=bundle-only"))
    }

    /// The payload types, the one it prefers first.
    fn formats(&self) -> impl Iterator<Item = u8> + use<'a> {
        let words = self.0.lines().next().unwrap_or_default().split_ascii_whitespace();
        words.skip(3).filter_map(|format| format.parse().ok())
    }

    fn carries(&self, payload_type: u8, format: AudioFormat) -> bool {
        match format {
            // These two need no `rtpmap` (RFC 3551 §6).
            AudioFormat::PCMU => payload_type == 0,
            AudioFormat::PCMA => payload_type == 8,
            AudioFormat::OPUS => self.maps(payload_type, "opus/48000/2"),
            _ => false,
        }
    }

    fn maps(&self, payload_type: u8, encoding: &str) -> bool {
        let encodings = self.0.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
        let mut of_it = encodings.filter(|(number, _)| number.parse() == Ok(payload_type));
        of_it.any(|(_, name)| name.trim().eq_ignore_ascii_case(encoding))
    }

    /// `""` where it has none.
    fn parameters(&self, payload_type: u8) -> &'a str {
        let mut lines = self.0.lines().filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(' '));
        lines.find(|(number, _)| number.parse() == Ok(payload_type)).map_or("", |(_, parameters)| parameters)
    }

    /// Without what is said of other payload types.
    fn reduced_to(&self, payload_types: &[u8]) -> String {
        let mut lines = self.0.lines();
        let words = lines.next().unwrap_or_default().split_ascii_whitespace().take(3).map(str::to_owned);
        let first: Vec<String> = words.chain(payload_types.iter().map(u8::to_string)).collect();
        let is_kept = |line: &&str| {
            let of = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().find_map(|name| line.strip_prefix(name));
            let number = of.and_then(|rest| rest.split(' ').next()?.parse().ok());
            number.is_none_or(|number| payload_types.contains(&number))
        };
        let kept: Vec<String> = lines.filter(is_kept).map(|line| format!("{line}\r\n")).collect();
        let text = first.join(" ") + "\r\n" + &kept.concat();
        // The next section's `m=` is behind a line end that is not part of this one.
        if self.0.ends_with("\r\n") { text } else { text.trim_end().to_owned() }
    }

    /// Whoever has written it takes what is sent here.
    fn takes(&self) -> bool {
        !self.has("a=sendonly") && !self.has("a=inactive")
    }

    fn has(&self, attribute: &str) -> bool {
        self.0.lines().any(|line| line == attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sound;
    use super::*;

    const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n";

    fn parse(sections: &str) -> Description {
        Description::parse(&format!("{SESSION}{sections}"))
    }

    #[test]
    fn the_sound_it_takes_is_its_first_choice_among_ours() {
        let offered = SoundCodecs::offered(Sound::Receive);
        let speech = |section: &str| parse(section).speech(&offered);
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 0 8\r\na=sendrecv\r\n"), Some(AudioFormat::PCMU));
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 13 8 111\r\n"), Some(AudioFormat::PCMA));
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\n"), Some(AudioFormat::OPUS));
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendonly\r\n"), None);
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=inactive\r\n"), None);
        assert_eq!(speech("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"), None);
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 97\r\n"), None);
        let two = SoundCodecs::offered(Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU]));
        assert_eq!(parse("m=audio 9 UDP/TLS/RTP/SAVPF 8 0\r\n").speech(&two), Some(AudioFormat::PCMU));
    }

    #[test]
    fn of_an_offer_our_first_choice_is_taken_under_its_own_number() {
        let offer = parse(
            "m=audio 9 UDP/TLS/RTP/SAVPF 96 9 0 8\r\na=rtpmap:96 OPUS/48000/2\r\na=rtpmap:9 G722/8000\r\na=sendrecv\r\n",
        );
        let (opus, pcmu) = (AudioFormat::OPUS, AudioFormat::PCMU);
        assert_eq!(offer.choice(&[opus, pcmu]), Some((96, opus)));
        assert_eq!(offer.choice(&[pcmu, opus]), Some((0, pcmu)));
        assert_eq!(offer.choice(&[]), None);
        assert!(offer.takes_sound() && !parse("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=sendonly\r\n").takes_sound());
        assert_eq!(parse("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n").choice(&[opus]), None, "111 of what?");
        assert_eq!(parse("m=video 9 UDP/TLS/RTP/SAVPF 0\r\n").choice(&[pcmu]), None);
    }

    #[test]
    fn a_camera_that_refuses_video_or_sends_another_codec_is_noticed() {
        assert!(parse("m=video 9 UDP/TLS/RTP/SAVPF 102\r\n").sends_video());
        assert!(parse("m=video 0 UDP/TLS/RTP/SAVPF 102\r\na=bundle-only\r\n").sends_video());
        assert!(!parse("m=video 0 UDP/TLS/RTP/SAVPF 102\r\n").sends_video());
        assert!(!parse("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n").sends_video());
        assert!(!parse("m=audio 9 UDP/TLS/RTP/SAVPF 102\r\n").sends_video());
        assert!(parse("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n").offers_video());
        assert!(!parse("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n").offers_video());
    }

    #[test]
    fn of_the_h264_that_a_viewer_takes_the_best_is_sent_under_its_own_number() {
        let codecs = "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 H264/90000\r\n\
                      a=fmtp:98 packetization-mode=0;profile-level-id=42e01f\r\na=rtpmap:99 H264/90000\r\n\
                      a=fmtp:99 profile-level-id=640c1f;packetization-mode=1\r\na=rtpmap:100 H264/90000\r\n\
                      a=rtcp-fb:100 nack pli\r\na=fmtp:100 profile-level-id=42e01f;packetization-mode=1\r\n";
        let section = format!("m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100\r\na=mid:1\r\n{codecs}");
        let sound = "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n";
        let mut offer = parse(&format!("{sound}{section}"));
        let best = (100, "profile-level-id=42e01f;packetization-mode=1".to_owned());
        assert_eq!(offer.picture(), Ok(Some(best)));
        offer.keep_only("video", vec![100]);
        offer.keep_only("audio", vec![0]);
        let kept = "a=rtpmap:100 H264/90000\r\na=rtcp-fb:100 nack pli\r\n\
                    a=fmtp:100 profile-level-id=42e01f;packetization-mode=1\r\n";
        let reduced =
            format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 100\r\na=mid:1\r\n{kept}");
        assert_eq!(offer.sdp, format!("{SESSION}{reduced}"));
        assert_eq!(parse(&format!("{section}a=sendonly\r\n")).picture(), Ok(None));
        assert_eq!(parse(sound).picture(), Ok(None));
        let without = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n";
        assert_eq!(parse(without).picture(), Err(NoH264));
    }

    #[test]
    fn candidates_are_cleaned_and_useless_ones_taken_out() {
        let host = "a=candidate:1 1 udp 5 192.0.2.1 9 typ host generation 0\n";
        let hidden = "a=candidate:2 1 udp 5 x.local 9 typ host\n";
        let answer = parse(&format!("m=video 9 UDP/TLS/RTP/SAVPF 102\n{host}{hidden}a=end-of-candidates\na=mid:1\n"));
        let cleaned = "a=candidate:1 1 udp 5 192.0.2.1 9 typ host\r\n";
        assert_eq!(answer.sdp, format!("{SESSION}m=video 9 UDP/TLS/RTP/SAVPF 102\r\n{cleaned}a=mid:1\r\n"));
    }

    #[test]
    fn no_text_panics() {
        let offered = SoundCodecs::offered(Sound::Receive);
        for text in ["", "m=", "\r\nm=", "v=0\r\nm=\r\nm=audio\r\nm=video 9\r\nm=audio 9 x y z\r\n", "a=candidate:"] {
            let mut answer = Description::parse(text);
            assert!(!answer.sends_video() && !answer.offers_video() && !answer.sdp.contains("candidate"), "{text:?}");
            assert_eq!(answer.picture().unwrap_or_default(), None, "{text:?}");
            answer.keep_only("audio", vec![0, 8]);
            assert!(answer.speech(&offered).is_none() && answer.choice(&[AudioFormat::PCMU]).is_none(), "{text:?}");
        }
        let flood = "a=candidate:1 1 udp 5 192.0.2.1 9 typ host\n".repeat(1_000);
        assert_eq!(Description::parse(&flood).sdp.lines().count(), MAX_CANDIDATES);
    }
}
