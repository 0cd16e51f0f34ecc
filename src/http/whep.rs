//! WHEP (draft-ietf-wish-whep): an offer is posted, an answer comes back, and the picture follows. A viewer whose
//! microphone sends gets the speaker (docs/interfaces.md §3).

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::guard::content_type;
use crate::doorbell::{ActionError, Doorbell, Registry, TalkGrant};
use crate::media::talkback::Talkback;
use crate::model::{Capability, DeviceId, Link, TalkLevel};
use crate::rtc::{AnswerError, Answered, MicPacket, Viewers};

/// An offer with every codec and candidate there is has 20 KiB.
const MAX_BODY: usize = 64 * 1024;
/// Packets of one microphone that wait: a second. A packet that finds it full is dropped.
const MIC_QUEUE: usize = 50;
/// Without a packet for this long the speaker is given back, so that the camera has heard of it within 3 s.
const SILENCE: Duration = Duration::from_millis(2_500);
/// A microphone that sends nothing for this long has been let go; silence is sent at least each 400 ms (Opus DTX).
const LET_GO: Duration = Duration::from_millis(500);
/// How often a microphone that goes on asks for the speaker that was refused to it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Whep {
    doorbells: Registry,
    viewers: Viewers,
}

/// What WHEP consists of.
#[derive(Clone, Default)]
pub struct Routes {
    /// `POST /whep/{id}`
    pub offers: MethodRouter,
    /// `PATCH` and `DELETE /whep/{id}/{session}`
    pub sessions: MethodRouter,
}

impl Routes {
    pub fn new(doorbells: Registry, viewers: Viewers) -> Self {
        let whep = Whep { doorbells, viewers };
        let limit = DefaultBodyLimit::max(MAX_BODY);
        Self {
            offers: post(join).options(options).layer(limit).with_state(whep.clone()),
            sessions: delete(leave).patch(trickle).options(options).layer(limit).with_state(whep),
        }
    }
}

/// Answers an offer for this doorbell; its microphone, where it has one, is connected to the speaker.
///
/// # Errors
/// As [`Viewers::answer`].
pub async fn call(doorbell: &Doorbell, viewers: &Viewers, offer: &str) -> Result<Answered, AnswerError> {
    let talks = doorbell.info().capabilities.contains(&Capability::Talk);
    let (mic, packets) = mpsc::channel(MIC_QUEUE);
    let answered = viewers.answer(offer, doorbell.watch(), talks.then_some(mic)).await?;
    if talks {
        tokio::spawn(listen(doorbell.clone(), answered.viewer, packets));
    }
    Ok(answered)
}

async fn join(State(whep): State<Whep>, Path(id): Path<String>, headers: HeaderMap, offer: String) -> Response {
    let Some(doorbell) = find(&whep.doorbells, &id) else { return unknown_doorbell() };
    if !is_sdp(&headers) {
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the offer as `application/sdp`.");
    }
    match admit(&doorbell, &whep.viewers, &offer).await {
        Ok(answered) => {
            // Relative to the address that was asked, so that a prefix in front of it does no harm.
            let location = format!("{id}/{:016x}", answered.viewer);
            let headers = [(header::CONTENT_TYPE, "application/sdp".to_owned()), (header::LOCATION, location)];
            (StatusCode::CREATED, headers, answered.sdp).into_response()
        }
        Err(Refused { status, sentence }) => refusal(status, &sentence),
    }
}

/// Why a viewer gets no answer: HTTP's word for it, and a sentence.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) sentence: String,
}

/// As [`call`], with the reason why there is no picture where one is known.
///
/// # Errors
/// `Refused`; at once where nothing but its owner can bring the picture back.
pub(super) async fn admit(doorbell: &Doorbell, viewers: &Viewers, offer: &str) -> Result<Answered, Refused> {
    if let Link::NeedsAttention { .. } = doorbell.state().borrow().link {
        return Err(no_picture(doorbell));
    }
    call(doorbell, viewers, offer).await.map_err(|error| match error {
        AnswerError::NoPicture => no_picture(doorbell),
        error => Refused { status: status(&error), sentence: error.to_string() },
    })
}

/// Names the doorbell and the reason, if one is known.
fn no_picture(doorbell: &Doorbell) -> Refused {
    let state = doorbell.state().borrow().clone();
    let sentence = match (state.link, state.last_error) {
        (Link::NeedsAttention { why }, _) | (_, Some(why)) => format!("{}: {why}", doorbell.info().name),
        _ => AnswerError::NoPicture.to_string(),
    };
    Refused { status: StatusCode::SERVICE_UNAVAILABLE, sentence }
}

