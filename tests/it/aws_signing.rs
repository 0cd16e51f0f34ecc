//! What we sign is what AWS's own crate signs, for requests that nobody has thought of.
//!
//! Two things it cannot be asked: a presigned address without an expiry, as AWS IoT is given, over which it panics; and
//! a query with a bare `+`, which it takes for a blank. The vectors of AWS's IoT SDKs (`proto::kvs::sigv4`) have the
//! first.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use doorstep::proto::kvs::sigv4::{
    Claim, Keys, Request, Scope, TokenMode, amz_date, authorization, presigned_query, query,
};
use doorstep::sim::dice::Dice;

/// One request, made up.
struct Case {
    method: &'static str,
    host: &'static str,
    path: String,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    key: String,
    secret: String,
    token: Option<String>,
    region: &'static str,
    service: &'static str,
    unix_s: u64,
    expires: u64,
}

impl Case {
    fn of(dice: &mut Dice) -> Self {
        let service = *dice.pick(&["kinesisvideo", "iotdevicegateway", "iot", "sts"]);
        let parameters: Vec<(String, String)> =
            (0..size(dice, 5)).map(|at| (format!("{}{at}", text(dice, 6)), text(dice, 40))).collect();
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        let segments: Vec<String> = (0..=size(dice, 3)).map(|_| segment(dice)).collect();
        Self {
            method: *dice.pick(&["GET", "POST", "PUT", "DELETE"]),
            host: *dice.pick(&["kinesisvideo.us-east-1.amazonaws.com", "127.0.0.1:8443", "[::1]:9001", "localhost:1"]),
            path: format!("/{}", segments.join("/")),
            query: query(&parameters),
            headers: (0..size(dice, 4)).map(|at| (NAMES[at], visible(dice, 30))).collect(),
            body: text(dice, 200),
            key: format!("AK{}", size(dice, 1_000_000)),
            secret: visible(dice, 40),
            token: dice.roll(0.5).then(|| format!("t{}+/=", visible(dice, 300).replace(' ', "/"))),
            region: *dice.pick(&["us-east-1", "cn-north-1", "eu-central-1"]),
            service,
            unix_s: u64::from(u32::from_le_bytes(dice.bytes())),
            expires: 1 + size(dice, 604_000) as u64,
        }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let others = self.headers.iter().map(|(name, value)| (*name, &**value));
        others.chain([("host", self.host)]).collect()
    }

    fn keys(&self) -> Keys<'_> {
        Keys { access_key_id: &self.key, secret_access_key: &self.secret, session_token: self.token.as_deref() }
    }

    fn mode(&self) -> TokenMode {
        TokenMode::of(self.service)
    }

    /// By AWS's crate.
    fn their_signature(&self, location: SignatureLocation) -> String {
        let credentials = Credentials::new(&self.key, &self.secret, self.token.clone(), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.signature_location = location;
        settings.excluded_headers = None;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        if location == SignatureLocation::QueryParams {
            settings.expires_in = Some(Duration::from_secs(self.expires));
            let appended = self.mode() == TokenMode::Appended;
            settings.session_token_mode = if appended { SessionTokenMode::Exclude } else { SessionTokenMode::Include };
        }
        let parameters = v4::SigningParams::builder()
            .identity(&credentials)
            .region(self.region)
            .name(self.service)
            .time(UNIX_EPOCH + Duration::from_secs(self.unix_s))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let separator = if self.query.is_empty() { "" } else { "?" };
        let uri = format!("https://{}{}{separator}{}", self.host, self.path, self.query);
        let headers = self.headers.iter().map(|(name, value)| (*name, &**value));
        let body = SignableBody::Bytes(self.body.as_bytes());
        let request = SignableRequest::new(self.method, uri, headers, body).unwrap();
        sign(request, &parameters).unwrap().into_parts().1
    }
}

const NAMES: [&str; 4] = ["content-type", "amz-sdk-request", "x-amz-target", "connection"];

fn size(dice: &mut Dice, below: usize) -> usize {
    u32::from_le_bytes(dice.bytes()) as usize % below
}

/// Any characters, awkward ones among them.
fn text(dice: &mut Dice, longest: usize) -> String {
    let characters: Vec<char> = "abcXYZ019-_.~ +/=&?%:;,!'()*\"<>\\[]{}|^`@#$äß€🔔\u{0}\n".chars().collect();
    (0..size(dice, longest)).map(|_| *dice.pick(&characters)).collect()
}

/// What a header can hold, with blanks at its ends and in its middle.
fn visible(dice: &mut Dice, longest: usize) -> String {
    let characters: Vec<char> = "abcXYZ019  -_.~+/=&?%:;,!'()*".chars().collect();
    (0..size(dice, longest)).map(|_| *dice.pick(&characters)).collect()
}

/// A piece of a path as it goes over the wire.
fn segment(dice: &mut Dice) -> String {
    let pieces = ["a", "Z", "0", "-", "_", ".", "~", "%20", "%2F", "=", ":", "@", "+", "!"];
    (0..size(dice, 8)).map(|_| *dice.pick(&pieces)).collect()
}

#[test]
fn our_signatures_are_those_of_aws() {
    for seed in 0..500 {
        let case = Case::of(&mut Dice::new(seed));
        let (headers, amz_date) = (case.headers(), amz_date(case.unix_s));
        let scope = Scope { region: case.region, service: case.service, amz_date: &amz_date };
        let (path, body) = (&*case.path, case.body.as_bytes());
        let request = Request { method: case.method, path, query: &case.query, headers: &headers, body };

        let ours = authorization(&request, &case.keys(), &scope);
        let theirs = case.their_signature(SignatureLocation::Headers);
        assert!(ours.ends_with(&format!("Signature={theirs}")), "header, seed {seed}: {ours}, theirs {theirs}");
        let token = case.token.as_deref().map(|token| ("x-amz-security-token", token));
        let mut sent = headers.clone();
        sent.extend([("x-amz-date", &*amz_date), ("authorization", &ours)].into_iter().chain(token));
        let sent = Request { headers: &sent, ..request };
        assert!(Claim::of(&sent).unwrap().holds(&sent, &case.secret), "header, seed {seed} is not verified");

        let ours = presigned_query(&request, &case.keys(), &scope, Some(case.expires), case.mode());
        let theirs = case.their_signature(SignatureLocation::QueryParams);
        assert!(ours.contains(&format!("X-Amz-Signature={theirs}")), "query, seed {seed}: {ours}, theirs {theirs}");
        let sent = Request { query: &ours, ..request };
        let claim = Claim::of(&sent).unwrap();
        assert!(claim.holds(&sent, &case.secret) && claim.has_token(case.token.as_deref()), "query, seed {seed}");
        assert!(!claim.holds(&Request { path: "/another", ..sent }, &case.secret), "query, seed {seed}");
    }
}
