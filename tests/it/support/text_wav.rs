//! A file of sound that can be sent as text.

/// 5.94 s of a loud square wave as a WAV file: 11 025 samples a second, 2^16 of them. Every byte of it is ASCII.
pub(crate) fn text_wav() -> String {
    let mut file = b"RIFF\x24\0\x02\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    // Samples a second, bytes a second, bytes and bits a sample, and 2^17 bytes of them.
    file.extend(b"\x11\x2b\0\0\x22\x56\0\0\x02\0\x10\0data\0\0\x02\0");
    file.extend((0..1_u32 << 16).flat_map(|n| if (n / 11).is_multiple_of(2) { *b"\0\x60" } else { *b"\0\0" }));
    String::from_utf8(file).unwrap()
}
