//! The accounts: how they do, the codes that they wait for, and the wish to have their devices listed anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::says_nothing;
use super::{ApiError, House};
use crate::clock::rfc3339;
use crate::doorbell::Accounts;
use crate::model::{Account, AccountLink, RateLimit};
use crate::secret::Password;

/// The word of `/health` for an account that its owner or the cloud has to help.
pub(super) const DEGRADED: &str = "degraded";

/// An account as `GET /api/accounts` and the events tell it.
#[derive(Serialize)]
pub(super) struct AccountView {
    /// Its number in the configuration, from 0 over all vendors: what `/api/accounts/{n}/code` takes.
    n: usize,
    vendor: &'static str,
    /// `starting`, `ready`, `failing`, `needs_code` or `needs_attention`.
    link: &'static str,
    /// Why it is none of the first two.
    why: Option<String>,
    /// How many it has listed.
    devices: usize,
    rate_limit: Option<RateLimitView>,
}

#[derive(Serialize)]
struct RateLimitView {
    remaining: u32,
    resets_at: String,
}

impl AccountView {
    fn new(n: usize, vendor: &'static str, account: &Account) -> Self {
        Self {
            n,
            vendor,
            link: account.link.word(),
            why: account.link.why().map(str::to_owned),
            devices: account.devices,
            rate_limit: account.rate_limit.map(RateLimitView::from),
        }
    }
}

impl From<RateLimit> for RateLimitView {
    fn from(limit: RateLimit) -> Self {
        Self { remaining: limit.remaining, resets_at: rfc3339(limit.resets_at) }
    }
}

pub(super) fn views(accounts: &Accounts) -> Vec<AccountView> {
    let all = accounts.all().into_iter().enumerate();
    all.map(|(n, (vendor, status))| AccountView::new(n, vendor, &status.borrow())).collect()
}

/// Each vendor in one word: [`DEGRADED`] when one of its accounts is.
pub(super) fn health(accounts: &Accounts) -> BTreeMap<&'static str, &'static str> {
    let mut words = BTreeMap::new();
    for (vendor, status) in accounts.all() {
        let word = words.entry(vendor).or_insert("ok");
        if status.borrow().link.why().is_some() {
            *word = DEGRADED;
        }
    }
    words
}

pub(super) async fn list(State(house): State<Arc<House>>) -> Json<Vec<AccountView>> {
    Json(views(&house.accounts))
}

/// The body of a code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    code: Password,
}

/// Hands on the one-time code that the owner was sent.
pub(super) async fn code(
    State(house): State<Arc<House>>,
    n: Result<Path<usize>, PathRejection>,
    body: Result<Json<Code>, JsonRejection>,
) -> Result<(StatusCode, Json<Vec<AccountView>>), ApiError> {
    let Path(n) = n.map_err(|_| ApiError::NoSuchAccount)?;
    let (_, status) = house.accounts.all().into_iter().nth(n).ok_or(ApiError::NoSuchAccount)?;
    let code = understood(body)?;
    if !matches!(status.borrow().link, AccountLink::NeedsCode { .. }) || !house.accounts.answer(n, code) {
        return Err(ApiError::NoCodeWanted);
    }
    Ok((StatusCode::ACCEPTED, Json(views(&house.accounts))))
}

/// Four to ten digits. What was sent instead is not repeated: it may be a code with a slip in it.
fn understood(body: Result<Json<Code>, JsonRejection>) -> Result<Password, ApiError> {
    let Json(Code { code }) = body.map_err(|rejection| match rejection {
        JsonRejection::BytesRejection(_) | JsonRejection::MissingJsonContentType(_) => ApiError::Body(rejection),
        _ => ApiError::Code,
    })?;
    let digits = code.expose();
    let fits = (4..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(code).ok_or(ApiError::Code)
}

/// Has every account list its devices anew, now.
pub(super) async fn rediscover(
    State(house): State<Arc<House>>,
    request: Request,
) -> Result<(StatusCode, Json<Vec<AccountView>>), ApiError> {
    says_nothing(request).await?;
    house.accounts.rediscover();
    Ok((StatusCode::ACCEPTED, Json(views(&house.accounts))))
}
