//! Pictures cut into packets, shaken, doubled and lost; and packets that nobody would send.

use super::*;
use crate::proto::tutk::frame::{CodecId, Packetiser};
use crate::proto::tutk::tests::{self as checks, Dice};

fn info(codec: CodecId) -> FrameInfo {
    FrameInfo {
        codec,
        flags: 0,
        camera_index: 0,
        online_num: 1,
        fps: 20,
        frame_size: 4,
        bitrate: 100,
        timestamp_us: 0,
        timestamp_s: 0,
        payload_size: 0,
        frame_no: 0,
        device_id: [0; 16],
    }
}

/// A keyframe of many packets, then pictures of one to three, as messages in sending order.
fn stream(frames: u32) -> (Vec<Vec<u8>>, Vec<MediaPacket>) {
    let mut packetiser = Packetiser::default();
    let (mut data, mut packets) = (vec![], vec![]);
    for number in 0..frames {
        let channel = if number % 30 == 0 { MediaChannel::IVideo } else { MediaChannel::PVideo };
        let len = if number % 30 == 0 { 9_000 } else { 500 + 1_000 * (number as usize % 3) };
        let frame: Vec<u8> = (0..len).map(|i| (i as u32 * 7 + number) as u8).collect();
        let messages = packetiser.packetise(channel, info(CodecId::H264), &frame);
        packets.extend(messages.iter().map(|message| MediaPacket::decode(message).unwrap()));
        data.push(frame);
    }
    (data, packets)
}

fn run(spacing_ms: u64, packets: impl IntoIterator<Item = MediaPacket>) -> Vec<Assembled> {
    let mut reassembly = Reassembly::default();
    let mut now = checks::start_of_time();
    let mut frames = vec![];
    for packet in packets {
        now += Duration::from_millis(spacing_ms);
        reassembly.push(now, packet);
        frames.extend(std::iter::from_fn(|| reassembly.poll()));
    }
    reassembly.on_timeout(now + Duration::from_secs(1));
    frames.extend(std::iter::from_fn(|| reassembly.poll()));
    assert_eq!(reassembly.waiting.len(), 0, "frames were kept for ever");
    frames
}

fn run_data(spacing_ms: u64, packets: impl IntoIterator<Item = MediaPacket>) -> Vec<Digest> {
    data_of(&run(spacing_ms, packets))
}

type Digest = (usize, u64);

/// Length and sum of products: enough to tell frames apart, short enough to print.
fn digest(data: &[u8]) -> Digest {
    (data.len(), data.iter().zip(1u64..).map(|(&byte, place)| u64::from(byte) * place).sum())
}

fn digests(data: &[Vec<u8>]) -> Vec<Digest> {
    data.iter().map(|data| digest(data)).collect()
}

fn data_of(frames: &[Assembled]) -> Vec<Digest> {
    frames.iter().map(|frame| digest(&frame.data)).collect()
}

#[test]
fn in_order_every_frame_comes_at_once_and_without_gap() {
    let (data, packets) = stream(90);
    let mut reassembly = Reassembly::default();
    let now = checks::start_of_time();
    let mut frames = vec![];
    for packet in packets {
        reassembly.push(now, packet);
        frames.extend(std::iter::from_fn(|| reassembly.poll()));
    }
    assert!(frames.iter().all(|frame| !frame.gap));
    assert_eq!(data_of(&frames), digests(&data));
    assert_eq!((reassembly.bytes, reassembly.deadline()), (0, None), "something was kept");
}

#[test]
fn reordered_and_repeated_packets_give_each_frame_once_and_in_order() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let (data, packets) = stream(90);
        let mut shaken = vec![];
        for packet in packets {
            if dice.percent(10) {
                shaken.push(packet.clone());
            }
            shaken.push(packet);
        }
        for index in 1..shaken.len() {
            if dice.percent(25) {
                shaken.swap(index - 1, index);
            }
        }
        assert_eq!(run_data(5, shaken), digests(&data), "seed {seed}");
    }
}

