//! What Wyze's cloud wants computed: the password's hash, and the signatures of requests
//! (wyze-cloud reference §1, §6, §8).

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::wire::hex;

/// Whose secret signs a request (§6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// The phone app's: event list v4, iot3, mars.
    Olive,
    /// The web page's: get-streams.
    Web,
}

impl App {
    /// The `appid` header.
    pub fn id(self) -> &'static str {
        match self {
            Self::Olive => "9319141212m2ik",
            Self::Web => "strv_e7f78e9e7738dc50",
        }
    }

    fn secret(self) -> &'static str {
        match self {
            Self::Olive => "wyze_app_secret_key_132",
            Self::Web => "gbJojEBViLklgwyyDikx5ztSvKBXI5oU",
        }
    }

    /// The `signature2` header: of a POST's exact body, or of a GET's `k=v` pairs sorted by key and joined
    /// with `&` (§6). 32 lower-case hexadecimal digits.
    pub fn signature2(self, access_token: &str, message: &[u8]) -> String {
        let key = hex_md5(format!("{access_token}{}", self.secret()).as_bytes());
        // The key is the hexadecimal text, not the bytes it stands for.
        let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key.as_bytes()) else { return String::new() };
        mac.update(message);
        hex(&mac.finalize().into_bytes())
    }
}

/// The `password` of a login: MD5 in hexadecimal, three times over (§1). White space at the ends is no part of
/// a password; one that begins with `md5:` or `hashed:` was hashed before.
pub fn password_hash(password: &str) -> String {
    let password = password.trim();
    match password.strip_prefix("md5:").or_else(|| password.strip_prefix("hashed:")) {
        Some(hashed) => hashed.to_owned(),
        None => (0..3).fold(password.to_owned(), |text, _| hex_md5(text.as_bytes())),
    }
}

/// The `requestid` header of mars: MD5 of the nonce in hexadecimal, twice (§6).
pub fn mars_request_id(nonce: &str) -> String {
    hex_md5(hex_md5(nonce.as_bytes()).as_bytes())
}

/// The public key of the lock API, sent as `key` (§8).
pub const FORD_KEY: &str = "275965684684dbdaf29a0ed9";
const FORD_SECRET: &str = "4deekof1ba311c5c33a9cb8e12787e8c";

/// What `quote_plus` leaves alone, besides letters and digits; a space becomes `+`.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b' ');

/// The `sign` of a request to the lock API, over every other field (§8). `method` in lower case, `path` as in
/// `/openapi/lock/v1/control`. 32 lower-case hexadecimal digits.
pub fn ford_sign(method: &str, path: &str, fields: &BTreeMap<&str, &str>) -> String {
    let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let text = format!("{method}{path}{}{FORD_SECRET}", pairs.join("&"));
    hex_md5(utf8_percent_encode(&text, QUOTED).to_string().replace(' ', "+").as_bytes())
}

fn hex_md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::totp::totp;
    use serde_json::Value;

    fn computed(vector: &Value) -> String {
        let input = &vector["i"];
        let text = |key: &str| input[key].as_str().unwrap();
        let fields = || input.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap()));
        match vector["id"].as_str().unwrap() {
            "pw-md5x3" => password_hash(input.as_str().unwrap()),
            "olive-body" => App::Olive.signature2(text("token"), text("body").as_bytes()),
            "web-getstreams" => App::Web.signature2(text("token"), text("body").as_bytes()),
            "olive-params" => {
                let pairs = input["params"].as_object().unwrap().iter();
                let pairs = pairs.map(|(key, value)| format!("{key}={}", value.to_string().trim_matches('"')));
                App::Olive.signature2(text("token"), pairs.collect::<Vec<_>>().join("&").as_bytes())
            }
            "ford-info" => ford_sign("get", "/openapi/lock/v1/info", &fields().collect()),
            id if id.starts_with("ford-control") => ford_sign("post", "/openapi/lock/v1/control", &fields().collect()),
            "totp" => totp(text("secret"), input["unix"].as_u64().unwrap()).unwrap(),
            id => panic!("no test for the vector {id}"),
        }
    }

    #[test]
    fn every_vector_of_the_reference_is_reproduced() {
        let file: Value = serde_json::from_str(include_str!("../../tests/vectors/wyze/cloud.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 8);
        for vector in vectors {
            assert_eq!(computed(vector), vector["o"].as_str().unwrap(), "{}", vector["id"]);
        }
    }

    #[test]
    fn a_password_that_was_hashed_before_is_not_hashed_again() {
        let hashed = "7f5f74be86aa53a4abffeeeb0a3c2750";
        assert_eq!(password_hash(" hunter2\n"), hashed);
        assert_eq!(password_hash(&format!("md5:{hashed}")), hashed);
        assert_eq!(password_hash(&format!("hashed:{hashed}")), hashed);
    }

    #[test]
    fn what_a_signature_covers_is_quoted_as_a_form_would() {
        let fields = BTreeMap::from([("b", "x y/ü"), ("a", "~-._")]);
        let by_hand = format!("get%2Fpa%3D~-._%26b%3Dx+y%2F%C3%BC{FORD_SECRET}");
        assert_eq!(ford_sign("get", "/p", &fields), hex_md5(by_hand.as_bytes()));
    }
}
