//! Messages in text frames (vivint reference §7.2): a long one is announced by the number of its pieces.

/// The longest message that is read, whole or in pieces, in bytes.
pub const MAX_MESSAGE: usize = 10 << 20;
/// What keeps a connection from being forgotten. The server does not answer.
pub const KEEP_ALIVE: &str = "0";
/// The longest piece, in the units that JavaScript counts characters in.
const MAX_PIECE: usize = 16_384;
/// A longer frame is no count.
const MAX_COUNT_DIGITS: usize = 6;
const MAX_PIECES: u32 = 9_999;

/// Why what follows on this connection cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a message of {0} pieces was announced, and {MAX_PIECES} are the most")]
    TooManyPieces(u32),
    #[error("a message is longer than {} MiB", MAX_MESSAGE >> 20)]
    TooLong,
}

/// The frames that carry `message`: itself, or a count and its pieces.
///
/// JavaScript counts a character beyond the 65 536 most usual as two. Such a one is never cut in half here.
pub fn split(message: &str) -> Vec<String> {
    let mut pieces = vec![];
    let (mut begin, mut units) = (0, 0);
    for (at, character) in message.char_indices() {
        if units + character.len_utf16() > MAX_PIECE {
            pieces.push(&message[begin..at]);
            (begin, units) = (at, 0);
        }
        units += character.len_utf16();
    }
    pieces.push(&message[begin..]);
    let count = (pieces.len() > 1).then(|| pieces.len().to_string());
    count.into_iter().chain(pieces.into_iter().map(str::to_owned)).collect()
}

/// Puts the pieces of messages together again.
#[derive(Debug, Default)]
pub struct Collector {
    /// How many pieces are still to come.
    missing: u32,
    collected: String,
}

impl Collector {
    /// The message that `frame` completes, if it does. After an error the connection is of no more use.
    pub fn collect(&mut self, frame: &str) -> Result<Option<String>, FrameError> {
        if self.missing == 0 {
            return match count(frame) {
                Some(pieces) if pieces > MAX_PIECES => Err(FrameError::TooManyPieces(pieces)),
                // None at all is a keep-alive.
                Some(pieces) => {
                    self.missing = pieces;
                    Ok(None)
                }
                None => whole(frame.to_owned()).map(Some),
            };
        }
        self.collected = whole(std::mem::take(&mut self.collected) + frame)?;
        self.missing -= 1;
        Ok((self.missing == 0).then(|| std::mem::take(&mut self.collected)))
    }

    /// Whether a message has begun and is not complete.
    pub fn is_collecting(&self) -> bool {
        self.missing > 0
    }
}

fn count(frame: &str) -> Option<u32> {
    match frame.trim() {
        _ if frame.len() > MAX_COUNT_DIGITS => None,
        // As JavaScript's `Number` has it.
        "" => Some(0),
        digits => digits.parse().ok(),
    }
}

fn whole(message: String) -> Result<String, FrameError> {
    if message.len() > MAX_MESSAGE { Err(FrameError::TooLong) } else { Ok(message) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::*;

    fn vector(name: &str) -> Value {
        let text = include_str!("../../../../tests/vectors/vivint/vivint.json");
        serde_json::from_str::<Value>(text).unwrap()[name].take()
    }

    fn collect_all<'a>(frames: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let mut collector = Collector::default();
        frames.into_iter().filter_map(|frame| collector.collect(frame).unwrap()).collect()
    }

    #[test]
    fn a_long_message_goes_out_as_the_official_client_splits_it_and_is_whole_again() {
        let split_vector = vector("rtdb_split");
        let frames = vector("rtdb_frames");
        let push = frames["push_answer"].as_str().unwrap();
        // As the hash has it: the message without its time, its names in another order.
        let head = push.split("v=0").next().unwrap();
        let answer = serde_json::from_str::<Value>(push).unwrap()["d"]["b"]["d"].take();
        let tail = format!("\"from\":{},\"transactionUuid\":{}", answer["from"], answer["transactionUuid"]);
        let message = format!("{head}{}\",{tail}}}}}}}}}", "x".repeat(40_000));
        assert!(message.starts_with(split_vector["payload_head"].as_str().unwrap()));
        assert_eq!(message.chars().count() as u64, split_vector["payload_chars"].as_u64().unwrap());
        let digest: String = Sha256::digest(&message).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, split_vector["payload_sha256"].as_str().unwrap());

        let sent = split(&message);
        let lengths: Vec<String> = sent[1..].iter().map(|piece| format!("<{} chars>", piece.len())).collect();
        let expected: Vec<&str> =
            split_vector["frames"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
        assert_eq!(sent[0], expected[0]);
        assert_eq!(lengths, expected[1..]);
        assert_eq!(collect_all(&sent), [message]);
    }

    #[test]
    fn a_message_announced_as_one_piece_is_read() {
        let vector = vector("rtdb_split");
        let frames: Vec<String> = serde_json::from_value(vector["small_message_with_count_one"].clone()).unwrap();
        assert_eq!(collect_all(&frames), [frames[1].clone()]);
    }

    #[test]
    fn what_fits_in_a_piece_is_not_announced() {
        assert_eq!(split(&"x".repeat(MAX_PIECE)).len(), 1);
        assert_eq!(split(&"x".repeat(MAX_PIECE + 1)).len(), 3);
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn characters_are_counted_and_not_bytes_and_none_is_cut() {
        for (character, fits) in [("ä", MAX_PIECE), ("水", MAX_PIECE), ("🔔", MAX_PIECE / 2)] {
            assert_eq!(split(&character.repeat(fits)).len(), 1, "{character}");
            let message = format!("x{}", character.repeat(3 * MAX_PIECE));
            let frames = split(&message);
            assert!(frames[1..].iter().all(|piece| piece.encode_utf16().count() <= MAX_PIECE), "{character}");
            assert_eq!(frames[0], (frames.len() - 1).to_string());
            assert_eq!(collect_all(&frames), [message]);
        }
    }

    #[test]
    fn while_pieces_are_missing_whatever_comes_is_one() {
        let frames = ["3", "[", "0", "]", "0", "", "[1]"].map(str::to_owned);
        assert_eq!(collect_all(&frames), ["[0]", "[1]"]);
    }

    #[test]
    fn what_looks_like_no_count_is_a_message() {
        for message in ["-1", "1.5", "{}", "0000001", "99999999"] {
            assert_eq!(collect_all(&[message.to_owned()]), [message]);
        }
    }

    #[test]
    fn counts_and_lengths_are_bounded() {
        assert_eq!(Collector::default().collect("9999"), Ok(None));
        assert_eq!(Collector::default().collect("10000"), Err(FrameError::TooManyPieces(10_000)));
        assert_eq!(Collector::default().collect("999999"), Err(FrameError::TooManyPieces(999_999)));
        let megabyte = "x".repeat(1 << 20);
        let mut collector = Collector::default();
        collector.collect("9999").unwrap();
        for _ in 0..10 {
            assert_eq!(collector.collect(&megabyte), Ok(None));
        }
        assert_eq!(collector.collect("x"), Err(FrameError::TooLong));
        assert_eq!(Collector::default().collect(&"x".repeat(MAX_MESSAGE + 1)), Err(FrameError::TooLong));
    }
}
