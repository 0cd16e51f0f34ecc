//! The signaling service: who is let in, who is connected, and what is passed on (kvs reference §3, §4).

mod connection;
mod relay;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::Response;
use axum::response::IntoResponse;

use relay::Party;
pub(super) use relay::Relay;

use super::call::Call;
use super::control::{check_arn, check_client, no_such_channel};
use super::event::Event;
use super::exception::Exception;
use super::fault::Fault;
use super::signature::authenticate;
use super::world::Cloud;
use crate::proto::kvs::signaling::{MAX_FRAME, MessageType};
use connection::Connection;

/// What the service itself says to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    pub what: What,
    pub to: To,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// GO_AWAY; it hangs up some time later.
    GoAway,
    /// RECONNECT_ICE_SERVER.
    ReconnectIceServer,
}

/// Whom it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Everybody,
    Masters,
    Viewers,
}

impl Notice {
    pub(super) fn name(self) -> &'static str {
        match self.what {
            What::GoAway => "GO_AWAY",
            What::ReconnectIceServer => "RECONNECT_ICE_SERVER",
        }
    }

    fn message_type(self) -> MessageType {
        match self.what {
            What::GoAway => MessageType::GoAway,
            What::ReconnectIceServer => MessageType::ReconnectIceServer,
        }
    }

    fn is_for(self, party: &Party) -> bool {
        match self.to {
            To::Everybody => true,
            To::Masters => *party == Party::Master,
            To::Viewers => *party != Party::Master,
        }
    }
}

/// `GET /?X-Amz-…`: opens a WebSocket, or says why not. Browsers do not show that; it says what is wrong all the same.
///
/// # Errors
/// 400, 403 or 404.
pub(super) fn connect(
    cloud: &Arc<Cloud>,
    call: &Call,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response<Body>, Exception> {
    // Whoever does not want a WebSocket gets no seat.
    let who = admit(cloud, call)?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let seat = cloud.world().channel(&who.arn).ok_or_else(no_such_channel)?.relay.sit(&who.party)?;
    let cut = call.line.cut.clone();
    let cloud = Arc::clone(cloud);
    let open = move |socket| Connection::new(cloud, who, seat, socket, cut).run();
    Ok(upgrade.max_message_size(MAX_FRAME).on_upgrade(open))
}

/// Who has a seat in which channel.
struct Who {
    arn: String,
    channel: String,
    party: Party,
}

fn admit(cloud: &Cloud, call: &Call) -> Result<Who, Exception> {
    let mut world = cloud.world();
    let caller = authenticate(&world, call, "kinesisvideo")?;
    let arn = call.parameter("X-Amz-ChannelARN").ok_or_else(|| missing("X-Amz-ChannelARN"))?;
    check_arn(&arn)?;
    let party = match call.parameter("X-Amz-ClientId") {
        None => Party::Master,
        Some(id) if id == "MASTER" => Party::Master,
        Some(id) => {
            check_client(&id)?;
            Party::Viewer(id)
        }
    };
    let action = match party {
        Party::Master => "kinesisvideo:ConnectAsMaster",
        Party::Viewer(_) => "kinesisvideo:ConnectAsViewer",
    };
    match world.fault_at(&call.path) {
        Some(Fault::RefuseConnect) => return Err(caller.denial(action, &arn)),
        Some(Fault::ChannelFull) => return Err(Relay::full()),
        _ => caller.may(action, &arn)?,
    }
    let quota = world.settings.quotas.connects;
    let channel = world.channel(&arn).filter(|channel| channel.settings.active).ok_or_else(no_such_channel)?;
    if !channel.settings.single_master {
        return Err(Exception::invalid_argument("The channel's type is not SINGLE_MASTER."));
    }
    let name = channel.settings.name.clone();
    let what = if party == Party::Master { "connect as master" } else { "connect as viewer" };
    world.spend(what, &arn, quota)?;
    world.tell(Event::Called { action: action.to_owned(), by: caller.key_id });
    Ok(Who { arn, channel: name, party })
}

fn missing(parameter: &str) -> Exception {
    Exception::invalid_argument(format!("{parameter} is missing"))
}
