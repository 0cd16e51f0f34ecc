//! The frames in which a viewer and a camera (the master) arrange a call: JSON in WebSocket text frames, relayed by
//! Amazon's service (kvs reference §4).
//!
//! A client sends [`Outbound`] and is sent [`Inbound`]. What a service sends that cannot be read must not end a
//! session: Amazon's own clients pass over it in silence.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize};

/// A longer frame is not looked at.
pub const MAX_FRAME: usize = 1 << 20;
/// A longer payload (base64) from a service is not decoded.
pub const MAX_PAYLOAD: usize = 64 << 10;
/// What Amazon's service takes from a client, in characters of base64.
pub const MAX_PAYLOAD_TAKEN: usize = 10_000;

/// Written with padding; read without it too.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a frame cannot be read. No text of the frame is repeated: it holds ICE passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Amazon sends such frames now and then.
    #[error("signaling frame: empty")]
    Empty,
    #[error("signaling frame: {0} bytes are too many")]
    TooLong(usize),
    #[error("signaling frame: not the expected JSON at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("signaling frame: an unknown action")]
    UnknownAction,
    #[error("signaling payload: {0} characters are too many")]
    PayloadTooLong(usize),
    #[error("signaling payload: not base64")]
    NotBase64,
    #[error("signaling payload: not the expected JSON at line {line}, column {column}")]
    PayloadNotJson { line: usize, column: usize },
    #[error("signaling payload: not what the frame announces")]
    PayloadUnlike,
}

/// What a client wants relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    SdpOffer,
    SdpAnswer,
    IceCandidate,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::SdpOffer => "SDP_OFFER",
            Self::SdpAnswer => "SDP_ANSWER",
            Self::IceCandidate => "ICE_CANDIDATE",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::SdpOffer, Self::SdpAnswer, Self::IceCandidate].into_iter().find(|action| action.name() == name)
    }
}

/// What is relayed.
///
/// On the wire base64 of `{"type":"offer","sdp":"v=0…"}`, `{"type":"answer",…}` or
/// `{"candidate":"candidate:…","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"…"}`.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    Offer {
        sdp: String,
    },
    Answer {
        sdp: String,
    },
    Candidate {
        /// Begins with `candidate:`; empty when there are no more.
        candidate: String,
        sdp_mid: Option<String>,
        sdp_m_line_index: Option<u16>,
        username_fragment: Option<String>,
    },
}

impl Payload {
    /// The action that sends it.
    pub fn action(&self) -> Action {
        match self {
            Self::Offer { .. } => Action::SdpOffer,
            Self::Answer { .. } => Action::SdpAnswer,
            Self::Candidate { .. } => Action::IceCandidate,
        }
    }

    fn encode(&self) -> String {
        BASE64.encode(json(&PayloadJson::from(self)))
    }

    /// # Errors
    /// Every [`FrameError`] about payloads; `PayloadUnlike` when its `type` is another than the action says.
    fn decode(action: Action, base64: &str, longest: usize) -> Result<Self, FrameError> {
        if base64.len() > longest {
            return Err(FrameError::PayloadTooLong(base64.len()));
        }
        let text = BASE64.decode(base64).map_err(|_| FrameError::NotBase64)?;
        let json: PayloadJson<'_> = serde_json::from_slice(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            FrameError::PayloadNotJson { line, column }
        })?;
        json.read(action).ok_or(FrameError::PayloadUnlike)
    }
}

/// Without the SDP, which holds the ICE password.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer { sdp } => write!(f, "Offer({} bytes)", sdp.len()),
            Self::Answer { sdp } => write!(f, "Answer({} bytes)", sdp.len()),
            Self::Candidate { candidate, sdp_mid, sdp_m_line_index, .. } => {
                write!(f, "Candidate({candidate:?}, mid {sdp_mid:?}, line {sdp_m_line_index:?})")
            }
        }
    }
}

/// Client to service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    pub payload: Payload,
    /// The viewer's id where the master sends. Viewers have no use for it, but some send one all the same.
    pub recipient_client_id: Option<String>,
    /// The service reports a failure of this message only when there is one.
    pub correlation_id: Option<String>,
}

