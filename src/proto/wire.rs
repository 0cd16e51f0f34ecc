//! Reading bytes that came from a network, and writing bytes in field order.

/// Why some bytes are not the structure they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{structure}: ends after {len} bytes")]
    Truncated { structure: &'static str, len: usize },
    #[error("{structure}: {field} has the impossible value {value:#x}")]
    Invalid { structure: &'static str, field: &'static str, value: u64 },
}

/// A cursor over received bytes that names the structure in its errors.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    structure: &'static str,
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { structure, all: bytes, rest: bytes }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let truncated = DecodeError::Truncated { structure: self.structure, len: self.all.len() };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returned N bytes"))
    }

    pub fn skip(&mut self, len: usize) -> Result<(), DecodeError> {
        self.take(len).map(drop)
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16_le(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32_le(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64_le(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// What is left, which may be nothing.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// An error about a field that was just read.
    pub fn invalid(&self, field: &'static str, value: impl Into<u64>) -> DecodeError {
        DecodeError::Invalid { structure: self.structure, field, value: value.into() }
    }
}

/// Writing in field order, one line a field.
pub trait Writer {
    fn u8(&mut self, value: u8);
    fn u16_le(&mut self, value: u16);
    fn u32_le(&mut self, value: u32);
    fn u64_le(&mut self, value: u64);
    fn bytes(&mut self, value: &[u8]);
    fn zeros(&mut self, count: usize);
}

impl Writer for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn u16_le(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u32_le(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u64_le(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }

    fn zeros(&mut self, count: usize) {
        self.resize(self.len() + count, 0);
    }
}

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_past_the_end_names_the_structure() {
        let mut reader = Reader::new("AV login", &[1, 2, 3]);
        assert_eq!(reader.u16_le(), Ok(0x0201));
        assert_eq!(reader.u32_le(), Err(DecodeError::Truncated { structure: "AV login", len: 3 }));
        assert_eq!(reader.u8(), Ok(3), "a failed read takes nothing");
    }
}
