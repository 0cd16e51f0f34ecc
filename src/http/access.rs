//! Who may come in: what the page's "Access" tells and does, and tickets for one stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::api::{find, says_nothing};
use super::auth::{TICKET_LASTS, Who};
use super::{ApiError, House};
use crate::clock::rfc3339;

#[derive(Serialize)]
struct AccessView {
    /// `null` when other machines cannot come in at all.
    direct: Option<DirectView>,
    /// How whoever asks came in: `ingress`, `loopback` or `token`.
    via: String,
}

#[derive(Serialize)]
struct DirectView {
    listen: String,
    /// Since when the token that was made in the page is good, in RFC 3339; `null` without one.
    token_since: Option<String>,
}

pub(super) async fn show(State(house): State<Arc<House>>, Extension(who): Extension<Who>) -> Response {
    let direct = house.direct.as_ref().map(|direct| DirectView {
        listen: direct.listen.to_string(),
        token_since: direct.tokens.generated_since().map(rfc3339),
    });
    Json(AccessView { direct, via: who.via().to_owned() }).into_response()
}

/// Makes a token and shows it this once.
pub(super) async fn make_token(
    State(house): State<Arc<House>>,
    Extension(who): Extension<Who>,
    request: Request,
) -> Result<Response, ApiError> {
    says_nothing(request).await?;
    // Whoever merely has a token could otherwise shut out its owner.
    if who.via() == "token" {
        return Err(ApiError::TokenElsewhere);
    }
    let tokens = house.direct.as_ref().ok_or(ApiError::NoDirect)?.tokens.clone();
    let made = tokio::task::spawn_blocking(move || tokens.rotate()).await.map_err(|_| ApiError::NoRandomness)?;
    Ok((StatusCode::CREATED, Json(json!({ "token": made?.expose() }))).into_response())
}

/// A ticket for this doorbell's picture and microphone.
pub(super) async fn ticket(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    says_nothing(request).await?;
    let doorbell = find(&house, &id)?;
    let ticket = house.tickets.issue(&doorbell.info().id).map_err(|_| ApiError::NoRandomness)?;
    let lasts = TICKET_LASTS.as_secs();
    Ok((StatusCode::CREATED, Json(json!({ "ticket": ticket, "expires_in_s": lasts }))).into_response())
}
