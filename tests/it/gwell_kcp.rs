//! KCP over bad networks, between two of our engines and between ours and the C original, in virtual time.

use std::time::Duration;

use doorstep::proto::gwell::kcp::{Arq, Kcp, KcpError, Windows};
use doorstep::sim::dice::Dice;

const CONVERSATION: u32 = 0x1ABC_DEF0;

/// The C original behind our trait, set up as the reference says.
struct Original {
    // Its address must not change: the callback writes through it.
    engine: Box<kcp::Kcp>,
}

impl Original {
    fn new(now: u32, windows: Windows) -> Self {
        let mut engine = Box::new(kcp::Kcp::new(CONVERSATION));
        engine.initialize();
        engine.set_nodelay(false, 5, 10, true);
        engine.set_wndsize(windows.send.into(), windows.receive.into());
        // It reads the machine's clock once: two jumps make it follow ours.
        engine.update(now.wrapping_add(0x8000_0000));
        engine.update(now);
        Self { engine }
    }
}

impl Arq for Original {
    fn send(&mut self, message: &[u8]) -> Result<(), KcpError> {
        self.engine.send(message).unwrap();
        Ok(())
    }

    fn input(&mut self, segments: &[u8]) -> Result<(), KcpError> {
        self.engine.input(segments).unwrap();
        Ok(())
    }

    fn recv(&mut self) -> Option<Vec<u8>> {
        self.engine.recv_bytes().map(Vec::from)
    }

    fn update(&mut self, now_ms: u32) {
        self.engine.update(now_ms);
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        self.engine.pop_output().map(Vec::from)
    }

    fn due_in(&self, _: u32) -> Duration {
        Duration::from_millis(10)
    }

    fn backlog(&self) -> usize {
        self.engine.get_waitsnd() as usize
    }
}

struct Network {
    dice: Dice,
    loss: f64,
    /// When, to which end, what.
    on_the_way: Vec<(u32, usize, Vec<u8>)>,
    carried: usize,
}

impl Network {
    const WAY_MS: u32 = 15;

    fn carry(&mut self, now: u32, to: usize, datagram: &[u8]) {
        self.carried += 1;
        let copies = if self.dice.roll(self.loss) { 0 } else { 1 + usize::from(self.dice.roll(0.03)) };
        for _ in 0..copies {
            let late = if self.dice.roll(0.1) { 25 } else { 0 };
            self.on_the_way.push((now.wrapping_add(Self::WAY_MS + late), to, datagram.to_vec()));
        }
    }

    fn arrivals(&mut self, now: u32) -> Vec<(usize, Vec<u8>)> {
        let due = |(at, _, _): &mut (u32, usize, Vec<u8>)| now.wrapping_sub(*at).cast_signed() >= 0;
        self.on_the_way.extract_if(.., due).map(|(_, to, datagram)| (to, datagram)).collect()
    }
}

struct Run {
    took_ms: u32,
    /// The longest time in which an end that still expected messages got none.
    stall_ms: u32,
    carried: usize,
}

fn message(end: usize, n: usize) -> Vec<u8> {
    // Fragments too, now and then.
    let len = if n.is_multiple_of(50) { 5_000 } else { 4 + n * 37 % 1_000 };
    (0..len).map(|at| (at * 31 + n * 7 + end) as u8).collect()
}

/// Lets both ends send `count` messages, some each frame of 66 ms, and checks every one that arrives.
fn run(mut ends: [Box<dyn Arq>; 2], start: u32, count: usize, loss: f64, seed: u64) -> Run {
    let mut network = Network { dice: Dice::new(seed), loss, on_the_way: Vec::new(), carried: 0 };
    let (mut sent, mut got, mut last) = ([0; 2], [0; 2], [0; 2]);
    let mut stall_ms = 0;
    for at in 0..120_000_u32 {
        let now = start.wrapping_add(at);
        for (to, datagram) in network.arrivals(now) {
            ends[to].input(&datagram).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            while let Some(arrived) = ends[to].recv() {
                assert!(arrived == message(1 - to, got[to]), "seed {seed}: message {} of end {to}", got[to]);
                got[to] += 1;
                last[to] = at;
            }
        }
        for (end, arq) in ends.iter_mut().enumerate() {
            while sent[end] < count && sent[end] <= at as usize * 12 / 66 && arq.backlog() < 200 {
                arq.send(&message(end, sent[end])).unwrap();
                sent[end] += 1;
            }
            if arq.due_in(now).is_zero() || at % 10 == end as u32 {
                arq.update(now);
            }
            while let Some(datagram) = arq.poll() {
                network.carry(now, 1 - end, &datagram);
            }
            if got[end] < count {
                stall_ms = stall_ms.max(at - last[end]);
            }
        }
        let is_done = got == [count; 2] && ends.iter().all(|arq| arq.backlog() == 0);
        if is_done {
            return Run { took_ms: at, stall_ms, carried: network.carried };
        }
    }
    panic!("seed {seed}, loss {loss}: {got:?} of {count} messages arrived");
}

