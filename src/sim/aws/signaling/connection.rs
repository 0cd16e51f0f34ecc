//! One client's WebSocket: its frames are checked and passed on, and the others' to it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::world::Cloud;
use super::relay::{Frame, Outgoing, Party, Passed, Seat};
use super::{Notice, What, Who};
use crate::clock::{self, Instant};
use crate::proto::kvs::signaling::{Inbound, MessageType, Outbound};
use crate::sim::signaling::{self, Examiner, Limits, Refused, is_id};

const WRITE_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Connection {
    cloud: Arc<Cloud>,
    who: Who,
    seat: Seat,
    socket: WebSocket,
    notices: broadcast::Receiver<Notice>,
    examiner: Examiner,
    limits: Limits,
    goes_away_at: Instant,
    hangs_up_at: Option<Instant>,
    cut: CancellationToken,
}

impl Connection {
    pub(super) fn new(cloud: Arc<Cloud>, who: Who, seat: Seat, socket: WebSocket, cut: CancellationToken) -> Self {
        let (limits, quotas) = {
            let settings = &cloud.world().settings;
            (settings.limits, settings.quotas)
        };
        Self {
            notices: cloud.notices.subscribe(),
            examiner: Examiner::new(quotas.offers, quotas.candidates),
            goes_away_at: clock::now() + limits.connection,
            hangs_up_at: None,
            limits,
            cloud,
            who,
            seat,
            socket,
            cut,
        }
    }

    pub(super) async fn run(mut self) {
        let (channel, role) = (self.who.channel.clone(), self.who.party.role());
        let client_id = self.who.party.client_id();
        let (name, id) = (channel.clone(), client_id.clone());
        self.cloud.world().tell(Event::Connected { channel: name, role, client_id: id });
        let why = self.attend().await;
        let Self { cloud, seat, .. } = self;
        drop(seat);
        cloud.world().tell(Event::Disconnected { channel, role, client_id, why });
    }

