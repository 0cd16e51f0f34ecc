//! The login at Vivint's identity server: OAuth 2 with a code and PKCE, and what its answers say (vivint reference §2).

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

/// The only client that open programs are known to log in as.
pub const CLIENT_ID: &str = "ios";
/// Where a login ends: nobody goes there, its query is what counts.
pub const REDIRECT_URI: &str = "vivint://app/oauth_redirect";
pub const SCOPE: &str = "openid email devices email_verified";

/// What the one who asks for a code proves later that it was him: 40 random bytes in base64url, without what is
/// neither a letter nor a digit.
pub fn verifier(random: &[u8; 40]) -> String {
    URL_SAFE_NO_PAD.encode(random).chars().filter(char::is_ascii_alphanumeric).collect()
}

/// What is said of `verifier` beforehand (RFC 7636, `S256`).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// The end of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub code: String,
    pub state: String,
}

impl Redirect {
    /// `None` when `location` leads elsewhere, or brings no code.
    pub fn parse(location: &str) -> Option<Self> {
        let query = location.strip_prefix(REDIRECT_URI)?.strip_prefix('?')?;
        let query = query.split('#').next().unwrap_or_default();
        let value = |key: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
        };
        let code = value("code").filter(|code| !code.is_empty())?;
        Some(Self { code, state: value("state").unwrap_or_default() })
    }
}

/// What the server wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The code of an SMS or an e-mail, which is on its way.
    Validate,
    /// The code of an authenticator app.
    Mfa,
    /// To be asked at this address; logged in.
    Follow(String),
    /// Nothing: the answer is the tokens.
    Tokens,
}

impl Next {
    /// Reads the answer to a login, or to a code. `None` when it says none of this.
    pub fn read(answer: &Value) -> Option<Self> {
        if let Some(url) = answer.get("url").and_then(Value::as_str) {
            return Some(Self::Follow(url.to_owned()));
        }
        let has = |key: &str| answer.get(key).is_some_and(|value| !value.is_null());
        match () {
            () if has("validate") => Some(Self::Validate),
            () if has("mfa") => Some(Self::Mfa),
            () if has("access_token") => Some(Self::Tokens),
            () => None,
        }
    }
}

/// What a refusal says, in the order in which its texts are to be looked for.
pub fn refusal(answer: &Value) -> Option<String> {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(message) = text("msg") {
        return Some(message.to_owned());
    }
    match (text("error"), text("error_description")) {
        (Some(error), Some(description)) => Some(format!("{error}: {description}")),
        (Some(error), None) => Some(error.to_owned()),
        (None, _) => text("message").map(str::to_owned),
    }
}

/// A one-time code as its owner typed it: six digits; a blank before them is refused by the server.
pub fn one_time_code(typed: &str) -> Option<&str> {
    let code = typed.trim();
    (code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())).then_some(code)
}

/// What a JWT claims. Its signature is not looked at: it is none of ours to judge.
pub fn claims(jwt: &str) -> Option<Value> {
    let mut parts = jwt.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).or_else(|_| URL_SAFE.decode(payload)).ok()?;
    serde_json::from_slice(&payload).ok().filter(Value::is_object)
}

/// The seconds from the making of a token to its end, by its own clock; by `now`, in seconds since 1970, when it does
/// not say when it was made. `None` when it names no end.
pub fn lifetime(jwt: &str, now: u64) -> Option<u64> {
    let claims = claims(jwt)?;
    let made = claims.get("iat").and_then(Value::as_u64).unwrap_or(now);
    Some(claims.get("exp")?.as_u64()?.saturating_sub(made))
}

