//! The door beside a doorbell. A door that its owner has not enabled has no address: whatever is asked, by whichever
//! method and body, is answered as at any other address where there is nothing (reliability.md S7).

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::{find, refused, says_nothing};
use super::{ApiError, House};
use crate::clock;
use crate::doorbell::guard::{Attempt, Via};
use crate::doorbell::{ActionError, Door, Doorbell};
use crate::model::LockAction;

type Id = Result<Path<String>, PathRejection>;
type Reply = Result<Response, ApiError>;

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
        return Ok(([(header::ALLOW, "POST")], ApiError::Method).into_response());
    }
    says_nothing(request).await?;
    let attempt = Attempt { via: Via::Http { who: house.who, action }, received };
    let outcome = match door.work(attempt).await.outcome {
        Ok(lock) => json!({ "ok": true, "lock": lock }),
        Err(why) => json!({ "ok": false, "error": sentence(&doorbell, why) }),
    };
    Ok((StatusCode::ACCEPTED, Json(outcome)).into_response())
}

fn enabled(house: &House, id: Id) -> Option<(Doorbell, Arc<Door>)> {
    let Path(id) = id.ok()?;
    let doorbell = find(house, &id).ok()?;
    let door = doorbell.door()?.clone();
    Some((doorbell, door))
}

/// What came of it, about the door: a doorbell's own sentences end with what to do about a doorbell.
fn sentence(doorbell: &Doorbell, why: ActionError) -> String {
    let why = match why {
        ActionError::Refused { why } => format!("{why}."),
        ActionError::Timeout => "The lock did not answer in time. Look at the door before you try again.".to_owned(),
        other => return refused(doorbell, other).to_string(),
    };
    format!("{}: {why}", doorbell.info().name)
}
