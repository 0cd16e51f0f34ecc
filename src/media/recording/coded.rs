//! What `symphonia` reads: MP3, FLAC, AAC in ADTS and MP4, and the packets of Vorbis.

use std::io::{Cursor, ErrorKind};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_VORBIS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::codecs::{AacDecoder, FlacDecoder, MpaDecoder, VorbisDecoder};
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MpaReader};

use super::{Gathered, NotSound};

/// Each of these leaves out what the encoder put before and behind the sound, where the file says how much that is.
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

pub(super) fn read_mp4(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let reader = IsoMp4Reader::try_new(stream(file), FormatOptions::default()).map_err(not_sound)?;
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
    let mut options = AudioDecoderOptions::default();
    // Where the file does not tell what its encoder added, the reader guesses at the length and would cut at that.
    options.gapless = track.delay.is_some();
    let (id, mut coded) = (track.id, Coded::new(decoder(parameters, &options).map_err(not_sound)?));
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == id => {
                coded.decode_ref(&packet.as_packet_ref(), gathered).map(drop)?
            }
            // Of another track.
            Ok(Some(_)) => gathered.in_vain()?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(not_sound(error)),
        }
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

    /// From the first and the third of the three headers (Vorbis I §4.2).
    pub(super) fn vorbis(identification: &[u8], setup: &[u8]) -> Result<Self, NotSound> {
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_VORBIS).with_extra_data([identification, setup].concat().into());
        VorbisDecoder::try_new(&parameters, &AudioDecoderOptions::default()).map(Self::new).map_err(not_sound)
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
