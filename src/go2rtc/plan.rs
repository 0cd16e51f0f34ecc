//! What is there against what should be: the calls that make it so.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::source::{Likeness, Source};
use crate::config::Go2rtcMode;
use crate::model::DeviceId;

/// The streams of a go2rtc by name, each with the addresses of its producers.
pub(super) type There = BTreeMap<String, Vec<String>>;

/// One change, over go2rtc's `/api/streams`.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// `PUT`: creates or replaces it, and writes it into go2rtc's configuration file.
    Write { name: String, source: Source },
    /// `PATCH`: creates it or changes its one source, until go2rtc restarts.
    Set { name: String, source: Source },
    /// `DELETE`
    Remove { name: String },
}

/// What we want there to be.
pub(super) struct Wish {
    /// Where go2rtc reaches us: what else our sources begin with.
    pub(super) base: Url,
    /// What our names begin with.
    pub(super) prefix: String,
    pub(super) streams: BTreeMap<DeviceId, Source>,
    /// Whose streams go when they are not among `streams` any more.
    pub(super) leavers: Leavers,
    pub(super) persist: bool,
}

/// Which doorbells are known to be gone when they are not there.
pub(super) enum Leavers {
    /// Not every account has told yet what it has: those that were there since we started.
    Seen(BTreeSet<DeviceId>),
    /// All: what a former run has left, too.
    Everybody,
}

impl Wish {
    pub(super) fn name(&self, doorbell: &DeviceId) -> String {
        format!("{}{doorbell}", self.prefix)
    }

    /// The calls that are left to make.
    pub(super) fn calls(&self, there: &There) -> Vec<Call> {
        let wanted = self.streams.iter().filter_map(|(doorbell, source)| self.call(doorbell, source, there));
        let leftover = there.iter().filter(|(name, told)| self.is_leftover(name, told));
        wanted.chain(leftover.map(|(name, _)| Call::Remove { name: name.clone() })).collect()
    }

    fn call(&self, doorbell: &DeviceId, source: &Source, there: &There) -> Option<Call> {
        let (name, source) = (self.name(doorbell), source.clone());
        let likeness = match there.get(&name).map(Vec::as_slice) {
            None => Likeness::Other,
            Some([told]) => source.compare(told),
            // Its owner has put something beside our source, which a change would do away with; or somebody talks.
            Some(_) => return None,
        };
        match likeness {
            Likeness::Same => None,
            Likeness::Other if self.persist => Some(Call::Write { name, source }),
            // A key is not worth writing down: when the file is read again it is long dead.
            Likeness::Other | Likeness::OtherKey => Some(Call::Set { name, source }),
        }
    }

    /// Whether this was a stream of ours, and its doorbell is gone.
    fn is_leftover(&self, name: &str, told: &[String]) -> bool {
        let doorbell = name.strip_prefix(&self.prefix).and_then(|id| DeviceId::parse(id).ok());
        let (Some(doorbell), [told]) = (doorbell, told) else { return false };
        let left = match &self.leavers {
            Leavers::Seen(seen) => seen.contains(&doorbell),
            Leavers::Everybody => true,
        };
        let is_ours = |mode| Source::new(&self.base, mode, &doorbell, None).compare(told) != Likeness::Other;
        left && !self.streams.contains_key(&doorbell) && [Go2rtcMode::Ws, Go2rtcMode::Whep].into_iter().any(is_ours)
    }

