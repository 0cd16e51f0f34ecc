//! The frames with which the camera answers an offer, the way its make tells its candidates (kvs reference §4, §5).

use std::net::IpAddr;

use super::fault::Fault;
use super::settings::Gathering;
use crate::proto::kvs::signaling::{Inbound, MessageType, Payload};

/// In the order in which they are sent.
pub(super) fn frames(sdp: &str, gathering: Gathering, fault: Option<Fault>) -> Vec<String> {
    let trickles = gathering == Gathering::Trickle || fault == Some(Fault::EarlyCandidates);
    let (sdp, candidates) = if trickles { without_candidates(sdp) } else { (sdp.to_owned(), Vec::new()) };
    let answer = Inbound::relayed(Payload::Answer { sdp }, None).encode();
    let mut candidates: Vec<String> = candidates.iter().filter_map(|line| candidate_frame(line)).collect();
    let unknown = Inbound::notice(MessageType::Other("NOT_YET_INVENTED".to_owned()));
    match fault {
        Some(Fault::EarlyCandidates) => {
            candidates.push(answer);
            candidates
        }
        Some(Fault::EmptyFrame) => [vec![String::new(), unknown.encode(), answer], candidates].concat(),
        Some(Fault::TruncatedFrame) => {
            let half = answer[..answer.len() / 2].to_owned();
            [vec![half, answer], candidates].concat()
        }
        _ => [vec![answer], candidates].concat(),
    }
}

/// The answer as it is before anything has been gathered, and each candidate once.
fn without_candidates(sdp: &str) -> (String, Vec<&str>) {
    let mut text = String::new();
    let mut candidates: Vec<&str> = Vec::new();
    for line in sdp.lines() {
        match line.strip_prefix("a=candidate:") {
            Some(candidate) if !candidates.contains(&candidate) => candidates.push(candidate),
            None if line != "a=end-of-candidates" => text = text + line + "\r\n",
            _ => {}
        }
    }
    (text, candidates)
}

/// `None` for TCP, of which the C SDK knows nothing.
fn candidate_frame(candidate: &str) -> Option<String> {
    let payload = Payload::Candidate {
        candidate: as_the_c_sdk_writes(candidate)?,
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    Some(Inbound::relayed(payload, None).encode())
}

/// From what follows `candidate:` in an SDP of ours.
fn as_the_c_sdk_writes(candidate: &str) -> Option<String> {
    let words: Vec<&str> = candidate.split(' ').collect();
    let [foundation, component, "udp", priority, address, port, "typ", "host", ..] = words[..] else { return None };
    let (address, nowhere) = match address.parse().ok()? {
        IpAddr::V4(v4) => (v4.to_string(), "0.0.0.0"),
        IpAddr::V6(v6) => (v6.segments().map(|group| format!("{group:04X}")).join(":"), "::"),
    };
    Some(format!(
        "candidate:{foundation} {component} udp {priority} {address} {port} typ host raddr {nowhere} rport 0 \
         generation 0 network-cost 999"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:mic\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.9 40000 typ host\r\n\
        a=candidate:2 1 tcp 1671430143 192.0.2.9 40000 typ host tcptype passive\r\n\
        a=candidate:3 1 udp 2130706175 2001:db8::9 40000 typ host\r\na=end-of-candidates\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=candidate:1 1 udp 2130706431 192.0.2.9 40000 typ host\r\n";

    fn kinds(frames: &[String]) -> Vec<&'static str> {
        let kind = |frame: &String| match Inbound::decode(frame).map(|message| message.payload) {
            Ok(Some(Payload::Answer { .. })) => "answer",
            Ok(Some(Payload::Candidate { .. })) => "candidate",
            Ok(_) => "other",
            Err(_) => "broken",
        };
        frames.iter().map(kind).collect()
    }

    #[test]
    fn a_complete_answer_is_one_frame_and_holds_everything() {
        let sent = frames(ANSWER, Gathering::Complete, None);
        let payload = Inbound::decode(&sent[0]).unwrap().payload;
        assert_eq!((sent.len(), payload), (1, Some(Payload::Answer { sdp: ANSWER.to_owned() })));
    }

    #[test]
    fn trickled_candidates_are_written_as_by_the_c_sdk() {
        let sent = frames(ANSWER, Gathering::Trickle, None);
        assert_eq!(kinds(&sent), ["answer", "candidate", "candidate"]);
        let payloads: Vec<_> = sent.iter().map(|frame| Inbound::decode(frame).unwrap().payload.unwrap()).collect();
        let Payload::Answer { sdp } = &payloads[0] else { panic!("no answer") };
        assert!(!sdp.contains("candidate") && sdp.contains("m=video"), "{sdp}");
        let candidate = |text: &str| Payload::Candidate {
            candidate: text.to_owned(),
            sdp_mid: Some("0".to_owned()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        let ipv4 = "candidate:1 1 udp 2130706431 192.0.2.9 40000 typ host raddr 0.0.0.0 rport 0 \
                    generation 0 network-cost 999";
        let ipv6 = "candidate:3 1 udp 2130706175 2001:0DB8:0000:0000:0000:0000:0000:0009 40000 typ host raddr :: \
                    rport 0 generation 0 network-cost 999";
        assert_eq!(payloads[1..], [candidate(ipv4), candidate(ipv6)]);
    }

    #[test]
    fn each_fault_has_its_frames() {
        let sent = |fault| kinds(&frames(ANSWER, Gathering::Complete, Some(fault)));
        assert_eq!(sent(Fault::EarlyCandidates), ["candidate", "candidate", "answer"]);
        assert_eq!(sent(Fault::EmptyFrame), ["broken", "other", "answer"]);
        assert_eq!(sent(Fault::TruncatedFrame), ["broken", "answer"]);
    }
}
