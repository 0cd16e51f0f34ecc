//! The devices of one account as Doorstep takes them: what the cloud lists, what the owner typed in and what the
//! owner wants otherwise, made one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::VENDOR;
use super::devices::{HardwareId, Keys, Record};
use super::gwell::talk;
use super::models::{self, Model, Way};
use super::route::{Means, Plan, Reach};
use crate::config::{self, DoorbellOverride, Quality, Transport, TutkProtocol};
use crate::model::{Capability, DeviceId, DeviceInfo, Found, Role};
use crate::proto::tutk::keys::{InvalidUid, Uid};

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) info: DeviceInfo,
    pub(super) role: Role,
    pub(super) hardware: HardwareId,
    pub(super) way: Way,
    /// What a session on the LAN takes.
    pub(super) lan: Option<Lan>,
    /// Where it is on the LAN, as its owner says.
    pub(super) address: Option<IpAddr>,
    pub(super) quality: Quality,
    /// The ways to its pictures, or why there is none. Of no meaning for a lock.
    pub(super) plan: Result<Plan, &'static str>,
    /// Whether the account lists it.
    pub(super) listed: bool,
    /// Whether it was connected to the cloud; `None` when nobody said.
    pub(super) online: Option<bool>,
}

/// A TUTK camera on the LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lan {
    pub(super) keys: Keys,
    pub(super) address: SocketAddr,
    pub(super) protocol: TutkProtocol,
    /// Whether the owner typed the keys in, and must set them right.
    pub(super) typed: bool,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fleet(BTreeMap<DeviceId, Device>);

impl Fleet {
    /// A device that is both typed in and listed is one: its owner's name, model, keys and address stand.
    pub(super) fn new(typed: &[config::WyzeCamera], listed: &[Record], wishes: &[DoorbellOverride]) -> Self {
        let typed_in = |record: &Record| typed.iter().find(|camera| camera.id() == record.id);
        let wish = |id: &DeviceId| wishes.iter().find(|wish| wish.id == *id);
        let has_doorbell = listed.iter().any(|record| record.role == Role::Doorbell);
        let mut fleet = BTreeMap::new();
        for record in listed {
            let device = Device::listed(record, typed_in(record), wish(&record.id), has_doorbell);
            fleet.insert(record.id.clone(), device);
        }
        for camera in typed {
            let id = camera.id();
            fleet.entry(id.clone()).or_insert_with(|| Device::typed(camera, wish(&id)));
        }
        Self(fleet)
    }

    pub(super) fn get(&self, id: &DeviceId) -> Option<&Device> {
        self.0.get(id)
    }

    pub(super) fn has_listed(&self) -> bool {
        self.0.values().any(|device| device.listed)
    }

    pub(super) fn found(&self) -> Vec<Found> {
        self.0.values().map(Device::found).collect()
    }

    /// Those whose events are read. None as long as there is no doorbell among them: reading is not free.
    pub(super) fn watched(&self) -> Vec<&Device> {
        self.0
            .values()
            .filter(|device| device.listed && device.info.capabilities.contains(&Capability::Motion))
            .collect()
    }
}

impl Device {
    fn listed(
        record: &Record,
        typed: Option<&config::WyzeCamera>,
        wish: Option<&DoorbellOverride>,
        events_are_read: bool,
    ) -> Self {
        let lan = match typed {
            Some(camera) => typed_lan(camera, wish),
            None => record.keys.clone().zip(address(wish).or(record.address)).map(|(keys, address)| Lan {
                keys,
                address,
                protocol: protocol(wish),
                typed: false,
            }),
        };
        let means = Means { lan: lan.is_some(), account: true, gwell: models::is_gwell(record.hardware.as_str()) };
        let plan = Plan::new(record.way(), transport(wish), means);
        let info = DeviceInfo {
            id: record.id.clone(),
            name: typed.map_or(&record.name, |camera| &camera.name).clone(),
            vendor: VENDOR,
            model: typed.map_or(&record.model, |camera| &camera.model).clone(),
            firmware: record.firmware.clone(),
            capabilities: capabilities(record.role, &plan, events_are_read, has_button(wish)),
        };
        Self {
            info,
            role: record.role,
            hardware: record.hardware.clone(),
            way: record.way(),
            lan,
            address: address(wish).map(|at| at.ip()),
            quality: quality(wish),
            plan,
            listed: true,
            online: record.online,
        }
    }

