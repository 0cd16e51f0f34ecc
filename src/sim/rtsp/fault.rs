//! What a virtual RTSP server can be told to do wrong.

use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A server has at most one at a time.
    pub enum Fault {
        /// Takes connections and answers nothing.
        Deaf = "deaf",
        /// Pictures and sound stop without a word; requests are answered.
        Silent = "silent",
        /// Data comes on channels that nobody has asked for.
        WrongChannel = "wrong-channel",
        /// What comes on the channels is no RTP.
        BrokenRtp = "broken-rtp",
        /// A frame says that it has 65,535 bytes, and the next one begins behind its fourth.
        HugeFrame = "huge-frame",
        /// Bytes without form between the frames.
        Garbage = "garbage",
        /// Some packets of the picture are left out, as by a camera that cannot keep up.
        Skips = "skips",
        /// The description says that it has 4 GiB.
        HugeReply = "huge-reply",
        /// The description has a medium without a format.
        BadDescription = "bad-description",
    }
}
