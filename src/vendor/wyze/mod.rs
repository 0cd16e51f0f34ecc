//! Wyze. For now the cameras whose keys the owner typed into the configuration, reached over the LAN.

pub mod cloud;
pub mod models;
pub mod streams;
mod tutk;
pub mod webrtc;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{self, DoorbellOverride, Quality, Transport, TutkProtocol};
use crate::doorbell::vendor::{BoxFuture, Retry};
use crate::doorbell::{AccountPort, DevicePort, Vendor, VendorError};
use crate::model::{Capability, DeviceId, DeviceInfo, Found, Role};
use crate::store::Store;
use models::{Model, Way};

const VENDOR: &str = "wyze";

/// One Wyze account.
pub struct Wyze {
    cameras: Vec<Camera>,
}

/// A camera as its owner configured it.
struct Camera {
    info: DeviceInfo,
    keys: config::WyzeCamera,
    address: SocketAddr,
    protocol: TutkProtocol,
    quality: Quality,
}

impl Wyze {
    pub fn new(account: &config::Wyze, overrides: &[DoorbellOverride], _store: &Store) -> Self {
        let cameras = account.cameras.iter().map(|keys| Camera::new(keys, overrides)).collect();
        Self { cameras }
    }

    fn camera(&self, id: &DeviceId) -> Option<&Camera> {
        self.cameras.iter().find(|camera| camera.info.id == *id)
    }
}

impl Camera {
    fn new(keys: &config::WyzeCamera, overrides: &[DoorbellOverride]) -> Self {
        let id = keys.id();
        let wanted = overrides.iter().find(|doorbell| doorbell.id == id);
        let rings = wanted.is_some_and(|doorbell| doorbell.ring_topic.is_some());
        let info = DeviceInfo {
            name: keys.name.clone(),
            vendor: VENDOR,
            model: keys.model.clone(),
            firmware: None,
            capabilities: capabilities(rings),
            id,
        };
        Self {
            info,
            address: wanted.and_then(|doorbell| doorbell.address).unwrap_or(keys.address),
            protocol: match wanted.map(|doorbell| doorbell.transport) {
                Some(Transport::Tutk(protocol)) => protocol,
                _ => TutkProtocol::Auto,
            },
            quality: wanted.map(|doorbell| doorbell.quality).unwrap_or_default(),
            keys: keys.clone(),
        }
    }
}

impl Camera {
    fn found(&self) -> Found {
        let way = Model::of(&self.info.model).map(|model| model.way);
        Found {
            info: self.info.clone(),
            role: Role::Doorbell,
            address: Some(self.address),
            transport: Some("tutk"),
            obstacle: way.and_then(Way::obstacle).map(str::to_owned),
        }
    }
}

/// A TUTK session carries no ring, so a camera rings only when its button is wired to a topic.
fn capabilities(rings: bool) -> BTreeSet<Capability> {
    let mut capabilities = BTreeSet::from([Capability::Stream, Capability::Talk]);
    if rings {
        capabilities.insert(Capability::Ring);
    }
    capabilities
}

impl Vendor for Wyze {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        let found = self.cameras.iter().map(Camera::found).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            let found = self.cameras.iter().map(Camera::found).collect();
            let _stopping = port.listings.send(found).await;
            stop.cancelled().await;
            Ok(())
        })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            let camera = self.camera(&port.info.id).ok_or_else(|| {
                left_to_owner(format!("`{}` is no longer configured. Restart Doorstep.", port.info.id))
            })?;
            if let Some(why) = Model::of(&camera.info.model).and_then(|model| model.way.obstacle()) {
                return Err(left_to_owner(format!("`{}` cannot be reached: {why}", camera.info.model)));
            }
            tutk::live(camera, port, stop).await
        })
    }
}

fn left_to_owner(what: String) -> VendorError {
    VendorError { vendor: VENDOR, what, retry: Retry::WaitForUser, source: None }
}