/// `url`, if it is an address at the same server: what is sent there is a login.
pub fn within(identity: &Url, url: &str) -> Option<Url> {
    identity.join(url).ok().filter(|url| url.origin() == identity.origin())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vectors() -> Value {
        let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/vivint/vivint.json")).unwrap();
        file["oauth"].clone()
    }

    #[test]
    fn every_vector_of_a_login_is_understood() {
        for (name, vector) in vectors().as_object().unwrap() {
            let refused = |text: &str| assert_eq!(refusal(vector).as_deref(), Some(text), "{name}");
            let next = |next| assert_eq!(Next::read(vector), Some(next), "{name}");
            match name.as_str() {
                "pkce" => assert_eq!(challenge(vector["verifier"].as_str().unwrap()), vector["challenge"]),
                "redirect" => {
                    let redirect = Redirect::parse(vector.as_str().unwrap()).unwrap();
                    let (code, state) = ("VvvTuDEllGEBpYLZF2oeFA".to_owned(), "abc=".to_owned());
                    assert_eq!(redirect, Redirect { code, state });
                }
                "mfa_sms_reply" => next(Next::Validate),
                "mfa_totp_reply" => next(Next::Mfa),
                "mfa_ok_reply" => next(Next::Follow("/oauth2/auth?login_verifier=v".to_owned())),
                "bad_password_401" => refused("Invalid username and/or password"),
                "bad_code_400" => refused("Code is not valid"),
                "refresh_rejected_400" => refused("invalid_grant: The refresh token is invalid."),
                "token_reply" => next(Next::Tokens),
                name => panic!("no test for the vector {name}"),
            }
        }
    }

    #[test]
    fn a_refusal_is_told_by_the_first_of_its_texts() {
        let all = json!({"msg": "a", "error": "b", "error_description": "c", "message": "d"});
        assert_eq!(refusal(&all).as_deref(), Some("a"));
        assert_eq!(refusal(&json!({"error": "b", "message": "d"})).as_deref(), Some("b"));
        assert_eq!(refusal(&json!({"error": {"code": 1}, "message": "d"})).as_deref(), Some("d"));
        for nothing in [json!("text"), json!(null), json!([]), json!({"msg": 7})] {
            assert_eq!((refusal(&nothing), Next::read(&nothing)), (None, None));
        }
    }

    #[test]
    fn a_verifier_is_what_the_reference_says_and_long_enough() {
        for seed in 0..=255 {
            let verifier = verifier(&[seed; 40]);
            assert!(verifier.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{verifier}");
        }
        let bytes = std::array::from_fn(|n| (n * 37) as u8);
        assert!((43..=54).contains(&verifier(&bytes).len()), "{}", verifier(&bytes));
    }

    #[test]
    fn a_redirect_elsewhere_is_none() {
        for location in [
            "",
            "https://id.vivint.com/login",
            "vivint://app/oauth_redirect",
            "vivint://app/oauth_redirect?error=access_denied",
            "vivint://app/oauth_redirect?code=",
            "vivint://app/oauth_redirect.evil.test/?code=a",
        ] {
            assert_eq!(Redirect::parse(location), None, "{location}");
        }
    }

    #[test]
    fn a_code_is_six_digits_whatever_blanks_are_around_it() {
        assert_eq!(one_time_code(" 012345\n"), Some("012345"));
        for typed in ["", "12345", "1234567", "12 345", "abcdef", "１２３４５６"] {
            assert_eq!(one_time_code(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn a_token_says_how_long_it_lives_and_nonsense_says_nothing() {
        let jwt = |claims: Value| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        assert_eq!(lifetime(&jwt(json!({"iat": 1000, "exp": 4600})), 9_999), Some(3_600));
        assert_eq!(lifetime(&jwt(json!({"exp": 4600})), 4_000), Some(600));
        assert_eq!(lifetime(&jwt(json!({"exp": 10})), 4_000), Some(0));
        assert_eq!(lifetime(&jwt(json!({"iat": 1})), 0), None);
        for nonsense in ["", "a", "a.b", "a.b.c", "..", "<jwt>", "e30.W10.c2ln"] {
            assert_eq!(claims(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_leads_to_another_server_is_not_followed() {
        let identity = Url::parse("https://id.vivint.com").unwrap();
        assert!(within(&identity, "/oauth2/auth?login_verifier=v").is_some());
        for url in ["https://evil.test/", "//evil.test/x", "http://id.vivint.com/", "vivint://app/oauth_redirect"] {
            assert_eq!(within(&identity, url), None, "{url}");
        }
    }
}
