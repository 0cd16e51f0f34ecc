//! Talking over GWell: the one place that says why nobody can, and where it would begin.
//!
//! That there is an uplink is certain: the viewer's AV_INIT goes the same way. What a camera wants to hear there, and
//! what opens it, no public source says (gwell reference §10). Whoever finds out makes [`start`] open a [`TalkLine`]
//! whose pieces go to the session as a command of their own, and takes [`UNKNOWN`] away, with which the capability is
//! there.

use tokio::sync::oneshot;

use crate::doorbell::{ActionError, TalkLine};

/// For the owner.
pub const UNKNOWN: &str = "Nobody knows how to talk over GWell yet: no public description of it exists. Pictures and \
                           sound come all the same; to talk, use Wyze's app.";

/// Somebody wants to talk.
pub(super) fn start(reply: oneshot::Sender<Result<TalkLine, ActionError>>) {
    let _gave_up = reply.send(Err(ActionError::Refused { why: UNKNOWN.to_owned() }));
}
