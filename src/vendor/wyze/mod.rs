//! Wyze: the doorbells, cameras and locks of an account, and cameras whose keys the owner typed in.

mod account;
pub mod cloud;
pub mod devices;
pub mod events;
mod fleet;
pub mod gwell;
pub mod lock;
pub mod models;
mod route;
pub mod streams;
mod tutk;
pub mod webrtc;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{self, DoorbellOverride};
use crate::doorbell::vendor::{BoxFuture, Retry};
use crate::doorbell::{AccountPort, ActionError, DevicePort, Vendor, VendorError};
use crate::model::{Capability, DeviceId, Found, Link, Role};
use crate::store::Store;
use account::Account;
use devices::Record;
use fleet::{Device, Fleet};
use lock::{Interface, Lock};
use route::{Plan, Reach, Troubles};
use streams::CloudStreams;

const VENDOR: &str = "wyze";

/// One Wyze account.
pub struct Wyze {
    typed: Vec<config::WyzeCamera>,
    wishes: Vec<DoorbellOverride>,
    /// `None` where there are only cameras that were typed in.
    account: Option<Account>,
    known: watch::Sender<Known>,
    troubles: Mutex<Troubles>,
    /// Notified when a camera is not where the last listing said.
    relist: Notify,
}

/// The keys of all that is stored of an account.
pub(super) fn stored(account: &config::Wyze) -> Vec<String> {
    let of_login = |login| [cloud::stored(login), account::key(login), gwell::stored(login)];
    account.login.iter().flat_map(of_login).collect()
}

/// The devices of the last listing, and of the one before: one that is missing once may only have been left out.
#[derive(Default)]
struct Known {
    now: Fleet,
    before: Fleet,
}

impl Wyze {
    pub fn new(account: &config::Wyze, overrides: &[DoorbellOverride], store: &Store) -> Self {
        let now = Fleet::new(&account.cameras, &[], overrides);
        Self {
            typed: account.cameras.clone(),
            wishes: overrides.to_vec(),
            account: account.login.as_ref().map(|login| Account::new(login, store)),
            known: watch::Sender::new(Known { now, before: Fleet::default() }),
            troubles: Mutex::default(),
            relist: Notify::new(),
        }
    }

    /// What is known of a device now.
    fn device(&self, id: &DeviceId) -> Result<Device, VendorError> {
        let known = self.known.borrow();
        known.now.get(id).or_else(|| known.before.get(id)).cloned().ok_or_else(|| VendorError {
            vendor: VENDOR,
            what: "It is not on the account any more. If it should be, look for it in Wyze's app.".to_owned(),
            retry: Retry::Backoff,
            source: None,
        })
    }

    fn found(&self) -> Vec<Found> {
        self.known.borrow().now.found()
    }

    fn has_listed(&self) -> bool {
        self.known.borrow().now.has_listed()
    }

    /// Takes over a complete listing.
    fn learn(&self, records: &[Record]) {
        let now = Fleet::new(&self.typed, records, &self.wishes);
        self.known.send_modify(|known| known.before = std::mem::replace(&mut known.now, now));
    }

    /// Whether the account tells this of this device.
    fn tells(&self, id: &DeviceId, what: Capability) -> bool {
        self.known.borrow().now.get(id).is_some_and(|device| device.info.capabilities.contains(&what))
    }

    async fn live(&self, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
        let device = self.device(&port.info.id)?;
        match &device.plan {
            _ if device.role == Role::Lock => self.live_of_lock(&device, port, stop).await,
            Ok(plan) => self.live_of_camera(&device, plan, port, stop).await,
            Err(why) => self.without_pictures(&device, why, port, stop).await,
        }
    }

    async fn live_of_lock(
        &self,
        device: &Device,
        port: DevicePort,
        stop: CancellationToken,
    ) -> Result<(), VendorError> {
        let (Some(account), Some(Ok(interface))) = (&self.account, Interface::of(&device.info.model)) else {
            return Err(left_to_owner(format!("`{}` cannot be worked through Wyze's cloud.", device.info.model)));
        };
        let lock = Lock { mac: device.hardware.as_str().to_owned(), model: device.info.model.clone(), interface };
        lock::live(&lock, &account.cloud, port, stop).await
    }

    async fn live_of_camera(
        &self,
        device: &Device,
        plan: &Plan,
        port: DevicePort,
        stop: CancellationToken,
    ) -> Result<(), VendorError> {
        let begun = clock::now();
        let reach = self.troubles().choose(&device.info.id, plan, begun);
        let life = stop.child_token();
        let moved = self.moved(device, reach, &port);
        port.state.send_modify(|state| {
            state.talk_obstacle = (reach == Reach::Gwell).then(|| gwell::talk::UNKNOWN.to_owned());
        });
        let living = async {
            match reach {
                Reach::Tutk => tutk::live(self, port, life.clone()).await,
                Reach::Webrtc => self.called(device, port, life.clone()).await,
                Reach::Gwell => self.called_over_gwell(device, port, life.clone()).await,
            }
        };
        tokio::pin!(moved, living);
        let end = tokio::select! {
            end = &mut living => end,
            () = moved => {
                life.cancel();
                living.await
            }
        };
        if begun.elapsed() > HEALTHY_AFTER {
            self.worked(device, reach);
        }
        end.map_err(|error| self.failed(device, plan, reach, error))
    }

