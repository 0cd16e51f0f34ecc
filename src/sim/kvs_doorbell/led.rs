//! The light that tells who stands at the door that it is open: on with a valid command, off exactly 3 s after the
//! latest one, and off when the channel that lit it is lost (kvs reference §7).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use super::program::Program;
use super::{Event, Tell};
use crate::clock::{self, Instant};

/// One data channel of one viewer.
pub(super) type Source = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// A valid command has come over this channel.
    Light(Source),
    /// This channel is gone.
    Lost(Source),
}

/// The way to the light. It is dark when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Led(mpsc::Sender<Order>);

impl Led {
    const FOR: Duration = Duration::from_secs(3);
    /// Full: the order is lost; a light that is not put out goes out by itself.
    const ORDERS: usize = 16;

    /// `program` is run with `on` or `off` besides the events.
    pub(super) fn start(program: Option<Program>, tell: Tell) -> Self {
        let (sender, orders) = mpsc::channel(Self::ORDERS);
        let lamp = Lamp { lit: None, program, running: None, tell };
        tokio::spawn(lamp.run(orders));
        Self(sender)
    }

    pub(super) fn light(&self, source: Source) {
        let _full = self.0.try_send(Order::Light(source));
    }

    pub(super) fn lost(&self, source: Source) {
        let _full = self.0.try_send(Order::Lost(source));
    }
}

struct Lamp {
    /// Who has lit it, and until when.
    lit: Option<(Source, Instant)>,
    program: Option<Program>,
    /// The latest word is the one that counts: a program that still runs is killed.
    running: Option<AbortOnDropHandle<()>>,
    tell: Tell,
}

impl Lamp {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let off_at = self.lit.map(|(_, until)| until);
            tokio::select! {
                biased;
                () = sleep_until(off_at.unwrap_or_else(clock::now)), if off_at.is_some() => self.put_out(),
                order = orders.recv() => match order {
                    Some(Order::Light(source)) => self.light(source),
                    Some(Order::Lost(source)) if self.lit.is_some_and(|(by, _)| by == source) => self.put_out(),
                    Some(Order::Lost(_)) => {}
                    None => break,
                },
            }
        }
        if self.lit.is_some() {
            self.put_out();
        }
        if let Some(running) = self.running.take() {
            let _ended = running.await;
        }
    }

    fn light(&mut self, source: Source) {
        let was_lit = self.lit.replace((source, clock::now() + Led::FOR)).is_some();
        if !was_lit {
            self.switch(true);
        }
    }

    fn put_out(&mut self) {
        self.lit = None;
        self.switch(false);
    }

    fn switch(&mut self, on: bool) {
        self.tell.tell(Event::Led { on });
        let Some(program) = &self.program else { return };
        let (program, tell) = (program.with(if on { "on" } else { "off" }), self.tell.clone());
        let switching = async move {
            if let Err(why) = program.run().await {
                tell.tell(Event::ProgramTrouble { program: program.to_string(), why });
            }
        };
        self.running = Some(AbortOnDropHandle::new(tokio::spawn(switching)));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    struct Watched {
        led: Led,
        events: broadcast::Receiver<Event>,
        begun: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let sender = broadcast::Sender::new(16);
            let events = sender.subscribe();
            Self { led: Led::start(None, Tell(sender)), events, begun: clock::now() }
        }

        /// Whether it is on, and the milliseconds that have passed.
        async fn next(&mut self) -> (bool, u128) {
            match self.events.recv().await.unwrap() {
                Event::Led { on } => (on, self.begun.elapsed().as_millis()),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_on_at_once_and_off_three_seconds_after_the_latest_command() {
        let mut watched = Watched::new();
        watched.led.light(1);
        assert!(matches!(watched.next().await, (true, ..=100)));
        tokio::time::sleep(Duration::from_millis(2_000)).await;
        watched.led.light(2);
        let (on, ms) = watched.next().await;
        assert!(!on && (5_000..5_050).contains(&ms), "{on} at {ms}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_channel_that_lit_it_puts_it_out_by_going_and_no_other_does() {
        let mut watched = Watched::new();
        watched.led.light(1);
        watched.next().await;
        watched.led.lost(2);
        tokio::time::sleep(Duration::from_millis(500)).await;
        watched.led.lost(1);
        let (on, ms) = watched.next().await;
        assert!(!on && (500..600).contains(&ms), "{on} at {ms}");
        watched.led.lost(1);
        watched.led.light(3);
        assert!(matches!(watched.next().await, (true, 500..600)), "it was put out twice");
    }

    #[tokio::test(start_paused = true)]
    async fn a_doorbell_that_stops_leaves_no_light_on() {
        let mut watched = Watched::new();
        watched.led.light(1);
        watched.next().await;
        let Watched { led, mut events, .. } = watched;
        drop(led);
        assert_eq!(events.recv().await.unwrap(), Event::Led { on: false });
    }
}
