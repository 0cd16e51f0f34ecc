//! The frames of a master, byte for byte as the published ones write them (kvs reference §4).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::profile::Spelling;

/// `SDP_ANSWER`.
pub(super) fn answer(spelling: Spelling, sdp: &str, viewer: &str, correlation_id: &str) -> String {
    let sdp = quoted(sdp);
    match spelling {
        Spelling::CSdk => {
            let payload = format!(r#"{{"type": "answer", "sdp": {sdp}}}"#);
            c_sdk("SDP_ANSWER", &payload, viewer, correlation_id)
        }
        Spelling::Python => python("SDP_ANSWER", &format!(r#"{{"sdp": {sdp}, "type": "answer"}}"#), viewer),
    }
}

/// `ICE_CANDIDATE`, whatever the section is called: `sdpMid` "0" and index 0. `None` for one that the C SDK has not,
/// which knows UDP only.
pub(super) fn candidate(spelling: Spelling, candidate: &str, viewer: &str, correlation_id: &str) -> Option<String> {
    let candidate = quoted(&as_the_c_sdk_writes(candidate)?);
    let payload = format!(r#"{{"candidate":{candidate},"sdpMid":"0","sdpMLineIndex":0}}"#);
    Some(match spelling {
        Spelling::CSdk => c_sdk("ICE_CANDIDATE", &payload, viewer, correlation_id),
        Spelling::Python => python("ICE_CANDIDATE", &payload, viewer),
    })
}

fn c_sdk(action: &str, payload: &str, viewer: &str, correlation_id: &str) -> String {
    let (viewer, payload, correlation_id) = (quoted(viewer), STANDARD.encode(payload), quoted(correlation_id));
    format!(
        "{{\n\t\"action\": \"{action}\",\n\t\"RecipientClientId\": {viewer},\n\t\"MessagePayload\": \"{payload}\",\n\t\
         \"CorrelationId\": {correlation_id}\n}}"
    )
}

fn python(action: &str, payload: &str, viewer: &str) -> String {
    let (viewer, payload) = (quoted(viewer), STANDARD.encode(payload));
    format!(r#"{{"action": "{action}", "messagePayload": "{payload}", "recipientClientId": {viewer}}}"#)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// With a `raddr` that says nothing, even where there is none to be said, and an IPv6 address in full.
fn as_the_c_sdk_writes(candidate: &str) -> Option<String> {
    let words: Vec<&str> = candidate.trim().strip_prefix("candidate:")?.split(' ').collect();
    let [foundation, component, protocol, priority, address, port, "typ", kind, ..] = words[..] else { return None };
    if !protocol.eq_ignore_ascii_case("udp") {
        return None;
    }
    let (address, nowhere) = match address.parse().ok()? {
        IpAddr::V4(v4) => (v4.to_string(), "0.0.0.0"),
        IpAddr::V6(v6) => (v6.segments().map(|group| format!("{group:04X}")).join(":"), "::/0"),
    };
    Some(format!(
        "candidate:{foundation} {component} udp {priority} {address} {port} typ {kind} raddr {nowhere} rport 0 \
         generation 0 network-cost 999"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::proto::kvs::signaling::{Outbound, Payload};

    fn vector(id: &str) -> Value {
        let all: Value = serde_json::from_str(include_str!("../../../tests/vectors/kvs/signaling.json")).unwrap();
        let found = all["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id);
        found.unwrap()["out"]["frame"].clone()
    }

    #[test]
    fn an_answer_is_written_as_each_master_does() {
        let ours = |spelling| answer(spelling, "v=0\r\n", "viewer-abc123", "c-1");
        assert_eq!(vector("msg-csdk-master-out"), ours(Spelling::CSdk));
        assert_eq!(vector("msg-python-master-out"), ours(Spelling::Python));
    }

    #[test]
    fn a_candidate_is_written_as_the_c_sdk_does_and_read_by_whoever_reads_frames() {
        let cases = [
            (
                "candidate:1 1 udp 2130706431 192.0.2.9 40000 typ host",
                "candidate:1 1 udp 2130706431 192.0.2.9 40000 typ host raddr 0.0.0.0 rport 0 generation 0 network-cost 999",
            ),
            (
                "candidate:2 1 udp 5 2001:db8::9 9 typ srflx raddr 10.0.0.1 rport 7",
                "candidate:2 1 udp 5 2001:0DB8:0000:0000:0000:0000:0000:0009 9 typ srflx raddr ::/0 rport 0 generation 0 network-cost 999",
            ),
        ];
        for (ours, written) in cases {
            for spelling in [Spelling::CSdk, Spelling::Python] {
                let frame = Outbound::decode(&candidate(spelling, ours, "viewer-1", "c-2").unwrap()).unwrap();
                let payload = Payload::Candidate {
                    candidate: written.to_owned(),
                    sdp_mid: Some("0".to_owned()),
                    sdp_m_line_index: Some(0),
                    username_fragment: None,
                };
                assert_eq!((frame.payload, frame.recipient_client_id.as_deref()), (payload, Some("viewer-1")));
            }
        }
        for useless in
            ["", "candidate:1 1 tcp 5 192.0.2.9 9 typ host tcptype active", "candidate:1 1 udp 5 x.local 9 typ host"]
        {
            assert_eq!(candidate(Spelling::CSdk, useless, "viewer-1", "c-2"), None, "{useless:?}");
        }
    }
}
