//! Places in the database.

use std::fmt;

/// A place: keys from the root down. Requests write it with a slash in front, pushes without (vivint reference §7.5);
/// here they are the same.
///
/// Not printed: the keys are names of accounts, systems and cameras.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<String>);

impl Path {
    /// As deep as Firebase lets a value be.
    const MAX_KEYS: usize = 32;
    /// In bytes, likewise.
    const MAX_KEY: usize = 768;

    /// `None` when it is deeper or a key longer than the database allows.
    pub fn parse(text: &str) -> Option<Self> {
        Self::default().child(text)
    }

    /// The place `text` below this one.
    pub fn child(&self, text: &str) -> Option<Self> {
        let mut keys = self.0.clone();
        for key in text.split('/').filter(|key| !key.is_empty()) {
            if keys.len() == Self::MAX_KEYS || key.len() > Self::MAX_KEY {
                return None;
            }
            keys.push(key.to_owned());
        }
        Some(Self(keys))
    }

    /// The keys from `ancestor` down to here; `None` when it is not above.
    pub(super) fn below(&self, ancestor: &Self) -> Option<&[String]> {
        self.0.strip_prefix(ancestor.0.as_slice())
    }

    /// As requests write it: `/groups/1/devices`.
    pub fn request(&self) -> String {
        format!("/{}", self.push())
    }

    /// As pushes write it: `groups/1/devices`.
    pub fn push(&self) -> String {
        self.0.join("/")
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_in_front_behind_and_doubled_make_no_difference() {
        let path = Path::parse("/groups/1/msg").unwrap();
        for text in ["groups/1/msg", "groups/1/msg/", "//groups//1/msg"] {
            assert_eq!(Path::parse(text).unwrap(), path, "{text}");
        }
        assert_eq!((path.request().as_str(), path.push().as_str()), ("/groups/1/msg", "groups/1/msg"));
        assert_eq!(Path::parse("/").unwrap().request(), "/");
    }

    #[test]
    fn what_the_database_cannot_hold_is_no_place() {
        assert!(Path::parse(&"a/".repeat(32)).is_some());
        assert!(Path::parse(&"a/".repeat(33)).is_none());
        assert!(Path::parse(&"a".repeat(769)).is_none());
        assert!(Path::parse(&"a/".repeat(31)).unwrap().child("b/c").is_none());
    }

    #[test]
    fn it_is_below_what_it_begins_with_and_below_itself() {
        let path = |text| Path::parse(text).unwrap();
        assert_eq!(path("a/b/c").below(&path("a")), Some(["b".to_owned(), "c".to_owned()].as_slice()));
        assert_eq!(path("a").below(&path("a")), Some([].as_slice()));
        assert_eq!(path("ab").below(&path("a")), None);
        assert_eq!(path("a").below(&path("a/b")), None);
    }

    #[test]
    fn its_keys_are_not_printed() {
        assert_eq!(format!("{:?}", Path::parse("/canary/msg").unwrap()), "Path(2 keys)");
    }
}
