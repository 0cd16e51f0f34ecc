//! What the end of a session means for the camera's owner, and for the next life.

use super::super::VENDOR;
use super::super::tutk::cannot_try;
use crate::doorbell::VendorError;
use crate::doorbell::vendor::Retry;
use crate::net::drive::DriveError;
use crate::proto::gwell::session::SessionError;

/// None of the P2P servers' names is found.
pub(super) fn no_server_found() -> VendorError {
    failed("Nobody could say where GWell's P2P servers are. Check this machine's name service if this goes on.")
}

pub(super) fn of(error: DriveError<SessionError>) -> VendorError {
    match error {
        DriveError::Session(error) => {
            let failed = failed(&sentences(&error));
            VendorError { source: Some(error.into()), ..failed }
        }
        DriveError::Socket(error) => cannot_try("Using the socket", error),
    }
}

/// Trying again may always help: the camera, the servers and the way there are none of ours.
fn failed(what: &str) -> VendorError {
    let what = format!("{what} It is being tried again.");
    VendorError { vendor: VENDOR, what, retry: Retry::Backoff, source: None }
}

/// What happened, and what the owner can do.
fn sentences(error: &SessionError) -> String {
    let told = |number: Option<u32>, noun: &str| number.map(|n| format!(" ({noun} {n})")).unwrap_or_default();
    match error {
        SessionError::NoServer => "None of GWell's P2P servers answers. Check this machine's way to the internet, and \
                                   that a firewall lets it use UDP, if this goes on."
            .to_owned(),
        SessionError::NotCertified { code } => format!(
            "The P2P server does not take the token that Wyze's cloud gives for the camera{}. Check in Wyze's app that \
             the camera is on this account if this goes on.",
            told(code.map(u32::from), "code")
        ),
        SessionError::NotListed => "The P2P server does not list the camera on this account. Check in Wyze's app that \
                                    it works there, and set it up anew if this goes on."
            .to_owned(),
        SessionError::NotCalled => "The camera does not take the call. Check its power or its battery, and its Wi-Fi, \
                                    if this goes on."
            .to_owned(),
        SessionError::NoPath => "No way leads to the camera: it answers neither on the LAN nor through Wyze's relays. \
                                 Check that a firewall lets this machine use UDP, or set the camera's `address` under \
                                 `doorbells`, if this goes on."
            .to_owned(),
        SessionError::NotAccepted { reason } => format!(
            "The camera does not show its picture over GWell{}. Close other programs that watch it; some models show \
             none over GWell at all, and with `transport: webrtc` under `doorbells` it is called another way.",
            told(*reason, "reason")
        ),
        SessionError::NoPicture => {
            "The camera accepted the call and sent no picture. Restart it if this goes on.".to_owned()
        }
        SessionError::Silent => {
            "The camera has stopped sending. Check its power and its Wi-Fi if this goes on.".to_owned()
        }
        SessionError::Closed => {
            "The camera ended the stream. Close other programs that watch it if this goes on.".to_owned()
        }
        SessionError::Unreadable(what) => format!(
            "The camera's stream cannot be read ({what}). Restart the camera; if this goes on, a newer Doorstep may \
             know how to read it."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_whole_sentences_and_tried_again() {
        for error in [
            SessionError::NoServer,
            SessionError::NotCertified { code: Some(8_020) },
            SessionError::NotCertified { code: None },
            SessionError::NotListed,
            SessionError::NotCalled,
            SessionError::NoPath,
            SessionError::NotAccepted { reason: Some(3) },
            SessionError::NotAccepted { reason: None },
            SessionError::NoPicture,
            SessionError::Silent,
            SessionError::Closed,
            SessionError::Unreadable("an AV block of another version"),
        ] {
            let VendorError { what, retry, .. } = of(DriveError::Session(error.clone()));
            assert!(what.starts_with(char::is_uppercase) && what.ends_with(". It is being tried again."), "{what}");
            assert!(!what.contains("  "), "{what}");
            assert_eq!(retry, Retry::Backoff, "{what}");
        }
        let code = of(DriveError::Session(SessionError::NotCertified { code: Some(8_020) }));
        assert!(code.what.contains("(code 8020)"), "{}", code.what);
    }
}
