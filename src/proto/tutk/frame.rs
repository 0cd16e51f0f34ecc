//! Media packets: headers, FRAMEINFO, codecs (docs/protocol/tutk.md §9).

use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const VERSION: u16 = 0x000B;
/// What stands at [6..8] in the reference; cameras put other values there too.
const MAGIC: u16 = 0x507E;
/// In an end packet's index field: "the last one, and a FRAMEINFO follows". Elsewhere it is index 40.
const MARKER_LAST: u16 = 0x0028;

/// The first byte of every media packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaChannel {
    Audio,
    /// Keyframes.
    IVideo,
    /// All other pictures.
    PVideo,
}

impl MediaChannel {
    pub fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            3 => Some(Self::Audio),
            5 => Some(Self::IVideo),
            7 => Some(Self::PVideo),
            _ => None,
        }
    }

    pub fn to_wire(self) -> u8 {
        match self {
            Self::Audio => 3,
            Self::IVideo => 5,
            Self::PVideo => 7,
        }
    }

    pub fn is_audio(self) -> bool {
        self == Self::Audio
    }
}

/// Where a packet stands in its frame, and with that how long its header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameType {
    Cont,
    EndSingle,
    ContAlt,
    EndMulti,
    Start,
    StartAlt,
    EndExt,
}

impl FrameType {
    pub fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0x00 => Some(Self::Cont),
            0x01 => Some(Self::EndSingle),
            0x04 => Some(Self::ContAlt),
            0x05 => Some(Self::EndMulti),
            0x08 => Some(Self::Start),
            0x09 => Some(Self::StartAlt),
            0x0D => Some(Self::EndExt),
            _ => None,
        }
    }

    pub fn to_wire(self) -> u8 {
        match self {
            Self::Cont => 0x00,
            Self::EndSingle => 0x01,
            Self::ContAlt => 0x04,
            Self::EndMulti => 0x05,
            Self::Start => 0x08,
            Self::StartAlt => 0x09,
            Self::EndExt => 0x0D,
        }
    }

    /// Whether the header has 36 bytes instead of 28.
    fn is_long(self) -> bool {
        matches!(self, Self::Start | Self::StartAlt | Self::EndExt)
    }

    fn is_end(self) -> bool {
        matches!(self, Self::EndSingle | Self::EndMulti | Self::EndExt)
    }
}

/// The header of a media packet.
///
/// Layout (little-endian): `[0] channel · [1] frame type · [2..4] version · [4..6] tx sequence ·
/// [6..8] magic`, in the long form eight bytes that mean nothing reliable, then
/// `[0] channel · [1] stream index · [2..4] packet counter · [4..6] total · [6..8] index or marker ·
/// [8..10] payload size · [10..12] zero · [12..16] previous frame number · [16..20] frame number`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketHeader {
    pub channel: MediaChannel,
    pub frame_type: FrameType,
    pub tx_sequence: u16,
    pub stream_index: u8,
    pub packet_counter: u16,
    /// Packets in this frame.
    pub total: u16,
    /// As it stands on the wire; [`Self::index`] knows what it means.
    pub index_or_marker: u16,
    /// Not to be relied on: the payload is what follows the header.
    pub payload_size: u16,
    pub prev_frame_no: u32,
    pub frame_no: u32,
}

