//! The door beside a doorbell. A door that its owner has not enabled has no address: whatever is asked, by whichever
//! method and body, is answered as at any other address where there is nothing (reliability.md S7).

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tracing::Instrument;

use super::api::{find, refused, says_nothing};
use super::{ApiError, House};
use crate::clock;
use crate::doorbell::guard::{Attempt, Via};
use crate::doorbell::{ActionError, Door, Doorbell};
use crate::model::{LockAction, LockState};

type Id = Result<Path<String>, PathRejection>;
type Reply = Result<(StatusCode, Json<Value>), ApiError>;

pub(super) async fn unlock(State(house): State<Arc<House>>, id: Id, request: Request) -> Reply {
    work(&house, id, request, LockAction::Unlock).await
}

pub(super) async fn lock(State(house): State<Arc<House>>, id: Id, request: Request) -> Reply {
    work(&house, id, request, LockAction::Lock).await
}

/// Nothing of the request is read before it is clear that there is a door.
async fn work(house: &House, id: Id, request: Request, action: LockAction) -> Reply {
    let received = clock::now();
    let (doorbell, door) = enabled(house, id).ok_or(ApiError::NoSuchRoute)?;
    if request.method() != Method::POST {
        return Err(ApiError::Method);
    }
    says_nothing(request).await?;
    let attempt = Attempt { via: Via::Http { who: house.who, action }, received };
    let outcome = match attend(door, attempt).await {
        Ok(lock) => json!({ "ok": true, "lock": lock }),
        Err(why) => json!({ "ok": false, "error": refused(&doorbell, why).to_string() }),
    };
    Ok((StatusCode::ACCEPTED, Json(outcome)))
}

fn enabled(house: &House, id: Id) -> Option<(Doorbell, Arc<Door>)> {
    let Path(id) = id.ok()?;
    let doorbell = find(house, &id).ok()?;
    let door = doorbell.door()?.clone();
    Some((doorbell, door))
}

/// On a task of its own, so that somebody who hangs up does not end it between the audit log and the lock.
async fn attend(door: Arc<Door>, attempt: Attempt) -> Result<LockState, ActionError> {
    let attempt = async move { door.work(attempt).await };
    match tokio::spawn(attempt.in_current_span()).await {
        Ok(answer) => answer.outcome,
        Err(error) => {
            tracing::error!(%error, "the guard of a door failed; this is a bug");
            let why = "An internal error, which the log describes. Look at the door before you try again.";
            Err(ActionError::Offline { why: why.to_owned() })
        }
    }
}
