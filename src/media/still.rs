//! A still picture out of a camera's stream: one keyframe, decoded, as a JPEG.
//!
//! The only place that names the decoders and the encoder (ARCHITECTURE.md §0 says how they were chosen).

use bytes::Bytes;
use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use super::VideoCodec;
use super::colours::Colours;
use super::h26x::{self, NalKind};

/// Larger pictures are not decoded: 3840×2160, as it is coded.
const MOST_PIXELS: u32 = 1 << 23;
const LONGEST_SIDE: usize = 16_384;
/// In all pictures that a stream refers to (ISO/IEC 14496-10 table A-1: MaxDpbMbs of level 5.1, and §A.3.1 for their
/// number). The decoder would make up as many as it is told are missing.
const MOST_REFERRED_PIXELS: u64 = 184_320 * 256;
const MOST_REFERRED: u32 = 16;
/// Of one parameter set, in bytes. They have some dozens; lists in them are as long as they say.
const LONGEST_SET: usize = 4_096;
/// Cameras send up to one slice a row of macroblocks. Each costs the decoder some time of its own.
const MOST_SLICES: usize = 256;
const LARGEST_JPEG: usize = 400_000;

/// Why there is no picture in an access unit, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPicture {
    #[error("its keyframe cannot be decoded: {0}")]
    Broken(&'static str),
    #[error("its picture is larger than {0} pixels")]
    TooLarge(u32),
}

const TOO_LARGE: NoPicture = NoPicture::TooLarge(MOST_PIXELS);

/// The picture of `keyframe`, one access unit in Annex B with its parameter sets, as a JPEG of at most 400 kB.
/// Takes some 10 ms to 200 ms of a core: not to be called on a task that others wait for.
///
/// The decoders are strangers' code over strangers' bytes: whoever calls this is ready for a panic.
///
/// # Errors
/// `NoPicture`.
pub fn jpeg(codec: VideoCodec, keyframe: &[u8]) -> Result<Bytes, NoPicture> {
    let mut picture = decoded(codec, keyframe)?;
    picture.make_jfif();
    picture.into_jpeg()
}

fn decoded(codec: VideoCodec, keyframe: &[u8]) -> Result<Planes, NoPicture> {
    let is_endless = |nal: &[u8]| NalKind::of(codec, nal).is_parameter_set() && nal.len() > LONGEST_SET;
    if h26x::nals(keyframe).any(is_endless) {
        return Err(NoPicture::Broken("its parameter sets are far too long"));
    }
    let slices = h26x::nals(keyframe).filter(|nal| NalKind::of(codec, nal) == NalKind::KeySlice).count();
    if slices > MOST_SLICES {
        return Err(NoPicture::Broken("it is cut into too many slices"));
    }
    let picture = match codec {
        VideoCodec::H264 => h264(keyframe)?,
        VideoCodec::H265 => h265(keyframe)?,
    };
    let (width, height) = (picture.width, picture.height);
    if width.max(height) > LONGEST_SIDE {
        return Err(TOO_LARGE);
    }
    let whole = picture.luma.len() == width * height
        && [&picture.blue, &picture.red].iter().all(|plane| plane.len() == (width / 2) * (height / 2));
    if width < 2 || height < 2 || !whole {
        return Err(NoPicture::Broken("its picture has no size"));
    }
    Ok(picture)
}