    /// Until one of both sides ends it; why.
    async fn attend(&mut self) -> &'static str {
        let (stop, cut, replaced) = (self.cloud.stop.clone(), self.cut.clone(), self.seat.replaced.clone());
        let mut idle_at = clock::now() + self.limits.idle;
        loop {
            let hangs_up_at = self.hangs_up_at.unwrap_or(idle_at).min(idle_at);
            let sent = tokio::select! {
                () = stop.cancelled() => return "stopping",
                () = cut.cancelled() => return "cut off by the service",
                () = replaced.cancelled() => return "replaced by another connection of the same client",
                () = tokio::time::sleep_until(hangs_up_at) => return "hung up",
                () = tokio::time::sleep_until(self.goes_away_at), if self.hangs_up_at.is_none() => {
                    self.say(What::GoAway, MessageType::GoAway).await
                }
                Ok(notice) = self.notices.recv() => match notice.is_for(&self.who.party) {
                    true => self.say(notice.what, notice.message_type()).await,
                    false => Ok(()),
                },
                Some(outgoing) = self.seat.inbox.recv() => self.hand_over(outgoing).await,
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Close(_))) | None => return "closed by the client",
                    Some(Err(_)) => return "cut off",
                    Some(Ok(message)) => {
                        idle_at = clock::now() + self.limits.idle;
                        self.take(&message).await
                    }
                },
            };
            if sent.is_err() {
                return "cut off";
            }
        }
    }

    async fn say(&mut self, what: What, notice: MessageType) -> Result<(), axum::Error> {
        if what == What::GoAway {
            self.hangs_up_at = Some(clock::now() + self.limits.grace);
        }
        self.send(Inbound::notice(notice).encode()).await
    }

    /// A client that does not read is gone.
    async fn send(&mut self, frame: String) -> Result<(), axum::Error> {
        let sent = tokio::time::timeout(WRITE_WITHIN, self.socket.send(Message::text(frame))).await;
        sent.unwrap_or_else(|late| Err(axum::Error::new(late)))
    }

    /// Sends what came for this client, with whatever a fault puts in front of it.
    async fn hand_over(&mut self, outgoing: Outgoing) -> Result<(), axum::Error> {
        let frame = match outgoing {
            Outgoing::Report(report) => return self.send(report).await,
            Outgoing::Relayed(frame) => frame,
        };
        let fault = self.cloud.world().fault_at("/");
        if fault == Some(Fault::LostFrames) {
            self.cloud.world().tell(frame.lost(&self.who.channel));
            return Ok(());
        }
        let inbound = frame.inbound();
        if let Some(odd) = in_front(fault, &frame, &inbound) {
            self.send(odd).await?;
        }
        self.send(inbound).await?;
        let (from, to) = (frame.from.client_id(), frame.to.client_id());
        let (channel, message) = (self.who.channel.clone(), frame.message());
        self.cloud.world().tell(Event::Relayed { channel, message, from, to });
        Ok(())
    }

    async fn take(&mut self, message: &Message) -> Result<(), axum::Error> {
        if matches!(message, Message::Ping(_) | Message::Pong(_) | Message::Close(_)) {
            return Ok(());
        }
        let text = signaling::text(message);
        let refused = match self.examine(message) {
            Ok(frame) => match self.pass(frame) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
            Err(refused) => refused,
        };
        let (channel, client_id) = (self.who.channel.clone(), self.who.party.client_id());
        self.cloud.world().tell(Event::FrameRefused { channel, client_id, why: refused.why.clone() });
        match refused.report(text) {
            Some(report) => self.send(report).await,
            None => Ok(()),
        }
    }

    fn examine(&mut self, message: &Message) -> Result<Frame, Refused> {
        let Outbound { payload, recipient_client_id, correlation_id } =
            self.examiner.examine(message, clock::now(), |_, _| {})?;
        let to = match (&self.who.party, recipient_client_id) {
            // What a viewer says of the recipient is of no matter: there is one master.
            (Party::Viewer(_), _) => Party::Master,
            (Party::Master, Some(id)) if is_id(&id) => Party::Viewer(id),
            (Party::Master, Some(_)) => return Err(Refused::invalid("recipientClientId is not one")),
            (Party::Master, None) => return Err(Refused::invalid("recipientClientId is missing")),
        };
        let raw: Raw<'_> = serde_json::from_str(signaling::text(message)).map_err(Refused::invalid)?;
        let (from, payload_text) = (self.who.party.clone(), raw.message_payload.into_owned());
        Ok(Frame { from, to, action: payload.action(), payload: payload_text, correlation_id })
    }

    fn pass(&self, frame: Frame) -> Result<(), Refused> {
        let (name, message) = (self.who.channel.clone(), frame.message());
        let (from, to) = (frame.from.client_id(), frame.to.client_id());
        let mut world = self.cloud.world();
        let channel = world.channel(&self.who.arn).ok_or_else(|| Refused::invalid("the channel is gone"))?;
        let until = clock::now() + channel.settings.message_ttl;
        match channel.relay.pass(frame, until) {
            // Told of where it is sent.
            Passed::On => {}
            Passed::Kept => {
                world.tell(Event::Kept { channel: name, message, from, to });
                self.cloud.kept.notify_one();
            }
            Passed::Lost => world.tell(Event::Lost { channel: name, message, from, to }),
        }
        Ok(())
    }
}

/// The payload as it came, in either spelling of its key.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "messagePayload", alias = "MessagePayload")]
    message_payload: Cow<'a, str>,
}

fn in_front(fault: Option<Fault>, frame: &Frame, inbound: &str) -> Option<String> {
    match fault? {
        Fault::EmptyFrame => Some(String::new()),
        Fault::TruncatedFrame => inbound.get(..inbound.len() / 2).map(str::to_owned),
        Fault::UnknownFrame => Some(Inbound::notice(MessageType::Other("NOT_YET_INVENTED".to_owned())).encode()),
        Fault::BrokenPayload => Some(Frame { payload: "*no base64*".to_owned(), ..frame.clone() }.inbound()),
        Fault::TwiceFrame => Some(inbound.to_owned()),
        _ => None,
    }
}
