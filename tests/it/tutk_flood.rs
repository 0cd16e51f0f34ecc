//! What a camera that says far too much costs: memory and processor (reliability row 26).

use std::fs;
use std::path::Path;
use std::time::Duration;

use doorstep::clock;
use doorstep::config;
use doorstep::doorbell::{Doorbell, Options};
use doorstep::media::{FrameKind, MediaHub, VideoCodec};
use doorstep::proto::tutk::frame::{CodecId, FrameType, MediaChannel, MediaPacket, PacketHeader};
use doorstep::proto::tutk::reassembly::Reassembly;
use doorstep::sim::tutk_camera::Settings;
use doorstep::store::Store;
use doorstep::vendor;
use tokio_util::sync::CancellationToken;

use crate::support::memory::{grown_mib, resident};
use crate::support::tutk_camera_hand::{CameraHand, HostileCamera, info};

#[test]
fn row_26_tiny_fragments_cost_16_mib_at_most() {
    // More than are kept; a million of them come each night.
    tiny_fragments(150_000);
}

pub(crate) fn tiny_fragments(count: u32) {
    let mut header = PacketHeader {
        channel: MediaChannel::IVideo,
        frame_type: FrameType::Cont,
        tx_sequence: 0,
        stream_index: 0,
        packet_counter: 0,
        total: u16::MAX,
        index_or_marker: 0,
        payload_size: 1,
        prev_frame_no: 0,
        frame_no: 0,
    };
    let mut reassembly = Reassembly::default();
    let (before, mut now) = (resident(), clock::now().into_std());
    let mut most = 0;
    for n in 0..count {
        // As many frames at once as are kept, each of fragments with holes between them.
        header.frame_no = n % 16;
        header.index_or_marker = ((n / 16 * 3) % u32::from(u16::MAX)) as u16;
        let message = MediaPacket { header: header.clone(), payload: vec![7], info: None }.encode();
        reassembly.push(now, MediaPacket::decode(&message).unwrap());
        now += Duration::from_micros(10);
        if n % 10_000 == 0 {
            most = most.max(grown_mib(before));
        }
    }
    println!("{most} MiB more");
    assert!(most <= 16, "{most} MiB more");
    assert!(reassembly.poll().is_none(), "a frame came of it");
}

/// Of the thread that runs this: seconds on a processor.
fn processor_s() -> f64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// A doorbell whose camera sends whole frames as fast as its machine lets it. The row allows a fifth of a core, which is
/// what a build for use takes; one for tests is several times slower, and is allowed as much more. What bounds both is
/// that `net::drive` looks at 4 000 datagrams a second, however many come.
#[tokio::test]
async fn row_26_a_flood_takes_a_bounded_share_of_a_processor() {
    let allowed = if cfg!(debug_assertions) { 0.7 } else { 0.2 };
    let settings = Settings::generate(3);
    let flood = |hand: &mut CameraHand, _| {
        let picture = [&[0, 0, 0, 1, 0x41][..], &[0x55; 900]].concat();
        (0..400).flat_map(|_| hand.frame(MediaChannel::PVideo, info(CodecId::H264), &picture)).collect()
    };
    let camera = HostileCamera::start(CameraHand::new(&settings), Box::new(flood));
    let text = format!(
        "wyze: [{{cameras: [{{name: Door, model: {}, mac: {}, uid: {}, enr: {}, address: \"{}\"}}]}}]",
        settings.model,
        settings.mac,
        settings.uid_text(),
        settings.enr.expose(),
        camera.address,
    );
    let vendor = vendor::all(&config::parse(&text, "test").unwrap(), &Store::read_only(Path::new("nowhere"))).remove(0);
    let found = vendor.discover().await.unwrap().remove(0);
    let stop = CancellationToken::new();
    let doorbell = Doorbell::spawn(vendor, found.info, Options::default(), stop.clone());
    let _demand = doorbell.watch();
    let begun = camera.until("the flood", |progress| progress.ticks > 20).await;
    let (before, memory, since) = (processor_s(), resident(), clock::now());
    let over = camera.until("more of it", |progress| progress.datagrams > begun.datagrams + 40_000).await;
    let (passed, busy) = (since.elapsed().as_secs_f64(), processor_s() - before);
    let offered = (over.datagrams - begun.datagrams) as f64 / passed;
    println!(
        "{offered:.0} datagrams a second: {:.1} % of a core, {} MiB more",
        100.0 * busy / passed,
        grown_mib(memory)
    );
    assert!(busy / passed <= allowed, "{busy:.2} s of {passed:.2} s");
    assert!(grown_mib(memory) <= 16, "{} MiB more", grown_mib(memory));
    stop.cancel();
    doorbell.stopped().await;
}

/// Frames of 2 MiB, which are as large as one may be, while one listener takes nothing.
#[tokio::test]
async fn row_26_huge_frames_behind_a_listener_that_sleeps_cost_bounded_memory_and_nobody_elses_picture() {
    let hub = MediaHub::new();
    let (mut asleep, mut awake) = (hub.listen(), hub.listen());
    let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: true };
    let before = resident();
    let (mut seen, mut most) = (0, 0);
    for n in 0..300_u64 {
        hub.publish(kind, Duration::from_millis(50 * n), vec![n as u8; 2 << 20].into());
        seen += usize::from(tokio::time::timeout(Duration::from_secs(5), awake.next()).await.unwrap().is_some());
        most = most.max(grown_mib(before));
    }
    println!("{seen} of 300 seen, {most} MiB more");
    assert_eq!(seen, 300);
    // What the sleeper has not taken, what the cache keeps, and the newest picture.
    assert!(most <= 24, "{most} MiB more");
    let mut last = 0;
    while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(100), asleep.next()).await {
        assert!(frame.kind.is_keyframe());
        last = frame.seq;
    }
    hub.publish(kind, Duration::from_secs(20), vec![1; 100].into());
    assert!(asleep.next().await.unwrap().seq > last, "who has slept does not wake up");
    assert!(hub.counters().lagged > 0);
}
