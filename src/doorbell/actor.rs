//! The one task that decides for a doorbell: who talks, and when all is over.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::talk::{Device, Talk, Terms};
use super::{ActionError, Command, Request, Shared, Vendor, lives};
use crate::model::{self, DoorKind};

pub(super) fn spawn(
    vendor: Arc<dyn Vendor>,
    shared: Arc<Shared>,
    terms: Terms,
    inbox: mpsc::Receiver<Command>,
    stop: CancellationToken,
) {
    let span = tracing::info_span!("device", id = %shared.info.borrow().id);
    tokio::spawn(run(vendor, shared, terms, inbox, stop).instrument(span));
}

/// Ends the talk before the device, so that the camera hears of it (ARCHITECTURE.md §9, Stopping).
async fn run(
    vendor: Arc<dyn Vendor>,
    shared: Arc<Shared>,
    terms: Terms,
    mut inbox: mpsc::Receiver<Command>,
    stop: CancellationToken,
) {
    let device_stop = CancellationToken::new();
    let device = watch::Sender::new(None);
    let requests = device.subscribe();
    let mut talk = Talk::new(shared.clone(), device.subscribe(), terms);
    let lives = tokio::spawn(lives::run(vendor, shared.clone(), device, device_stop.clone()).in_current_span());
    let _the_device_ends_with_us = device_stop.clone().drop_guard();

    decide(&shared, &mut talk, &mut inbox, &requests, &stop).await;
    talk.end();
    device_stop.cancel();
    if let Err(error) = lives.await {
        tracing::error!(%error, "the supervision of the device failed; this is a bug");
    }
    talk.is_written_down().await;
}

/// Until `stop` is cancelled or the last handle is gone. Commands come before audio, so that no flood from
/// a microphone can keep the switch from ending it.
async fn decide(
    shared: &Shared,
    talk: &mut Talk,
    inbox: &mut mpsc::Receiver<Command>,
    device: &Device,
    stop: &CancellationToken,
) {
    let mut demand = shared.media.demand();
    let mut doors: SelectAll<_> = shared.doors.iter().map(|(kind, door)| changes(*kind, door.state())).collect();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            command = inbox.recv() => match command {
                Some(Command::StartTalk { viewer, reply }) => talk.start(viewer, reply),
                Some(Command::SwitchTalk { on: true, reply }) => talk.switch_on(reply),
                Some(Command::SwitchTalk { on: false, reply }) => {
                    talk.end();
                    let _asker_left = reply.send(Ok(()));
                }
                Some(Command::Device(request)) => ask_device(shared, device, request),
                None => return,
            },
            Ok(()) = demand.changed() => shared.count_viewers(),
            Some((kind, door)) = doors.next() => shared.show_door(kind, &door),
            () = talk.progress() => {}
        }
    }
}

/// How a door stands, at once since it may have changed before anybody listened, and whenever that is new.
fn changes(kind: DoorKind, mut state: watch::Receiver<model::Door>) -> BoxStream<'static, (DoorKind, model::Door)> {
    state.mark_changed();
    stream::unfold((kind, state), async |(kind, mut state)| {
        state.changed().await.ok()?;
        let door = state.borrow_and_update().clone();
        Some(((kind, door), (kind, state)))
    })
    .boxed()
}

/// Hands a request on. A device that leaves its requests lying has not answered them in time.
fn ask_device(shared: &Shared, device: &Device, request: Request) {
    match &*device.borrow() {
        Some(device) => {
            if let Err(refused) = device.try_send(request) {
                refused.into_inner().refuse(ActionError::Timeout);
            }
        }
        None => request.refuse(ActionError::Offline { why: shared.why_offline() }),
    }
}
