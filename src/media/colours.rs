//! What the samples of a camera's picture stand for.

use super::VideoCodec;
use super::h26x::{self, NalKind};

/// As far as the camera says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Colours {
    /// From 0 to 255; otherwise 16 is black and 235 white.
    pub(super) full_range: bool,
    /// Whether its colours are weighted by BT.709, or by BT.601.
    pub(super) bt709: Option<bool>,
}

impl Colours {
    /// `matrix` as H.273 table 4 numbers them.
    pub(super) fn new(full_range: bool, matrix: u8) -> Self {
        let bt709 = match matrix {
            1 => Some(true),
            4..=6 => Some(false),
            _ => None,
        };
        Self { full_range, bt709 }
    }

    /// Of an access unit of H.265, whose decoder passes over what its parameter set says of colours.
    pub(super) fn of_h265(keyframe: &[u8]) -> Self {
        let is_sps = |nal: &&[u8]| NalKind::of(VideoCodec::H265, nal) == NalKind::SequenceParameterSet;
        // Behind the two bytes of its header.
        let sps = h26x::nals(keyframe).find(is_sps).and_then(|nal| nal.get(2..)).unwrap_or_default();
        Bits { bytes: sps, at: 0 }.video_signal().unwrap_or_default()
    }
}

/// The bits of a NAL unit, the first one on top, without emulation prevention bytes (ISO/IEC 23008-2 §7.3.1.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Methods are named after the syntax structures of ISO/IEC 23008-2; `None` where the bits end too early, or say what
/// is not read here.
impl Bits<'_> {
    /// §7.3.2.2.1, as far as its colours.
    fn video_signal(&mut self) -> Option<Colours> {
        self.skip(4)?;
        let sub_layers = self.fixed(3)?;
        self.skip(1)?;
        self.profile_tier_level(sub_layers)?;
        self.golomb()?;
        if self.golomb()? == 3 {
            self.skip(1)?;
        }
        self.golombs(2)?;
        if self.flag()? {
            self.golombs(4)?;
        }
        self.golombs(2)?;
        let order_bits = self.golomb()?.checked_add(4).filter(|bits| *bits <= 16)?;
        let layers = if self.flag()? { sub_layers + 1 } else { 1 };
        self.golombs(3 * layers + 6)?;
        if self.flag()? && self.flag()? {
            self.scaling_list_data()?;
        }
        self.skip(2)?;
        if self.flag()? {
            self.skip(8)?;
            self.golombs(2)?;
            self.skip(1)?;
        }
        self.short_term_ref_pic_sets()?;
        if self.flag()? {
            let pictures = self.golomb().filter(|pictures| *pictures <= 32)?;
            self.skip(pictures as usize * (order_bits as usize + 1))?;
        }
        self.skip(2)?;
        if self.flag()? { self.vui_parameters() } else { Some(Colours::default()) }
    }

    /// §E.2.1, up to what it says of colours.
    fn vui_parameters(&mut self) -> Option<Colours> {
        if self.flag()? && self.fixed(8)? == 255 {
            self.skip(32)?;
        }
        if self.flag()? {
            self.skip(1)?;
        }
        if !self.flag()? {
            return Some(Colours::default());
        }
        self.skip(3)?;
        let full_range = self.flag()?;
        if !self.flag()? {
            return Some(Colours { full_range, bt709: None });
        }
        self.skip(16)?;
        Some(Colours::new(full_range, self.fixed(8)? as u8))
    }

    /// §7.3.3.
    fn profile_tier_level(&mut self, sub_layers: u32) -> Option<()> {
        self.skip(96)?;
        let mut present = Vec::new();
        for _ in 0..sub_layers {
            present.push((self.flag()?, self.flag()?));
        }
        if sub_layers > 0 {
            self.skip(2 * (8 - sub_layers as usize))?;
        }
        present.iter().try_for_each(|(profile, level)| {
            self.skip(88 * usize::from(*profile))?;
            self.skip(8 * usize::from(*level))
        })
    }

    /// §7.3.4.
    fn scaling_list_data(&mut self) -> Option<()> {
        for size in 0..4 {
            for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
                if !self.flag()? {
                    self.golomb()?;
                    continue;
                }
                let coefficients = 64.min(1 << (4 + 2 * size));
                self.golombs(coefficients + u32::from(size > 1))?;
            }
        }
        Some(())
    }

    /// §7.3.7. Sets that are told by their difference from another are not read.
    fn short_term_ref_pic_sets(&mut self) -> Option<()> {
        let sets = self.golomb().filter(|sets| *sets <= 64)?;
        for set in 0..sets {
            if set > 0 && self.flag()? {
                return None;
            }
            let pictures = self.golomb()?.checked_add(self.golomb()?).filter(|pictures| *pictures <= 32)?;
            for _ in 0..pictures {
                self.golomb()?;
                self.skip(1)?;
            }
        }
        Some(())
    }

    fn bit(&mut self) -> Option<u32> {
        if self.at.is_multiple_of(8) && self.at >= 16 {
            let byte = self.at / 8;
            let prevents = self.bytes.get(byte - 2..=byte)? == [0, 0, 3];
            self.at += if prevents { 8 } else { 0 };
        }
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.bit()? == 1)
    }

    /// At most 32 bits.
    fn fixed(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0_u32, |value, _| Some(value << 1 | self.bit()?))
    }

    fn skip(&mut self, bits: usize) -> Option<()> {
        (0..bits).try_for_each(|_| self.bit().map(drop))
    }

    /// §9.2; a signed one takes as many bits.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.fixed(zeros)?)
    }

    fn golombs(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.golomb().map(drop))
    }
}
