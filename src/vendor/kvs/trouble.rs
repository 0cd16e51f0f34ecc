//! What AWS's refusals and calls that came to nothing mean for the owner.

use super::VENDOR;
use super::call::aws_error;
use crate::aws::AwsError;
use crate::doorbell::vendor::Retry;
use crate::doorbell::{ActionError, VendorError};
use crate::model::AccountLink;
use crate::rtc::kvs_call::CallError;
use crate::vendor::called;

impl From<AwsError> for VendorError {
    fn from(error: AwsError) -> Self {
        Self { vendor: VENDOR, what: error.to_string(), retry: error.retry(), source: None }
    }
}

impl From<AwsError> for ActionError {
    fn from(error: AwsError) -> Self {
        Self::Offline { why: error.to_string() }
    }
}

/// Whether trying again does not help before the owner has done something. It is tried all the same, now and then.
pub(super) fn is_for_owner(error: &AwsError) -> bool {
    match error {
        AwsError::Throttled { .. } => false,
        other => other.retry() != Retry::Backoff,
    }
}

/// How an account stands that has met it.
pub(super) fn link_of(error: &AwsError) -> AccountLink {
    let why = error.to_string();
    if is_for_owner(error) { AccountLink::NeedsAttention { why } } else { AccountLink::Failing { why } }
}

/// A call that came to nothing, or broke off.
pub(super) fn of_call(error: CallError) -> VendorError {
    if let Some(error) = aws_error(&error) {
        // It is asked again only when somebody wants a call: no reason to keep the doorbell away for long.
        return VendorError { vendor: VENDOR, what: error.to_string(), retry: Retry::Backoff, source: None };
    }
    let advice = match &error {
        CallError::NoAnswer { .. } => {
            "Check its power and its network, and that its program runs. One that starts its camera only when somebody \
             rings can be called only then."
        }
        other => called::advice(other),
    };
    let what = format!("The call to the doorbell failed: {error}. It is being tried again. {advice}");
    VendorError { vendor: VENDOR, what: what.trim_end().to_owned(), retry: Retry::Backoff, source: Some(error.into()) }
}
