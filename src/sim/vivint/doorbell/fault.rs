//! What a virtual doorbell can be told to do wrong in calls.

use std::time::Duration;

use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A doorbell has at most one at a time.
    pub enum Fault {
        /// Answers no offer.
        NoAnswer = "no-answer",
        /// Answers after [`Fault::LATE`].
        LateAnswer = "late-answer",
        /// Hangs up when it is to talk.
        CloseChannel = "close-channel",
        /// Its consent to a talk has a body, of which nobody knows the meaning.
        ConsentWithBody = "consent-with-body",
        /// Talks without saying so.
        NoConsent = "no-consent",
        /// Answers no Ping.
        NoPong = "no-pong",
        /// Pings by itself when the channel opens.
        Pings = "pings",
        /// Leaves yesterday's candidate and answer on the app's node in front of its own.
        Stale = "stale",
        /// Another app of the household offers on the doorbell's node while it is called.
        ForeignOffer = "foreign-offer",
        /// Sends its candidates with a line end, as a client does that others have got used to.
        CandidateLineEnds = "candidate-line-ends",
        /// Sends bytes that are no message, and one that nobody knows, in front of each consent.
        Garbage = "garbage",
    }
}

impl Fault {
    /// How late a late answer is: later than usual, and before anybody gives up.
    pub const LATE: Duration = Duration::from_secs(4);
}