impl PacketHeader {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let channel = reader.u8()?;
        let channel = MediaChannel::from_wire(channel).ok_or_else(|| reader.invalid("channel", channel))?;
        let frame_type = reader.u8()?;
        let frame_type = FrameType::from_wire(frame_type).ok_or_else(|| reader.invalid("frame type", frame_type))?;
        reader.skip(2)?;
        let tx_sequence = reader.u16_le()?;
        reader.skip(if frame_type.is_long() { 11 } else { 3 })?;
        let stream_index = reader.u8()?;
        let packet_counter = reader.u16_le()?;
        let total = reader.u16_le()?;
        let index_or_marker = reader.u16_le()?;
        let payload_size = reader.u16_le()?;
        reader.skip(2)?;
        let prev_frame_no = reader.u32_le()?;
        let frame_no = reader.u32_le()?;
        Ok(Self {
            channel,
            frame_type,
            tx_sequence,
            stream_index,
            packet_counter,
            total,
            index_or_marker,
            payload_size,
            prev_frame_no,
            frame_no,
        })
    }

    fn write(&self, packet: &mut Vec<u8>) {
        packet.u8(self.channel.to_wire());
        packet.u8(self.frame_type.to_wire());
        packet.u16_le(VERSION);
        packet.u16_le(self.tx_sequence);
        packet.u16_le(MAGIC);
        if self.frame_type.is_long() {
            packet.zeros(8);
        }
        packet.u8(self.channel.to_wire());
        packet.u8(self.stream_index);
        packet.u16_le(self.packet_counter);
        packet.u16_le(self.total);
        packet.u16_le(self.index_or_marker);
        packet.u16_le(self.payload_size);
        packet.zeros(2);
        packet.u32_le(self.prev_frame_no);
        packet.u32_le(self.frame_no);
    }

    /// The packet's place in its frame, from 0.
    pub fn index(&self) -> u16 {
        let is_marked = self.index_or_marker == MARKER_LAST && (self.frame_type.is_end() || self.total == 1);
        if is_marked { self.total.saturating_sub(1) } else { self.index_or_marker }
    }

    /// Whether the payload ends with a FRAMEINFO.
    pub fn carries_info(&self) -> bool {
        self.frame_type.is_end() || (self.frame_type == FrameType::StartAlt && self.total == 1)
    }
}

/// What the numbers in a FRAMEINFO mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecId {
    Mpeg4,
    H263,
    H264,
    Mjpeg,
    H265,
    AacRaw,
    AacAdts,
    AacLatm,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    Adpcm,
    /// 16 bits, little-endian.
    Pcm,
    Speex,
    Mp3,
    G726,
    /// AAC with an ADTS header, as Wyze's own cameras send it.
    AacWyze,
    Opus,
}

impl CodecId {
    const ALL: [(u16, Self); 17] = [
        (0x4C, Self::Mpeg4),
        (0x4D, Self::H263),
        (0x4E, Self::H264),
        (0x4F, Self::Mjpeg),
        (0x50, Self::H265),
        (0x86, Self::AacRaw),
        (0x87, Self::AacAdts),
        (0x88, Self::AacLatm),
        (0x89, Self::Pcmu),
        (0x8A, Self::Pcma),
        (0x8B, Self::Adpcm),
        (0x8C, Self::Pcm),
        (0x8D, Self::Speex),
        (0x8E, Self::Mp3),
        (0x8F, Self::G726),
        (0x90, Self::AacWyze),
        (0x92, Self::Opus),
    ];

    pub fn from_wire(number: u16) -> Option<Self> {
        Self::ALL.iter().find(|(wire, _)| *wire == number).map(|(_, codec)| *codec)
    }

    pub fn to_wire(self) -> u16 {
        let known = Self::ALL.iter().find(|(_, codec)| *codec == self);
        known.map(|(wire, _)| *wire).expect("the table lists every codec")
    }

    pub fn is_audio(self) -> bool {
        self.to_wire() >= 0x86
    }

    pub fn is_aac(self) -> bool {
        matches!(self, Self::AacRaw | Self::AacAdts | Self::AacLatm | Self::AacWyze)
    }
}

const RATES_HZ: [u32; 9] = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// Rate and channels as FRAMEINFO's flags byte carries them for sound:
/// `rate index << 2 | sixteen bits << 1 | stereo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFlags {
    pub rate_hz: u32,
    /// 1 or 2.
    pub channels: u8,
}

impl AudioFlags {
    /// An index that is not in the table means 16 kHz.
    pub fn from_wire(flags: u8) -> Self {
        let rate_hz = RATES_HZ.get(usize::from(flags >> 2)).copied().unwrap_or(16_000);
        Self { rate_hz, channels: 1 + (flags & 1) }
    }

    /// Says "16 bits" always, as the reference client does. A rate that is not in the table is sent as 16 kHz.
    pub fn to_wire(self) -> u8 {
        let index = RATES_HZ.iter().position(|rate| *rate == self.rate_hz).unwrap_or(3) as u8;
        index << 2 | 2 | u8::from(self.channels == 2)
    }
}