impl Outbound {
    /// `{"action","messagePayload"[,"recipientClientId"][,"correlationId"]}`, in this order.
    pub fn encode(&self) -> String {
        json(&OutboundJson {
            action: self.payload.action().name().into(),
            message_payload: self.payload.encode().into(),
            recipient_client_id: self.recipient_client_id.as_deref().map(Cow::from),
            correlation_id: self.correlation_id.as_deref().map(Cow::from),
        })
    }

    /// Reads what a client has sent, in the C clients' spelling too: `MessagePayload`, `RecipientClientId`.
    ///
    /// # Errors
    /// [`FrameError`]; `PayloadTooLong` beyond [`MAX_PAYLOAD_TAKEN`].
    pub fn decode(frame: &str) -> Result<Self, FrameError> {
        let json: OutboundJson<'_> = from_frame(frame)?;
        let action = Action::named(&json.action).ok_or(FrameError::UnknownAction)?;
        Ok(Self {
            payload: Payload::decode(action, &json.message_payload, MAX_PAYLOAD_TAKEN)?,
            recipient_client_id: json.recipient_client_id.map(Cow::into_owned),
            correlation_id: json.correlation_id.map(Cow::into_owned),
        })
    }

    /// The `correlationId` of a frame, even of one that is wrong otherwise: whoever sent it is to be told.
    pub fn correlation_id_of(frame: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Correlated {
            #[serde(rename = "correlationId", alias = "CorrelationId")]
            correlation_id: Option<String>,
        }
        from_frame::<Correlated>(frame).ok()?.correlation_id
    }
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageType {
    SdpOffer,
    SdpAnswer,
    IceCandidate,
    /// The service hangs up within a minute; media that flow already are not touched.
    GoAway,
    /// The TURN relay will go: new ones must be asked for.
    ReconnectIceServer,
    /// A message that had a correlation id was not delivered.
    StatusResponse,
    /// To be ignored.
    Other(String),
}

impl MessageType {
    fn name(&self) -> &str {
        match self {
            Self::SdpOffer => Action::SdpOffer.name(),
            Self::SdpAnswer => Action::SdpAnswer.name(),
            Self::IceCandidate => Action::IceCandidate.name(),
            Self::GoAway => "GO_AWAY",
            Self::ReconnectIceServer => "RECONNECT_ICE_SERVER",
            Self::StatusResponse => "STATUS_RESPONSE",
            Self::Other(name) => name,
        }
    }

    fn named(name: &str) -> Self {
        let known = [Self::GoAway, Self::ReconnectIceServer, Self::StatusResponse];
        match Action::named(name) {
            Some(action) => action.into(),
            None => known.into_iter().find(|kind| kind.name() == name).unwrap_or_else(|| Self::Other(name.to_owned())),
        }
    }

    /// What a client did to make the service say so.
    fn action(&self) -> Option<Action> {
        Action::named(self.name())
    }
}

impl From<Action> for MessageType {
    fn from(action: Action) -> Self {
        match action {
            Action::SdpOffer => Self::SdpOffer,
            Action::SdpAnswer => Self::SdpAnswer,
            Action::IceCandidate => Self::IceCandidate,
        }
    }
}

/// Why a message was not delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusResponse {
    pub correlation_id: String,
    /// An exception's name, `InvalidArgumentException`.
    pub error_type: String,
    /// Of HTTP, but as text.
    #[serde(deserialize_with = "text_or_number")]
    pub status_code: String,
    pub description: String,
}

/// Service to client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    pub message_type: MessageType,
    /// Always of the kind that the type says; `None` where the frame's is empty.
    pub payload: Option<Payload>,
    /// Who sent it; usually missing in what a viewer gets.
    pub sender_client_id: Option<String>,
    pub status: Option<StatusResponse>,
}

impl Inbound {
    /// What the service makes of a client's message.
    pub fn relayed(payload: Payload, sender_client_id: Option<String>) -> Self {
        Self { message_type: payload.action().into(), payload: Some(payload), sender_client_id, status: None }
    }

    /// Something that the service itself has to say.
    pub fn notice(message_type: MessageType) -> Self {
        Self { message_type, payload: None, sender_client_id: None, status: None }
    }

