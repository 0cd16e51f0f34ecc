//! A TUTK camera on the LAN, from the doorbell's side: when to connect to it, and for how long.

mod conductor;
mod publisher;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fleet::{Device, Lan};
use super::route::Reach;
use super::{VENDOR, Wyze};
use crate::clock;
use crate::config;
use crate::doorbell::vendor::Retry;
use crate::doorbell::{DevicePort, Request, VendorError};
use crate::model::{DeviceId, Link};
use crate::net::drive::{DriveError, drive};
use crate::net::link::UdpLink;
use crate::proto::tutk::dtls;
use crate::proto::tutk::session::{ClientSession, Quality, SessionError, SessionRandom, Setup, Transport};
use conductor::{Conductor, Stay};
use publisher::Publisher;

/// How often a camera that nobody watches is asked whether it is still there: with the 5 s of a search its absence is
/// noticed within 15 s (reliability row 18). It costs two small datagrams and no session at the camera.
const CHECK_EVERY: Duration = Duration::from_secs(9);
/// Commands to a session, and its events. The session takes commands before packets and the conductor does
/// nothing but pass things on, so neither fills up; if one did, commands would wait and events be dropped.
const QUEUE: usize = 64;

/// One life of a camera: reached once to learn that its keys are right, then connected whenever somebody
/// wants to see or to talk. Ends with the first failure.
pub(super) async fn live(wyze: &Wyze, mut port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
    let mut told_of_codec = false;
    let told = &mut told_of_codec;
    visit(wyze, &mut port, &stop, told, Stay::UntilLoggedIn, None).await?;
    while !stop.is_cancelled() {
        let media = port.media.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            request = port.requests.recv() => match request {
                Some(request) => visit(wyze, &mut port, &stop, told, Stay::WhileWanted, Some(request)).await?,
                None => return Ok(()),
            },
            () = media.watched() => visit(wyze, &mut port, &stop, told, Stay::WhileWanted, None).await?,
            () = tokio::time::sleep(CHECK_EVERY) => visit(wyze, &mut port, &stop, told, Stay::UntilAnswered, None).await?,
        }
    }
    Ok(())
}

/// One camera session, from the search for the camera to the farewell.
async fn visit(
    wyze: &Wyze,
    port: &mut DevicePort,
    stop: &CancellationToken,
    told_of_codec: &mut bool,
    stay: Stay,
    request: Option<Request>,
) -> Result<(), VendorError> {
    // Anew for each session: since the last one the camera may have another address.
    let (camera, lan) = camera(wyze, &port.info.id)?;
    let mut link =
        UdpLink::bind(local_address(lan.address)).await.map_err(|error| cannot_try("Opening a socket", error))?;
    let session = ClientSession::new(setup(&camera, &lan)?, clock::now().into_std());
    let (commands, mut inbox) = mpsc::channel(QUEUE);
    let (events, outbox) = mpsc::channel(QUEUE);
    let mut publisher = Publisher::new(port.media.clone(), port.state.clone(), events, told_of_codec);
    if stay == Stay::WhileWanted {
        port.state.send_modify(|state| state.link = Link::Connecting);
    }
    let driven = drive(session, &mut link, &mut inbox, stop, |event| publisher.take(event));
    let conducted = async {
        // The conductor's end closes the command channel, and with that the session says farewell.
        Conductor::new(port, commands, outbox, stay).run(request).await;
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = driven => outcome,
        never = conducted => never,
    };
    port.media.reset();
    outcome.map_err(|error| failure(&lan, error))?;
    wyze.worked(&camera, Reach::Tutk);
    port.state.send_if_modified(|state| {
        let before = state.clone();
        state.link = Link::Ready;
        state.transport = None;
        state.last_error = None;
        *state != before
    });
    Ok(())
}

/// As the account and its owner know it now.
fn camera(wyze: &Wyze, id: &DeviceId) -> Result<(Device, Lan), VendorError> {
    let camera = wyze.device(id)?;
    let lan = camera.lan.clone().ok_or_else(|| VendorError {
        vendor: VENDOR,
        what: "Its address on the LAN is not known any more. It is looked up again.".to_owned(),
        retry: Retry::Backoff,
        source: None,
    })?;
    Ok((camera, lan))
}

