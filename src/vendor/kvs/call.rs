//! How a doorbell is called: as AWS says where, anew for every connection (kvs reference §1).

use futures_util::future::BoxFuture;

use crate::aws::{Aws, AwsError, Channel, Role};
use crate::rtc::kvs_call::{CallError, Exchange, Signalling};

/// One doorbell of an account.
pub(super) struct Line {
    pub(super) aws: Aws,
    pub(super) channel: Channel,
}

impl Exchange for Line {
    fn signalling<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        Box::pin(async move { self.aws.signalling(&self.channel, Role::Viewer, client_id).await.map_err(of_aws) })
    }

    fn signalling_with_new_relays<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        Box::pin(async move {
            // They are the ones that the next question is answered with.
            self.aws.ice_servers(&self.channel, Role::Viewer, client_id).await.map_err(of_aws)?;
            self.signalling(client_id).await
        })
    }
}

fn of_aws(error: AwsError) -> CallError {
    CallError::Exchange(Box::new(error))
}

/// What AWS has said instead of where to call.
pub(super) fn aws_error(error: &CallError) -> Option<&AwsError> {
    match error {
        CallError::Exchange(error) => error.downcast_ref(),
        _ => None,
    }
}
