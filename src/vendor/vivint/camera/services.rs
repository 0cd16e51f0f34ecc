//! What a camera's life asks for, of a Vivint account.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Services, TalkReply, Worked};
use crate::doorbell::vendor::BoxFuture;
use crate::doorbell::{ActionError, Question, VendorError};
use crate::model::DeviceId;
use crate::vendor::vivint::cloud::PanelLogin;
use crate::vendor::vivint::devices::{Camera, Device, Place};
use crate::vendor::vivint::rtsp::{Login, Wish};
use crate::vendor::vivint::{Vivint, gone, talk};

/// The ways that worked, of all cameras of an account.
#[derive(Debug, Default)]
pub(in crate::vendor::vivint) struct Ways(Mutex<BTreeMap<DeviceId, Arc<Worked>>>);

impl Ways {
    fn of(&self, id: &DeviceId) -> Arc<Worked> {
        let mut ways = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ways.entry(id.clone()).or_default())
    }
}

/// One camera of an account.
pub(in crate::vendor::vivint) struct OfAccount<'a> {
    vivint: &'a Vivint,
    id: DeviceId,
    place: Place,
    worked: Arc<Worked>,
}

impl<'a> OfAccount<'a> {
    pub(in crate::vendor::vivint) fn new(vivint: &'a Vivint, device: &Device) -> Self {
        let id = device.place.id();
        Self { vivint, place: device.place, worked: vivint.ways.of(&id), id }
    }
}

impl Services for OfAccount<'_> {
    fn camera(&self) -> Result<Camera, VendorError> {
        self.vivint.camera(&self.id).ok_or_else(gone)
    }

    fn relisted(&self) -> BoxFuture<'_, Result<Camera, VendorError>> {
        Box::pin(async {
            self.vivint.list().await?;
            self.camera()
        })
    }

    fn panel_login(&self, renew: bool) -> BoxFuture<'_, Result<Login, VendorError>> {
        Box::pin(async move {
            let PanelLogin { user, password } = self.vivint.cloud.panel_login(self.place.panel, renew).await?;
            Ok(Login { user, password })
        })
    }

    fn wish(&self) -> Wish {
        let wish = self.vivint.wishes.iter().find(|wish| wish.id == self.id);
        wish.map(|wish| Wish { quality: wish.quality, address: wish.address }).unwrap_or_default()
    }

    fn worked(&self) -> &Worked {
        &self.worked
    }

    fn request_thumbnail(&self) -> BoxFuture<'_, Result<(), VendorError>> {
        Box::pin(async { Ok(self.vivint.cloud.request_thumbnail(self.place).await?) })
    }

    fn newest_thumbnail(&self) -> Option<SystemTime> {
        self.vivint.thumbnails.borrow().get(&self.id).copied()
    }

    fn newer_thumbnail(&self, than: Option<SystemTime>) -> BoxFuture<'_, SystemTime> {
        let mut thumbnails = self.vivint.thumbnails();
        Box::pin(async move {
            // What is known changes only for a newer one, whatever time it tells.
            let is_newer = |at: &&SystemTime| than != Some(**at);
            loop {
                let newest = thumbnails.borrow_and_update().get(&self.id).filter(is_newer).copied();
                if let Some(at) = newest {
                    return at;
                }
                // The account has the sender, and outlives its cameras.
                let _ = thumbnails.changed().await;
            }
        })
    }

    fn thumbnail(&self, taken_at: SystemTime) -> BoxFuture<'_, Result<Bytes, VendorError>> {
        Box::pin(async move { Ok(self.vivint.cloud.thumbnail(self.place, taken_at).await?) })
    }

    fn record(&self) -> Option<Value> {
        self.vivint.raw(&self.id)
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, ActionError>> {
        Box::pin(async move {
            let camera = self.called()?;
            talk::ask(&self.vivint.callers, &camera, question).await
        })
    }

    fn talk_obstacle(&self) -> Option<String> {
        // One without a speaker has nothing to be told about it.
        let camera = self.vivint.camera(&self.id).filter(|camera| camera.speaks)?;
        self.vivint.callers.obstacle(&camera)
    }

    fn warm(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(camera) = self.vivint.camera(&self.id) {
                self.vivint.callers.warm(&camera).await;
            }
        })
    }

    fn talk(&self, reply: TalkReply, stop: CancellationToken) -> BoxFuture<'_, Result<(), VendorError>> {
        Box::pin(async move {
            match self.called() {
                Ok(camera) => talk::talk(&self.vivint.callers, &camera, reply, stop).await,
                Err(error) => {
                    let _gave_up = reply.send(Err(error));
                    Ok(())
                }
            }
        })
    }
}

impl OfAccount<'_> {
    fn called(&self) -> Result<Camera, ActionError> {
        self.vivint.camera(&self.id).ok_or_else(|| ActionError::Offline { why: gone().what })
    }
}
