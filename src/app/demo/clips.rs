//! The demo's clips, made here: a bell of two notes, and two tones.

use std::f64::consts::TAU;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const RATE_HZ: u32 = 16_000;

/// A note: its pitch, and for how many seconds it sounds.
type Note = (f64, f64);

/// Puts the clips into `folder`, but for those that are there.
pub(super) fn put(folder: &Path) -> io::Result<()> {
    // As the folder around it has to be.
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let ding_dong = [(659.3, 0.7), (523.3, 1.1)];
    let two_tones = [(440.0, 0.4), (880.0, 0.4), (440.0, 0.4), (880.0, 0.4)];
    for (name, samples) in [("ding_dong.wav", played(&ding_dong, 3.0)), ("two_tones.wav", played(&two_tones, 0.0))] {
        let path = folder.join(name);
        if !path.exists() {
            std::fs::write(path, wav(&samples))?;
        }
    }
    Ok(())
}

/// Notes one after the other, each dying away at so many times its length; 0: not at all.
fn played(notes: &[Note], fading: f64) -> Vec<i16> {
    let note = |&(pitch_hz, seconds): &Note| {
        let samples = (seconds * f64::from(RATE_HZ)) as u32;
        (0..samples).map(move |n| {
            let at = f64::from(n) / f64::from(RATE_HZ);
            // The first and last hundredth of a second come and go, so that nothing clicks.
            let edge = (at.min(seconds - at) * 100.0).min(1.0);
            ((TAU * pitch_hz * at).sin() * edge * (-fading * at / seconds).exp() * 12_000.0) as i16
        })
    };
    notes.iter().flat_map(note).collect()
}

/// One channel of 16-bit samples: RIFF with `fmt ` (16 bytes) and `data`.
fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    // PCM, one channel.
    file.extend_from_slice(&[1, 0, 1, 0]);
    file.extend_from_slice(&RATE_HZ.to_le_bytes());
    file.extend_from_slice(&(RATE_HZ * 2).to_le_bytes());
    // Bytes and bits of a sample.
    file.extend_from_slice(&[2, 0, 16, 0]);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    samples.iter().for_each(|sample| file.extend_from_slice(&sample.to_le_bytes()));
    file
}
