//! The demo's GWell doorbell, and the P2P server through which it is found.

use std::io;

use tokio_util::sync::CancellationToken;

use crate::secret::Token;
use crate::sim::gwell_camera::{self, RunningCamera};
use crate::sim::gwell_server::{self, RunningServer};
use crate::sim::wyze_cloud::GwellUser;

/// Both stop with the token.
pub(super) struct Gwell {
    pub(super) camera: RunningCamera,
    pub(super) server: RunningServer,
}

impl Gwell {
    /// A doorbell that servers list by this name.
    pub(super) async fn start(name: &str, stop: CancellationToken) -> io::Result<Self> {
        let mut settings = gwell_server::Settings::generate(getrandom::u64().map_err(io::Error::other)?);
        settings.cameras.iter_mut().for_each(|camera| name.clone_into(&mut camera.name));
        let account = settings.cameras.first().map(|camera| (camera.name.clone(), camera.token.clone()));
        let (name, token) = account.ok_or_else(|| io::Error::other("the virtual P2P server has no camera"))?;
        let server = gwell_server::start(settings, stop.clone()).await?;
        let camera = gwell_camera::start(gwell_camera::Settings::new(server.address, name, token), stop).await?;
        Ok(Self { camera, server })
    }

    /// What Wyze's cloud gives its owner for it.
    pub(super) fn user(&self) -> Option<GwellUser> {
        let (access_id, access_token) = self.server.settings.terminals.first()?.to_text();
        Some(GwellUser { access_id, access_token: Token::new(access_token), expire: None })
    }
}