    /// A life of a camera that is called through the cloud.
    async fn called(&self, device: &Device, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
        let account = self.account_to_call_through()?;
        let (mac, model) = (device.hardware.as_str().to_owned(), device.info.model.clone());
        self::webrtc::live(&CloudStreams { cloud: account.cloud.clone(), mac, model }, port, stop).await
    }

    /// A life of a camera that is called over GWell.
    async fn called_over_gwell(
        &self,
        device: &Device,
        port: DevicePort,
        stop: CancellationToken,
    ) -> Result<(), VendorError> {
        let account = self.account_to_call_through()?;
        let camera = gwell::Camera {
            name: device.hardware.as_str().to_owned(),
            model: device.info.model.clone(),
            sleeps: models::sleeps(&device.info.model),
            address: device.address,
        };
        gwell::live(&account.gwell, &camera, &gwell::OverSockets, port, stop).await
    }

    fn account_to_call_through(&self) -> Result<&Account, VendorError> {
        let nobody = || left_to_owner("No account is configured through which it could be called.".to_owned());
        self.account.as_ref().ok_or_else(nobody)
    }

    /// Resolves when another way than `reach` is to be taken and nobody uses the present one.
    fn moved(&self, device: &Device, reach: Reach, port: &DevicePort) -> impl Future<Output = ()> + use<'_> {
        let (id, media, mut state) = (device.info.id.clone(), port.media.clone(), port.state.subscribe());
        let mut known = self.known.subscribe();
        async move {
            while self.choose(&id) == Some(reach) {
                let comeback = self.troubles().comeback(&id);
                let comes_back = async {
                    match comeback.filter(|at| *at > clock::now()) {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    Ok(()) = known.changed() => {}
                    () = comes_back => {}
                }
            }
            drop(state.wait_for(|state| !state.talking).await);
            media.unwatched_for(LINGER).await;
        }
    }

    /// The way to take now; `None` when there is none.
    fn choose(&self, id: &DeviceId) -> Option<Reach> {
        let plan = self.device(id).ok()?.plan.ok()?;
        Some(self.troubles().choose(id, &plan, clock::now()))
    }

    /// A life of a device whose pictures cannot be reached. Its rings come all the same, through the account.
    async fn without_pictures(
        &self,
        device: &Device,
        why: &str,
        mut port: DevicePort,
        stop: CancellationToken,
    ) -> Result<(), VendorError> {
        // With an account it may be listed any moment.
        if self.account.is_none() {
            return Err(left_to_owner(format!("`{}` cannot be reached. {why}", device.info.model)));
        }
        let rings = device.info.capabilities.contains(&Capability::Ring);
        port.state.send_modify(|state| {
            state.link = if rings { Link::Ready } else { Link::Offline };
            state.last_error = Some(why.to_owned());
        });
        let mut known = self.known.subscribe();
        while self.choose(&device.info.id).is_none() {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = known.changed() => {}
                request = port.requests.recv() => match request {
                    Some(request) => request.refuse(ActionError::Offline { why: why.to_owned() }),
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    fn worked(&self, device: &Device, reach: Reach) {
        if let Ok(plan) = &device.plan {
            self.troubles().worked(&device.info.id, plan, reach);
        }
    }

    /// Counts the failure, and says so when another way is taken from now on.
    fn failed(&self, device: &Device, plan: &Plan, reach: Reach, mut error: VendorError) -> VendorError {
        let id = &device.info.id;
        let mut troubles = self.troubles();
        let next = troubles.failed(id, plan, reach, clock::now());
        if device.listed && troubles.begun(id) {
            self.relist.notify_one();
        }
        drop(troubles);
        if plan.second.is_some() && matches!(error.retry, Retry::Reauthenticate | Retry::WaitForUser) {
            // Nothing is final as long as there is another way.
            error.retry = Retry::Backoff;
        }
        if let Some(next) = next {
            tracing::warn!(failed = reach.word(), instead = next.word(), "another way to the camera is taken");
            let deed = next.deed();
            error.what.push_str(&match next == plan.first {
                true => format!(" It is {deed} again."),
                false => format!(" For an hour it is {deed} instead."),
            });
        }
        error
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A life that lasted this long was a good one, whatever ended it.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Before another way is taken, for the viewer who comes right back.
const LINGER: Duration = Duration::from_secs(5);

impl Vendor for Wyze {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn is_on_battery(&self, model: &str) -> bool {
        models::may_be_on_battery(model)
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async {
            if let Some(account) = &self.account {
                self.learn(&account.list().await?);
            }
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
        Box::pin(async move { self.live(port, stop).await })
    }
}

fn left_to_owner(what: String) -> VendorError {
    VendorError { vendor: VENDOR, what, retry: Retry::WaitForUser, source: None }
}