fn h264(keyframe: &[u8]) -> Result<Planes, NoPicture> {
    use rust_h264::decoder::{ChromaFormat, Decoder};
    use rust_h264::nal::{NalUnitType, parse_annex_b, parse_sps_info};

    let mut decoder = Decoder::new();
    let mut colours = Colours::default();
    let mut picture = None;
    let mut why = "it has no slice";
    for nal in parse_annex_b(keyframe) {
        if nal.nal_unit_type == NalUnitType::Sps {
            let sps = parse_sps_info(&nal).map_err(|error| NoPicture::Broken(of_h264(&error)))?;
            // The decoder itself would take any size.
            let pixels = u64::from(sps.coded_width) * u64::from(sps.coded_height);
            if pixels > u64::from(MOST_PIXELS) {
                return Err(TOO_LARGE);
            }
            let referred = sps.reference_frames;
            if referred > MOST_REFERRED || u64::from(referred) * pixels > MOST_REFERRED_PIXELS {
                return Err(NoPicture::Broken("it refers to more pictures than any camera keeps"));
            }
            colours = Colours::new(sps.full_range, sps.matrix);
        }
        match decoder.decode_nal(&nal) {
            Ok(None) => {}
            // What comes next is of another picture.
            Ok(Some(finished)) => {
                picture = Some(finished);
                break;
            }
            Err(error) => why = of_h264(&error),
        }
    }
    let frame = picture.or_else(|| decoder.flush()).ok_or(NoPicture::Broken(why))?;
    if frame.bit_depth != 8 || frame.chroma_format != ChromaFormat::Yuv420 {
        return Err(NoPicture::Broken("its colours are not 8 bits of 4:2:0"));
    }
    let (width, height) = (frame.width as usize, frame.height as usize);
    Ok(Planes { width, height, luma: frame.y, blue: frame.u, red: frame.v, colours })
}

fn of_h264(error: &rust_h264::error::DecodeError) -> &'static str {
    use rust_h264::error::DecodeError;
    match error {
        DecodeError::UnexpectedEof => "it ends too early",
        DecodeError::InvalidSyntax(what) | DecodeError::Unsupported(what) => what,
    }
}

fn h265(keyframe: &[u8]) -> Result<Planes, NoPicture> {
    use rust_h265::{DecodeLimits, Decoder, PixelData, parse_annex_b};

    let limits = DecodeLimits { max_picture_pixels: MOST_PIXELS.into(), ..DecodeLimits::default() };
    let mut decoder = Decoder::with_limits(limits);
    let mut picture = None;
    let mut why = NoPicture::Broken("it has no slice");
    for nal in parse_annex_b(keyframe) {
        match decoder.decode_nal(&nal) {
            Ok(None) => {}
            Ok(Some(finished)) => {
                picture = Some(finished);
                break;
            }
            Err(error) => why = of_h265(&error),
        }
    }
    let frame = picture.or_else(|| decoder.flush()).ok_or(why)?;
    let (width, height) = (frame.width as usize, frame.height as usize);
    let (PixelData::U8(luma), PixelData::U8(blue), PixelData::U8(red), 1) =
        (frame.y, frame.u, frame.v, frame.chroma_format_idc)
    else {
        return Err(NoPicture::Broken("its colours are not 8 bits of 4:2:0"));
    };
    Ok(Planes { width, height, luma, blue, red, colours: Colours::of_h265(keyframe) })
}

fn of_h265(error: &rust_h265::DecodeError) -> NoPicture {
    use rust_h265::DecodeError;
    match error {
        DecodeError::ResourceLimit(_) => TOO_LARGE,
        DecodeError::InvalidSyntax(what) | DecodeError::Unsupported(what) => NoPicture::Broken(what),
        _ => NoPicture::Broken("it ends too early"),
    }
}

/// A picture in 4:2:0: two planes of colour differences, each of half the width and height, rounded down.
struct Planes {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
    colours: Colours,
}

impl Planes {
    /// From the camera's colours to those of a JPEG file: BT.601 in its full range (JFIF 1.02).
    fn make_jfif(&mut self) {
        if !self.colours.full_range {
            let luma = stretched(16, 219, 0);
            let difference = stretched(128, 224, 128);
            self.luma.iter_mut().for_each(|sample| *sample = luma[usize::from(*sample)]);
            let differences = self.blue.iter_mut().chain(&mut self.red);
            differences.for_each(|sample| *sample = difference[usize::from(*sample)]);
        }
        // Whoever says nothing keeps to the standard for its size.
        if self.colours.bt709.unwrap_or(self.height >= 720) {
            self.turn_from_bt709();
        }
    }

