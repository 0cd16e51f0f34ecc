//! Bad networks: datagrams that are lost, doubled, overtaken and late, the same ones for the same seed;
//! and a network in memory, for tests whose time is not the machine's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock;
use crate::net::link::{Datagram, Datagrams};
use crate::proto::Lane;

/// How bad the network is. Probabilities are of each datagram sent, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    pub loss: f64,
    pub duplicate: f64,
    /// A reordered datagram waits [`Weather::REORDER_BY`] longer than the others.
    pub reorder: f64,
    /// What every datagram takes.
    pub delay: Duration,
}

impl Weather {
    pub const REORDER_BY: Duration = Duration::from_millis(15);

    /// Loss of `loss`, and a tenth as many datagrams doubled and overtaken.
    pub fn lossy(loss: f64) -> Self {
        Self { loss, duplicate: loss / 10.0, reorder: loss / 10.0, delay: Duration::from_millis(5) }
    }
}

/// A link that is bad on its way out; wrap both ends to make both directions bad.
pub struct LossyLink<D> {
    inner: D,
    weather: Weather,
    dice: Dice,
    /// On their way, in no order. At most [`LossyLink::MAX_ON_THE_WAY`]; more are lost.
    on_the_way: Vec<Late>,
}

struct Late {
    due: clock::Instant,
    lane: Lane,
    to: SocketAddr,
    payload: Vec<u8>,
}

impl<D: Datagrams> LossyLink<D> {
    const MAX_ON_THE_WAY: usize = 4_096;

    pub fn new(inner: D, weather: Weather, seed: u64) -> Self {
        Self { inner, weather, dice: Dice::new(seed), on_the_way: Vec::new() }
    }

    fn dispatch(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let late_by = if self.dice.roll(self.weather.reorder) { Weather::REORDER_BY } else { Duration::ZERO };
        let delay = self.weather.delay + late_by;
        if delay.is_zero() {
            return self.inner.send(lane, to, payload);
        }
        if self.on_the_way.len() < Self::MAX_ON_THE_WAY {
            self.on_the_way.push(Late { due: clock::now() + delay, lane, to, payload: payload.to_vec() });
        }
        Ok(())
    }

    fn deliver_due(&mut self) -> io::Result<()> {
        let now = clock::now();
        while let Some(next) = self.earliest().filter(|&at| self.on_the_way[at].due <= now) {
            // `remove`, not `swap_remove`: datagrams with the same delay keep their order.
            let late = self.on_the_way.remove(next);
            self.inner.send(late.lane, late.to, &late.payload)?;
        }
        Ok(())
    }

    fn earliest(&self) -> Option<usize> {
        (0..self.on_the_way.len()).min_by_key(|&at| self.on_the_way[at].due)
    }
}

impl<D: Datagrams> Datagrams for LossyLink<D> {
    fn send(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        if self.dice.roll(self.weather.loss) {
            return Ok(());
        }
        if self.dice.roll(self.weather.duplicate) {
            self.dispatch(lane, to, payload)?;
        }
        self.dispatch(lane, to, payload)
    }

    async fn recv(&mut self) -> io::Result<Datagram> {
        loop {
            self.deliver_due()?;
            let Some(next) = self.earliest() else { return self.inner.recv().await };
            let due = self.on_the_way[next].due;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {}
                datagram = self.inner.recv() => return datagram,
            }
        }
    }
}

