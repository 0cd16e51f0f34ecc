//! The client session against the virtual camera, both without sockets, in virtual time. Bad networks have a file of their
//! own, `tutk_loss`.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use doorstep::media::AudioFormat;
use doorstep::proto::tutk::frame::CodecId;
use doorstep::proto::tutk::session::{
    Command, Event, Media, Quality, SessionError, Silence, SoundFormat, TalkEnd, Transport,
};
use doorstep::proto::{Lane, Session};
use doorstep::sim::clip::Clip;
use doorstep::sim::dice::Dice;
use doorstep::sim::tutk_camera::{CameraCommand, CameraEvent, ChallengeStatus, Fault, Protocol, Settings};

use crate::support::impair::Line;
use crate::support::tutk_pair::{CAMERA, Pair, faulty, is_picture, settings};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn in_fair_weather_every_frame_arrives_as_it_was_sent() {
    for (protocol, transport) in [(Protocol::Old, Transport::Old), (Protocol::New, Transport::New)] {
        let mut pair = Pair::fair(settings(protocol));
        assert!(pair.run(15 * SECOND, |pair| pair.pictures() >= 200), "{protocol:?}: {:?}", pair.ended);
        assert!(pair.heard(|event| *event == Event::Found { transport }));
        assert!(pair.heard(|event| matches!(event, Event::LoggedIn { two_way: true, .. })));
        let clip = Clip::h264();
        let pictures: Vec<_> = pair.frames.iter().map(|(_, frame)| frame).filter(|frame| is_picture(frame)).collect();
        assert!(pictures.iter().all(|picture| !picture.gap), "{protocol:?}: a gap was told");
        // The resolution request right after the login makes the camera skip to another keyframe once.
        let pictures = &pictures[10..];
        let first = (0..200).find(|n| clip.access_unit(*n).data == pictures[0].data).expect("a picture of the clip");
        for (picture, sent) in pictures.iter().zip((first..).map(|n| clip.access_unit(n))) {
            assert!(picture.data == sent.data, "{protocol:?}: the picture at {:?} is another", sent.pts);
            let media = Media::Video { codec: CodecId::H264, keyframe: sent.keyframe };
            assert_eq!(picture.media, media, "{protocol:?}, picture at {:?}", sent.pts);
        }
        for pair in pictures.windows(2) {
            let step = pair[1].pts - pair[0].pts;
            assert!(step.abs_diff(Clip::INTERVAL) < Duration::from_millis(2), "a step of {step:?}");
        }
        assert_eq!(pair.violations(), Vec::<&CameraEvent>::new(), "{protocol:?}");
    }
}

#[test]
fn video_of_either_codec_and_sound_of_every_kind_comes_with_its_format() {
    let pcm = AudioFormat { codec: doorstep::media::AudioCodec::Pcm, rate_hz: 16_000, channels: 1 };
    let aac = AudioFormat { codec: doorstep::media::AudioCodec::Aac, ..pcm };
    for (audio, codec) in [
        (AudioFormat::PCMU, CodecId::Pcmu),
        (AudioFormat::PCMA, CodecId::Pcma),
        (pcm, CodecId::Pcm),
        (aac, CodecId::AacWyze),
        (AudioFormat::OPUS, CodecId::Opus),
    ] {
        let h265 = doorstep::media::VideoCodec::H265;
        let camera = Settings { audio: Some(audio), codec: h265, ..settings(Protocol::New) };
        let pair = Pair::streaming(camera);
        let format = SoundFormat { codec, rate_hz: audio.rate_hz, channels: audio.channels };
        for (_, frame) in &pair.frames {
            match frame.media {
                Media::Audio(heard) => assert_eq!(heard, format),
                Media::Video { codec, .. } => assert_eq!(codec, CodecId::H265),
            }
            let has_adts = frame.data.starts_with(&[0xFF, 0xF1]) && codec == CodecId::AacWyze;
            assert!(!has_adts, "an ADTS header was left on");
        }
    }
}