    /// `{"messagePayload","messageType"[,"senderClientId"][,"statusResponse"]}`, in this order; the payload is `""`
    /// where there is none.
    pub fn encode(&self) -> String {
        json(&InboundJson {
            message_payload: self.payload.as_ref().map(Payload::encode).unwrap_or_default().into(),
            message_type: self.message_type.name().into(),
            sender_client_id: self.sender_client_id.as_deref().map(Cow::from),
            status_response: self.status.clone(),
        })
    }

    /// # Errors
    /// [`FrameError`], which is worth a line in the log and no more.
    pub fn decode(frame: &str) -> Result<Self, FrameError> {
        let json: InboundJson<'_> = from_frame(frame)?;
        let message_type = MessageType::named(&json.message_type);
        let action = message_type.action().filter(|_| !json.message_payload.is_empty());
        let payload = action.map(|action| Payload::decode(action, &json.message_payload, MAX_PAYLOAD));
        Ok(Self {
            payload: payload.transpose()?,
            message_type,
            sender_client_id: json.sender_client_id.map(Cow::into_owned),
            status: json.status_response,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutboundJson<'a> {
    #[serde(alias = "Action")]
    action: Cow<'a, str>,
    #[serde(borrow, alias = "MessagePayload")]
    message_payload: Cow<'a, str>,
    #[serde(alias = "RecipientClientId", skip_serializing_if = "Option::is_none")]
    recipient_client_id: Option<Cow<'a, str>>,
    #[serde(alias = "CorrelationId", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InboundJson<'a> {
    #[serde(borrow, default)]
    message_payload: Cow<'a, str>,
    message_type: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_client_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_response: Option<StatusResponse>,
}

/// All payloads in one, as the clients that read them see it.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayloadJson<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdp: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdp_mid: Option<Cow<'a, str>>,
    #[serde(rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    sdp_m_line_index: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username_fragment: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Payload> for PayloadJson<'a> {
    fn from(payload: &'a Payload) -> Self {
        let description = |kind, sdp: &'a String| Self {
            kind: Some(Cow::Borrowed(kind)),
            sdp: Some(Cow::from(sdp)),
            ..Self::default()
        };
        match payload {
            Payload::Offer { sdp } => description("offer", sdp),
            Payload::Answer { sdp } => description("answer", sdp),
            Payload::Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment } => Self {
                candidate: Some(Cow::from(candidate)),
                sdp_mid: sdp_mid.as_deref().map(Cow::from),
                sdp_m_line_index: *sdp_m_line_index,
                username_fragment: username_fragment.as_deref().map(Cow::from),
                ..Self::default()
            },
        }
    }
}

impl PayloadJson<'_> {
    /// The action decides; a `type` that is there must agree with it.
    fn read(self, action: Action) -> Option<Payload> {
        let kind = match action {
            Action::SdpOffer => Some("offer"),
            Action::SdpAnswer => Some("answer"),
            Action::IceCandidate => None,
        };
        if self.kind.is_some() && self.kind.as_deref() != kind {
            return None;
        }
        let sdp = self.sdp.map(Cow::into_owned);
        Some(match action {
            Action::SdpOffer => Payload::Offer { sdp: sdp? },
            Action::SdpAnswer => Payload::Answer { sdp: sdp? },
            // Some end their candidates with an empty one, some with an object that has none (§4).
            Action::IceCandidate => Payload::Candidate {
                candidate: self.candidate.map(Cow::into_owned).unwrap_or_default(),
                sdp_mid: self.sdp_mid.map(Cow::into_owned),
                sdp_m_line_index: self.sdp_m_line_index,
                username_fragment: self.username_fragment.map(Cow::into_owned),
            },
        })
    }
}

fn from_frame<'a, T: Deserialize<'a>>(frame: &'a str) -> Result<T, FrameError> {
    match frame.len() {
        0 => Err(FrameError::Empty),
        1..=MAX_FRAME => serde_json::from_str(frame)
            .map_err(|error| FrameError::NotJson { line: error.line(), column: error.column() }),
        len => Err(FrameError::TooLong(len)),
    }
}

