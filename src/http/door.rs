//! The doors beside a doorbell. A door that its owner has not enabled has no address: whatever is asked, by whichever
//! method and body, is answered as at any other address where there is nothing (reliability.md S7).

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Extension, Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestExt};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::api::{find, is_json, refused, says_nothing};
use super::auth::Who;
use super::{ApiError, House};
use crate::clock;
use crate::doorbell::guard::{Attempt, Via};
use crate::doorbell::{ActionError, Door, Doorbell};
use crate::model::{DoorKind, LockAction};

type Id = Result<Path<String>, PathRejection>;
type Reply = Result<Response, ApiError>;

pub(super) async fn unlock(house: State<Arc<House>>, who: Extension<Who>, id: Id, request: Request) -> Reply {
    let says = async |request| says_nothing(request).await.map(|()| LockAction::Unlock);
    work(&house, who, id, DoorKind::Lock, request, says).await
}

pub(super) async fn lock(house: State<Arc<House>>, who: Extension<Who>, id: Id, request: Request) -> Reply {
    let says = async |request| says_nothing(request).await.map(|()| LockAction::Lock);
    work(&house, who, id, DoorKind::Lock, request, says).await
}

pub(super) async fn garage(house: State<Arc<House>>, who: Extension<Who>, id: Id, request: Request) -> Reply {
    work(&house, who, id, DoorKind::Garage, request, open_or_close).await
}

/// The body for a garage door, which has one address for both ways.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Way {
    open: bool,
}

async fn open_or_close(request: Request) -> Result<LockAction, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::ContentType);
    }
    let body: Bytes = request.extract().await.map_err(JsonRejection::from)?;
    // A bare list would be taken for the fields in their order.
    let object = Some(body.trim_ascii()).filter(|body| body.starts_with(b"{"));
    let way = object.and_then(|body| serde_json::from_slice(body).ok());
    let Way { open } = way.ok_or(ApiError::Way)?;
    Ok(if open { LockAction::Unlock } else { LockAction::Lock })
}

/// Nothing of the request is read before it is clear that there is a door.
async fn work(
    house: &House,
    Extension(Who(who)): Extension<Who>,
    id: Id,
    kind: DoorKind,
    request: Request,
    says: impl AsyncFnOnce(Request) -> Result<LockAction, ApiError>,
) -> Reply {
    let received = clock::now();
    let (doorbell, door) = enabled(house, id, kind).ok_or(ApiError::NoSuchRoute)?;
    if request.method() != Method::POST {
        return Ok(([(header::ALLOW, "POST")], ApiError::Method).into_response());
    }
    let action = says(request).await?;
    let attempt = Attempt { via: Via::Http { who, action }, received };
    let outcome = match door.work(attempt).await.outcome {
        Ok(state) => json!({ "ok": true, kind.word(): kind.state_word(state) }),
        Err(why) => json!({ "ok": false, "error": sentence(&doorbell, &door, why) }),
    };
    Ok((StatusCode::ACCEPTED, Json(outcome)).into_response())
}

fn enabled(house: &House, id: Id, kind: DoorKind) -> Option<(Doorbell, Arc<Door>)> {
    let Path(id) = id.ok()?;
    let doorbell = find(house, &id).ok()?;
    let door = doorbell.door(kind)?.clone();
    Some((doorbell, door))
}

/// What came of it, about the door: a doorbell's own sentences end with what to do about a doorbell.
fn sentence(doorbell: &Doorbell, door: &Door, why: ActionError) -> String {
    let why = match (why, door.opener()) {
        (ActionError::Refused { why }, _) => format!("{}.", why.trim_end_matches('.')),
        (ActionError::Timeout, Some(_)) => {
            "The doorbell did not say whether the door opened. Look at the door before you try again.".to_owned()
        }
        (ActionError::Timeout, None) => {
            format!("The {} did not answer in time. Look at the door before you try again.", door.kind().noun())
        }
        (other, _) => return refused(doorbell, other).to_string(),
    };
    format!("{}: {why}", doorbell.info().name)
}
