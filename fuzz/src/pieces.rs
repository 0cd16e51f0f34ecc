//! One input as several.

/// `data` as pieces, each behind its length in two bytes, little-endian.
pub fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let (piece, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*len).into()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}