/// The numbers that are shown of one packet a frame and a frame each 50 ms, each as late as `late_ms` says.
fn shown(reassembly: &mut Reassembly, late_ms: impl Fn(u64) -> u64) -> Vec<u32> {
    let mut packetiser = Packetiser::default();
    let mut coming: Vec<(u64, MediaPacket)> = (0..80)
        .map(|n| {
            let messages = packetiser.packetise(MediaChannel::PVideo, info(CodecId::H264), &[n as u8; 40]);
            (n * 50 + late_ms(n), MediaPacket::decode(&messages[0]).unwrap())
        })
        .collect();
    coming.sort_by_key(|(at, _)| *at);
    let start = checks::start_of_time();
    let mut seen = vec![];
    for (at, packet) in coming {
        let now = start + Duration::from_millis(at);
        reassembly.on_timeout(now);
        reassembly.push(now, packet);
        seen.extend(std::iter::from_fn(|| reassembly.poll()).map(|frame| frame.frame_no));
    }
    seen
}

#[test]
fn what_comes_too_late_is_waited_for_from_then_on_and_what_never_comes_is_not() {
    let mut reassembly = Reassembly::default();
    let seen = shown(&mut reassembly, |n| if n % 8 == 7 { 150 } else { 0 });
    assert!(seen.is_sorted() && seen.len() >= 77, "{seen:?}");
    assert!(reassembly.window.0 > Duration::from_millis(100), "{:?}", reassembly.window);
    for _ in 0..20 {
        reassembly.window.was_in_vain();
    }
    assert_eq!(reassembly.window.0, REORDER_WINDOW);
}

#[test]
fn row_23_no_picture_comes_behind_a_newer_one_however_many_in_a_row_are_late() {
    for (run, late_ms) in [(2, 250), (3, 400), (5, 450)] {
        let seen = shown(&mut Reassembly::default(), |n| if n % 16 >= 16 - run { late_ms } else { 0 });
        assert!(seen.is_sorted() && seen.len() > 50, "{run} are {late_ms} ms late: {seen:?}");
    }
}

#[test]
fn every_frame_whose_packets_all_arrive_is_delivered_and_loss_is_told() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let (data, packets) = stream(90);
        let (kept, lost): (Vec<_>, Vec<_>) = packets.into_iter().partition(|_| !dice.percent(10));
        let lost: Vec<u32> = lost.iter().map(|packet| packet.header.frame_no).collect();
        let whole = |number: &u32| !lost.contains(number);
        let expected: Vec<_> = (1..=90).filter(whole).collect();
        let frames = run(5, kept);
        assert_eq!(frames.iter().map(|frame| frame.frame_no).collect::<Vec<_>>(), expected, "seed {seed}");
        let right = |frame: &Assembled| frame.data == data[frame.frame_no as usize - 1];
        assert!(frames.iter().all(right), "seed {seed}");
        for pair in frames.windows(2) {
            let missing = pair[1].frame_no != pair[0].frame_no + 1;
            assert_eq!(pair[1].gap, missing, "seed {seed}, frame {}", pair[1].frame_no);
        }
    }
}

#[test]
fn numbers_that_mean_nothing_delay_nothing_for_long() {
    let (data, mut packets) = stream(90);
    packets.iter_mut().for_each(|packet| packet.header.prev_frame_no = 0xFFFF_FFFF);
    let mut reassembly = Reassembly::default();
    let mut now = checks::start_of_time();
    let mut frames = vec![];
    for packet in packets {
        now += Duration::from_millis(20);
        reassembly.push(now, packet);
        frames.extend(std::iter::from_fn(|| reassembly.poll()));
    }
    assert_eq!(data_of(&frames), digests(&data));
    assert_eq!(reassembly.deadline(), None, "the last frame still waits");
}