#[test]
fn a_transport_that_was_ruled_out_is_not_tried() {
    for (only, spoken) in [(Transport::Old, Protocol::New), (Transport::New, Protocol::Old)] {
        let mut other = Pair::trying(Some(only), settings(spoken), Line::default(), 1);
        other.run(6 * SECOND, |pair| pair.ended.is_some());
        assert_eq!(other.ended, Some(SessionError::NotFound), "{only:?} only");
        let mut both = Pair::trying(Some(only), faulty(spoken, Fault::BothFamilies), Line::default(), 1);
        assert!(both.wait_for(5 * SECOND, |event| *event == Event::Found { transport: only }), "{only:?} only");
    }
}

#[test]
fn every_kind_of_challenge_is_answered() {
    for challenge in [ChallengeStatus::Default, ChallengeStatus::Enr16, ChallengeStatus::Enr32] {
        let pair = Pair::streaming(Settings { challenge, ..settings(Protocol::New) });
        assert_eq!(pair.violations(), Vec::<&CameraEvent>::new(), "{challenge:?}");
    }
}

#[test]
fn talk_reaches_the_speaker_and_its_end_reaches_the_camera() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut pair = Pair::streaming(settings(protocol));
        let asked = pair.passed();
        let format = pair.talk();
        let took = pair.passed() - asked;
        assert_eq!(format, SoundFormat { codec: CodecId::Pcmu, rate_hz: 8_000, channels: 1 });
        assert!((500..700).contains(&took.as_millis()), "{protocol:?}: the speaker opened after {took:?}");
        pair.say_tone(100);
        let heard = pair.camera_events.iter().rev().find_map(|event| match event {
            CameraEvent::TalkAudio { tone_hz, frames, .. } => Some((*tone_hz, *frames)),
            _ => None,
        });
        let (tone_hz, frames) = heard.expect("the camera heard nothing");
        assert!(frames >= 50 && (430.0..450.0).contains(&tone_hz.unwrap()), "{frames} frames of {tone_hz:?} Hz");
        pair.command(Command::StopTalk);
        assert!(pair.heard(|event| *event == Event::TalkClosed { why: TalkEnd::Asked }));
        let ended = |pair: &Pair| pair.camera_events.contains(&CameraEvent::TalkEnded { frames: 100 });
        assert!(pair.run(SECOND, ended), "{protocol:?}: the camera was not told: {:?}", pair.camera_events.last());
        assert_eq!(pair.violations(), Vec::<&CameraEvent>::new(), "{protocol:?}");
        let before = pair.pictures();
        assert!(pair.run(SECOND, |pair| pair.pictures() > before + 10), "the picture stopped with the talk");
    }
}

#[test]
fn a_second_talk_works_like_the_first() {
    let mut pair = Pair::streaming(settings(Protocol::Old));
    for round in 1..=3 {
        pair.talk();
        pair.say_tone(10);
        pair.command(Command::StopTalk);
        pair.events.clear();
        let ends = |pair: &Pair| {
            pair.camera_events.iter().filter(|event| matches!(event, CameraEvent::TalkEnded { frames: 10 })).count()
        };
        assert!(pair.run(SECOND, |pair| ends(pair) == round), "talk {round} did not end");
    }
    assert_eq!(pair.violations(), Vec::<&CameraEvent>::new());
}

#[test]
fn a_talk_wished_for_too_early_begins_with_the_stream() {
    let mut pair = Pair::fair(settings(Protocol::New));
    pair.command(Command::StartTalk);
    assert!(pair.wait_for(5 * SECOND, |event| matches!(event, Event::TalkOpen { .. })), "{:?}", pair.events);
}

#[test]
fn without_the_cameras_sound_there_is_no_talk() {
    let mut pair = Pair::fair(Settings { audio: None, ..settings(Protocol::New) });
    assert!(pair.run(5 * SECOND, |pair| pair.pictures() > 2));
    pair.command(Command::StartTalk);
    assert!(pair.wait_for(6 * SECOND, |event| *event == Event::TalkClosed { why: TalkEnd::NoSound }));
}

#[test]
fn talk_opens_under_loss() {
    for seed in 0..50 {
        let mut pair = Pair::new(settings(Protocol::New), Line::rough(0.1), seed);
        assert!(pair.run(20 * SECOND, |pair| pair.sounds() > 0), "seed {seed}: {:?}", pair.ended);
        pair.command(Command::StartTalk);
        let opened = pair.wait_for(8 * SECOND, |event| matches!(event, Event::TalkOpen { .. }));
        assert!(opened, "seed {seed}: {:?}", pair.events.last());
    }
}

