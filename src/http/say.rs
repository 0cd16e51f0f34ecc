//! What a doorbell is made to say: a text, an address or a clip as JSON, or a file of sound as it is.

use std::sync::Arc;
use std::task::Poll;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestExt};
use futures_util::poll;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{find, is_json};
use super::{ApiError, House};
use crate::doorbell::voice::{Source, Unspoken};
use crate::doorbell::{Doorbell, SayError, Saying, wording};

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
    let refused = |why| unsaid(&doorbell, why);
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
    if wait { whole(&doorbell, saying).await } else { taken_on(&doorbell, saying).await }
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

async fn whole(doorbell: &Doorbell, saying: Saying) -> Result<Response, ApiError> {
    let said = doorbell.say(saying).await.map_err(|why| unsaid(doorbell, why))?;
    Ok(Json(said.figures()).into_response())
}

/// What is refused at once, because somebody talks or too much waits already, is refused here too.
async fn taken_on(doorbell: &Doorbell, saying: Saying) -> Result<Response, ApiError> {
    let mut saying = Box::pin({
        let doorbell = doorbell.clone();
        async move { doorbell.say(saying).await }
    });
    match poll!(&mut saying) {
        Poll::Ready(Err(why)) => return Err(unsaid(doorbell, why)),
        Poll::Ready(Ok(_)) => {}
        Poll::Pending => drop(tokio::spawn(saying)),
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))).into_response())
}

fn unsaid(doorbell: &Doorbell, why: SayError) -> ApiError {
    ApiError::Unsaid { doorbell: doorbell.info().name.clone(), why }
}
