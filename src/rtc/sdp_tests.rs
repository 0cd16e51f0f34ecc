use super::*;

/// As Chromium 156 without hardware decoders writes it: video for reception, the microphone both ways.
const CHROMIUM: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
m=video 51007 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 106 107 108 109 127 125 39 40 45 46\r\nc=IN IP4 192.0.2.7\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:1 1 udp 2122260223 192.0.2.7 51007 typ host generation 0 network-id 1\r\n\
a=candidate:2 1 udp 2122260223 0d5f4f1e-6a0c-4a3b-9a63-000000000001.local 51008 typ host generation 0\r\n\
a=candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active generation 0\r\n\
a=ice-ufrag:Oyef\r\na=ice-pwd:7VkSmMyQZUDbIVEqOQE5kSP6\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 4B:87:20:5D:3F:6B:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA\r\n\
a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtcp-fb:102 ccm fir\r\n\
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
a=rtpmap:104 H264/90000\r\na=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n\
a=rtpmap:106 H264/90000\r\na=rtcp-fb:106 nack\r\na=rtcp-fb:106 nack pli\r\na=rtcp-fb:106 ccm fir\r\n\
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
a=rtpmap:108 H264/90000\r\na=fmtp:108 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
a=rtpmap:127 H264/90000\r\na=fmtp:127 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n\
a=rtpmap:39 H264/90000\r\na=fmtp:39 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f\r\n\
m=audio 51009 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 192.0.2.7\r\n\
a=ice-ufrag:Oyef\r\na=ice-pwd:7VkSmMyQZUDbIVEqOQE5kSP6\r\n\
a=fingerprint:sha-256 4B:87:20:5D:3F:6B:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA\r\n\
a=setup:actpass\r\na=mid:1\r\na=sendrecv\r\na=msid:s m\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
a=ssrc:1041 cname:x\r\na=ssrc:1041 msid:s m\r\n";

/// A section as short as a test can do with.
fn section(m_line: &str, mid: &str, direction: &str, lines: &[&str]) -> String {
    let transport = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
                     a=fingerprint:sha-256 4B:87:20:5D:3F:6B:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA\r\na=setup:actpass\r\n";
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("m={m_line}\r\nc=IN IP4 0.0.0.0\r\n{transport}a=mid:{mid}\r\n{direction}\r\na=rtcp-mux\r\n{lines}")
}

fn offer(sections: &[String]) -> Offer {
    let mids: String = (0..sections.len()).map(|index| format!(" {index}")).collect();
    let session = format!("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE{mids}\r\n");
    Offer::parse(&(session + &sections.concat())).unwrap()
}

const PCMU_AND_OPUS: [AudioFormat; 2] = [AudioFormat::PCMU, AudioFormat::OPUS];
const H264_LINES: [&str; 2] = ["a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f"];

/// The video's payload type for an offer with these `(payload type, fmtp)` of H.264.
fn chosen_h264(formats: H264Formats<'_>) -> Option<u8> {
    let pts: Vec<String> = formats.iter().map(|(pt, _)| pt.to_string()).collect();
    let lines: Vec<String> = formats
        .iter()
        .flat_map(|(pt, fmtp)| [format!("a=rtpmap:{pt} H264/90000"), format!("a=fmtp:{pt} {fmtp}")])
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let m_line = format!("video 9 UDP/TLS/RTP/SAVPF {}", pts.join(" "));
    let plan = offer(&[section(&m_line, "0", "a=recvonly", &lines)]).choose(Some(VideoCodec::H264), &[], false);
    plan.ok().and_then(|plan| plan.video).map(|video| video.payload_type)
}