/// Candidates that came late. Lenient: what is no candidate is passed over.
async fn trickle(State(whep): State<Whep>, Path((_, session)): Path<(String, String)>, fragment: String) -> Response {
    match viewer(&session) {
        Some(viewer) if whep.viewers.add_candidates(viewer, &fragment).await => StatusCode::NO_CONTENT.into_response(),
        _ => unknown_session(),
    }
}

async fn leave(State(whep): State<Whep>, Path((_, session)): Path<(String, String)>) -> Response {
    match viewer(&session) {
        Some(viewer) if whep.viewers.close(viewer).await => StatusCode::OK.into_response(),
        _ => unknown_session(),
    }
}

async fn options() -> Response {
    let headers = [(header::ALLOW, "POST, PATCH, DELETE, OPTIONS"), (header::ACCEPT, "application/sdp")];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn find(doorbells: &Registry, id: &str) -> Option<Doorbell> {
    doorbells.get(&DeviceId::parse(id).ok()?)
}

fn viewer(session: &str) -> Option<u64> {
    // The parser would take a sign, too.
    let is_id = session.len() == 16 && session.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(session, 16).ok().filter(|_| is_id)
}

fn is_sdp(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/sdp"))
}

fn status(error: &AnswerError) -> StatusCode {
    match error {
        AnswerError::BadOffer(_) => StatusCode::BAD_REQUEST,
        AnswerError::NotPlayable(_) => StatusCode::NOT_ACCEPTABLE,
        AnswerError::NoPicture | AnswerError::Full => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn unknown_doorbell() -> Response {
    refusal(StatusCode::NOT_FOUND, "There is no doorbell of this id.")
}

fn unknown_session() -> Response {
    refusal(StatusCode::NOT_FOUND, "There is no such viewer (any more).")
}

fn refusal(status: StatusCode, sentence: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sentence.to_owned()).into_response()
}

/// Takes the speaker with the first packet and gives it back after [`SILENCE`] without one; ends with the viewer.
async fn listen(doorbell: Doorbell, viewer: u64, mut packets: mpsc::Receiver<MicPacket>) {
    while let Some(first) = packets.recv().await {
        // What is said before the camera is ready would only make all that follows late.
        let granted = tokio::select! {
            granted = doorbell.start_talk(viewer) => granted,
            () = discard(&mut packets) => return,
        };
        match granted {
            Ok(grant) => {
                debug!("a microphone has the speaker");
                if let Over::TakenAway = talk(&doorbell, grant, first, &mut packets).await {
                    pause(&mut packets).await;
                }
            }
            Err(error) => {
                debug!(%error, "a microphone does not get the speaker");
                let patience = if matches!(error, ActionError::Unsupported(_)) { SILENCE } else { ASK_AGAIN };
                // Neither is what is said in the meantime of use to anybody.
                let _go_on = timeout(patience, discard(&mut packets)).await;
            }
        }
    }
}

/// Why a talk is over.
enum Over {
    /// The viewer was silent for [`SILENCE`], or is gone.
    Silent,
    /// The talk limit, the switch or the camera ended it.
    TakenAway,
}

/// `first` is what the microphone asked for the speaker with; it was said long ago.
async fn talk(
    doorbell: &Doorbell,
    grant: TalkGrant,
    first: MicPacket,
    packets: &mut mpsc::Receiver<MicPacket>,
) -> Over {
    let mut talkback = match Talkback::new(first.format, grant.format, grant.audio) {
        Ok(talkback) => talkback,
        Err(error) => {
            warn!(%error, "a microphone cannot be played by this camera");
            return Over::TakenAway;
        }
    };
    let over = carry(&mut talkback, packets).await;
    let TalkLevel { rms_db, peak_db, clipped_percent, suppressed_percent, packets, lost, late, delay_ms } =
        talkback.level();
    debug!(
        rms_db,
        peak_db,
        clipped_percent,
        suppressed_percent,
        packets,
        lost,
        late,
        delay_ms,
        "how a talk came from its microphone"
    );
    if packets > 0 {
        doorbell.heard(talkback.level());
    }
    over
}

async fn carry(talkback: &mut Talkback, packets: &mut mpsc::Receiver<MicPacket>) -> Over {
    loop {
        let packet = tokio::select! {
            biased;
            () = talkback.play() => return Over::TakenAway,
            packet = packets.recv() => packet,
            () = sleep(SILENCE) => None,
        };
        match packet {
            Some(packet) => talkback.push(packet),
            None => return Over::Silent,
        }
    }
}

/// Until the viewer has let go of its button: a talk that was taken away is not resumed by itself.
async fn pause(packets: &mut mpsc::Receiver<MicPacket>) {
    while let Ok(Some(_)) = timeout(LET_GO, packets.recv()).await {}
}

/// Drops packets until the viewer is gone.
async fn discard(packets: &mut mpsc::Receiver<MicPacket>) {
    while packets.recv().await.is_some() {}
}