    /// How many of our streams are there.
    pub(super) fn present(&self, there: &There) -> usize {
        self.streams.keys().filter(|doorbell| there.contains_key(&self.name(doorbell))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Token;

    fn id(id: &str) -> DeviceId {
        DeviceId::parse(id).unwrap()
    }

    /// `a` and `b` are wanted; `c` was, since we started.
    fn wish(persist: bool) -> Wish {
        let base = Url::parse("http://127.0.0.1:8480").unwrap();
        let key = || Some(Token::new("new"));
        let streams = ["a", "b"].map(id).map(|id| (id.clone(), Source::new(&base, Go2rtcMode::Ws, &id, key()))).into();
        let leavers = Leavers::Seen(["a", "b", "c"].map(id).into());
        Wish { base, prefix: "doorstep_".to_owned(), streams, leavers, persist }
    }

    fn there<const N: usize>(streams: [(&str, &[&str]); N]) -> There {
        let owned = |told: &[&str]| told.iter().map(|url| (*url).to_owned()).collect();
        streams.map(|(name, told)| (name.to_owned(), owned(told))).into()
    }

    /// Each call as `METHOD name`.
    fn calls(wish: &Wish, there: &There) -> Vec<String> {
        let line = |call: &Call| match call {
            Call::Write { name, .. } => format!("PUT {name}"),
            Call::Set { name, .. } => format!("PATCH {name}"),
            Call::Remove { name } => format!("DELETE {name}"),
        };
        wish.calls(there).iter().map(line).collect()
    }

    const A: &str = "webrtc:ws://127.0.0.1:8480/api/ws?src=a&key=new";
    const B: &str = "ws://127.0.0.1:8480/api/ws?src=b&key=new";
    const B_BEFORE: &str = "ws://127.0.0.1:8480/api/ws?src=b&key=old";
    const D: &str = "webrtc:http://127.0.0.1:8480/whep/d";
    const C: &str = "webrtc:ws://127.0.0.1:8480/api/ws?src=c&key=old";

    #[test]
    fn what_is_missing_is_made_and_what_is_right_is_left_alone() {
        assert_eq!(calls(&wish(false), &There::new()), ["PATCH doorstep_a", "PATCH doorstep_b"]);
        let one = there([("doorstep_a", &[A])]);
        assert_eq!(calls(&wish(false), &one), ["PATCH doorstep_b"]);
        let both = there([("doorstep_a", &[A]), ("doorstep_b", &[B])]);
        assert_eq!(calls(&wish(false), &both), [""; 0]);
        assert_eq!((wish(false).present(&one), wish(false).present(&both)), (1, 2));
    }

    #[test]
    fn another_key_or_address_is_put_right() {
        let changed = there([("doorstep_a", &["webrtc:ws://10.0.0.1:8480/api/ws?src=a"]), ("doorstep_b", &[B_BEFORE])]);
        assert_eq!(calls(&wish(false), &changed), ["PATCH doorstep_a", "PATCH doorstep_b"]);
    }

    #[test]
    fn a_file_is_written_for_a_stream_and_never_for_a_key() {
        let changed = there([("doorstep_b", &[B_BEFORE])]);
        assert_eq!(calls(&wish(true), &changed), ["PUT doorstep_a", "PATCH doorstep_b"]);
    }

    #[test]
    fn only_what_was_ours_is_taken_away() {
        let right = [("doorstep_a", &[A][..]), ("doorstep_b", &[B])];
        let with = |name, told: &'static [&'static str]| there([right[0], right[1], (name, told)]);
        assert_eq!(calls(&wish(false), &with("doorstep_c", &[C])), ["DELETE doorstep_c"]);
        for (name, told) in [
            // Of the owner's, of another Doorstep, of a doorbell that is not known to be gone, with something beside.
            ("doorstep_c", &["rtsp://camera/1"][..]),
            ("doorstep_c", &["webrtc:ws://10.0.0.9:8480/api/ws?src=c"]),
            ("doorstep_d", &[D]),
            ("doorstep_c", &[C, "ffmpeg:doorstep_c#audio=aac"]),
            ("c", &[C]),
            ("doorstep_c", &[]),
        ] {
            assert_eq!(calls(&wish(false), &with(name, told)), [""; 0], "{name} {told:?}");
        }
    }

    #[test]
    fn what_a_former_run_has_left_goes_when_every_account_has_told_what_it_has() {
        let left = there([("doorstep_a", &[A]), ("doorstep_b", &[B]), ("doorstep_d", &[D]), ("doorstep_E", &[D])]);
        assert_eq!(calls(&wish(false), &left), [""; 0]);
        assert_eq!(calls(&Wish { leavers: Leavers::Everybody, ..wish(false) }, &left), ["DELETE doorstep_d"]);
    }

    #[test]
    fn what_its_owner_has_put_beside_our_source_stays() {
        let more = there([("doorstep_a", &[A, "ffmpeg:doorstep_a#audio=aac"]), ("doorstep_b", &[])]);
        assert_eq!(calls(&wish(false), &more), [""; 0]);
    }
}