/// Structs of texts and numbers cannot fail to be JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The documentation says text; a service of somebody else's may mean a number.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i64),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/kvs/signaling.json")).unwrap();
        file["vectors"].as_array().unwrap().clone()
    }

    fn offer() -> Outbound {
        let payload = Payload::Offer { sdp: "v=0\r\n".to_owned() };
        Outbound { payload, recipient_client_id: None, correlation_id: Some("c-1".to_owned()) }
    }

    /// `frame` with this text as its payload.
    fn carrying(message_type: &str, payload: &str) -> String {
        format!(r#"{{"messageType":"{message_type}","messagePayload":"{}"}}"#, BASE64.encode(payload))
    }

    #[test]
    fn every_vector_is_read_and_written_as_its_makers_do() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 15);
        for vector in &vectors {
            let id = vector["id"].as_str().unwrap();
            match vector["kind"].as_str().unwrap() {
                "signaling_out" if id == "msg-python-master-out" => reads_a_client(vector),
                "signaling_out" => reads_and_writes_as_a_client(vector),
                "signaling_out_csdk" => reads_a_client(vector),
                "signaling_in" => tells_the_same_events(vector),
                kind => panic!("{id}: nothing is known about {kind}"),
            }
        }
    }

    fn reads_and_writes_as_a_client(vector: &Value) {
        let frame = vector["out"]["frame"].as_str().unwrap();
        let message = Outbound::decode(frame).unwrap();
        assert_eq!(message.encode(), frame);
        assert_eq!(json(&PayloadJson::from(&message.payload)), vector["out"]["payload"].as_str().unwrap());
        assert_eq!(message.recipient_client_id.is_some(), vector["in"]["role"] == "MASTER");
    }

    /// White space, capital keys and another order of keys are nothing that we write.
    fn reads_a_client(vector: &Value) {
        let message = Outbound::decode(vector["out"]["frame"].as_str().unwrap()).unwrap();
        assert_eq!(message.payload, Payload::Answer { sdp: "v=0\r\n".to_owned() });
        assert_eq!(message.recipient_client_id.as_deref(), Some("viewer-abc123"));
        let correlation_id = (vector["kind"] == "signaling_out_csdk").then_some("c-1");
        assert_eq!(message.correlation_id.as_deref(), correlation_id);
    }

    /// Amazon's client holds candidates back until there is an SDP; order apart the events are these.
    fn tells_the_same_events(vector: &Value) {
        let events = vector["out"]["events"].as_array().unwrap();
        let frames = match &vector["in"]["frames"] {
            Value::Array(frames) => frames.iter().map(|frame| frame.as_str().unwrap().to_owned()).collect(),
            // This one lists events alone.
            _ => events.iter().map(frame_of).collect::<Vec<_>>(),
        };
        let read = frames.iter().filter_map(|frame| Inbound::decode(frame).ok());
        let told = read.filter_map(|message| event_of(&message)).collect::<Vec<_>>();
        assert_eq!(told.len(), events.len(), "{}: {told:?}", vector["id"]);
        assert!(events.iter().all(|event| told.contains(event)), "{}: {told:?}", vector["id"]);
    }

    fn event_of(message: &Inbound) -> Option<Value> {
        let payload = message.payload.as_ref()?;
        let name = match payload {
            Payload::Offer { .. } => "sdpOffer",
            Payload::Answer { .. } => "sdpAnswer",
            Payload::Candidate { .. } => "iceCandidate",
        };
        let payload = serde_json::to_value(PayloadJson::from(payload)).unwrap();
        Some(serde_json::json!([name, payload, message.sender_client_id]))
    }

    fn frame_of(event: &Value) -> String {
        let message_type = if event[0] == "sdpOffer" { "SDP_OFFER" } else { "ICE_CANDIDATE" };
        let payload = BASE64.encode(event[1].to_string());
        let frame = InboundJson {
            message_payload: payload.into(),
            message_type: message_type.into(),
            sender_client_id: event[2].as_str().map(Cow::from),
            status_response: None,
        };
        json(&frame)
    }

    #[test]
    fn every_truncation_is_an_error() {
        let outbound = offer().encode();
        let inbound = Inbound::relayed(offer().payload, Some("viewer".to_owned())).encode();
        for len in 0..outbound.len() {
            assert!(Outbound::decode(&outbound[..len]).is_err(), "{len} bytes of an offer were accepted");
        }
        for len in 0..inbound.len() {
            assert!(Inbound::decode(&inbound[..len]).is_err(), "{len} bytes of a relayed offer were accepted");
        }
        assert_eq!(Inbound::decode(""), Err(FrameError::Empty));
    }

    #[test]
    fn candidates_end_in_either_way() {
        for end in [r#"{"candidate":""}"#, "{}", r#"{"candidate":null,"sdpMid":null,"sdpMLineIndex":null}"#] {
            let read = Inbound::decode(&carrying("ICE_CANDIDATE", end)).unwrap();
            let candidate = String::new();
            let none = Payload::Candidate { candidate, sdp_mid: None, sdp_m_line_index: None, username_fragment: None };
            assert_eq!(read.payload, Some(none), "{end}");
        }
    }

    #[test]
    fn a_payload_that_is_not_what_its_frame_announces_is_an_error() {
        let wrong = [
            ("SDP_ANSWER", r#"{"type":"offer","sdp":"v=0"}"#),
            ("SDP_ANSWER", r#"{"type":"answer"}"#),
            ("ICE_CANDIDATE", r#"{"type":"answer","sdp":"v=0"}"#),
        ];
        for (message_type, payload) in wrong {
            assert_eq!(Inbound::decode(&carrying(message_type, payload)), Err(FrameError::PayloadUnlike), "{payload}");
        }
        assert!(matches!(
            Inbound::decode(&carrying("SDP_ANSWER", r#"{"type":"answer","sdp":7}"#)),
            Err(FrameError::PayloadNotJson { .. })
        ));
        let not_base64 = r#"{"messageType":"SDP_ANSWER","messagePayload":"{}"}"#;
        assert_eq!(Inbound::decode(not_base64), Err(FrameError::NotBase64));
        assert!(Inbound::decode(&carrying("SDP_ANSWER", r#"{"sdp":"v=0"}"#)).is_ok(), "the frame says what it is");
    }

    #[test]
    fn what_the_service_says_by_itself_is_understood() {
        let status = r#"{"messageType":"STATUS_RESPONSE","messagePayload":"","statusResponse":{"correlationId":"c-1",
            "success":false,"errorType":"InvalidArgumentException","statusCode":400,"description":"no"}}"#;
        let status = Inbound::decode(status).unwrap().status.unwrap();
        assert_eq!((&*status.correlation_id, &*status.status_code), ("c-1", "400"));
        for kind in [MessageType::GoAway, MessageType::ReconnectIceServer, MessageType::Other("NEW".to_owned())] {
            let notice = Inbound::notice(kind);
            assert_eq!(Inbound::decode(&notice.encode()), Ok(notice));
        }
        // Whatever it may carry.
        let unknown = Inbound::decode(r#"{"messageType":"NEW","messagePayload":"{}"}"#).unwrap();
        assert_eq!(unknown, Inbound::notice(MessageType::Other("NEW".to_owned())));
    }

    #[test]
    fn what_is_too_long_is_not_decoded() {
        let frame = " ".repeat(MAX_FRAME + 1);
        assert_eq!(Inbound::decode(&frame), Err(FrameError::TooLong(frame.len())));
        let payload = Payload::Offer { sdp: "v".repeat(MAX_PAYLOAD_TAKEN) };
        let inbound = Inbound::relayed(payload.clone(), None);
        assert_eq!(Inbound::decode(&inbound.encode()), Ok(inbound), "a service may take more than Amazon's");
        let offer = Outbound { payload, ..offer() };
        assert!(matches!(Outbound::decode(&offer.encode()), Err(FrameError::PayloadTooLong(_))));
        let inbound = Inbound::relayed(Payload::Answer { sdp: "v".repeat(MAX_PAYLOAD) }, None);
        assert!(matches!(Inbound::decode(&inbound.encode()), Err(FrameError::PayloadTooLong(_))));
    }

    #[test]
    fn whom_to_tell_is_found_in_a_frame_that_is_wrong() {
        for frame in [
            r#"{"action":"SDP_OFFER","correlationId":"c-1"}"#,
            r#"{"action":"DANCE","messagePayload":"","CorrelationId":"c-1"}"#,
        ] {
            assert!(Outbound::decode(frame).is_err());
            assert_eq!(Outbound::correlation_id_of(frame).as_deref(), Some("c-1"));
        }
    }

    #[test]
    fn debug_shows_no_description() {
        assert_eq!(format!("{:?}", offer().payload), "Offer(5 bytes)");
    }
}
