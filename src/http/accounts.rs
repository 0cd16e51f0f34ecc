//! The accounts: how they do, the codes that they wait for, the wish to have their devices listed anew, and those that
//! are added, corrected and removed here.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::says_nothing;
use super::{ApiError, House};
use crate::clock::rfc3339;
use crate::config::Mistake;
use crate::doorbell::Accounts;
use crate::doorbell::vendor::BoxFuture;
use crate::model::{Account, AccountLink, ListedDoor, RateLimit};
use crate::secret::Password;

/// The word of `/health` for an account that its owner or the cloud has to help.
pub(super) const DEGRADED: &str = "degraded";

/// Accounts that people add, correct and remove while the service runs. What is begun is finished, whether or not
/// anybody waits for it.
pub trait Setup: Send + Sync {
    /// What may be shown of account number `n`, besides how it does.
    fn about(&self, n: usize) -> About;

    /// Adds the account that `body` describes, as its vendor's section of the configuration would, with `vendor`
    /// beside. Its number.
    fn add(&self, body: Value) -> BoxFuture<'static, Result<usize, SetupError>>;

    /// Writes `body` over what is known of the account, and starts it anew. What `body` leaves out, or leaves empty,
    /// stays as it is; `null` takes it away.
    fn correct(&self, n: usize, body: Value) -> BoxFuture<'static, Result<(), SetupError>>;

    /// Takes the account away, and all that is stored of it.
    fn remove(&self, n: usize) -> BoxFuture<'static, Result<(), SetupError>>;
}

/// What may be shown of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Enough for its owner to know it by, and too little for anybody else: `y…@example.com`.
    pub label: String,
    /// Whether it was added while the service ran, and can be corrected and removed like that.
    pub added_here: bool,
}

/// Why an account was not added, corrected or removed. Unless it says otherwise, nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error("{}", told(.0))]
    Mistakes(Vec<Mistake>),
    #[error("There are {0} accounts already, and no more can be added. Remove one first.")]
    Full(usize),
    #[error("There is no such account. `GET /api/accounts` lists those there are.")]
    NoSuchAccount,
    #[error("This account is written down in the configuration. Change it there, then restart Doorstep.")]
    Configured,
    /// Perhaps half of it has.
    #[error(
        "Something went wrong in Doorstep itself, which the log describes. Look at the list of accounts before you try \
         again."
    )]
    Failed,
    #[error("Nothing was changed, because it cannot be kept: {0}. Then try again.")]
    NotKept(String),
}

/// Nothing that was sent is in it.
fn told(mistakes: &[Mistake]) -> String {
    let one = |Mistake { path, what, .. }: &Mistake| {
        // "… did you mean `email`?" has its end already.
        let end = if what.ends_with('?') { "" } else { "." };
        if path.is_empty() { format!("{what}{end}") } else { format!("`{path}`: {what}{end}") }
    };
    format!("The account was not understood. {}", mistakes.iter().map(one).collect::<Vec<_>>().join(" "))
}

/// An account as `GET /api/accounts` and the events tell it.
#[derive(Serialize)]
pub(super) struct AccountView {
    /// Its number: from 0 over all vendors in the configuration, from 100 for those that were added here.
    n: usize,
    vendor: &'static str,
    label: String,
    added_here: bool,
    /// `starting`, `ready`, `failing`, `needs_code` or `needs_attention`.
    link: &'static str,
    /// Why it is none of the first two.
    why: Option<String>,
    /// How many it has listed.
    devices: usize,
    /// How many of them are shown as doorbells.
    doorbells: usize,
    /// The locks and garage doors among them, whether they may be worked or not.
    doors: Vec<DoorView>,
    rate_limit: Option<RateLimitView>,
}

#[derive(Serialize)]
struct DoorView {
    id: String,
    name: String,
    /// `lock` or `garage`.
    kind: &'static str,
    /// Why it cannot be worked from here at all.
    obstacle: Option<String>,
}