/// What the camera says about a whole frame, at the end of its last packet.
///
/// Layout (little-endian, 40 bytes): `[0..2] codec · [2] flags · [3] camera index · [4] viewers ·
/// [5] pictures a second · [6] frame size · [7] bitrate · [8..12] microseconds · [12..16] seconds ·
/// [16..20] payload size · [20..24] frame number · [24..40] device id`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameInfo {
    pub codec: CodecId,
    /// Sound: see [`AudioFlags`]. Pictures: 1 for a keyframe.
    pub flags: u8,
    pub camera_index: u8,
    pub online_num: u8,
    pub fps: u8,
    pub frame_size: u8,
    pub bitrate: u8,
    /// Within the second.
    pub timestamp_us: u32,
    /// Unix seconds, or something else: see `timeline`.
    pub timestamp_s: u32,
    /// Of the whole frame; 0 when the camera does not say.
    pub payload_size: u32,
    pub frame_no: u32,
    pub device_id: [u8; 16],
}

impl FrameInfo {
    pub const LEN: usize = 40;

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("FRAMEINFO", bytes);
        let codec = reader.u16_le()?;
        Ok(Self {
            codec: CodecId::from_wire(codec).ok_or_else(|| reader.invalid("codec", codec))?,
            flags: reader.u8()?,
            camera_index: reader.u8()?,
            online_num: reader.u8()?,
            fps: reader.u8()?,
            frame_size: reader.u8()?,
            bitrate: reader.u8()?,
            timestamp_us: reader.u32_le()?,
            timestamp_s: reader.u32_le()?,
            payload_size: reader.u32_le()?,
            frame_no: reader.u32_le()?,
            device_id: reader.array()?,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.u16_le(self.codec.to_wire());
        bytes.u8(self.flags);
        bytes.u8(self.camera_index);
        bytes.u8(self.online_num);
        bytes.u8(self.fps);
        bytes.u8(self.frame_size);
        bytes.u8(self.bitrate);
        bytes.u32_le(self.timestamp_us);
        bytes.u32_le(self.timestamp_s);
        bytes.u32_le(self.payload_size);
        bytes.u32_le(self.frame_no);
        bytes.bytes(&self.device_id);
        bytes
    }
}

/// One media packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPacket {
    pub header: PacketHeader,
    /// Without the FRAMEINFO.
    pub payload: Vec<u8>,
    /// `None` also when 40 bytes stand where one belongs, but name no codec of this channel: they are
    /// payload then, and the frame can never be complete.
    pub info: Option<FrameInfo>,
}

impl MediaPacket {
    /// Whether a message is one of these, by its first byte.
    pub fn recognises(message: &[u8]) -> bool {
        message.first().is_some_and(|&byte| MediaChannel::from_wire(byte).is_some())
    }

    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("media packet", message);
        let header = PacketHeader::read(&mut reader)?;
        let payload = reader.rest();
        let tail_at = payload.len().checked_sub(FrameInfo::LEN).filter(|_| header.carries_info());
        let parts = tail_at.and_then(|at| payload.split_at_checked(at));
        let parts = parts.and_then(|(payload, tail)| Some((payload, FrameInfo::decode(tail).ok()?)));
        match parts.filter(|(_, info)| info.codec.is_audio() == header.channel.is_audio()) {
            Some((payload, info)) => Ok(Self { header, payload: payload.to_vec(), info: Some(info) }),
            None => Ok(Self { header, payload: payload.to_vec(), info: None }),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(36 + self.payload.len() + FrameInfo::LEN);
        self.header.write(&mut packet);
        packet.bytes(&self.payload);
        if let Some(info) = &self.info {
            packet.bytes(&info.encode());
        }
        packet
    }
}

/// Cuts frames into packets: the camera's side of `reassembly`.
#[derive(Debug, Clone, Default)]
pub struct Packetiser {
    tx_sequence: u16,
    packet_counter: u16,
    video_frame_no: u32,
    audio_frame_no: u32,
}

impl Packetiser {
    /// The payload of one packet at most, so that everything around it fits into a datagram.
    pub const MAX_PAYLOAD: usize = 1000;