#[test]
fn closing_ends_the_talk_and_takes_leave() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    pair.talk();
    pair.say_tone(5);
    pair.client.on_close(pair.now);
    pair.collect();
    pair.ended = Some(SessionError::Closed);
    pair.network.retain(|late| late.to_camera);
    pair.now += SECOND;
    pair.step();
    let ends: Vec<_> = pair
        .camera_events
        .iter()
        .filter(|event| matches!(event, CameraEvent::TalkEnded { .. } | CameraEvent::SessionEnded { .. }))
        .collect();
    let closed = CameraEvent::SessionEnded { why: "the client closed it" };
    assert_eq!(ends, [&CameraEvent::TalkEnded { frames: 5 }, &closed]);
}

#[test]
fn each_fault_ends_in_the_error_that_says_what_to_do() {
    for (fault, limit, error) in
        [(Fault::NoAnswer, 6, SessionError::NotFound), (Fault::WrongPsk, 12, SessionError::WrongKey)]
    {
        for protocol in [Protocol::Old, Protocol::New] {
            let mut pair = Pair::fair(faulty(protocol, fault));
            pair.run(limit * SECOND, |pair| pair.ended.is_some());
            assert_eq!(pair.ended.as_ref(), Some(&error), "{fault} {protocol:?}");
        }
    }
    let mut pair = Pair::fair(faulty(Protocol::New, Fault::LoginRefused));
    pair.run(12 * SECOND, |pair| pair.ended.is_some());
    assert!(matches!(pair.ended, Some(SessionError::LoginRefused { .. })), "{:?}", pair.ended);
}

#[test]
fn faults_that_can_be_borne_are_borne() {
    let borne = [Fault::BothFamilies, Fault::Duplicate, Fault::Swap, Fault::Loss, Fault::EnrWithNul];
    for fault in borne {
        for protocol in [Protocol::Old, Protocol::New] {
            let mut pair = Pair::fair(faulty(protocol, fault));
            let came = pair.run(20 * SECOND, |pair| pair.pictures() >= 100);
            assert!(came, "{fault} {protocol:?}: {} pictures, {:?}", pair.pictures(), pair.ended);
            let gaps = pair.frames.iter().filter(|(_, frame)| frame.gap).count();
            assert_eq!(gaps > 0, fault == Fault::Loss, "{fault} {protocol:?}: {gaps} gaps were told");
        }
    }
}

#[test]
fn a_frozen_camera_is_noticed_within_five_seconds() {
    let mut pair = Pair::streaming(settings(Protocol::Old));
    pair.tell_camera(CameraCommand::Fault(Some(Fault::Freeze)));
    let frozen = pair.passed();
    assert!(pair.run(10 * SECOND, |pair| pair.ended.is_some()), "nobody noticed");
    assert_eq!(pair.ended, Some(SessionError::Silent(Silence::Media)));
    assert!(pair.frames.iter().all(|(at, _)| *at <= frozen + Duration::from_millis(100)));
    assert!(pair.passed() - frozen <= 6 * SECOND);
}

#[test]
fn a_camera_that_moves_to_another_port_is_followed() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut pair = Pair::streaming(settings(protocol));
        pair.tell_camera(CameraCommand::Fault(Some(Fault::PortChange)));
        let before = pair.pictures();
        assert!(pair.run(10 * SECOND, |pair| pair.pictures() > before + 100), "{protocol:?}: {:?}", pair.ended);
    }
}

#[test]
fn a_gap_of_two_seconds_is_survived_and_keeps_its_length() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    pair.tell_camera(CameraCommand::Fault(Some(Fault::MediaGap)));
    let before = pair.pictures();
    assert!(pair.run(10 * SECOND, |pair| pair.pictures() > before + 20), "{:?}", pair.ended);
    let pictures: Vec<_> = pair.frames.iter().filter(|(_, frame)| is_picture(frame)).collect();
    let longest = pictures.windows(2).map(|two| (two[1].1.pts - two[0].1.pts, two[1].0 - two[0].0)).max().unwrap();
    assert!(longest.0.abs_diff(longest.1) < Duration::from_millis(60), "shown {:?}, was {:?}", longest.0, longest.1);
    assert!(longest.0 > Duration::from_millis(1_900));
}

