//! Messages in frames: long ones in pieces, with their number before them (§7.2).

/// A longer message comes in pieces of this many characters.
pub(super) const LONGEST: usize = 16_384;
/// What a client may send.
const PIECES: usize = 9_999;
const SIZE: usize = 10 * 1_024 * 1_024;

/// Puts messages together.
#[derive(Default)]
pub(super) struct Assembly {
    missing: usize,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("a message of {0} pieces")]
    Pieces(usize),
    #[error("a message of more than {SIZE} bytes")]
    Bytes,
}

impl Assembly {
    /// The message that this frame completes, if it completes one.
    pub(super) fn take(&mut self, frame: &str) -> Result<Option<String>, TooMuch> {
        if self.missing == 0 {
            return match count(frame) {
                // A keep-alive.
                Some(0) => Ok(None),
                Some(pieces) if pieces > PIECES => Err(TooMuch::Pieces(pieces)),
                Some(pieces) => {
                    self.missing = pieces;
                    Ok(None)
                }
                None => Ok(Some(frame.to_owned())),
            };
        }
        if self.text.len() + frame.len() > SIZE {
            return Err(TooMuch::Bytes);
        }
        self.text.push_str(frame);
        self.missing -= 1;
        Ok((self.missing == 0).then(|| std::mem::take(&mut self.text)))
    }
}

/// Of a frame that announces pieces.
fn count(frame: &str) -> Option<usize> {
    if frame.len() <= 6 { frame.parse().ok() } else { None }
}

/// How a message is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// As Google does.
    Usual,
    /// Into pieces of so many characters.
    Pieces(usize),
    /// As usual, and a count before a single piece too, as firebase-server does.
    CountOfOne,
    /// As usual, with a count that is one too high.
    LyingCount,
}

/// The frames of a message.
pub(super) fn frames(message: &str, cut: Cut) -> Vec<String> {
    let longest = if let Cut::Pieces(longest) = cut { longest } else { LONGEST };
    let characters: Vec<char> = message.chars().collect();
    let pieces: Vec<String> = characters.chunks(longest).map(|piece| piece.iter().collect()).collect();
    if pieces.len() <= 1 && cut != Cut::CountOfOne {
        return pieces;
    }
    let count = if cut == Cut::LyingCount { pieces.len() + 1 } else { pieces.len() };
    std::iter::once(count.to_string()).chain(pieces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(frames: &[String]) -> Vec<String> {
        let mut assembly = Assembly::default();
        frames.iter().filter_map(|frame| assembly.take(frame).unwrap()).collect()
    }

    #[test]
    fn the_golden_split_is_made_and_read() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap();
        let length = golden["rtdb_split"]["payload_chars"].as_u64().unwrap() as usize;
        let message = "m".repeat(length);
        let cut = frames(&message, Cut::Usual);
        let lengths: Vec<usize> = cut.iter().map(String::len).collect();
        assert_eq!((cut[0].as_str(), lengths), ("3", vec![1, 16_384, 16_384, 7_478]));
        assert_eq!(assembled(&cut), [message]);
    }

    #[test]
    fn every_cut_but_the_lie_gives_the_message_back() {
        for message in ["{}", "ä\u{1f514}xyz".repeat(99).as_str()] {
            for cut in [Cut::Usual, Cut::Pieces(100), Cut::CountOfOne] {
                assert_eq!(assembled(&frames(message, cut)), [message], "{cut:?}");
            }
        }
        assert!(assembled(&frames(&"x".repeat(LONGEST + 1), Cut::LyingCount)).is_empty());
    }

    #[test]
    fn a_keep_alive_is_no_message_and_too_much_is_refused() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take("0"), Ok(None));
        assert_eq!(assembly.take("{}"), Ok(Some("{}".into())));
        assert_eq!(assembly.take("10000"), Err(TooMuch::Pieces(10_000)));
        assert_eq!(assembly.take("9999"), Ok(None));
        assert_eq!(assembly.take(&"x".repeat(SIZE)), Ok(None));
        assert_eq!(assembly.take("x"), Err(TooMuch::Bytes));
    }
}