/// Repeatable chance (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// True with the given probability.
    pub fn roll(&mut self, probability: f64) -> bool {
        // 53 bits, so that the fraction is exact and below 1.
        ((self.next() >> 11) as f64) / ((1_u64 << 53) as f64) < probability
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[(self.next() % choices.len() as u64) as usize]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// One end of a network in memory. A lane's port is the address's port plus the lane's number.
pub struct MemoryLink {
    address: SocketAddr,
    peer: SocketAddr,
    /// Bounded like a socket's buffer; a full one loses the datagram.
    outgoing: mpsc::Sender<Datagram>,
    incoming: mpsc::Receiver<Datagram>,
}

/// Two ends that reach each other at these addresses, and nobody else.
pub fn memory_link(a: SocketAddr, b: SocketAddr) -> (MemoryLink, MemoryLink) {
    const BUFFERED: usize = 1_024;
    let (to_a, at_a) = mpsc::channel(BUFFERED);
    let (to_b, at_b) = mpsc::channel(BUFFERED);
    (
        MemoryLink { address: a, peer: b, outgoing: to_b, incoming: at_a },
        MemoryLink { address: b, peer: a, outgoing: to_a, incoming: at_b },
    )
}

impl MemoryLink {
    fn lane_towards(&self, to: SocketAddr) -> Option<Lane> {
        let lane = to.port().checked_sub(self.peer.port())?;
        (to.ip() == self.peer.ip()).then_some(Lane(u8::try_from(lane).ok()?))
    }
}

impl Datagrams for MemoryLink {
    fn send(&mut self, lane: Lane, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let from = SocketAddr::new(self.address.ip(), self.address.port() + u16::from(lane.0));
        if let Some(lane) = self.lane_towards(to) {
            // Full or gone: lost, as on a wire.
            let _ = self.outgoing.try_send(Datagram { lane, from, payload: payload.to_vec() });
        }
        Ok(())
    }

    async fn recv(&mut self) -> io::Result<Datagram> {
        match self.incoming.recv().await {
            Some(datagram) => Ok(datagram),
            // A peer that is gone is silent, as on a wire.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> (SocketAddr, SocketAddr) {
        (SocketAddr::from(([10, 0, 0, 1], 1_000)), SocketAddr::from(([10, 0, 0, 2], 2_000)))
    }

    /// Sends 0, 1, 2 … through the weather and returns what arrives within ten seconds.
    async fn arrivals(weather: Weather, seed: u64) -> Vec<u8> {
        let (a, b) = addresses();
        let (near, mut far) = memory_link(a, b);
        let mut near = LossyLink::new(near, weather, seed);
        for n in 0..200 {
            near.send(Lane::MAIN, b, &[n]).unwrap();
        }
        let mut arrived = Vec::new();
        let deadline = clock::now() + Duration::from_secs(10);
        loop {
            tokio::select! {
                datagram = far.recv() => arrived.push(datagram.unwrap().payload[0]),
                _ = near.recv() => unreachable!("nobody sends back"),
                () = tokio::time::sleep_until(deadline) => return arrived,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fair_weather_delivers_everything_in_order() {
        let late = Weather { delay: Duration::from_millis(5), ..Weather::default() };
        for weather in [Weather::default(), late] {
            assert_eq!(arrivals(weather, 1).await, (0..200).collect::<Vec<u8>>(), "{weather:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_bad_weather_does_what_it_says() {
        let lost = arrivals(Weather { loss: 0.2, ..Weather::default() }, 7).await.len();
        assert!((130..190).contains(&lost), "{lost} of 200 arrived with 20 % loss");
        let doubled = arrivals(Weather { duplicate: 0.2, ..Weather::default() }, 7).await.len();
        assert!((210..270).contains(&doubled), "{doubled} arrived with 20 % doubled");
        let mut shuffled = arrivals(Weather { reorder: 0.2, ..Weather::default() }, 7).await;
        assert!(!shuffled.is_sorted());
        shuffled.sort_unstable();
        assert_eq!(shuffled, (0..200).collect::<Vec<u8>>());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_loses_the_same_datagrams() {
        let weather = Weather::lossy(0.1);
        assert_eq!(arrivals(weather, 42).await, arrivals(weather, 42).await);
        assert_ne!(arrivals(weather, 42).await, arrivals(weather, 43).await);
    }

    #[tokio::test]
    async fn each_lane_has_a_port_of_its_own() {
        let (a, b) = addresses();
        let (mut near, mut far) = memory_link(a, b);
        near.send(Lane(1), b, b"moved").unwrap();
        let from = far.recv().await.unwrap().from;
        assert_eq!(from, SocketAddr::from(([10, 0, 0, 1], 1_001)));
        far.send(Lane::MAIN, from, b"answer").unwrap();
        assert_eq!(near.recv().await.unwrap().lane, Lane(1));
        near.send(Lane::MAIN, a, b"to myself").unwrap();
        near.send(Lane::MAIN, b, b"to the peer").unwrap();
        assert_eq!(far.recv().await.unwrap().payload, b"to the peer");
    }
}
