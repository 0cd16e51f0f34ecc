//! What a virtual AWS can be told to do wrong.

use std::time::Duration;

use crate::sim::fault::{self, faults};

faults! {
    /// One way of misbehaving. A cloud has at most one at a time.
    pub enum Fault {
        /// Its clock is [`Fault::SKEW`] ahead of everybody's, and its `Date` tells so.
        SkewedClock = "skewed-clock",
        /// Nobody may list channels, as the published set-up script has it.
        AccessDeniedList = "access-denied-list",
        /// Nobody may do anything with channels.
        AccessDenied = "access-denied",
        /// Every call is one too many.
        Throttled = "throttled",
        /// Temporary credentials given out so far have expired.
        ExpiredToken = "expired-token",
        /// HTTP 200 with a web page, as a captive portal answers.
        EndpointHtml = "endpoint-html",
        /// HTTP 500.
        ServerError = "500",
        /// The answer comes after [`Fault::LATE`].
        Slow = "slow",
        /// The connection is reset instead of an answer.
        Reset = "reset",
        /// The answer ends in the middle, as if it were whole.
        Truncated = "truncated",
        /// Answers hold fields and values that nobody knows.
        UnknownFields = "unknown-fields",
        /// Every channel is still being made.
        Creating = "creating",
        /// Takes no connection to the signaling service: HTTP 403.
        RefuseConnect = "refuse-connect",
        /// The channel is full: HTTP 400.
        ChannelFull = "channel-full",
        /// An empty frame before each that is relayed.
        EmptyFrame = "empty-frame",
        /// Each relayed frame is sent cut in half, and then whole.
        TruncatedFrame = "truncated-frame",
        /// A frame of an unknown type before each that is relayed.
        UnknownFrame = "unknown-frame",
        /// A frame whose payload is no base64 before each that is relayed.
        BrokenPayload = "broken-payload",
        /// Each frame is relayed twice.
        TwiceFrame = "twice-frame",
        /// Frames are taken and lost.
        LostFrames = "lost-frames",
        /// No TURN server is told of.
        NoIce = "no-ice",
        /// GetIceServerConfig answers HTTP 500.
        IceServerError = "ice-500",
        /// AWS IoT lets nobody connect: the policy is for another client id.
        PolicyConnect = "policy-connect",
        /// AWS IoT lets nobody subscribe: the policy names `topic/` where `topicfilter/` is wanted.
        PolicySubscribe = "policy-subscribe",
        /// The credentials provider refuses every certificate.
        ProviderForbidden = "provider-403",
    }
}

impl Fault {
    /// How far ahead a skewed clock is: well beyond the five minutes that signatures may be off.
    pub const SKEW: Duration = Duration::from_secs(900);
    /// How late a late answer is: before anybody gives up.
    pub const LATE: Duration = Duration::from_secs(4);
}

pub type Trouble = fault::Trouble<Fault>;
