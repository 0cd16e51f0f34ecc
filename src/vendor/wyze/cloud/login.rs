//! The requests of a login: key id and password, the second factor where Wyze asks for one, and the refresh
//! (wyze-cloud reference §1).

use std::time::SystemTime;

use serde_json::{Value, json};

use super::error::{CloudError, CodeBy};
use super::limits::Urgency;
use super::session::Tokens;
use super::{Host, Inner};
use crate::net::http::Request;
use crate::proto::totp::totp;
use crate::proto::wyze::password_hash;
use crate::secret::Token;

/// The app's own key, which the second step wants in place of the owner's.
const APP_KEY: &str = "WMXHYf79Nr5gIlt3r0r7p9Tcw5bvs6BB4U8O8nGJ";
const APP_AGENT: &str = "wyze_ios_2.18.43";

/// What a login leads to.
pub(super) enum Step {
    Done(Granted),
    Code(PendingCode),
}

/// What Wyze gives whom it lets in.
pub(super) struct Granted {
    pub(super) access: Token,
    pub(super) refresh: Token,
    /// What it calls the account's owner; `None` where it does not say.
    pub(super) user_id: Option<String>,
}

/// A login that waits for its owner's code.
pub(super) struct PendingCode {
    pub(super) by: CodeBy,
    /// What Wyze calls this login.
    verification_id: String,
    /// How many codes were refused.
    pub(super) tries: u32,
}

impl PendingCode {
    fn mfa_type(&self) -> &'static str {
        match self.by {
            CodeBy::Sms => "PrimaryPhone",
            CodeBy::App => "TotpVerificationCode",
        }
    }
}

impl Inner {
    /// The first step, and the second where it needs nobody. `LoginRefused` is of the first, `TotpRefused` of the
    /// second.
    pub(super) async fn ask_for_login(&self) -> Result<Step, CloudError> {
        let url = self.url(Host::Auth, "/api/user/login");
        let request = Request::post_json(url, self.credentials().to_string())
            .header("keyid", self.login.key_id.expose())
            .header("apikey", self.login.api_key.expose())
            .header("phone-id", &self.phone_id);
        let answer = self.exchange(Host::Auth, Urgency::Usual, request).await?;
        if let Ok(granted) = granted(&answer) {
            return Ok(Step::Done(granted));
        }
        let code = self.second_factor(&answer).await?;
        let (CodeBy::App, Some(secret)) = (code.by, &self.login.totp_secret) else { return Ok(Step::Code(code)) };
        let now = self.time.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let digits = totp(secret.expose(), now.as_secs()).ok_or(CloudError::TotpRefused)?;
        match self.answer_with_code(&code, &digits).await {
            Ok(granted) => Ok(Step::Done(granted)),
            Err(CloudError::LoginRefused) => Err(CloudError::TotpRefused),
            Err(error) => Err(error),
        }
    }

    /// Which code Wyze wants. An SMS is sent when there is no other way.
    async fn second_factor(&self, answer: &Value) -> Result<PendingCode, CloudError> {
        let options = answer["mfa_options"].as_array().map(Vec::as_slice).unwrap_or_default();
        let offers = |kind: &str| options.iter().any(|option| option == kind);
        let app = answer["mfa_details"]["totp_apps"].get(0).map(|app| text(&app["app_id"])).unwrap_or_default();
        if offers("TotpVerificationCode") && !app.is_empty() {
            return Ok(PendingCode { by: CodeBy::App, verification_id: app, tries: 0 });
        }
        if offers("PrimaryPhone") {
            let verification_id = self.send_sms(answer).await?;
            return Ok(PendingCode { by: CodeBy::Sms, verification_id, tries: 0 });
        }
        match options {
            [] => Err(CloudError::Misunderstood("a login without a token".to_owned())),
            _ => Err(CloudError::SecondFactor),
        }
    }

    async fn send_sms(&self, answer: &Value) -> Result<String, CloudError> {
        let mut url = self.url(Host::Auth, "/user/login/sendSmsCode");
        url.query_pairs_mut()
            .append_pair("mfaPhoneType", "Primary")
            .append_pair("sessionId", &text(&answer["sms_session_id"]))
            .append_pair("userId", &text(&answer["user_id"]));
        let request = self.as_app(Request::post_json(url, "{}"));
        let sent = self.exchange(Host::Auth, Urgency::Urgent, request).await?;
        match text(&sent["session_id"]) {
            id if id.is_empty() => Err(CloudError::Misunderstood("an SMS without a session".to_owned())),
            id => Ok(id),
        }
    }

    /// The second step.
    pub(super) async fn answer_with_code(&self, pending: &PendingCode, code: &str) -> Result<Granted, CloudError> {
        let mut body = self.credentials();
        body["mfa_type"] = pending.mfa_type().into();
        body["verification_id"] = pending.verification_id.as_str().into();
        body["verification_code"] = code.into();
        let request = Request::post_json(self.url(Host::Auth, "/user/login"), body.to_string());
        granted(&self.exchange(Host::Auth, Urgency::Urgent, self.as_app(request)).await?)
    }

    /// New tokens for old ones, which are worth nothing afterwards.
    pub(super) async fn refresh(&self, old: &Tokens) -> Result<Granted, CloudError> {
        const PATH: &str = "/app/user/refresh_token";
        let request = self.app_request(PATH, &old.access, &json!({ "refresh_token": old.refresh.expose() }));
        let mut data = self.exchange(Host::Api, Urgency::Usual, request).await?;
        if data["refresh_token"].is_null() {
            data["refresh_token"] = old.refresh.expose().into();
        }
        let granted = granted(&data)?;
        Ok(Granted { user_id: granted.user_id.or_else(|| old.user_id.clone()), ..granted })
    }

    fn credentials(&self) -> Value {
        json!({ "email": self.login.email.expose(), "password": password_hash(self.login.password.expose()) })
    }

    fn as_app(&self, request: Request) -> Request {
        request.header("x-api-key", APP_KEY).header("phone-id", &self.phone_id).header("user-agent", APP_AGENT)
    }
}

fn granted(answer: &Value) -> Result<Granted, CloudError> {
    let token = |key: &str| answer[key].as_str().filter(|token| !token.is_empty()).map(Token::new);
    match (token("access_token"), token("refresh_token")) {
        (Some(access), Some(refresh)) => {
            let user_id = Some(text(&answer["user_id"])).filter(|id| !id.is_empty());
            Ok(Granted { access, refresh, user_id })
        }
        _ => Err(CloudError::Misunderstood("a login without a token".to_owned())),
    }
}

/// A text, or a number as text; empty for anything else.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}