    /// The messages for one frame. Number and size in `info` are filled in here; pictures of both
    /// channels count together, sound counts by itself, both from 1.
    pub fn packetise(&mut self, channel: MediaChannel, mut info: FrameInfo, data: &[u8]) -> Vec<Vec<u8>> {
        let counter = if channel.is_audio() { &mut self.audio_frame_no } else { &mut self.video_frame_no };
        let prev_frame_no = *counter;
        *counter = counter.wrapping_add(1);
        info.frame_no = *counter;
        info.payload_size = data.len() as u32;
        let pieces: Vec<&[u8]> = if data.is_empty() { vec![data] } else { data.chunks(Self::MAX_PAYLOAD).collect() };
        let total = pieces.len() as u16;
        let place = |index: u16| Place { channel, index, total, prev_frame_no, frame_no: info.frame_no };
        let packets = pieces.iter().zip(0u16..).map(|(piece, index)| self.packet(&place(index), piece, &info));
        packets.map(|packet| packet.encode()).collect()
    }

    fn packet(&mut self, place: &Place, piece: &[u8], info: &FrameInfo) -> MediaPacket {
        let is_last = place.index + 1 == place.total;
        let info = is_last.then(|| info.clone());
        let header = PacketHeader {
            channel: place.channel,
            frame_type: place.frame_type(),
            tx_sequence: self.tx_sequence,
            stream_index: u8::from(is_last),
            packet_counter: self.packet_counter,
            total: place.total,
            index_or_marker: if is_last { MARKER_LAST } else { place.index },
            payload_size: (piece.len() + if is_last { FrameInfo::LEN } else { 0 }) as u16,
            prev_frame_no: place.prev_frame_no,
            frame_no: place.frame_no,
        };
        self.tx_sequence = self.tx_sequence.wrapping_add(1);
        self.packet_counter = self.packet_counter.wrapping_add(1);
        MediaPacket { header, payload: piece.to_vec(), info }
    }
}

struct Place {
    channel: MediaChannel,
    index: u16,
    total: u16,
    prev_frame_no: u32,
    frame_no: u32,
}

impl Place {
    fn frame_type(&self) -> FrameType {
        match (self.channel, self.index, self.index + 1 == self.total) {
            (MediaChannel::Audio, 0, true) => FrameType::StartAlt,
            (_, 0, true) => FrameType::EndSingle,
            (_, 0, false) => FrameType::Start,
            (_, _, true) => FrameType::EndMulti,
            (_, _, false) => FrameType::Cont,
        }
    }
}

/// Rate, channels and the sound itself of an audio frame. An ADTS header is believed before the flags and
/// taken off; Opus is always 48 kHz in two channels.
pub fn split_sound<'a>(info: &FrameInfo, data: &'a [u8]) -> (AudioFlags, &'a [u8]) {
    let adts = if info.codec.is_aac() { split_adts(data) } else { None };
    match info.codec {
        CodecId::Opus => (AudioFlags { rate_hz: 48_000, channels: 2 }, data),
        _ => adts.unwrap_or((AudioFlags::from_wire(info.flags), data)),
    }
}

const ADTS_RATES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// The ADTS header (ISO 13818-7 §6.2, AAC-LC, without checksum) for `raw_len` bytes of raw AAC.
pub fn adts_header(sound: AudioFlags, raw_len: usize) -> [u8; 7] {
    let rate_index = ADTS_RATES_HZ.iter().position(|rate| *rate == sound.rate_hz).unwrap_or(8) as u8;
    let len = (raw_len + 7) as u16;
    [
        0xFF,
        0xF1,
        0x40 | rate_index << 2 | sound.channels >> 2,
        sound.channels << 6 | (len >> 11) as u8,
        (len >> 3) as u8,
        (len << 5) as u8 | 0x1F,
        0xFC,
    ]
}

