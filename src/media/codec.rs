//! Sound codecs as sources and sinks of 16-bit samples; channels are interleaved.

use bytes::{BufMut, Bytes, BytesMut};
use ropus::opus::decoder::opus_packet_get_nb_samples;
use ropus::{Application, DecodeMode};
use symphonia::core::audio::{Channels, Position};
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::codecs::AacDecoder;

use super::g711::Law;
use super::{AudioCodec, AudioFormat};

/// The rates at which Opus codes and decodes without a resampler of ours.
pub(super) const OPUS_RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];

/// Of one AAC-LC frame (ISO 14496-3 §4.5.1.1).
const AAC_SAMPLES: u64 = 1_024;

/// How long a payload sounds; `None` when it is broken, or of a format that cannot be.
pub(crate) fn sounds_for(format: AudioFormat, payload: &[u8]) -> Option<std::time::Duration> {
    let sample_len = match format.codec {
        AudioCodec::Pcmu | AudioCodec::Pcma => 1,
        AudioCodec::Pcm => 2,
        AudioCodec::Opus => {
            let samples = opus_packet_get_nb_samples(payload, 48_000).ok().and_then(|count| u32::try_from(count).ok());
            return samples.filter(|count| *count > 0).map(|count| length(count.into(), 48_000));
        }
        AudioCodec::Aac => return (!payload.is_empty()).then(|| length(AAC_SAMPLES, format.rate_hz)),
    };
    let samples = payload.len() / sample_len / usize::from(format.channels.max(1));
    (samples > 0 && format.rate_hz > 0).then(|| length(samples as u64, format.rate_hz))
}

fn length(samples: u64, rate_hz: u32) -> std::time::Duration {
    std::time::Duration::from_nanos(samples.saturating_mul(1_000_000_000) / u64::from(rate_hz.max(1)))
}

/// Turns the payloads of one codec into samples.
pub(crate) enum Decoder {
    G711(Law),
    Pcm,
    Opus { decoder: Box<ropus::Decoder>, samples: Vec<i16> },
    Aac { decoder: Box<AacDecoder>, samples: Vec<i16> },
}

impl Decoder {
    /// `None` when the codec's library does not take this rate or number of channels. An Opus decoder
    /// yields the rate and channels it is opened with, whatever the sender had.
    pub(crate) fn new(format: AudioFormat) -> Option<Self> {
        Some(match format.codec {
            AudioCodec::Pcmu => Self::G711(Law::Mu),
            AudioCodec::Pcma => Self::G711(Law::A),
            AudioCodec::Pcm => Self::Pcm,
            AudioCodec::Opus => {
                let decoder = ropus::Decoder::new(format.rate_hz, opus_channels(format.channels)).ok()?;
                // RFC 6716 §2.1.4: no packet is longer than 120 ms.
                let samples = vec![0; format.rate_hz as usize * 120 / 1_000 * usize::from(format.channels)];
                Self::Opus { decoder: Box::new(decoder), samples }
            }
            AudioCodec::Aac => Self::Aac { decoder: Box::new(aac_decoder(format)?), samples: Vec::new() },
        })
    }

    /// What `next` says of the packet before it, of which `count` samples of each channel were lost (in-band FEC);
    /// where it says nothing they are made up. Opus only: no other codec does either.
    pub(crate) fn recover(&mut self, next: &[u8], count: usize, samples: &mut Vec<i16>) -> bool {
        let Self::Opus { decoder, samples: buffer } = self else { return false };
        let len = count * decoder.channels().count();
        let Some(lost) = buffer.get_mut(..len).filter(|_| !next.is_empty()) else { return false };
        let recovered = decoder.decode(next, lost, DecodeMode::Fec).is_ok();
        if recovered {
            samples.extend_from_slice(lost);
        }
        recovered
    }

    /// The samples of one payload; none when it is broken.
    pub(crate) fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>) {
        match self {
            Self::G711(law) => samples.extend(payload.iter().map(|&code| law.decode(code))),
            Self::Pcm => samples.extend(payload.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair))),
            // To these libraries nothing at all is a lost packet, which they make up for.
            Self::Opus { .. } | Self::Aac { .. } if payload.is_empty() => {}
            Self::Opus { decoder, samples: buffer } => {
                if let Ok(count) = decoder.decode(payload, buffer, DecodeMode::Normal) {
                    let count = count * decoder.channels().count();
                    samples.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
            }
            Self::Aac { decoder, samples: buffer } => {
                let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, payload);
                if let Ok(decoded) = decoder.decode_ref(&packet) {
                    decoded.copy_to_vec_interleaved(buffer);
                    samples.append(buffer);
                }
            }
        }
    }
}

/// Turns 20 ms of samples into one payload.
pub(crate) enum Encoder {
    G711(Law),
    Pcm,
    Opus(Box<ropus::Encoder>),
}

impl Encoder {
    /// RFC 6716 §3.4: the longest packet of one frame.
    const OPUS_PACKET: usize = 1_276;

    /// `None` when there is no encoder for it.
    pub(crate) fn new(format: AudioFormat) -> Option<Self> {
        Some(match format.codec {
            AudioCodec::Pcmu => Self::G711(Law::Mu),
            AudioCodec::Pcma => Self::G711(Law::A),
            AudioCodec::Pcm => Self::Pcm,
            AudioCodec::Opus => {
                let builder =
                    ropus::Encoder::builder(format.rate_hz, opus_channels(format.channels), Application::Voip);
                Self::Opus(Box::new(builder.build().ok()?))
            }
            AudioCodec::Aac => return None,
        })
    }

    /// How many samples of one channel it holds back.
    pub(crate) fn delay(&self) -> usize {
        match self {
            Self::G711(_) | Self::Pcm => 0,
            // At the encoder's own rate, although its documentation says 48 kHz.
            Self::Opus(encoder) => encoder.lookahead() as usize,
        }
    }

    /// `None` when the codec refuses the samples.
    pub(crate) fn encode(&mut self, samples: &[i16]) -> Option<Bytes> {
        match self {
            Self::G711(law) => Some(samples.iter().map(|&sample| law.encode(sample)).collect()),
            Self::Pcm => {
                let mut payload = BytesMut::with_capacity(2 * samples.len());
                samples.iter().for_each(|&sample| payload.put_i16_le(sample));
                Some(payload.freeze())
            }
            Self::Opus(encoder) => {
                let mut packet = [0; Self::OPUS_PACKET];
                let len = encoder.encode(samples, &mut packet).ok()?;
                packet.get(..len).map(Bytes::copy_from_slice)
            }
        }
    }
}

fn opus_channels(channels: u8) -> ropus::Channels {
    if channels == 1 { ropus::Channels::Mono } else { ropus::Channels::Stereo }
}

/// For raw data blocks. The parameters say what an AudioSpecificConfig of AAC-LC would.
fn aac_decoder(format: AudioFormat) -> Option<AacDecoder> {
    let channels =
        if format.channels == 1 { Position::FRONT_CENTER } else { Position::FRONT_LEFT | Position::FRONT_RIGHT };
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(CODEC_ID_AAC).with_sample_rate(format.rate_hz).with_channels(Channels::Positioned(channels));
    AacDecoder::try_new(&parameters, &AudioDecoderOptions::default()).ok()
}
