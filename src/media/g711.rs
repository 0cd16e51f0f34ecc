//! µ-law and A-law (ITU-T G.711): one byte for a sample of speech.

use std::sync::LazyLock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// PCMU. Values have 14 bits, here shifted up to 16.
    Mu,
    /// PCMA. Values have 13 bits, here shifted up to 16.
    A,
}

static MU: LazyLock<[i16; 256]> = LazyLock::new(|| std::array::from_fn(|code| expand_mu(code as u8)));
static A: LazyLock<[i16; 256]> = LazyLock::new(|| std::array::from_fn(|code| expand_a(code as u8)));

impl Law {
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::Mu => MU[usize::from(code)],
            Self::A => A[usize::from(code)],
        }
    }

    /// The code between whose decision values the sample lies.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => compress_mu(sample),
            Self::A => compress_a(sample),
        }
    }
}

/// What is added before taking the logarithm, so that segments begin at powers of two (table 2).
const MU_BIAS: i32 = 33 << 2;

fn expand_mu(code: u8) -> i16 {
    let code = !code;
    let (segment, step) = ((code >> 4) & 7, i32::from(code & 0x0f));
    let magnitude = (((step << 3) + MU_BIAS) << segment) - MU_BIAS;
    signed(magnitude, code & 0x80 != 0)
}

fn compress_mu(sample: i16) -> u8 {
    let biased = (i32::from(sample).abs() + MU_BIAS).min(0x7fff);
    // The bias makes bit 7 the lowest that can be the highest.
    let segment = biased.ilog2() - 7;
    let step = (biased >> (segment + 3)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (segment << 4) as u8 | step as u8)
}

/// Every other bit is inverted, so that silence is not a row of equal bits (table 1, note 2).
const A_INVERTED: u8 = 0x55;

fn expand_a(code: u8) -> i16 {
    let code = code ^ A_INVERTED;
    let (segment, step) = ((code >> 4) & 7, i32::from(code & 0x0f));
    // To the middle of the step.
    let linear = (step << 4) + 8;
    let magnitude = if segment == 0 { linear } else { (linear + 0x100) << (segment - 1) };
    signed(magnitude, code & 0x80 == 0)
}

fn compress_a(sample: i16) -> u8 {
    // Zero is a decision value: 0 belongs to the positive side, -1 to the negative.
    let (positive, magnitude) = if sample < 0 { (0, !i32::from(sample)) } else { (0x80, i32::from(sample)) };
    let segment = if magnitude < 0x100 { 0 } else { magnitude.ilog2() - 7 };
    let step = (magnitude >> (segment.max(1) + 3)) & 0x0f;
    (positive | (segment << 4) as u8 | step as u8) ^ A_INVERTED
}

fn signed(magnitude: i32, negative: bool) -> i16 {
    let value = if negative { -magnitude } else { magnitude };
    i16::try_from(value).expect("13 or 14 bits shifted to 16 fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of the segments: code and value at the decoder's output, ITU-T G.711 table 2a.
    const MU_TABLE: [(u8, i16); 16] = [
        (0x80, 8031),
        (0x8f, 4191),
        (0x90, 3999),
        (0x9f, 2079),
        (0xa0, 1983),
        (0xaf, 1023),
        (0xb0, 975),
        (0xbf, 495),
        (0xc0, 471),
        (0xcf, 231),
        (0xd0, 219),
        (0xdf, 99),
        (0xe0, 93),
        (0xef, 33),
        (0xf0, 30),
        (0xff, 0),
    ];
    /// The same of table 1a, with the even bits inverted; its values are in units of half a step.
    const A_TABLE: [(u8, i16); 16] = [
        (0xaa, 4032),
        (0xa5, 2112),
        (0xba, 2016),
        (0xb5, 1056),
        (0x8a, 1008),
        (0x85, 528),
        (0x9a, 504),
        (0x95, 264),
        (0xea, 252),
        (0xe5, 132),
        (0xfa, 126),
        (0xf5, 66),
        (0xca, 63),
        (0xc5, 33),
        (0xda, 31),
        (0xd5, 1),
    ];
    /// One period of 1 kHz at 0 dBm0, tables 5 and 6.
    const MU_MILLIWATT: [u8; 8] = [0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e];
    const A_MILLIWATT: [u8; 8] = [0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4];

    #[test]
    fn values_are_those_of_the_published_tables() {
        for (law, table, shift) in [(Law::Mu, MU_TABLE, 2), (Law::A, A_TABLE, 3)] {
            for (code, value) in table {
                assert_eq!(law.decode(code), value << shift, "{law:?} {code:#04x}");
                assert_eq!(law.decode(code ^ 0x80), -(value << shift), "{law:?} {:#04x}", code ^ 0x80);
                assert_eq!(law.encode(value << shift), code, "{law:?} {value}");
            }
        }
    }

    #[test]
    fn the_digital_milliwatt_is_equally_loud_in_both_laws() {
        let power =
            |law: Law, codes: [u8; 8]| codes.iter().map(|&code| f64::from(law.decode(code)).powi(2)).sum::<f64>() / 8.0;
        let ratio = power(Law::Mu, MU_MILLIWATT) / power(Law::A, A_MILLIWATT);
        assert!((10.0 * ratio.log10()).abs() < 0.1, "{ratio}");
        // The sine that just reaches the virtual decision value 8159 is 3.17 dBm0 in µ-law.
        let below_full = 10.0 * (f64::from(8_159 << 2).powi(2) / 2.0 / power(Law::Mu, MU_MILLIWATT)).log10();
        assert!((below_full - 3.17).abs() < 0.1, "{below_full} dB");
    }

    #[test]
    fn every_code_survives_the_way_there_and_back() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                let value = law.decode(code);
                // µ-law has two zeros; what is told apart is only the value.
                assert_eq!(law.decode(law.encode(value)), value, "{law:?} {code:#04x}");
            }
        }
    }

    #[test]
    fn louder_stays_louder_and_no_sample_moves_by_more_than_half_a_step() {
        for law in [Law::Mu, Law::A] {
            let mut last = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let value = law.decode(law.encode(sample));
                assert!(value >= last, "{law:?} {sample} became {value} after {last}");
                last = value;
                let error = (i32::from(value) - i32::from(sample)).abs();
                // 16 steps to a segment, each segment twice as wide as the one before.
                let half_a_step = (i32::from(sample).abs() + MU_BIAS) / 32;
                assert!(error <= half_a_step.max(8), "{law:?} {sample} became {value}");
            }
        }
    }
}
