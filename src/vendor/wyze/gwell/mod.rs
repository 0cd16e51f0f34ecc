//! Wyze's cameras over GWell's peer-to-peer protocol, from the doorbell's side (docs/protocol/gwell.md): what the
//! cameras of one account share, and the life of each.

mod cloud;
mod failure;
mod life;
mod memory;
mod places;
mod publisher;
mod sessions;
pub mod talk;
mod token;
mod turns;

use crate::config::{self, WyzeLogin};
use crate::store::Store;
use crate::vendor::kept;

use super::cloud::{Cloud, CloudError};
use memory::Memory;
use token::UserToken;
use turns::Turns;

pub use life::{Camera, live};
pub use sessions::{OnEvent, OverSockets, Sessions};

/// What the GWell cameras of one account share.
pub struct Gwell {
    cloud: Cloud,
    config: config::Gwell,
    memory: Memory,
    turns: Turns,
}

/// Where in the store the memory is.
pub(super) fn stored(login: &WyzeLogin) -> String {
    kept::key("wyze_gwell", &login.email, &[&login.endpoints.mars])
}

impl Gwell {
    /// Asks nobody anything. What `store` has is used as long as it is good.
    pub fn new(cloud: Cloud, login: &WyzeLogin, store: &Store) -> Self {
        let config = login.gwell.clone();
        Self { cloud, memory: Memory::load(store, stored(login)), turns: Turns::new(config.stagger), config }
    }

    /// The kept one, or a new one.
    async fn token(&self, camera: &Camera) -> Result<UserToken, CloudError> {
        match self.memory.token(&camera.name) {
            Some(kept) => Ok(kept),
            None => self.new_token(camera).await,
        }
    }

    async fn new_token(&self, camera: &Camera) -> Result<UserToken, CloudError> {
        let token = cloud::register(&self.cloud, &camera.name).await?;
        tracing::debug!("the cloud gave a token for the P2P server");
        self.memory.keep_token(&camera.name, &token);
        Ok(token)
    }
}
