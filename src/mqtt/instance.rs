//! Two Doorsteps under one client id take the connection away from each other for ever. Each leaves its
//! retained mark on one topic; whoever finds a foreign mark where it had left its own was displaced.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// One run of Doorstep.
pub(super) struct Instance {
    topic: String,
    /// `milliseconds since 1970, 13 digits` `-` `16 hexadecimal digits at random`: sorts by age.
    mark: String,
    /// On the first connection a mark is that of a former run and displaces nobody.
    connections: u32,
    /// Whether a mark was looked at in the present one. Who writes several there has not displaced us several times.
    looked: bool,
    /// In a row, without a stable connection between: a broker that crashed may come back with an old mark.
    displaced: u32,
}

/// Who has used our client id since we were last connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rival {
    /// Nobody, or not often enough to be sure.
    None,
    /// One that started after us. It will give way.
    Younger,
    /// One that started before us, for the third time: it is on us to give way.
    Older,
}

impl Instance {
    const DISPLACED_AT_MOST: u32 = 3;

    pub(super) fn new(topic: String, started: SystemTime, random: u64) -> Self {
        let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
        Self { topic, mark: format!("{started:013}-{random:016x}"), connections: 0, looked: false, displaced: 0 }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    pub(super) fn on_connected(&mut self) {
        self.connections += 1;
        self.looked = false;
    }

    /// The connection has lasted: whoever displaced us before has given up.
    pub(super) fn on_stable(&mut self) {
        self.displaced = 0;
    }

    /// A retained mark was found on connecting. What is none, somebody else has left there.
    pub(super) fn on_mark(&mut self, found: &Bytes) -> Rival {
        let first = !std::mem::replace(&mut self.looked, true);
        if !first || self.connections < 2 || !is_mark(found) || found == self.mark.as_bytes() {
            return Rival::None;
        }
        self.displaced += 1;
        match found.as_ref() > self.mark.as_bytes() {
            true if self.displaced == 1 => Rival::Younger,
            false if self.displaced >= Self::DISPLACED_AT_MOST => Rival::Older,
            _ => Rival::None,
        }
    }
}

fn is_mark(found: &[u8]) -> bool {
    found.len() == 30 && found.iter().enumerate().all(|(at, byte)| (*byte == b'-') == (at == 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(started_s: u64) -> Instance {
        Instance::new("t".to_owned(), SystemTime::UNIX_EPOCH + Duration::from_secs(started_s), started_s)
    }

    fn meets(instance: &mut Instance, mark: &Bytes) -> Rival {
        instance.on_connected();
        instance.on_mark(mark)
    }

    #[test]
    fn only_the_younger_of_two_gives_way_and_only_the_third_time() {
        let (mut older, mut younger) = (instance(100), instance(200));
        let (old_mark, young_mark) = (Bytes::from(older.mark().to_owned()), Bytes::from(younger.mark().to_owned()));
        let seen: Vec<_> = (0..4).map(|_| meets(&mut younger, &old_mark)).collect();
        assert_eq!(seen, [Rival::None, Rival::None, Rival::None, Rival::Older], "the first is of before its time");
        older.on_connected();
        let seen: Vec<_> = (0..4).map(|_| meets(&mut older, &young_mark)).collect();
        assert_eq!(seen, [Rival::Younger, Rival::None, Rival::None, Rival::None]);
    }

    #[test]
    fn whoever_floods_us_with_marks_or_leaves_none_does_not_make_us_give_way() {
        let (older, mut younger) = (instance(100), instance(200));
        let mark = Bytes::from(older.mark().to_owned());
        younger.on_connected();
        for _ in 0..2 {
            younger.on_connected();
            assert!((0..9).all(|_| younger.on_mark(&mark) == Rival::None));
        }
        for nonsense in ["", "0", "0000000000000-", "00000000000000000000000000000-"] {
            assert_eq!(meets(&mut younger, &Bytes::from(nonsense)), Rival::None, "{nonsense}");
        }
        assert_eq!(meets(&mut younger, &mark), Rival::Older, "the third time");
    }

    #[test]
    fn our_own_mark_is_nobody_else() {
        let mut instance = instance(100);
        let mark = Bytes::from(instance.mark().to_owned());
        assert!((0..9).all(|_| meets(&mut instance, &mark) == Rival::None));
    }

    #[test]
    fn a_broker_that_comes_back_with_an_old_mark_now_and_then_is_no_rival() {
        let (former, mut instance) = (instance(100), instance(200));
        let mark = Bytes::from(former.mark().to_owned());
        for _ in 0..9 {
            assert_eq!(meets(&mut instance, &mark), Rival::None);
            instance.on_stable();
        }
    }
}
