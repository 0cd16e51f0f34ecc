//! What a virtual KVS camera, or the service in front of it, can be told to do wrong.

use std::time::Duration;

use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A camera has at most one at a time.
    pub enum Fault {
        /// Takes every offer and answers none, as when the camera is not connected to the service.
        NoAnswer = "no-answer",
        /// An empty frame and one of an unknown type in front of each answer.
        EmptyFrame = "empty-frame",
        /// The service says GO_AWAY behind each answer, and hangs up some time later.
        GoAway = "go-away",
        /// Answers after [`Fault::LATE`].
        LateAnswer = "late-answer",
        /// Sends its candidates before its answer.
        EarlyCandidates = "early-candidates",
        /// Each answer's frame is sent cut in half, and then whole.
        TruncatedFrame = "truncated-frame",
        /// Takes no connection: HTTP 403.
        Refuse = "refuse",
        /// The camera's cable is cut: pictures and sound stop without a word, and offers are not answered.
        Vanish = "vanish",
        /// The camera has no speaker: it answers `sendrecv` with `sendonly`.
        Recvonly = "recvonly",
    }
}

impl Fault {
    /// How late a late answer is: later than usual, and before anybody gives up.
    pub const LATE: Duration = Duration::from_secs(4);
}