fn setup(camera: &Device, lan: &Lan) -> Result<Setup, VendorError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| cannot_try("Reading randomness", error))?;
    let since_1970 = clock::unix_now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Setup {
        uid: lan.keys.uid,
        enr: lan.keys.enr.expose().to_owned(),
        mac: camera.hardware.as_str().to_owned(),
        model: camera.info.model.clone(),
        address: lan.address,
        transport: match lan.protocol {
            config::TutkProtocol::Auto => None,
            config::TutkProtocol::Old => Some(Transport::Old),
            config::TutkProtocol::New => Some(Transport::New),
        },
        quality: match camera.quality {
            config::Quality::Hd => Quality::Hd,
            config::Quality::Sd => Quality::Sd,
        },
        random: SessionRandom::from_bytes(random),
        // Seconds of 32 bits, as the session request has them.
        unix_time: since_1970.as_secs() as u32,
        dtls: dtls::openssl(),
    })
}

/// Any port of the family the camera's address has.
fn local_address(camera: SocketAddr) -> SocketAddr {
    match camera {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// What the end of a session means for the doorbell's owner, and for the next life.
fn failure(lan: &Lan, error: DriveError<SessionError>) -> VendorError {
    let error = match error {
        DriveError::Session(error) => error,
        DriveError::Socket(error) => return cannot_try("Using the socket", error),
    };
    let address = lan.address;
    let said = capitalised(&error.to_string());
    let (what, retry) = match &error {
        // A camera that is looked for with a wrong UID, MAC or ENR says nothing at all (reference §2, §4).
        SessionError::NotFound if lan.typed => (
            format!(
                "The camera does not answer at {address}. Check that it has power, that it is on this network, \
                 and that its `address`, `uid`, `mac` and `enr` are right."
            ),
            Retry::Nearby,
        ),
        SessionError::NotFound => (
            format!(
                "The camera does not answer at {address}. Check that it has power, and that this machine reaches \
                 the network it is on."
            ),
            Retry::Nearby,
        ),
        // The account knows the right ones, sooner or later.
        SessionError::WrongKey | SessionError::LoginRefused { .. } | SessionError::AuthRefused { .. } if !lan.typed => {
            (
                format!(
                    "{said}, with the keys that the account has for it. It is being tried again. Close other programs \
                 that watch this camera, and set it up anew in Wyze's app if this goes on."
                ),
                Retry::Backoff,
            )
        }
        // Anybody on the LAN may have answered in the camera's place, and no camera locks anybody out: whoever it was,
        // the right one is found again.
        SessionError::WrongKey => (
            "The camera refused the key. It is being tried again. Check its `enr`, which changes when the camera is set \
             up anew, if this goes on."
                .to_owned(),
            Retry::Backoff,
        ),
        // Keys that open the channel and not the camera stay wrong: tried once more, then left to the owner.
        SessionError::LoginRefused { .. } | SessionError::AuthRefused { .. } => (
            format!("{said}. Close other programs that watch this camera, and check its `enr`, then restart Doorstep."),
            Retry::Reauthenticate,
        ),
        SessionError::Silent(_) | SessionError::NoAnswer { .. } => {
            (format!("{said}. It is being tried again. Check its power and its Wi-Fi if this goes on."), Retry::Nearby)
        }
        SessionError::Closed | SessionError::Dtls(_) => {
            (format!("{said}. It is being tried again. Restart the camera if this goes on."), Retry::Backoff)
        }
    };
    VendorError { vendor: VENDOR, what, retry, source: Some(error.into()) }
}

/// The beginning of a sentence.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// Something of this machine, not of the camera.
pub(super) fn cannot_try(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> VendorError {
    VendorError {
        vendor: VENDOR,
        what: format!("{what} failed: {error}. It is being tried again."),
        retry: Retry::Backoff,
        source: Some(error.into()),
    }
}