type H264Formats<'a> = &'a [(u8, &'a str)];

#[test]
fn the_best_h264_profile_is_taken_whatever_its_level() {
    let table: [(H264Formats<'_>, Option<u8>); 6] = [
        // Safari: high profile first, levels of its own.
        (
            &[
                (96, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c34"),
                (98, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e034"),
                (100, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e034"),
            ],
            Some(98),
        ),
        // Firefox: the mode after the profile, in its own order.
        (
            &[
                (126, "profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1"),
                (97, "profile-level-id=42e01f;level-asymmetry-allowed=1"),
            ],
            Some(126),
        ),
        // go2rtc.
        (
            &[
                (96, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
                (98, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
                (100, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640032"),
            ],
            Some(98),
        ),
        (&[(96, "packetization-mode=1;profile-level-id=640032")], Some(96)),
        (&[(96, "packetization-mode=1;profile-level-id=4D001F"), (97, "packetization-mode=1")], Some(97)),
        (&[(96, "packetization-mode=0;profile-level-id=42e01f"), (97, "profile-level-id=42e01f")], None),
    ];
    for (formats, expected) in table {
        assert_eq!(chosen_h264(formats), expected, "{formats:?}");
    }
}

#[test]
fn chromium_gets_constrained_baseline_and_the_cameras_sound() {
    let offer = Offer::parse(CHROMIUM).unwrap();
    let plan = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, true).unwrap();
    let video = plan.video.unwrap();
    assert_eq!(video.payload_type, 106);
    assert_eq!(video.fmtp, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f");
    assert_eq!(plan.audio.len(), 1);
    assert_eq!((plan.audio[0].codec, plan.audio[0].payload_type), (AudioFormat::PCMU, 0));
    assert!(plan.audio[0].to_viewer && plan.audio[0].from_viewer);
}

#[test]
fn the_engine_sees_one_codec_a_section_and_no_name_among_the_candidates() {
    let offer = Offer::parse(CHROMIUM).unwrap();
    let plan = offer.choose(Some(VideoCodec::H264), &[AudioFormat::OPUS], false).unwrap();
    let reduced = offer.reduced(&plan);
    assert!(reduced.contains("m=video 9 UDP/TLS/RTP/SAVPF 106\r\n") && reduced.contains("a=recvonly\r\n"));
    assert!(reduced.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n") && !reduced.contains("a=sendrecv"));
    assert_eq!(reduced.matches("a=rtpmap:").count(), 2);
    assert_eq!(reduced.matches("a=candidate:").count(), 2);
    assert!(!reduced.contains(".local"));
    assert!(reduced.contains("a=ssrc:1041 cname:x"));
}

#[test]
fn a_doorbell_without_talk_takes_no_microphone() {
    let offer = Offer::parse(CHROMIUM).unwrap();
    let plan = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, false).unwrap();
    assert!(plan.audio[0].to_viewer && !plan.audio[0].from_viewer);
    let silent = offer.choose(Some(VideoCodec::H264), &[], true).unwrap();
    assert!(!silent.audio[0].to_viewer && silent.audio[0].from_viewer, "a silent camera can be talked to");
    assert!(offer.choose(Some(VideoCodec::H264), &[], false).unwrap().audio.is_empty());
}

#[test]
fn go2rtcs_page_has_its_microphone_in_a_section_of_its_own() {
    let audio =
        |mid, direction| section("audio 9 UDP/TLS/RTP/SAVPF 111 0", mid, direction, &["a=rtpmap:111 opus/48000/2"]);
    let offer = offer(&[
        section("video 9 UDP/TLS/RTP/SAVPF 96", "0", "a=recvonly", &H264_LINES),
        audio("1", "a=recvonly"),
        audio("2", "a=sendonly"),
    ]);
    let plan = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, true).unwrap();
    let directions: Vec<_> = plan.audio.iter().map(|audio| (audio.to_viewer, audio.from_viewer)).collect();
    assert_eq!(directions, [(true, false), (false, true)]);
    let one = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, false).unwrap();
    assert_eq!(one.audio.len(), 1);
}

#[test]
fn h265_goes_to_those_who_offer_it_and_others_are_told_why_not() {
    let offered = offer(&[section(
        "video 9 UDP/TLS/RTP/SAVPF 96 49",
        "0",
        "a=recvonly",
        &[
            "a=rtpmap:96 VP8/90000",
            "a=rtpmap:49 H265/90000",
            "a=fmtp:49 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
        ],
    )]);
    let plan = offered.choose(Some(VideoCodec::H265), &[], false).unwrap();
    assert_eq!(plan.video.unwrap().payload_type, 49);
    let refused = Offer::parse(CHROMIUM).unwrap().choose(Some(VideoCodec::H265), &[], false);
    let Err(AnswerError::NotPlayable(sentence)) = refused else { panic!("{refused:?}") };
    assert!(sentence.contains("H.265") && sentence.contains("go2rtc"), "{sentence}");
}

#[test]
fn every_offered_section_is_answered_in_its_place() {
    let offer = offer(&[
        section("video 9 UDP/TLS/RTP/SAVPF 97", "0", "a=sendonly", &["a=rtpmap:97 VP8/90000"]),
        section("application 9 UDP/DTLS/SCTP webrtc-datachannel", "1", "a=sctp-port:5000", &[]),
        section("video 9 UDP/TLS/RTP/SAVPF 96", "2", "a=recvonly", &H264_LINES),
    ]);
    let plan = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, true).unwrap();
    let engine = "v=0\r\ns=-\r\na=group:BUNDLE 2\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=ice-ufrag:u\r\n\
                  a=ice-pwd:p\r\na=sendonly\r\n";
    let answer = offer.complete(&plan, engine).unwrap();
    let m_lines: Vec<_> = answer.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        m_lines,
        [
            "m=video 9 UDP/TLS/RTP/SAVPF 97",
            "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            "m=video 9 UDP/TLS/RTP/SAVPF 96"
        ]
    );
    assert!(answer.contains("a=group:BUNDLE 0 2\r\n") && answer.contains("a=inactive\r\na=rtpmap:97 VP8/90000\r\n"));
    assert_eq!(answer.matches("a=ice-ufrag:u\r\n").count(), 2, "the inactive section shares the transport");
    assert!(offer.complete(&plan, &engine.replace("m=video 9", "m=video 0")).is_none());
}

#[test]
fn what_is_no_offer_is_refused_with_a_sentence() {
    let session = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let many = session.to_owned() + &"m=audio 9 RTP/AVP 0\r\na=mid:0\r\n".repeat(MAX_SECTIONS + 1);
    let long = session.to_owned() + &"a=x\r\n".repeat(MAX_LINES + 1);
    for text in ["", "hello", session, "m=audio", &many, &long, &format!("{session}m=audio 9 RTP/AVP 0\r\n")] {
        let Err(AnswerError::BadOffer(sentence)) = Offer::parse(text) else { panic!("{text} was accepted") };
        assert!(sentence.ends_with('.'), "{sentence}");
    }
}

#[test]
fn an_offer_that_asks_for_nothing_is_not_playable() {
    let nothing = offer(&[section("video 9 UDP/TLS/RTP/SAVPF 96", "0", "a=sendonly", &H264_LINES)]);
    assert!(matches!(nothing.choose(Some(VideoCodec::H264), &[], false), Err(AnswerError::NotPlayable(_))));
}

#[test]
fn no_cut_or_flipped_offer_brings_the_parser_down() {
    for end in 0..CHROMIUM.len() {
        if let Ok(offer) = Offer::parse(&CHROMIUM[..end])
            && let Ok(plan) = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, true)
        {
            let _ = offer.complete(&plan, &offer.reduced(&plan));
        }
    }
    for at in 0..CHROMIUM.len() {
        let mut bytes = CHROMIUM.as_bytes().to_vec();
        bytes[at] ^= 0x05;
        if let Ok(offer) = Offer::parse(&String::from_utf8_lossy(&bytes)) {
            let _ = offer.choose(Some(VideoCodec::H264), &PCMU_AND_OPUS, true);
        }
    }
}

#[test]
fn only_addresses_of_single_hosts_are_checked() {
    let usable =
        |address: &str, port: u16| usable_candidate(&format!("a=candidate:1 1 udp 1 {address} {port} typ host"));
    for address in ["192.0.2.1", "2001:db8::1", "127.0.0.1"] {
        assert!(usable(address, 1).is_some(), "{address}");
    }
    for address in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "fe80::1", "::", "x.local", ""] {
        assert!(usable(address, 1).is_none(), "{address}");
    }
    assert!(usable("192.0.2.1", 0).is_none());
    assert!(usable_candidate("a=candidate:1 2 udp 1 192.0.2.1 5 typ host").is_none(), "RTCP is multiplexed");
}
