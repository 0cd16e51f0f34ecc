//! What engines do with segments that nobody honest sends. What they do on bad networks: `tests/it/gwell_kcp.rs`.

use super::*;

const CONVERSATION: u32 = 0x1ABC_DEF0;

fn engine() -> Kcp {
    let mut engine = Kcp::new(CONVERSATION, Windows::CTRL);
    engine.update(0);
    engine
}

fn encoded(segment: Segment<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Segment { conversation: CONVERSATION, ..segment }.encode(&mut bytes);
    bytes
}

fn push(sn: u32, fragment: u8, data: &[u8]) -> Vec<u8> {
    encoded(Segment { window: 128, sn, fragment, data, ..bare(Command::Push) })
}

fn ack(sn: u32, ts: u32, una: u32) -> Vec<u8> {
    encoded(Segment { window: 128, sn, ts, una, ..bare(Command::Ack) })
}

fn tell(window: u16, una: u32) -> Vec<u8> {
    encoded(Segment { window, una, ..bare(Command::WindowTell) })
}

fn received(engine: &mut Kcp) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| engine.recv()).collect()
}

fn sent(engine: &mut Kcp, now: u32) -> Vec<u8> {
    engine.update(now);
    std::iter::from_fn(|| engine.poll()).flatten().collect()
}

fn commands(bytes: &[u8]) -> Vec<(Command, u32)> {
    segments(bytes).map(|segment| segment.map(|segment| (segment.command, segment.sn)).unwrap()).collect()
}

