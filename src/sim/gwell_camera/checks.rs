//! What the camera verifies about its viewers (gwell reference §5–§8, and the seed's five rules).

use crate::sim::checks;

/// One promise of the protocol that a viewer keeps or breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Check {
    /// MTP: the checksum, and a length that is not more than there is.
    Mtp,
    /// Sender and receiver of control messages are the caller and this camera.
    Ids,
    /// 0x25 comes before the first KCP segment.
    CreateKcp,
    /// KCP comes by one way at a time: a viewer may move, but not send by two.
    OneAddress,
    /// A meter request every 2 s while media flow; late is more than 11 s, since some get lost.
    Meters,
    /// Our meter requests are answered.
    MeterAcks,
    /// The data conversation's window is open for 512 segments.
    Window,
    /// Stream ids are not 0.
    StreamId,
    /// START comes first on the data conversation.
    Start,
    /// The viewer's AV_INIT follows START.
    AvInit,
    /// Messages can be read.
    Messages,
}

impl Check {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mtp => "mtp",
            Self::Ids => "ids",
            Self::CreateKcp => "create_kcp",
            Self::OneAddress => "one_address",
            Self::Meters => "meters",
            Self::MeterAcks => "meter_acks",
            Self::Window => "window",
            Self::StreamId => "stream_id",
            Self::Start => "start",
            Self::AvInit => "av_init",
            Self::Messages => "messages",
        }
    }
}

pub(super) type Checks = checks::Checks<Check>;
