//! Files of sound for whoever takes them.

use std::f64::consts::TAU;

/// A tone as a WAV file of 16-bit samples.
pub(crate) fn wav(rate_hz: u32, tone_hz: f64, seconds: f64) -> Vec<u8> {
    let samples = (f64::from(rate_hz) * seconds) as u32;
    let sample = |n: u32| ((TAU * tone_hz * f64::from(n) / f64::from(rate_hz)).sin() * 8_000.0) as i16;
    let data: Vec<u8> = (0..samples).flat_map(|n| sample(n).to_le_bytes()).collect();
    let size = data.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend_from_slice(&(36 + size).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&rate_hz.to_le_bytes());
    file.extend_from_slice(&(rate_hz * 2).to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&size.to_le_bytes());
    file.extend_from_slice(&data);
    file
}