#[derive(Serialize)]
struct RateLimitView {
    remaining: u32,
    resets_at: String,
}

impl AccountView {
    fn new(n: usize, vendor: &'static str, account: &Account, About { label, added_here }: About) -> Self {
        Self {
            n,
            vendor,
            label,
            added_here,
            link: account.link.word(),
            why: account.link.why().map(str::to_owned),
            devices: account.devices,
            doorbells: account.doorbells,
            doors: account.doors.iter().map(DoorView::from).collect(),
            rate_limit: account.rate_limit.map(RateLimitView::from),
        }
    }
}

impl From<&ListedDoor> for DoorView {
    fn from(door: &ListedDoor) -> Self {
        let ListedDoor { id, name, kind, obstacle } = door;
        Self { id: id.to_string(), name: name.clone(), kind: kind.word(), obstacle: obstacle.clone() }
    }
}

impl From<RateLimit> for RateLimitView {
    fn from(limit: RateLimit) -> Self {
        Self { remaining: limit.remaining, resets_at: rfc3339(limit.resets_at) }
    }
}

pub(super) fn views(house: &House) -> Vec<AccountView> {
    let all = house.accounts.all().into_iter();
    all.map(|(n, vendor, status)| AccountView::new(n, vendor, &status.borrow(), house.setup.about(n))).collect()
}

fn view(house: &House, n: usize) -> Result<Json<AccountView>, ApiError> {
    views(house).into_iter().find(|account| account.n == n).map(Json).ok_or(ApiError::NoSuchAccount)
}

/// Each vendor in one word: [`DEGRADED`] when one of its accounts is.
pub(super) fn health(accounts: &Accounts) -> BTreeMap<&'static str, &'static str> {
    let mut words = BTreeMap::new();
    for (_, vendor, status) in accounts.all() {
        let word = words.entry(vendor).or_insert("ok");
        if status.borrow().link.why().is_some() {
            *word = DEGRADED;
        }
    }
    words
}

pub(super) async fn list(State(house): State<Arc<House>>) -> Json<Vec<AccountView>> {
    Json(views(&house))
}

/// Of an account, in an address.
type Number = Result<Path<usize>, PathRejection>;

/// The body of a code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    code: Password,
}

/// Hands on the one-time code that the owner was sent.
pub(super) async fn code(
    State(house): State<Arc<House>>,
    n: Number,
    body: Result<Json<Code>, JsonRejection>,
) -> Result<(StatusCode, Json<Vec<AccountView>>), ApiError> {
    let Path(n) = n.map_err(|_| ApiError::NoSuchAccount)?;
    let (.., status) = house.accounts.all().into_iter().find(|(own, ..)| *own == n).ok_or(ApiError::NoSuchAccount)?;
    let code = understood(body)?;
    if !matches!(status.borrow().link, AccountLink::NeedsCode { .. }) || !house.accounts.answer(n, code) {
        return Err(ApiError::NoCodeWanted);
    }
    Ok((StatusCode::ACCEPTED, Json(views(&house))))
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
    Ok((StatusCode::ACCEPTED, Json(views(&house))))
}

pub(super) async fn add(
    State(house): State<Arc<House>>,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let n = house.setup.add(body?.0).await?;
    Ok((StatusCode::CREATED, view(&house, n)?))
}

pub(super) async fn correct(
    State(house): State<Arc<House>>,
    n: Number,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<Json<AccountView>, ApiError> {
    let Path(n) = n.map_err(|_| ApiError::NoSuchAccount)?;
    house.setup.correct(n, body?.0).await?;
    view(&house, n)
}

pub(super) async fn remove(State(house): State<Arc<House>>, n: Number) -> Result<StatusCode, ApiError> {
    let Path(n) = n.map_err(|_| ApiError::NoSuchAccount)?;
    house.setup.remove(n).await?;
    Ok(StatusCode::NO_CONTENT)
}
