//! What a virtual camera can be told to do wrong.

use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A camera has at most one at a time.
    pub enum Fault {
        /// Takes every datagram and answers none.
        NoAnswer = "no-answer",
        /// Answers discovery in both families, whatever it was started as, and then speaks the one chosen.
        BothFamilies = "both-families",
        /// Answers the AV login without success, and the K-authentication with `connectionRes` 2.
        LoginRefused = "login-refused",
        /// Derives its DTLS key from another ENR.
        WrongPsk = "wrong-psk",
        /// Sends every media packet twice.
        Duplicate = "duplicate",
        /// Sends every tenth media packet after the one that follows it.
        Swap = "swap",
        /// Does not send every twentieth media packet.
        Loss = "loss",
        /// Keeps the session and sends nothing more in it, neither media nor keepalives.
        Freeze = "freeze",
        /// Goes on from another UDP port; each time it is set, it moves again.
        PortChange = "port-change",
        /// Consents to talk and never opens the back channel.
        NoBackChannel = "no-back-channel",
        /// Has an ENR whose SHA-256 holds a zero byte, so that the key ends there.
        EnrWithNul = "enr-with-nul",
        /// Sends no media for two seconds, once, and then goes on.
        MediaGap = "media-gap",
    }
}
