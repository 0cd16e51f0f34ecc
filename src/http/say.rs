//! What a doorbell is made to say: a text, an address or a clip as JSON, or a file of sound as it is.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{find, is_json};
use super::{ApiError, House};
use crate::doorbell::voice::{Source, Unspoken};
use crate::doorbell::{Saying, wording};

/// What stands in the address beside a file, which says nothing else by itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BesideFile {
    volume: Option<f64>,
    wait: Option<bool>,
}

/// `POST /api/doorbells/{id}/say`.
pub(super) async fn say(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    query: Result<Query<BesideFile>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let doorbell = find(&house, &id)?;
    let refused = |why| ApiError::Unsaid { doorbell: doorbell.info().name.clone(), why };
    let (saying, wait) = if is_json(request.headers()) {
        let Json(object): Json<Map<String, Value>> = request.extract().await.map_err(|why: JsonRejection| why)?;
        in_words(object).map_err(|why| refused(why.into()))?
    } else {
        let Query(beside) = query.map_err(|_| ApiError::BesideFile)?;
        let volume = json!(beside.volume.unwrap_or(1.0));
        // What is no number of JSON, as `NaN`, is none here either.
        let volume = wording::volume_of(&volume).map_err(|why| refused(why.into()))?;
        let source = Source::File(house.uploads.receive(request).await?);
        (Saying { volume, ..Saying::once(source) }, beside.wait.unwrap_or(true))
    };
    let saying = doorbell.take_on(saying).map_err(refused)?;
    if !wait {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))).into_response());
    }
    let said = saying.await.map_err(refused)?;
    Ok(Json(said.figures()).into_response())
}

/// `DELETE /api/doorbells/{id}/say`.
pub(super) async fn stop(State(house): State<Arc<House>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    find(&house, &id)?.stop_saying();
    Ok(StatusCode::NO_CONTENT)
}

/// What is to be said, and whether the answer is to wait until it has been.
fn in_words(mut object: Map<String, Value>) -> Result<(Saying, bool), Unspoken> {
    let wait = match object.remove("wait") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(wait)) => wait,
        Some(_) => return Err(Unspoken::Unusable("`wait` must be `true` or `false`.".to_owned())),
    };
    Ok((Saying::read(object)?, wait))
}