/// What an ADTS header says, and the raw AAC behind it; `None` when there is no such header.
pub fn split_adts(data: &[u8]) -> Option<(AudioFlags, &[u8])> {
    let [sync, flags, rate_and_channels, channels_low, ..] = *data else { return None };
    if sync != 0xFF || flags & 0xF6 != 0xF0 {
        return None;
    }
    let rate_hz = *ADTS_RATES_HZ.get(usize::from(rate_and_channels >> 2 & 0xF))?;
    let channels = (rate_and_channels & 1) << 2 | channels_low >> 6;
    let header_len = if flags & 1 == 1 { 7 } else { 9 };
    Some((AudioFlags { rate_hz, channels: channels.max(1) }, data.get(header_len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    fn info(codec: CodecId) -> FrameInfo {
        FrameInfo {
            codec,
            flags: 1,
            camera_index: 0,
            online_num: 1,
            fps: 20,
            frame_size: 4,
            bitrate: 100,
            timestamp_us: 999_999,
            timestamp_s: 1_700_000_000,
            payload_size: 0,
            frame_no: 0,
            device_id: *b"AABBCCDDEEFF\0\0\0\0",
        }
    }

    #[test]
    fn a_packetised_frame_reads_back_packet_by_packet() {
        let data: Vec<u8> = (0..45_500).map(|i| i as u8).collect();
        let packets = Packetiser::default().packetise(MediaChannel::IVideo, info(CodecId::H264), &data);
        let packets: Vec<_> = packets.iter().map(|bytes| (MediaPacket::decode(bytes).unwrap(), bytes)).collect();
        for (index, (packet, bytes)) in packets.iter().enumerate() {
            assert_eq!(usize::from(packet.header.index()), index, "index 40 is not the marker");
            assert_eq!(&packet.encode(), *bytes);
        }
        let whole: Vec<u8> = packets.iter().flat_map(|(packet, _)| packet.payload.clone()).collect();
        assert_eq!(whole, data);
        let last = packets.last().unwrap().0.info.clone().unwrap();
        assert_eq!((last.payload_size, last.frame_no), (45_500, 1));
    }

    #[test]
    fn a_single_packet_has_the_type_of_its_medium() {
        for (channel, codec, frame_type) in [
            (MediaChannel::Audio, CodecId::Pcmu, FrameType::StartAlt),
            (MediaChannel::PVideo, CodecId::H265, FrameType::EndSingle),
        ] {
            let packets = Packetiser::default().packetise(channel, info(codec), b"tiny");
            let [packet] = &packets[..] else { panic!("{} packets", packets.len()) };
            let packet = MediaPacket::decode(packet).unwrap();
            assert_eq!((packet.header.frame_type, packet.header.index()), (frame_type, 0));
            assert_eq!((&packet.payload[..], packet.info.is_some()), (&b"tiny"[..], true));
        }
    }

    #[test]
    fn every_truncated_header_or_info_is_an_error() {
        for data in [&[7; 10][..], &[7; 1500]] {
            let packets = Packetiser::default().packetise(MediaChannel::PVideo, info(CodecId::H264), data);
            let header_len = if packets.len() > 1 { 36 } else { 28 };
            checks::every_truncation_is_refused(&packets[0][..header_len], MediaPacket::decode);
        }
        checks::every_truncation_is_refused(&info(CodecId::Opus).encode(), FrameInfo::decode);
    }

    #[test]
    fn no_flipped_bit_panics() {
        for (channel, codec) in [(MediaChannel::Audio, CodecId::Pcma), (MediaChannel::IVideo, CodecId::H265)] {
            for packet in Packetiser::default().packetise(channel, info(codec), &[7; 1100]) {
                checks::every_flipped_bit_is_survived(&packet, MediaPacket::decode);
            }
        }
        let adts = [0xFF, 0xF1, 0x60, 0x40, 2, 0x7F, 0xFC, 1, 2];
        checks::every_flipped_bit_is_survived(&adts, |bytes| Ok(split_adts(bytes).is_some()));
    }

    #[test]
    fn an_adts_header_that_is_put_on_can_be_taken_off() {
        let sound = AudioFlags { rate_hz: 44_100, channels: 2 };
        let data = [&adts_header(sound, 300)[..], &[7; 300]].concat();
        assert_eq!(split_adts(&data), Some((sound, &[7; 300][..])));
        assert_eq!(u16::from_be_bytes([data[4], data[5]]) >> 5, 307, "the length field's lower 11 bits");
    }

    #[test]
    fn an_adts_header_is_taken_off() {
        let data = [0xFF, 0xF1, 0x60, 0x40, 0x02, 0x7F, 0xFC, 0xAB];
        assert_eq!(split_adts(&data), Some((AudioFlags { rate_hz: 16_000, channels: 1 }, &[0xAB][..])));
        assert_eq!(split_adts(&[0x21, 0x10, 0, 0, 0, 0, 0, 0]), None);
        for len in 0..7 {
            assert_eq!(split_adts(&data[..len]), None);
        }
    }
}