#[test]
fn a_back_channel_that_never_opens_ends_the_talk_and_not_the_stream() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    pair.tell_camera(CameraCommand::Fault(Some(Fault::NoBackChannel)));
    pair.command(Command::StartTalk);
    assert!(pair.wait_for(11 * SECOND, |event| *event == Event::TalkClosed { why: TalkEnd::NoAnswer }));
    assert_eq!(pair.ended, None);
    pair.tell_camera(CameraCommand::Fault(None));
    pair.talk();
}

#[test]
fn many_keyframe_requests_are_one_and_the_resolution_can_be_changed() {
    let resolutions = |pair: &Pair| -> Vec<(u16, u8)> {
        let resolution = |event: &CameraEvent| match event {
            CameraEvent::Resolution { command, frame_size, .. } => Some((*command, *frame_size)),
            _ => None,
        };
        pair.camera_events.iter().filter_map(resolution).collect()
    };
    let mut pair = Pair::streaming(settings(Protocol::New));
    assert_eq!(resolutions(&pair), [(10_056, 3)], "what the model calls for is asked for after the login");
    for _ in 0..50 {
        pair.command(Command::RequestKeyframe);
    }
    pair.run(5 * SECOND, |_| false);
    let after = resolutions(&pair).len();
    assert!(after <= 2, "50 wishes became {after} requests");
    pair.command(Command::SetQuality(Quality::Sd));
    assert!(pair.run(SECOND, |pair| resolutions(pair).last() == Some(&(10_056, 1))), "{:?}", resolutions(&pair));
    let old = Pair::streaming(Settings { model: "WYZEDB3".into(), ..settings(Protocol::New) });
    assert_eq!(resolutions(&old), [(10_052, 0)]);
}

#[test]
fn a_stranger_is_not_listened_to() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    let stranger = SocketAddr::from(([10, 0, 0, 66], 32_761));
    let genuine: Vec<Vec<u8>> = std::mem::take(&mut pair.network).into_iter().map(|late| late.payload).collect();
    let before = (pair.events.len(), pair.frames.len());
    pair.run(Duration::from_millis(200), |pair| !pair.network.is_empty());
    for payload in genuine.into_iter().chain(pair.network.drain(..).map(|late| late.payload).collect::<Vec<_>>()) {
        pair.client.on_datagram(pair.now, Lane::MAIN, stranger, &payload).unwrap();
        assert!(pair.client.poll().is_none(), "a stranger was answered");
    }
    assert_eq!((pair.events.len(), pair.frames.len()), before);
}

#[test]
fn noise_in_any_phase_does_no_harm() {
    for seed in 0..20_u64 {
        let protocol = if seed.is_multiple_of(2) { Protocol::New } else { Protocol::Old };
        let mut pair = Pair::fair(settings(protocol));
        let mut dice = Dice::new(seed);
        for _ in 0..400 {
            pair.run(Duration::from_millis(5), |_| false);
            let mut noise =
                pair.network.iter().rfind(|late| !late.to_camera).map_or(vec![0; 64], |l| l.payload.clone());
            for _ in 0..3 {
                let [at, bit] = dice.bytes::<2>();
                let at = usize::from(at) % noise.len();
                noise[at] ^= bit;
            }
            pair.client.on_datagram(pair.now, Lane::MAIN, CAMERA, &noise).unwrap();
            let len = usize::from(dice.bytes::<1>()[0]);
            pair.client.on_datagram(pair.now, Lane::MAIN, CAMERA, &dice.bytes::<256>()[..len]).unwrap();
            pair.collect();
        }
        let came = pair.run(20 * SECOND, |pair| pair.pictures() > 20);
        assert!(came, "seed {seed}: noise ended the session: {:?}", pair.ended);
    }
}

#[test]
fn sound_before_the_line_is_open_goes_nowhere() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    let sent = pair.network.len();
    pair.command(Command::Audio(Bytes::from_static(&[0xFF; 160])));
    pair.command(Command::StopTalk);
    assert_eq!((pair.network.len(), pair.ended.is_none()), (sent, true));
    assert!(!pair.heard(|event| matches!(event, Event::TalkClosed { .. })));
}
