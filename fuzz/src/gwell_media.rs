//! MTP, KCP and AV blocks of GWell.

use doorstep::proto::gwell::av::{Demuxer, Media};
use doorstep::proto::gwell::control::Control;
use doorstep::proto::gwell::kcp::{Arq, Kcp, MSS, Windows, by_conversation, conversation_of};
use doorstep::proto::gwell::message::Message;
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::rc5::Rc5;

use super::pieces::pieces;

/// Down to the messages, as a session reads them.
pub fn mtp(data: &[u8]) {
    let payload = match Mtp::decode(data) {
        Ok(frame) => {
            for carrier in [Carrier::Datagram, Carrier::Stream] {
                let encoded = frame.encode(carrier);
                assert_eq!(Mtp::frame_len(*encoded.first_chunk().expect("a header")), Some(encoded.len()));
                assert_eq!(Mtp::decode(&encoded), Ok(frame));
            }
            frame.payload
        }
        // What no checksum keeps out.
        Err(_) => data,
    };
    let Ok((control, segments)) = Control::split(payload) else { return };
    if let Some(control) = control {
        assert_eq!(Control::split(&control.encode()), Ok((Some(control), &[][..])));
    }
    let runs: usize = by_conversation(segments).map(|(_, run)| run.len()).sum();
    assert!(segments.len() - runs < 4, "bytes were lost between the runs");
    message(segments);
}

fn message(data: &[u8]) {
    let key = Rc5::new(b"MTP-key!");
    if let Ok(message) = Message::decode(data, &key) {
        assert_eq!(Message::decode(&message.encode(&key), &key), Ok(message));
    }
}

/// Pieces go to an engine that sends, receives and is told the time; its conversation is that of the first piece.
pub fn kcp(data: &[u8]) {
    let pieces = pieces(data);
    let conversation = pieces.first().and_then(|piece| conversation_of(piece)).unwrap_or_default();
    let mut engine = Kcp::new(conversation, Windows::CTRL);
    // It wraps on the way.
    let mut now = u32::MAX - 50;
    for piece in pieces {
        now = now.wrapping_add(7);
        let _ = engine.send(piece);
        let _ = engine.input(piece);
        while engine.recv().is_some() {}
        let was_due = engine.due_in(now).is_zero();
        engine.update(now);
        assert!(!was_due || !engine.due_in(now).is_zero(), "the deadline stands still");
        while let Some(payload) = engine.poll() {
            assert!(payload.len() <= MSS + 24, "a payload of {} bytes", payload.len());
            assert_eq!(by_conversation(&payload).collect::<Vec<_>>(), [(conversation, &payload[..])]);
        }
        assert!(engine.backlog() <= 1_024);
    }
}

/// Pieces are messages; an empty one says that some were lost.
pub fn av(data: &[u8]) {
    let mut demuxer = Demuxer::default();
    let mut left = data.len();
    for piece in pieces(data) {
        match piece {
            [] => demuxer.lost(),
            piece => demuxer.push(piece),
        }
        take(&mut demuxer, &mut left);
    }
    demuxer.flush();
    take(&mut demuxer, &mut left);
}

/// What comes out is never more than what went in.
fn take(demuxer: &mut Demuxer, left: &mut usize) {
    for unit in demuxer {
        assert!(!unit.data.is_empty());
        assert!(!(unit.damaged && unit.media == Media::Audio));
        *left = left.checked_sub(unit.data.len()).expect("bytes out of nothing");
    }
}