#[test]
fn a_datagram_that_cannot_be_read_to_its_end_is_refused_whole() {
    let whole = [push(0, 0, b"one"), push(1, 0, b"two")].concat();
    let first = push(0, 0, b"one").len();
    for len in (1..whole.len()).filter(|len| *len > first + HEADER) {
        let mut engine = engine();
        assert!(matches!(engine.input(&whole[..len]), Err(KcpError::Unreadable(_))), "{len} bytes were accepted");
        assert!(received(&mut engine).is_empty() && sent(&mut engine, 10).is_empty(), "{len} bytes had effect");
    }
    let mut endless = push(0, 0, b"one");
    endless[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(engine().input(&endless).is_err());
    let mut nonsense = whole.clone();
    nonsense[first + 4] = 80;
    assert_eq!(engine().input(&nonsense), Err(KcpError::Command(80)));
}

#[test]
fn segments_of_another_conversation_are_refused() {
    let mut engine = Kcp::new(CONVERSATION + 1, Windows::CTRL);
    assert_eq!(engine.input(&push(0, 0, b"one")), Err(KcpError::Conversation { conversation: CONVERSATION }));
    assert_eq!(engine.recv(), None);
}

#[test]
fn numbers_outside_of_the_window_are_refused() {
    for start in [0, 0xFFFF_FFC0] {
        let mut engine = engine();
        engine.receiver = Receiver::starting_at(128, start);
        let at = |ahead: i32| push(start.wrapping_add_signed(ahead), 0, b"data");
        for ahead in [128, 129, 1_000_000, i32::MAX, i32::MIN, -129] {
            let refused = engine.input(&at(ahead));
            assert!(matches!(refused, Err(KcpError::Window { .. })), "{start:#x} and {ahead}: {refused:?}");
        }
        assert!(sent(&mut engine, 10).is_empty(), "a refused segment was acknowledged");
        for ahead in [127, -1, -128, 0] {
            assert_eq!(engine.input(&at(ahead)), Ok(()), "{start:#x} and {ahead}");
        }
        assert_eq!(received(&mut engine).len(), 1, "only the first had its turn");
    }
}

#[test]
fn fragments_that_never_end_neither_grow_nor_shut_the_window() {
    // The same number over and over; the highest; counting upwards; each message broken off before its end.
    let patterns: [fn(u32) -> u8; 4] = [|_| 5, |_| 127, |sn| (sn % 128) as u8, |sn| 127 - (sn % 127) as u8];
    for (which, pattern) in patterns.into_iter().enumerate() {
        let mut engine = engine();
        let mut refused = 0;
        for sn in 0..5_000 {
            refused += usize::from(engine.input(&push(sn, pattern(sn), &[7; 1_000])).is_err());
            received(&mut engine);
            if sn % 50 == 0 {
                sent(&mut engine, 10 * sn);
            }
            assert!(engine.receiver.free() > 0, "pattern {which}: shut at {sn}");
            assert!(engine.receiver.kept_bytes() <= 128 * 1_000, "pattern {which}: grown at {sn}");
        }
        assert!(refused > 30, "pattern {which}: {refused} of 5000 were refused");
        engine.input(&push(5_000, 0, b"an honest one")).unwrap_or_default();
        assert_eq!(received(&mut engine).last().unwrap(), b"an honest one", "pattern {which}");
    }
}

#[test]
fn a_message_that_the_window_cannot_hold_is_refused() {
    let mut engine = engine();
    assert_eq!(engine.input(&push(0, 128, b"first of 129")), Err(KcpError::Fragment { sn: 0 }));
    assert!(sent(&mut engine, 10).is_empty(), "it was acknowledged");
    assert_eq!(engine.input(&push(0, 127, b"first of 128")), Ok(()));
}

#[test]
fn what_breaks_off_a_message_behind_a_shut_window_is_told_later() {
    let mut engine = engine();
    for sn in 0..128 {
        engine.input(&push(sn, 0, b"whole")).unwrap();
    }
    engine.input(&push(128, 9, b"begun")).unwrap();
    engine.input(&push(129, 3, b"broken")).unwrap();
    assert_eq!(received(&mut engine).len(), 128);
    assert_eq!(engine.input(&push(130, 2, b"goes on")), Err(KcpError::Fragment { sn: 129 }));
}

#[test]
fn messages_that_nobody_fetches_shut_the_window_and_no_more() {
    let mut engine = engine();
    for sn in 0..10_000 {
        let _refused_in_the_end = engine.input(&push(sn, 0, &[7; 100]));
    }
    assert_eq!(engine.receiver.free(), 0);
    assert!(engine.receiver.kept_bytes() <= 256 * 100);
    sent(&mut engine, 10);
    assert!(engine.recv().is_some());
    let out = sent(&mut engine, 20);
    assert_eq!(commands(&out), [], "what came early has filled the window again");
    assert_eq!(received(&mut engine).len(), 255);
    let out = sent(&mut engine, 30);
    assert_eq!(commands(&out), [(Command::WindowTell, 0)], "nobody was told that the window is open");
    assert_eq!(out[6..8], 128_u16.to_le_bytes());
}

#[test]
fn a_flood_of_repetitions_makes_no_flood_of_acknowledgements() {
    let mut engine = engine();
    for _ in 0..100_000 {
        engine.input(&push(0, 0, b"again")).unwrap();
    }
    assert_eq!(commands(&sent(&mut engine, 10)), vec![(Command::Ack, 0); 256]);
    assert_eq!(received(&mut engine).len(), 1);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut engine = engine();
    engine.send(b"first").unwrap();
    sent(&mut engine, 10);
    for sn in [1, 2, 1_000, 0x7FFF_FFFF] {
        assert_eq!(engine.input(&ack(sn, 10, 0)), Err(KcpError::Unsent { sn }));
    }
    assert_eq!(engine.backlog(), 1);
    assert_eq!(engine.input(&ack(0, 10, 0)), Ok(()));
    assert_eq!(engine.backlog(), 0);
}

#[test]
fn an_una_beyond_what_was_sent_acknowledges_nothing() {
    let mut engine = engine();
    engine.send(b"first").unwrap();
    engine.send(b"second").unwrap();
    sent(&mut engine, 10);
    for una in [3, 1_000, 0x7FFF_FFFF, u32::MAX] {
        assert_eq!(engine.input(&tell(128, una)), Ok(()));
        assert_eq!(engine.backlog(), 2, "una {una:#x}");
    }
    engine.input(&tell(128, 1)).unwrap();
    assert_eq!(engine.backlog(), 1);
    // The Go client acknowledges a segment of ctrl with the una of data.
    engine.input(&ack(1, 10, 700)).unwrap();
    assert_eq!(engine.backlog(), 0);
}

#[test]
fn times_that_cannot_be_do_not_slow_the_repetition() {
    let mut engine = engine();
    for (sn, ts) in [(0, 0x8000_0000), (1, 11), (2, 10_u32.wrapping_sub(60_001))] {
        engine.send(b"message").unwrap();
        sent(&mut engine, 10 * (sn + 1));
        engine.update(10);
        engine.input(&ack(sn, ts, 0)).unwrap();
    }
    engine.send(b"repeat me").unwrap();
    sent(&mut engine, 100);
    assert_eq!(engine.due_in(100), Duration::from_millis(225));
}

#[test]
fn a_peer_whose_window_is_shut_is_asked_and_not_sent_to() {
    let mut engine = engine();
    engine.input(&tell(0, 0)).unwrap();
    engine.send(b"waits").unwrap();
    let mut asked = Vec::new();
    for at in (10..60_000).step_by(10) {
        let out = sent(&mut engine, at);
        assert!(commands(&out).iter().all(|(command, _)| *command == Command::WindowAsk));
        if !out.is_empty() {
            asked.push(at);
        }
        assert!(engine.due_in(at) > Duration::ZERO);
    }
    assert_eq!(asked, [7_010, 17_510, 33_260, 56_890], "7 s, and half as long again each time");
    engine.input(&tell(1, 0)).unwrap();
    assert_eq!(commands(&sent(&mut engine, 60_010)), [(Command::Push, 0)]);
}

#[test]
fn what_is_sent_is_bounded() {
    let mut engine = engine();
    assert_eq!(engine.send(&vec![0; 255 * MSS + 1]), Err(KcpError::TooLong { len: 255 * MSS + 1 }));
    assert_eq!(engine.send(&vec![0; 255 * MSS]), Ok(()));
    let taken = (0..2_000).take_while(|_| engine.send(b"more").is_ok()).count();
    assert_eq!(engine.backlog(), 1_024);
    assert_eq!(taken, 1_024 - 255);
    assert_eq!(engine.send(b"one too many"), Err(KcpError::Full));
    for at in 1..1_000 {
        // Nobody polls, nobody answers.
        engine.update(at * 100);
    }
    assert!(engine.output.len() <= 64, "{} datagrams wait", engine.output.len());
}

#[test]
fn requests_made_by_hand_are_taken_as_the_go_client_makes_them() {
    let mut engine = engine();
    let mut requests = 0;
    for retry in 0..100 {
        if retry >= 2 {
            engine.input(&push(0, 0, b"INITREQ")).unwrap();
        }
        engine.input(&push(retry, 0, b"INITREQ")).unwrap();
        requests += received(&mut engine).len();
        sent(&mut engine, 500 * retry);
    }
    assert_eq!(requests, 100);
}

#[test]
fn a_payload_is_split_by_conversation() {
    let (data, ctrl) = (push(0, 0, b"data"), {
        let mut segment = push(0, 0, b"ctrl");
        segment[3] |= 0x80;
        segment
    });
    let payload = [&data[..], &data, &ctrl, &data, b"tail"].concat();
    let conversation = |run: &[u8]| conversation_of(run).unwrap();
    let runs: Vec<_> = by_conversation(&payload).collect();
    let behind = [&data[..], b"tail"].concat();
    assert_eq!(
        runs,
        [
            (conversation(&data), &[&data[..], &data].concat()[..]),
            (conversation(&ctrl), &ctrl[..]),
            (conversation(&data), &behind[..]),
        ]
    );
    for len in 0..payload.len() {
        let runs: Vec<u8> = by_conversation(&payload[..len]).flat_map(|(_, run)| run).copied().collect();
        assert!(payload.starts_with(&runs) && len - runs.len() < 4, "{len} bytes");
    }
}

#[test]
fn the_highest_fragment_number_behind_a_message_that_waits_for_others_breaks_it_off() {
    let mut engine = Kcp::new(CONVERSATION, Windows::DATA);
    engine.input(&push(0, 1, b"begun")).unwrap();
    assert_eq!(engine.input(&push(1, 255, b"another")), Err(KcpError::Fragment { sn: 1 }));
    assert_eq!(engine.input(&push(2, 0, b"whole")), Err(KcpError::Fragment { sn: 2 }));
    assert_eq!(received(&mut engine), [b"whole"]);
}