    /// A camera that its owner typed in is wanted, whatever its model is.
    fn typed(camera: &config::WyzeCamera, wish: Option<&DoorbellOverride>) -> Self {
        let way = Model::of(&camera.model).map_or(Way::Tutk, |model| model.way(None));
        let lan = typed_lan(camera, wish);
        let plan = Plan::new(way, transport(wish), Means { lan: lan.is_some(), ..Means::default() });
        let info = DeviceInfo {
            id: camera.id(),
            name: camera.name.clone(),
            vendor: VENDOR,
            model: camera.model.clone(),
            firmware: None,
            capabilities: capabilities(Role::Doorbell, &plan, false, has_button(wish)),
        };
        Self {
            info,
            role: Role::Doorbell,
            hardware: HardwareId::new(camera.mac.as_str()),
            way,
            lan,
            address: address(wish).map(|at| at.ip()),
            quality: quality(wish),
            plan,
            listed: false,
            online: None,
        }
    }

    fn found(&self) -> Found {
        let is_camera = matches!(self.role, Role::Doorbell | Role::Camera);
        let first = self.plan.as_ref().ok().filter(|_| is_camera).map(|plan| plan.first);
        let obstacle = match &self.plan {
            Err(why) if is_camera => Some(*why),
            _ if is_camera => None,
            _ => self.way.obstacle(),
        };
        Found {
            info: self.info.clone(),
            role: self.role,
            address: self.lan.as_ref().filter(|_| first == Some(Reach::Tutk)).map(|lan| lan.address),
            transport: first.map(Reach::word).or(self.way.word()),
            obstacle: obstacle.map(str::to_owned),
            talk_obstacle: (first == Some(Reach::Gwell)).then(|| talk::UNKNOWN.to_owned()),
        }
    }
}

fn typed_lan(camera: &config::WyzeCamera, wish: Option<&DoorbellOverride>) -> Option<Lan> {
    let uid: Result<Uid, InvalidUid> = Uid::parse(camera.uid.as_str());
    let keys = Keys { uid: uid.ok()?, enr: camera.enr.clone() };
    Some(Lan { keys, address: address(wish).unwrap_or(camera.address), protocol: protocol(wish), typed: true })
}

fn capabilities(
    role: Role,
    plan: &Result<Plan, &'static str>,
    events_are_read: bool,
    has_button: bool,
) -> BTreeSet<Capability> {
    let mut can = BTreeSet::new();
    if !matches!(role, Role::Doorbell | Role::Camera) {
        return can;
    }
    if let Ok(plan) = plan {
        can.insert(Capability::Stream);
        if plan.first != Reach::Gwell {
            can.insert(Capability::Talk);
        }
    }
    if events_are_read {
        can.insert(Capability::Motion);
    }
    // A session with the camera carries no ring: the account tells of it, or a button that is wired to a topic.
    if has_button || events_are_read && role == Role::Doorbell {
        can.insert(Capability::Ring);
    }
    can
}

fn address(wish: Option<&DoorbellOverride>) -> Option<SocketAddr> {
    wish?.address
}

fn transport(wish: Option<&DoorbellOverride>) -> Transport {
    wish.map_or(Transport::Auto, |wish| wish.transport)
}

fn protocol(wish: Option<&DoorbellOverride>) -> TutkProtocol {
    match transport(wish) {
        Transport::Tutk(protocol) => protocol,
        Transport::Auto | Transport::Webrtc | Transport::Gwell => TutkProtocol::Auto,
    }
}

fn quality(wish: Option<&DoorbellOverride>) -> Quality {
    wish.map(|wish| wish.quality).unwrap_or_default()
}

fn has_button(wish: Option<&DoorbellOverride>) -> bool {
    wish.is_some_and(|wish| wish.ring_topic.is_some())
}
