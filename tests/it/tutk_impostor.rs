//! Somebody on the LAN who answers in a camera's place, knows its UID and all that is said in the search, and not its
//! key (reliability row 25). Real sockets.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use doorstep::sim::tutk_camera::{Protocol, Settings};
use tracing::Level;

use crate::support::log::Log;
use crate::support::service::Service;
use crate::support::tutk_camera_hand::{CameraHand, HostileCamera};

/// Kind, epoch, and of a handshake in the clear what it is.
type Said = (u8, u16, Option<u8>);

/// What a datagram's records are.
fn said(mut datagram: &[u8]) -> Vec<Said> {
    let mut records = Vec::new();
    while let [kind, 0xFE, _, epoch @ ..] = datagram {
        let number = u16::from_be_bytes([epoch[0], epoch[1]]);
        let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        let message = (*kind == 22 && number == 0).then(|| datagram[13]);
        records.push((*kind, number, message));
        datagram = &datagram[13 + len..];
    }
    assert!(datagram.is_empty(), "what is no record: {datagram:?}");
    records
}

#[tokio::test]
async fn row_25_an_impostor_hears_no_login_and_no_command_and_is_told_of_once() {
    const HELLO: u8 = 1;
    const KEY_EXCHANGE: u8 = 16;
    let refused = "The camera refused the key. It is being tried again. Check its `enr`";
    let failed = "The encrypted channel to the camera failed: DTLS: unexpected record. It is being tried again.";
    for (protocol, goes_on, told) in [(Protocol::Old, false, refused), (Protocol::New, true, failed)] {
        let (log, _logging) = Log::capture(Level::TRACE);
        let settings = Settings { protocol, ..Settings::generate(2) };
        let mut hand = CameraHand::new(&settings);
        (hand.impostors, hand.goes_on) = (2, goes_on);
        let camera = HostileCamera::start(hand, Box::new(|_, _| vec![]));
        let (uid, enr) = (settings.uid_text(), settings.enr.expose().to_owned());
        let mut text = "http: {listen: \"127.0.0.1:0\"}\nwyze:\n  - cameras:\n".to_owned();
        let Settings { model, mac, .. } = &settings;
        let address = camera.address;
        writeln!(
            text,
            "      - {{name: Door, model: {model}, mac: {mac}, uid: {uid}, enr: \"{enr}\", address: \"{address}\"}}"
        )
        .unwrap();
        let service = Service::configured(&text).await;
        let id = format!("wyze_{}", mac.to_ascii_lowercase());

        let doorbell = service.page.until(&id, "in trouble", |doorbell| !doorbell["why"].is_null()).await;
        let why = doorbell["why"].as_str().unwrap();
        assert!(why.starts_with(told), "{why}");
        let progress = camera.until("a second attempt", |progress| progress.sessions == 2).await;
        let heard = camera.until("its second handshake", |now| now.heard.len() > progress.heard.len()).await.heard;

        // Nothing but handshakes, of which the last message is enciphered with a key that the impostor does not have.
        let records: BTreeSet<Said> = heard.iter().flat_map(|datagram| said(datagram)).collect();
        let may = [(22, 0, Some(HELLO)), (22, 0, Some(KEY_EXCHANGE)), (20, 0, None), (22, 1, None)];
        let others: Vec<_> = records.iter().filter(|said| !may.contains(said) && said.0 != 21).collect();
        assert_eq!(others, Vec::<&Said>::new(), "{protocol:?}");
        assert!(records.contains(&may[3]), "{protocol:?}: it never came as far as to use the key: {records:?}");
        let holds = |what: &[u8]| heard.iter().any(|datagram| datagram.windows(what.len()).any(|part| part == what));
        assert!(!holds(enr.as_bytes()) && !holds(b"audioEncoderList"), "{protocol:?}: a login in the clear");

        // The right camera is found by itself, without a restart.
        service.page.is(&id, "ready").await;
        assert!(camera.progress().sessions >= 3);
        assert_eq!(log.complaints().len(), 1, "{protocol:?}: {:#?}", log.complaints());
        log.holds_none_of(&[&enr]);
        service.running.stop().await;
    }
}
