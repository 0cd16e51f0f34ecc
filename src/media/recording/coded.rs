//! What `symphonia` decodes: MP3, FLAC and AAC in ADTS with their files, and packets of AAC.

use std::io::{Cursor, ErrorKind};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::codecs::{AacDecoder, FlacDecoder, MpaDecoder};
use symphonia::default::formats::{AdtsReader, FlacReader, MpaReader};

use super::{Gathered, NotSound};

pub(super) fn read_mp3(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let reader = MpaReader::try_new(stream(file), FormatOptions::default()).map_err(not_sound)?;
    read(reader, MpaDecoder::try_new, gathered)
}

pub(super) fn read_flac(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let reader = FlacReader::try_new(stream(file), FormatOptions::default()).map_err(not_sound)?;
    read(reader, FlacDecoder::try_new, gathered)
}

pub(super) fn read_adts(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let reader = AdtsReader::try_new(stream(file), FormatOptions::default()).map_err(not_sound)?;
    read(reader, AacDecoder::try_new, gathered)
}

fn stream(file: &[u8]) -> MediaSourceStream<'_> {
    MediaSourceStream::new(Box::new(Cursor::new(file)), MediaSourceStreamOptions::default())
}

/// All packets of the first track that is sound.
fn read<D: AudioDecoder + 'static>(
    mut reader: impl FormatReader,
    decoder: impl FnOnce(&AudioCodecParameters, &AudioDecoderOptions) -> Result<D, Error>,
    gathered: &mut Gathered,
) -> Result<(), NotSound> {
    let track = reader.first_track(TrackType::Audio).ok_or(NotSound::Empty)?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { return Err(NotSound::Empty) };
    let added = Added { delay: track.delay, padding: track.padding, between: track.num_frames };
    // The decoder would also cut where the reader only guesses at the length, and all that follows a first end.
    let mut options = AudioDecoderOptions::default();
    options.gapless = false;
    let (id, mut coded) = (track.id, Coded::new(decoder(parameters, &options).map_err(not_sound)?));
    let mut samples = 0;
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == id => {
                samples += coded.decode_ref(&packet.as_packet_ref(), gathered)?;
            }
            // Of another track.
            Ok(Some(_)) => gathered.in_vain()?,
            Ok(None) => break,
            Err(error) => return Err(not_sound(error)),
        }
    }
    added.cut(samples, gathered);
    Ok(())
}

/// What the encoder put before and behind the sound, where the file says how much that is.
struct Added {
    delay: Option<u32>,
    padding: Option<u32>,
    between: Option<u64>,
}

impl Added {
    /// Of a file that goes on behind its end, as some services put several sentences together, only the delay goes.
    fn cut(&self, decoded: usize, gathered: &mut Gathered) {
        let (Some(delay), Some(padding), Some(between)) = (self.delay, self.padding, self.between) else { return };
        let surplus = (decoded as u64).saturating_sub(between.saturating_add(delay.into()));
        if surplus <= padding.into() {
            gathered.cut(surplus as usize);
        }
        gathered.skip(delay as usize);
    }
}

/// One decoder with its packets.
pub(super) struct Coded {
    decoder: Box<dyn AudioDecoder>,
    /// One packet's, interleaved.
    samples: Vec<i16>,
}

impl Coded {
    fn new(decoder: impl AudioDecoder + 'static) -> Self {
        Self { decoder: Box::new(decoder), samples: Vec::new() }
    }

    /// From an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
    pub(super) fn aac(config: &[u8]) -> Result<Self, NotSound> {
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_AAC).with_extra_data(config.into());
        AacDecoder::try_new(&parameters, &AudioDecoderOptions::default()).map(Self::new).map_err(|error| match error {
            Error::Unsupported(_) => NotSound::Unsupported("this kind of AAC: only AAC-LC is played"),
            error => not_sound(error),
        })
    }

    /// How many samples of each channel came of `packet`.
    pub(super) fn decode(&mut self, packet: &[u8], gathered: &mut Gathered) -> Result<usize, NotSound> {
        self.decode_ref(&PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, packet), gathered)
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>, gathered: &mut Gathered) -> Result<usize, NotSound> {
        let Ok(decoded) = self.decoder.decode_ref(packet) else {
            gathered.in_vain()?;
            return Ok(0);
        };
        let (rate_hz, channels, frames) = (decoded.spec().rate(), decoded.spec().channels().count(), decoded.frames());
        if frames == 0 {
            gathered.in_vain()?;
            return Ok(0);
        }
        decoded.copy_to_vec_interleaved(&mut self.samples);
        gathered.push(rate_hz, channels, &self.samples)?;
        Ok(frames)
    }
}

fn not_sound(error: Error) -> NotSound {
    match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            NotSound::Broken("it ends before its sound does")
        }
        Error::Unsupported(_) => NotSound::Unsupported("what is in this file"),
        Error::LimitError(_) => NotSound::Broken("it claims more than anybody needs"),
        _ => NotSound::Broken("it cannot be decoded"),
    }
}
