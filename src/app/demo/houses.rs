//! The demo's virtual accounts together.

use std::io;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Kind;
use super::cast::{self, News};
use super::kvs::Kvs;
use super::vivint::Vivint;
use super::wyze::Wyze;
use crate::config::MqttUrl;
use crate::model::DeviceId;

impl Kind {
    fn of_wyze(self) -> Option<cast::Kind> {
        match self {
            Self::TutkOld => Some(cast::Kind::TutkOld),
            Self::TutkNew => Some(cast::Kind::TutkNew),
            Self::WyzeWebrtc => Some(cast::Kind::Webrtc),
            Self::Gwell => Some(cast::Kind::Gwell),
            Self::Vivint | Self::Kvs => None,
        }
    }
}

/// One account for each vendor that has a doorbell in the demo.
pub(super) struct Houses {
    wyze: Option<Wyze>,
    vivint: Option<Vivint>,
    kvs: Option<Kvs>,
}

impl Houses {
    pub(super) async fn start(kinds: &[Kind], stop: &CancellationToken) -> io::Result<Self> {
        let wyze: Vec<cast::Kind> = kinds.iter().filter_map(|kind| kind.of_wyze()).collect();
        let (vivint, kvs) = (kinds.contains(&Kind::Vivint), kinds.contains(&Kind::Kvs));
        Ok(Self {
            wyze: if wyze.is_empty() { None } else { Some(Wyze::start(&wyze, stop.clone()).await?) },
            vivint: if vivint { Some(Vivint::start(stop.clone()).await?) } else { None },
            kvs: if kvs { Some(Kvs::start(stop.clone()).await?) } else { None },
        })
    }

    /// The broker through which wired buttons are heard.
    pub(super) fn wire(&mut self, broker: &MqttUrl) {
        if let Some(wyze) = &mut self.wyze {
            wyze.wire(broker);
        }
    }

    pub(super) fn ids(&self) -> Vec<DeviceId> {
        let wyze = self.wyze.iter().flat_map(Wyze::ids);
        wyze.chain(self.vivint.iter().map(Vivint::id)).chain(self.kvs.iter().map(Kvs::id)).cloned().collect()
    }

    /// The accounts and what their owner says of the doorbells, as sections of a configuration.
    pub(super) fn yaml(&self) -> String {
        let (mut accounts, mut doorbells) = (String::new(), String::from("doorbells:\n"));
        if let Some(wyze) = &self.wyze {
            accounts += &format!("wyze:\n{}", wyze.account_yaml());
            doorbells += &wyze.doorbells_yaml();
        }
        if let Some(vivint) = &self.vivint {
            accounts += &format!("vivint:\n{}", vivint.account_yaml());
            doorbells += &vivint.doorbell_yaml();
        }
        if let Some(kvs) = &self.kvs {
            accounts += &format!("kvs:\n{}", kvs.account_yaml());
            doorbells += &kvs.doorbell_yaml();
        }
        accounts + &doorbells
    }

    /// Passes on what happens anywhere.
    pub(super) fn tell(&self, news: &mpsc::Sender<News>) {
        if let Some(wyze) = &self.wyze {
            wyze.tell(news.clone());
        }
        if let Some(vivint) = &self.vivint {
            vivint.tell(news.clone());
        }
        if let Some(kvs) = &self.kvs {
            kvs.tell(news.clone());
        }
    }

    /// Carries out what was typed for a doorbell.
    ///
    /// # Errors
    /// With the commands there are.
    pub(super) async fn obey(&self, id: &DeviceId, line: &str) -> Result<(), String> {
        match (&self.wyze, &self.vivint, &self.kvs) {
            (_, Some(vivint), _) if vivint.id() == id => vivint.obey(line),
            (_, _, Some(kvs)) if kvs.id() == id => kvs.obey(line),
            (Some(wyze), ..) => wyze.obey(id, line).await,
            _ => Ok(()),
        }
    }
}