    /// The same colours, in the differences that BT.601 makes of them.
    fn turn_from_bt709(&mut self) {
        let half = self.width / 2;
        let rows = self.luma.chunks_mut(2 * self.width);
        for ((rows, blues), reds) in rows.zip(self.blue.chunks_mut(half)).zip(self.red.chunks_mut(half)) {
            let (upper, lower) = rows.split_at_mut(self.width);
            let mut pairs = upper.chunks_mut(2).zip(lower.chunks_mut(2));
            for (blue, red) in blues.iter_mut().zip(reds) {
                let (b, r) = (i32::from(*blue) - 128, i32::from(*red) - 128);
                // In 1/65536. Out of both standards' weights of red, green and blue.
                let brighter = (6_657 * b + 12_850 * r) >> 16;
                *blue = clamped(128 + ((64_871 * b - 7_252 * r) >> 16));
                *red = clamped(128 + ((64_448 * r - 4_748 * b) >> 16));
                let Some((upper, lower)) = pairs.next() else { break };
                upper.iter_mut().chain(lower).for_each(|sample| *sample = clamped(i32::from(*sample) + brighter));
            }
        }
    }

    /// The best quality that is small enough, and half the size where none is.
    fn into_jpeg(mut self) -> Result<Bytes, NoPicture> {
        const QUALITIES: [u8; 3] = [80, 60, 40];
        loop {
            for quality in QUALITIES {
                let jpeg = self.encoded(quality)?;
                if jpeg.len() <= LARGEST_JPEG {
                    return Ok(jpeg.into());
                }
                // The worst quality takes half of what the best one does.
                if jpeg.len() > 2 * LARGEST_JPEG {
                    break;
                }
            }
            self = self.halved();
        }
    }

    fn encoded(&self, quality: u8) -> Result<Vec<u8>, NoPicture> {
        let mut jpeg = Vec::with_capacity(LARGEST_JPEG);
        let mut encoder = Encoder::new(&mut jpeg, quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.encode_image(Rows(self)).map_err(|_| TOO_LARGE)?;
        Ok(jpeg)
    }

    fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        Self {
            luma: halved(&self.luma, self.width),
            blue: halved(&self.blue, width),
            red: halved(&self.red, width),
            width,
            height,
            colours: self.colours,
        }
    }
}

/// Each four pixels as one. What is left over at the right and the lower edge is cut off.
fn halved(plane: &[u8], width: usize) -> Vec<u8> {
    let rows = plane.chunks_exact(2 * width).map(|rows| rows.split_at(width));
    let mean = |(upper, lower): (&[u8], &[u8])| {
        let sum: u16 = upper.iter().chain(lower).map(|sample| u16::from(*sample)).sum();
        ((sum + 2) / 4) as u8
    };
    rows.flat_map(|(upper, lower)| upper.chunks_exact(2).zip(lower.chunks_exact(2)).map(mean)).collect()
}

/// What each sample of the limited range is in the full one: `from` becomes `to`, and `steps` become 255.
fn stretched(from: i32, steps: i32, to: i32) -> [u8; 256] {
    std::array::from_fn(|sample| {
        let above = (sample as i32 - from) * 255;
        clamped(to + (above + above.signum() * steps / 2) / steps)
    })
}

fn clamped(sample: i32) -> u8 {
    sample.clamp(0, 255) as u8
}

/// As the encoder asks for them: every plane in the whole size, which it makes half of again.
struct Rows<'a>(&'a Planes);

impl ImageBuffer for Rows<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.0.width as u16
    }

    fn height(&self) -> u16 {
        self.0.height as u16
    }

    fn fill_buffers(&self, row: u16, buffers: &mut [Vec<u8>; 4]) {
        let Planes { width, height, luma, blue, red, .. } = self.0;
        let row = usize::from(row);
        let [luma_row, blue_row, red_row, _] = buffers;
        luma_row.extend_from_slice(&luma[row * width..(row + 1) * width]);
        // An odd picture has no colours of its own in its last row and column.
        let (half, row) = (width / 2, (row / 2).min(height / 2 - 1));
        for (plane, whole) in [(blue, blue_row), (red, red_row)] {
            let samples = &plane[row * half..(row + 1) * half];
            whole.extend(samples.iter().flat_map(|sample| [*sample; 2]));
            whole.extend(samples.last().filter(|_| width % 2 == 1));
        }
    }
}

#[cfg(test)]
#[path = "still_tests.rs"]
mod tests;
