//! An account without devices that stands as a test tells it, and remembers what it was asked.

use std::sync::Arc;

use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{AccountPort, DevicePort, Vendor, VendorError};
use doorstep::model::{Account, Found};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What it was asked so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) codes: Vec<String>,
    pub(crate) rediscoveries: usize,
}

pub(crate) struct FakeAccount {
    status: watch::Sender<Account>,
    asked: watch::Sender<Asked>,
}

impl FakeAccount {
    /// Nothing wrong, nothing listed.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { status: watch::Sender::default(), asked: watch::Sender::default() })
    }

    /// How the account stands from now on.
    pub(crate) fn stands(&self, account: Account) {
        self.status.send_replace(account);
    }

    pub(crate) fn asked(&self) -> Asked {
        self.asked.borrow().clone()
    }

    /// Waits until what it was asked satisfies `condition`.
    pub(crate) async fn until_asked(&self, condition: impl FnMut(&Asked) -> bool) {
        let mut asked = self.asked.subscribe();
        let waited = tokio::time::timeout(super::house::PATIENCE, asked.wait_for(condition)).await;
        assert!(waited.is_ok_and(|asked| asked.is_ok()), "the account was only asked {:?}", self.asked());
    }
}

impl Vendor for FakeAccount {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        mut port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        let mut status = self.status.subscribe();
        Box::pin(async move {
            loop {
                port.status.send_replace(status.borrow_and_update().clone());
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    _ = status.changed() => {}
                    () = port.rediscover.notified() => self.asked.send_modify(|asked| asked.rediscoveries += 1),
                    Ok(code) = port.codes.recv() => {
                        self.asked.send_modify(|asked| asked.codes.push(code.expose().to_owned()));
                    }
                }
            }
        })
    }

    fn run_device(
        self: Arc<Self>,
        _: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }
}
