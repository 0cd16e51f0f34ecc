//! What a doorbell at Amazon can be told to do wrong.

use std::time::Duration;

use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A doorbell has at most one at a time.
    pub enum Fault {
        /// Takes every offer and answers none.
        NoAnswer = "no-answer",
        /// Answers after [`Fault::LATE`].
        LateAnswer = "late-answer",
        /// Sends each answer twice.
        AnswersTwice = "answers-twice",
        /// Sends its candidates before its answer.
        EarlyCandidates = "early-candidates",
        /// Opens no door: the command is echoed as any other text.
        Echo = "echo",
        /// Opens the door and says nothing.
        SilentDoor = "silent-door",
        /// Pictures, sound and replies stop without a word, and offers are not answered.
        Vanish = "vanish",
        /// Is not connected to its channel. Calls go on.
        Leaves = "leaves",
    }
}

impl Fault {
    /// How late a late answer is: later than usual, and before anybody gives up.
    pub const LATE: Duration = Duration::from_secs(4);
}
