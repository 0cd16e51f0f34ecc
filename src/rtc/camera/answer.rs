//! What a camera's answer says, as far as we need to know before the engine does.

use super::candidates::cleaned;
use super::codecs;
use crate::media::AudioFormat;
use crate::rtc::sdp::MAX_CANDIDATES;

/// A camera's SDP answer.
pub(super) struct Answer {
    /// Without its candidates, which the engine is given one by one.
    pub(super) sdp: String,
    pub(super) candidates: Vec<String>,
    /// It sends H.264.
    pub(super) has_video: bool,
    /// What it takes from us, when it takes sound.
    pub(super) speech: Option<AudioFormat>,
}

impl Answer {
    pub(super) fn parse(text: &str) -> Self {
        let mut answer =
            Self { sdp: String::with_capacity(text.len()), candidates: vec![], has_video: false, speech: None };
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            match line.strip_prefix("a=candidate:") {
                Some(_) => answer.candidates.extend(cleaned(line)),
                None if line == "a=end-of-candidates" => {}
                None => answer.sdp.extend([line, "\r\n"]),
            }
        }
        answer.candidates.truncate(MAX_CANDIDATES);
        for section in answer.sdp.split("\r\nm=").skip(1).map(Section) {
            answer.has_video |= section.accepts("video") && section.formats().any(codecs::is_video);
            if section.accepts("audio") && section.takes_sound() {
                answer.speech = section.formats().find_map(codecs::sound);
            }
        }
        answer
    }
}

/// From behind one `m=` to the next.
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

    fn takes_sound(&self) -> bool {
        !self.has("a=sendonly") && !self.has("a=inactive")
    }

    fn has(&self, attribute: &str) -> bool {
        self.0.lines().any(|line| line == attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n";

    fn parse(sections: &str) -> Answer {
        Answer::parse(&format!("{SESSION}{sections}"))
    }

    #[test]
    fn the_sound_it_takes_is_its_first_choice_among_ours() {
        let speech = |section: &str| parse(section).speech;
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 0 8\r\na=sendrecv\r\n"), Some(AudioFormat::PCMU));
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 13 8 111\r\n"), Some(AudioFormat::PCMA));
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\n"), Some(AudioFormat::OPUS));
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendonly\r\n"), None);
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=inactive\r\n"), None);
        assert_eq!(speech("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"), None);
        assert_eq!(speech("m=audio 9 UDP/TLS/RTP/SAVPF 97\r\n"), None);
    }

    #[test]
    fn a_camera_that_refuses_video_or_sends_another_codec_is_noticed() {
        assert!(parse("m=video 9 UDP/TLS/RTP/SAVPF 102\r\n").has_video);
        assert!(parse("m=video 0 UDP/TLS/RTP/SAVPF 102\r\na=bundle-only\r\n").has_video);
        assert!(!parse("m=video 0 UDP/TLS/RTP/SAVPF 102\r\n").has_video);
        assert!(!parse("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n").has_video);
        assert!(!parse("m=audio 9 UDP/TLS/RTP/SAVPF 102\r\n").has_video);
    }

    #[test]
    fn candidates_are_taken_out_and_cleaned() {
        let host = "a=candidate:1 1 udp 5 192.0.2.1 9 typ host generation 0\n";
        let hidden = "a=candidate:2 1 udp 5 x.local 9 typ host\n";
        let answer = parse(&format!("m=video 9 UDP/TLS/RTP/SAVPF 102\n{host}{hidden}a=end-of-candidates\na=mid:1\n"));
        assert_eq!(answer.candidates, ["candidate:1 1 udp 5 192.0.2.1 9 typ host"]);
        assert_eq!(answer.sdp, format!("{SESSION}m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\n"));
    }

    #[test]
    fn no_text_panics() {
        for text in ["", "m=", "\r\nm=", "v=0\r\nm=\r\nm=audio\r\nm=video 9\r\nm=audio 9 x y z\r\n", "a=candidate:"] {
            let answer = Answer::parse(text);
            assert!(!answer.has_video && answer.speech.is_none() && answer.candidates.is_empty(), "{text:?}");
        }
        let flood = "a=candidate:1 1 udp 5 192.0.2.1 9 typ host\n".repeat(1_000);
        assert_eq!(Answer::parse(&flood).candidates.len(), MAX_CANDIDATES);
    }
}
