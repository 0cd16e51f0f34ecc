//! One try to show a camera's picture: the ways to it one after another, until one leads there.

use std::pin::Pin;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::doorbell::VendorError;
use crate::doorbell::vendor::Retry;
use crate::media::MediaHub;
use crate::model::{Link, State};
use crate::vendor::vivint::VENDOR;
use crate::vendor::vivint::devices::Camera;
use crate::vendor::vivint::rtsp::{self, LINGER, Login, Playing, RtspError, Way};

pub(super) struct Attempt<'a, S> {
    services: &'a S,
    media: MediaHub,
    state: watch::Sender<State>,
    /// Resolves when nobody wants the picture any more.
    unwanted: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Each once: a login that is refused anew would be refused for ever.
    relisted: bool,
    renewed: bool,
}

/// Why a way has led nowhere, or no further.
enum Failure {
    Rtsp(RtspError),
    /// There is no login to be had for it.
    Cloud(VendorError),
}

impl From<RtspError> for Failure {
    fn from(error: RtspError) -> Self {
        Self::Rtsp(error)
    }
}

impl From<VendorError> for Failure {
    fn from(error: VendorError) -> Self {
        Self::Cloud(error)
    }
}

/// How far a way has led.
enum Outcome {
    /// As far as anybody wanted.
    Left,
    Failed {
        shown: bool,
        failure: Failure,
    },
}

impl<'a, S: Services> Attempt<'a, S> {
    pub(super) fn new(services: &'a S, media: MediaHub, state: watch::Sender<State>, leave: CancellationToken) -> Self {
        let hub = media.clone();
        let unwanted = Box::pin(async move {
            tokio::select! {
                () = leave.cancelled() => {}
                () = hub.unwatched_for(LINGER) => {}
            }
        });
        Self { services, media, state, unwanted, relisted: false, renewed: false }
    }

    /// # Errors
    /// That no way led to a picture, or that one did and no longer does.
    pub(super) async fn run(mut self) -> Result<(), VendorError> {
        let mut failures = Vec::new();
        for way in self.ways()? {
            match self.follow(way).await {
                Outcome::Left => return Ok(()),
                Outcome::Failed { shown: true, failure } => return Err(broken_off(way, failure)),
                Outcome::Failed { failure, .. } => {
                    tracing::info!(way = way.word(), why = %words(&failure), "this way leads to no picture");
                    failures.push((way, failure));
                    self.services.worked().forget();
                    self.media.reset();
                }
            }
        }
        Err(no_way(failures))
    }

    /// What worked last, and then the best.
    fn ways(&self) -> Result<Vec<Way>, VendorError> {
        let (camera, wish) = (self.services.camera()?, self.services.wish());
        let mut ways = Way::ALL.to_vec();
        ways.retain(|way| way.url(&camera, wish).is_some());
        let worked = self.services.worked().way();
        ways.sort_by_key(|way| Some(*way) != worked);
        Ok(ways)
    }

    async fn follow(&mut self, way: Way) -> Outcome {
        let playing = tokio::select! {
            playing = open(self.services, way, &mut self.relisted, &mut self.renewed) => playing,
            () = &mut self.unwanted => return Outcome::Left,
        };
        match playing {
            Ok(playing) => self.watch(way, playing).await,
            Err(failure) => Outcome::Failed { shown: false, failure },
        }
    }

    async fn watch(&mut self, way: Way, mut playing: Playing) -> Outcome {
        let mut formats = self.media.formats();
        let mut shown = false;
        loop {
            tokio::select! {
                error = playing.show(&self.media) => return Outcome::Failed { shown, failure: error.into() },
                Ok(_) = formats.wait_for(|formats| formats.video.is_some()), if !shown => {
                    shown = true;
                    self.is_live(way);
                }
                () = &mut self.unwanted => break,
            }
        }
        playing.close().await;
        Outcome::Left
    }

    fn is_live(&self, way: Way) {
        tracing::info!(transport = way.word(), "picture is live");
        self.services.worked().remember(way);
        self.state.send_modify(|state| {
            state.link = Link::Streaming;
            state.transport = Some(way.word());
            state.last_error = None;
        });
    }
}

/// Opens the stream; when its login is refused, once more with a fresh one, if there is another.
async fn open(services: &impl Services, way: Way, relisted: &mut bool, renewed: &mut bool) -> Result<Playing, Failure> {
    let camera = services.camera()?;
    let login = login(services, way, &camera, false).await?;
    let fetched = match way {
        Way::Lan => relisted,
        Way::Panel | Way::External => renewed,
    };
    match play(services, way, &camera, login.clone()).await {
        Err(Failure::Rtsp(RtspError::LoginRefused)) if !std::mem::replace(fetched, true) => {
            let camera = if way == Way::Lan { services.relisted().await? } else { camera };
            let fresh = self::login(services, way, &camera, true).await?;
            match fresh.is(&login) {
                true => Err(RtspError::LoginRefused.into()),
                false => play(services, way, &camera, fresh).await,
            }
        }
        outcome => outcome,
    }
}

async fn play(services: &impl Services, way: Way, camera: &Camera, login: Login) -> Result<Playing, Failure> {
    let url = way.url(camera, services.wish()).ok_or(RtspError::NotFound)?;
    Ok(rtsp::open(url, login, way.patience()).await?)
}

async fn login(services: &impl Services, way: Way, camera: &Camera, renew: bool) -> Result<Login, Failure> {
    match (way, &camera.lan) {
        (Way::Lan, Some(lan)) => Ok(Login { user: lan.user.clone(), password: lan.password.clone() }),
        (Way::Lan, None) => Err(RtspError::NotFound.into()),
        (Way::Panel | Way::External, _) => Ok(services.panel_login(renew).await?),
    }
}

fn words(failure: &Failure) -> String {
    match failure {
        Failure::Rtsp(error) => error.to_string(),
        // Whole sentences, the last of which goes on here.
        Failure::Cloud(error) => format!("there is no login for it: {}", error.what.trim_end_matches('.')),
    }
}

fn broken_off(way: Way, failure: Failure) -> VendorError {
    let (way, why) = (way.words(), words(&failure));
    problem(format!(
        "The camera's picture {way} broke off: {why}. It is being tried again. Check the camera's power and its Wi-Fi \
         if this goes on."
    ))
}

fn no_way(failures: Vec<(Way, Failure)>) -> VendorError {
    if failures.is_empty() {
        return problem(
            "Its account tells no address for its picture. It is being tried again. Check that Vivint's app shows it."
                .to_owned(),
        );
    }
    let refused = failures.iter().all(|(_, failure)| matches!(failure, Failure::Rtsp(RtspError::LoginRefused)));
    let advice = if refused {
        "Restart the camera and the panel if this goes on."
    } else {
        "Check the camera's power and its Wi-Fi, and that this machine reaches its network, if this goes on."
    };
    let tried: Vec<String> =
        failures.iter().map(|(way, failure)| format!("{}, {}", way.words(), words(failure))).collect();
    problem(format!("No way leads to the camera's picture: {}. It is being tried again. {advice}", tried.join("; ")))
}

fn problem(what: String) -> VendorError {
    VendorError { vendor: VENDOR, what, retry: Retry::Backoff, source: None }
}
