//! Our own client session as a viewer beside the foreign one.

use doorstep::clock;
use doorstep::net::drive::drive;
use doorstep::net::lanes::{Lanes, Streams};
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::mtp::Mtp;
use doorstep::proto::gwell::session::{ClientSession, Event, Media, Path, Setup};
use doorstep::proto::gwell::token::AccessToken;
use doorstep::sim::dice::Dice;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::house::House;
use crate::wait::PATIENCE;

/// What a session saw until it had so many pictures and said goodbye.
pub(super) struct Seen {
    /// The way at the end.
    pub(super) path: Option<Path>,
    pub(super) h264: Vec<u8>,
}

pub(super) async fn watch(house: &House, pictures: usize) -> Seen {
    let mut lanes =
        Lanes::bind(([127, 0, 0, 1], 0).into(), None, Streams { lane: TCP, frame_len: Mtp::frame_len }).await.unwrap();
    let unix_ms = clock::unix_now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let setup = Setup {
        token: AccessToken::parse(&house.access_id, &house.access_token).unwrap(),
        device: house.device.clone(),
        known: Vec::new(),
        servers: vec![house.address],
        list_servers: Vec::new(),
        camera: None,
        local: lanes.local_addr().unwrap(),
        // No two sessions on this machine begin in the same millisecond.
        seed: Dice::new(unix_ms).bytes(),
        unix_ms,
    };
    let session = ClientSession::new(setup, clock::now().into_std());
    let (_commands, mut inbox) = mpsc::channel(1);
    let enough = CancellationToken::new();
    let (mut seen, mut count) = (Seen { path: None, h264: Vec::new() }, 0);
    let watched = drive(session, &mut lanes, &mut inbox, &enough, |event| match event {
        Event::Found { path } => seen.path = Some(path),
        Event::Frame(frame) if frame.media == Media::Video && count < pictures => {
            assert!(!frame.gap, "a picture is missing before number {count}");
            seen.h264.extend_from_slice(&frame.data);
            count += 1;
            if count == pictures {
                enough.cancel();
            }
        }
        _ => {}
    });
    timeout(PATIENCE, watched).await.expect("our session sees pictures").unwrap();
    lanes.close().await;
    seen
}