#[test]
fn channels_that_count_by_themselves_lose_nothing() {
    let (data, mut packets) = stream(90);
    let (mut i, mut p) = (0, 0);
    let mut last = 0;
    for packet in &mut packets {
        let counter = if packet.header.channel == MediaChannel::IVideo { &mut i } else { &mut p };
        if packet.header.frame_no != last {
            last = packet.header.frame_no;
            *counter += 1;
        }
        packet.header.prev_frame_no = *counter - 1;
        packet.header.frame_no = *counter;
    }
    assert_eq!(run_data(20, packets), digests(&data));
}

#[test]
fn a_camera_that_counts_anew_is_followed() {
    let (data, packets) = stream(90);
    let (again, repeated) = stream(90);
    let mut reassembly = Reassembly::default();
    let mut now = checks::start_of_time();
    let mut frames = vec![];
    for (index, packet) in packets.into_iter().chain(repeated).enumerate() {
        now += Duration::from_millis(if index == 0 { 0 } else { 10 });
        reassembly.push(now, packet);
        frames.extend(std::iter::from_fn(|| reassembly.poll()));
    }
    assert_eq!(data_of(&frames), [digests(&data), digests(&again)].concat());
}

#[test]
fn a_hostile_camera_cannot_make_us_keep_more_than_the_limit() {
    let (_, packets) = stream(1);
    let template = packets[0].clone();
    for (payload, frames) in [(0, 40), (1, 40), (1100, 4000)] {
        let mut reassembly = Reassembly::default();
        let now = checks::start_of_time();
        for frame_no in 0..frames {
            for index in 0..2_000 {
                let mut packet = template.clone();
                packet.header.frame_no = frame_no * 7;
                packet.header.total = u16::MAX;
                packet.header.index_or_marker = index;
                packet.payload = vec![0; payload];
                reassembly.push(now, packet);
                assert!(reassembly.bytes <= MAX_CAMERA + 2_000, "{} bytes are kept", reassembly.bytes);
                assert!(reassembly.partials.values().all(|partial| partial.cost <= MAX_FRAME));
            }
            if frame_no > 50 {
                break;
            }
        }
        assert!(reassembly.partials.len() <= MAX_PARTIALS);
    }
}

#[test]
fn frames_of_nothing_that_all_wait_for_another_are_few() {
    let (_, packets) = stream(2);
    let empty = |frame_no: u32| {
        let mut packet = packets.last().unwrap().clone();
        (packet.header.total, packet.header.index_or_marker) = (1, 0);
        (packet.header.frame_no, packet.header.prev_frame_no) = (frame_no, frame_no - 1);
        packet.payload = Vec::new();
        packet.info = packet.info.map(|info| FrameInfo { payload_size: 0, ..info });
        packet
    };
    let (mut reassembly, now) = (Reassembly::default(), checks::start_of_time());
    // The last one first, so that each names one that has yet to come.
    for frame_no in (1..=20_000).rev() {
        reassembly.push(now, empty(frame_no));
        assert!(reassembly.waiting.len() <= MAX_WAITING, "{} frames wait", reassembly.waiting.len());
        while reassembly.poll().is_some() {}
    }
}

#[test]
fn any_packets_whatever_do_no_harm() {
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        let (_, packets) = stream(5);
        let mut reassembly = Reassembly::default();
        let mut now = checks::start_of_time();
        for _ in 0..500 {
            let mut packet = packets[dice.below(packets.len() as u64) as usize].clone();
            packet.header.frame_no = dice.below(6) as u32;
            packet.header.prev_frame_no = dice.below(6) as u32;
            packet.header.total = dice.below(4) as u16;
            packet.header.index_or_marker = dice.below(5) as u16;
            now += Duration::from_millis(dice.below(30));
            reassembly.push(now, packet);
            while reassembly.poll().is_some() {}
        }
        let kept: usize = reassembly.partials.values().map(|partial| partial.cost).sum();
        let waiting: usize = reassembly.waiting.iter().map(|waiting| waiting.frame.data.len()).sum();
        assert_eq!(reassembly.bytes, kept + waiting, "seed {seed}: the books do not balance");
    }
}