fn ours() -> Box<dyn Arq> {
    Box::new(Kcp::new(CONVERSATION, Windows::DATA))
}

fn theirs(now: u32) -> Box<dyn Arq> {
    Box::new(Original::new(now, Windows::DATA))
}

#[test]
fn every_message_arrives_once_and_in_order_whatever_the_network_does() {
    for loss in [0.0, 0.02, 0.05, 0.1, 0.2] {
        for seed in 0..4 {
            let run = run([ours(), ours()], 1_000, 1_000, loss, seed);
            assert!(
                loss > 0.05 || run.stall_ms < 2_000,
                "seed {seed}, loss {loss}: stood still for {} ms",
                run.stall_ms
            );
            assert!(loss > 0.0 || run.took_ms < 6_000, "seed {seed}: {} ms for 5.5 s of messages", run.took_ms);
        }
    }
}

#[test]
fn ours_and_the_original_understand_each_other() {
    for loss in [0.0, 0.05, 0.2] {
        for seed in 0..2 {
            let mixed = run([ours(), theirs(1_000)], 1_000, 1_000, loss, seed);
            let original = run([theirs(1_000), theirs(1_000)], 1_000, 1_000, loss, seed);
            // As many datagrams, about: neither repeats too much nor acknowledges too little.
            assert!(mixed.carried * 10 < original.carried * 12, "{} against {}", mixed.carried, original.carried);
        }
    }
}

/// Steps both with the same input and compares every byte that comes out.
#[test]
fn ours_sends_what_the_original_sends() {
    for seed in 0..20 {
        let start = 0xFFFF_F000_u32.wrapping_add(seed as u32 * 500);
        let mut dice = Dice::new(seed);
        let mut far = Kcp::new(CONVERSATION, Windows::DATA);
        far.update(start);
        let mut pair: [Box<dyn Arq>; 2] = [ours(), theirs(start)];
        pair[0].update(start);
        let mut backlog = Vec::new();
        for tick in 1..400_u32 {
            let now = start.wrapping_add(tick * 10);
            if dice.roll(0.7) {
                let sent = message(0, tick as usize);
                pair.iter_mut().for_each(|arq| arq.send(&sent).unwrap());
            }
            if dice.roll(0.5) {
                far.send(&message(1, tick as usize)).unwrap();
            }
            far.update(now);
            while let Some(datagram) = far.poll() {
                if !dice.roll(0.1) {
                    pair.iter_mut().for_each(|arq| arq.input(&datagram).unwrap());
                }
            }
            let [ours, theirs] = pair.each_mut().map(|arq| {
                while arq.recv().is_some() {}
                arq.update(now);
                std::iter::from_fn(|| arq.poll()).collect::<Vec<_>>()
            });
            assert!(ours == theirs, "seed {seed}, tick {tick}:\n{ours:02x?}\n{theirs:02x?}");
            backlog.extend(ours);
            while !backlog.is_empty() && !dice.roll(0.3) {
                let datagram = backlog.remove(0);
                if !dice.roll(0.1) {
                    far.input(&datagram).unwrap();
                    while far.recv().is_some() {}
                }
            }
        }
    }
}

#[test]
fn a_clock_that_wraps_in_the_middle_is_not_noticed() {
    for start in [0xFFFF_FFFF, 0xFFFF_FFF6, 0xFFFF_FF00, 0xFFFF_F000, 0x7FFF_F000] {
        for seed in 0..3 {
            let run = run([ours(), ours()], start, 600, 0.05, seed);
            assert!(run.stall_ms < 2_000, "seed {seed}, start {start:#x}: stood still for {} ms", run.stall_ms);
        }
    }
}

#[test]
fn an_engine_with_nothing_to_do_asks_for_no_time() {
    let mut engine = Kcp::new(CONVERSATION, Windows::DATA);
    assert_eq!(engine.due_in(5), Duration::ZERO, "it has never been told the time");
    engine.update(5);
    assert_eq!(engine.due_in(5), Duration::from_secs(1));
    engine.send(b"now").unwrap();
    assert_eq!(engine.due_in(5), Duration::from_millis(10));
    engine.update(15);
    assert!(engine.poll().is_some());
    // The first time-out of §7: 200 ms, and an eighth for the first try.
    assert_eq!(engine.due_in(15), Duration::from_millis(225));
    assert_eq!(engine.due_in(400), Duration::ZERO);
    engine.update(400);
    assert!(engine.poll().is_some(), "no repetition");
    assert!(engine.due_in(400) > Duration::ZERO);
}
