//! Doorbells on Amazon's Kinesis Video Streams that ring over AWS IoT.

mod account;
mod call;
mod channels;
mod door;
mod listener;
mod live;
pub mod models;
mod rings;
mod trouble;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::aws::{self, Aws, AwsError, Channel};
use crate::config::{self, DoorbellOverride};
use crate::doorbell::vendor::BoxFuture;
use crate::doorbell::{AccountPort, DevicePort, Vendor, VendorError};
use crate::model::{DeviceId, Found};
use crate::store::Store;
use account::Memory;
use channels::{Known, Obstacle};

/// Its name in ids, topics and logs.
pub const VENDOR: &str = "kvs";

/// One AWS account in one region.
pub struct Kvs {
    config: config::Kvs,
    /// Or what of the configuration cannot be read, which only its owner can change.
    aws: Result<Aws, AwsError>,
    memory: Memory,
    wishes: Vec<DoorbellOverride>,
    known: watch::Sender<Known>,
    /// Notified when what is known may be wrong.
    relist: Notify,
}

/// The keys of all that is stored of an account.
pub(super) fn stored(account: &config::Kvs) -> [String; 2] {
    account::keys(account)
}

impl Kvs {
    pub fn new(account: &config::Kvs, overrides: &[DoorbellOverride], store: &Store) -> Self {
        let config::Kvs { region, login, role_arn, identity, endpoints, .. } = account.clone();
        Self {
            aws: Aws::new(aws::Settings { region, login, role_arn, endpoints, identity }),
            memory: Memory::new(account, store),
            config: account.clone(),
            wishes: overrides.to_vec(),
            known: watch::Sender::new(Known::of(account.iot_endpoint.as_ref())),
            relist: Notify::new(),
        }
    }

    fn aws(&self) -> Result<&Aws, VendorError> {
        self.aws.as_ref().map_err(|error| error.clone().into())
    }

    fn found(&self) -> Vec<Found> {
        self.known.borrow().found(&self.wishes)
    }

    /// Where a doorbell is to be called.
    fn channel(&self, id: &DeviceId) -> Result<Channel, Obstacle> {
        self.known.borrow().channel(id)
    }

    /// What AWS says of it, without what is a secret or names anybody.
    fn record(&self, id: &DeviceId) -> Option<Value> {
        self.known.borrow().record(id)
    }
}

impl Vendor for Kvs {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async {
            // What is not known of the rings is no reason to show no doorbells.
            let _rings = self.list(self.aws()?).await?;
            Ok(self.found())
        })
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { account::live(&self, port, stop).await })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { live::live(&self, self.aws()?, port, stop).await })
    }
}
