//! Answers in the dialects of Wyze's hosts (§1, §8).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::sim::made_up::random_hex;

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// HTTP 401 without a word.
    Unauthorized,
    /// HTTP 404.
    NotFound,
    /// HTTP 400 with error code 1000 and this description (§1: it alone tells the cases apart).
    Login(&'static str),
    /// A code and a message.
    Code(u32, &'static str),
}

impl Refusal {
    pub(super) const EXPIRED: Self = Self::Code(2_001, "AccessTokenError");
    /// What Wyze says to a refresh token that is spent is not known; the code of the access token is a guess, and
    /// a trap for who refreshes whenever he sees it.
    pub(super) const REFRESH: Self = Self::Code(2_001, "RefreshTokenError");
    pub(super) const PARAMETER: Self = Self::Code(1_001, "ParameterError");
    pub(super) const SIGNATURE: Self = Self::Code(1_003, "SignatureError");
    pub(super) const NOT_GWELL: Self = Self::Code(1_008, "DeviceNotSupported");
    pub(super) const DEVICE_OFFLINE: Self = Self::Code(3_019, "DeviceOffline");
    pub(super) const FORD_SIGN: Self = Self::Code(14_008, "PARAM_SIGN_INVALID");
    pub(super) const FORD_TIMESTAMP: Self = Self::Code(17_001, "PARAM_TIMESTAMP_INVALID");

    /// For whoever watches the cloud.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Unauthorized => "HTTP 401",
            Self::NotFound => "HTTP 404",
            Self::Login(description) => description,
            Self::Code(_, message) => message,
        }
    }
}

/// How an endpoint wraps what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The object itself.
    Bare,
    /// `{"code":"1","msg":"SUCCESS","data":…}`
    Text,
    /// `{"code":1,"msg":"SUCCESS","data":…}`
    Number,
    /// `{"ErrNo":0,"ErrMsg":"",…}`
    Ford,
}

impl Dialect {
    pub(super) fn tell(self, outcome: &Result<Value, Refusal>, now_ms: u64) -> (StatusCode, Value) {
        match outcome {
            Ok(data) => (StatusCode::OK, self.success(data, now_ms)),
            Err(Refusal::Unauthorized) => (StatusCode::UNAUTHORIZED, json!({"message": "Unauthorized"})),
            Err(Refusal::NotFound) => (StatusCode::NOT_FOUND, json!({"message": "Not Found"})),
            Err(Refusal::Login(description)) => {
                let body = json!({"errorCode": 1000, "description": description, "requestId": random_hex(32)});
                (StatusCode::BAD_REQUEST, body)
            }
            Err(Refusal::Code(code, message)) => (StatusCode::OK, self.refusal(*code, message, now_ms)),
        }
    }

    fn success(self, data: &Value, now_ms: u64) -> Value {
        match self {
            Self::Bare => data.clone(),
            Self::Text => json!({"code": "1", "msg": "SUCCESS", "data": data, "ts": now_ms}),
            Self::Number => json!({"code": 1, "msg": "SUCCESS", "data": data, "ts": now_ms}),
            Self::Ford => {
                let mut body = json!({"ReqID": random_hex(32), "ErrNo": 0, "ErrMsg": ""});
                if let (Some(body), Some(fields)) = (body.as_object_mut(), data.as_object()) {
                    body.extend(fields.clone());
                }
                body
            }
        }
    }

    fn refusal(self, code: u32, message: &str, now_ms: u64) -> Value {
        match self {
            Self::Number => json!({"code": code, "msg": message, "data": {}, "ts": now_ms}),
            Self::Bare | Self::Text => json!({"code": code.to_string(), "msg": message, "data": {}, "ts": now_ms}),
            Self::Ford => {
                // A number or a text: the captures have both.
                let number = if code == 14_008 { Value::from(code.to_string()) } else { Value::from(code) };
                let mut body = json!({"ReqID": random_hex(32), "ErrNo": number, "ErrMsg": message});
                if code == 2_001 {
                    // Both open clients look for a worn-out token here, beside the lock API's own number.
                    body["code"] = Value::from("2001");
                    body["msg"] = Value::from(message);
                }
                body
            }
        }
    }
}
