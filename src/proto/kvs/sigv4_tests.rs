use serde_json::Value;

use super::*;

#[test]
fn a_time_is_written_and_read() {
    for (unix_s, text) in [
        (0, "19700101T000000Z"),
        (1_735_689_600, "20250101T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (253_402_300_799, "99991231T235959Z"),
    ] {
        assert_eq!(amz_date(unix_s), text);
        assert_eq!(unix_seconds(text), Some(unix_s));
    }
    assert_eq!(amz_date(u64::MAX), "99991231T235959Z");
    for text in ["", "20250101T000000", "20250101 000000Z", "20251301T000000Z", "20250230T000000Z", "2025-101T000000Z"]
    {
        assert_eq!(unix_seconds(text), None, "{text}");
    }
}

/// Made by AWS's own signers; each entry names its generator.
const VECTORS: &str = include_str!("../../../tests/vectors/kvs/signing.json");

struct Vector {
    id: String,
    json: Value,
    headers: Vec<(String, String)>,
}

impl Vector {
    fn all() -> Vec<Self> {
        let file: Value = serde_json::from_str(VECTORS).unwrap();
        let all = file["vectors"].as_array().unwrap().iter().map(|json| {
            let headers = json["in"]["headers"].as_object().unwrap().iter();
            let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
            Self { id: json["id"].as_str().unwrap().to_owned(), json: json.clone(), headers }
        });
        all.collect()
    }

    fn input(&self, key: &str) -> &str {
        self.json["in"][key].as_str().unwrap_or_default()
    }

    fn output(&self, key: &str) -> &str {
        self.json["out"][key].as_str().unwrap()
    }

    fn keys(&self) -> Keys<'_> {
        Keys {
            access_key_id: self.input("access_key"),
            secret_access_key: self.input("secret_key"),
            session_token: self.json["in"]["session_token"].as_str(),
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope { region: self.input("region"), service: self.input("service"), amz_date: self.input("amz_date") }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    /// What is common to a vector's claims.
    fn check(&self, claim: &Claim, request: &Request<'_>) {
        let Self { id, .. } = self;
        assert_eq!(claim.access_key_id, self.input("access_key"), "{id}");
        assert_eq!(claim.region, self.input("region"), "{id}");
        assert_eq!(claim.service, self.input("service"), "{id}");
        assert_eq!(claim.amz_date, self.input("amz_date"), "{id}");
        assert_eq!(amz_date(claim.signed_at), claim.amz_date, "{id}");
        assert_eq!(claim.session_token.as_deref(), self.keys().session_token, "{id}");
        assert!(claim.has_token(self.keys().session_token), "{id}");
        assert!(!claim.has_token(Some("another")), "{id}");
        assert_eq!(claim.expires.map(|s| s.to_string()).unwrap_or_default(), self.input("expires"), "{id}");
        assert_eq!(claim.signed_headers.join(";"), self.input("signed_headers"), "{id}");
        assert!(claim.holds(request, self.input("secret_key")), "{id} is refused");
        assert!(!claim.holds(request, "another"), "{id} is accepted with another secret");
        self.check_changes(claim, request);
    }

    /// Whatever is signed and differs is noticed.
    fn check_changes(&self, claim: &Claim, request: &Request<'_>) {
        let holds = |request: &Request<'_>| claim.holds(request, self.input("secret_key"));
        let path = format!("{}x", request.path);
        let query = format!("{}&x=y", request.query);
        let changed = [
            Request { method: "PUT", ..*request },
            Request { path: &path, ..*request },
            Request { query: &query, ..*request },
            Request { body: b"x", ..*request },
        ];
        for changed in changed {
            assert!(!holds(&changed), "{}: {changed:?}", self.id);
        }
        for at in 0..request.headers.len() {
            let mut headers = request.headers.to_vec();
            let is_signed = claim.signed_headers.iter().any(|name| name == headers[at].0);
            headers[at].1 = "another";
            assert_eq!(holds(&Request { headers: &headers, ..*request }), !is_signed, "{}: {}", self.id, headers[at].0);
        }
    }
}

fn presigned_like_the_vector(vector: &Vector) {
    let Vector { id, json, .. } = vector;
    let parameters = json["in"]["query"].as_object().unwrap().iter();
    let parameters: Vec<(&str, &str)> = parameters.map(|(name, value)| (&**name, value.as_str().unwrap())).collect();
    let (headers, query) = (vector.headers(), query(&parameters));
    let request = Request { method: "GET", path: vector.input("path"), query: &query, headers: &headers, body: b"" };
    let (keys, scope, mode) = (vector.keys(), vector.scope(), TokenMode::of(vector.input("service")));
    let appended = json["in"]["token_after_signature"] == true;
    assert_eq!(mode, if appended { TokenMode::Appended } else { TokenMode::Signed }, "{id}");
    let ours = presigned_query(&request, &keys, &scope, vector.input("expires").parse().ok(), mode);

    let theirs = url::Url::parse(vector.output("url")).unwrap();
    assert!(ours.contains(&format!("&X-Amz-Signature={}", vector.output("signature"))), "{id}: {ours}");
    let sorted = |query: &str| {
        let mut pairs: Vec<String> = query.split('&').map(str::to_owned).collect();
        pairs.sort_unstable();
        pairs
    };
    assert_eq!(sorted(&ours), sorted(theirs.query().unwrap()), "{id}: they differ in more than their order");

    for query in [&*ours, theirs.query().unwrap()] {
        let request = Request { query, ..request };
        let claim = Claim::of(&request).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(claim.form, Form::Query);
        let left_out: &[&str] =
            if appended { &["X-Amz-Signature", "X-Amz-Security-Token"] } else { &["X-Amz-Signature"] };
        let canonical = canonical_request(&request, &canonical_query(query, left_out), &claim.signed_headers);
        assert_eq!(canonical, json["canonical_request"], "{id}");
        vector.check(&claim, &request);
    }
}

fn signed_like_the_vector(vector: &Vector) {
    let Vector { id, json, .. } = vector;
    let (headers, query) = (vector.headers(), vector.input("query"));
    let (method, path, body) = (vector.input("method"), vector.input("path"), vector.input("body").as_bytes());
    let request = Request { method, path, query, headers: &headers, body };
    let ours = authorization(&request, &vector.keys(), &vector.scope());
    assert_eq!(ours, vector.output("authorization"), "{id}");

    let mut headers = headers.clone();
    headers.extend([("User-Agent", "somebody"), ("Authorization", &ours)]);
    let request = Request { headers: &headers, ..request };
    let claim = Claim::of(&request).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(claim.form, Form::Header);
    assert_eq!(canonical_request(&request, query, &claim.signed_headers), json["canonical_request"], "{id}");
    vector.check(&claim, &request);
}

#[test]
fn every_vector_is_signed_and_verified() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 31);
    for vector in vectors {
        match vector.json["kind"].as_str() {
            Some("presign") => presigned_like_the_vector(&vector),
            Some("header") => signed_like_the_vector(&vector),
            kind => panic!("{}: no test knows what to do with {kind:?}", vector.id),
        }
    }
}

/// AWS's JavaScript SDK signs more headers than anybody, and says the hash of its body too.
#[test]
fn headers_are_taken_from_the_list_that_came() {
    let hash = hex(&Sha256::digest(b"{}"));
    let mut headers = vec![
        ("amz-sdk-invocation-id", "0b7d3a52"),
        ("amz-sdk-request", "attempt=1; max=3"),
        ("content-length", "2"),
        ("content-type", "application/json"),
        ("host", "127.0.0.1:8080"),
        ("x-amz-content-sha256", &hash),
        ("x-amz-user-agent", "aws-sdk-js/3  spaced   out "),
    ];
    let scope = Scope { region: "us-east-1", service: "kinesisvideo", amz_date: "20250101T000000Z" };
    let keys = Keys { access_key_id: "AKID", secret_access_key: "secret", session_token: Some("token") };
    let path = "/listSignalingChannels";
    let signed = headers.clone();
    let request = Request { method: "POST", path, query: "", headers: &signed, body: b"{}" };
    let authorization = authorization(&request, &keys, &scope);
    headers.extend([
        ("x-amz-date", scope.amz_date),
        ("x-amz-security-token", "token"),
        ("authorization", &authorization),
        ("accept", "*/*"),
    ]);
    let request = Request { headers: &headers, ..request };
    let claim = Claim::of(&request).unwrap();
    assert_eq!(claim.signed_headers.len(), signed.len() + 2);
    assert!(claim.holds(&request, "secret"));
    assert!(!claim.holds(&Request { body: b"[]", ..request }, "secret"), "another body");
    let without_accept = Request { headers: &headers[..headers.len() - 1], ..request };
    assert!(claim.holds(&without_accept, "secret"), "what is not signed does not count");
    let other_hash: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, if *name == "x-amz-content-sha256" { "UNSIGNED-PAYLOAD" } else { value }))
        .collect();
    let request = Request { headers: &other_hash, ..request };
    assert!(!Claim::of(&request).unwrap().holds(&request, "secret"), "a body that is not what it is said to be");
}

const DATE: &str = "20250101T000000Z";

fn claim_of(authorization: &str) -> Result<Claim, ClaimError> {
    let headers = [("host", "h"), ("x-amz-date", DATE), ("authorization", authorization)];
    Claim::of(&Request { method: "GET", path: "/", query: "", headers: &headers, body: b"" })
}

fn claim_in(query: &str) -> Result<Claim, ClaimError> {
    Claim::of(&Request { method: "GET", path: "/", query, headers: &[("host", "h")], body: b"" })
}

#[test]
fn what_is_wrong_with_a_header_is_told() {
    let signature = "0".repeat(64);
    let good = format!(
        "AWS4-HMAC-SHA256 Credential=K/20250101/r/s/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
    );
    assert_eq!(claim_of(&good).unwrap().access_key_id, "K");
    assert_eq!(claim_of(&good.replace(", ", ",")).unwrap().service, "s", "some clients leave no blanks");
    let wrong = [
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", ClaimError::Algorithm),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", ClaimError::Algorithm),
        ("Credential=", "Cred=", ClaimError::Malformed("Credential")),
        ("Credential=", "Credential=a, Credential=", ClaimError::Malformed("Credential")),
        ("K/20250101/r/s/aws4_request", "K/20250101/r/s", ClaimError::Scope),
        ("K/20250101/r/s/aws4_request", "K/20250101/r//aws4_request", ClaimError::Scope),
        ("K/20250101/r/s/aws4_request", "/20250101/r/s/aws4_request", ClaimError::Scope),
        ("20250101", "20250102", ClaimError::Day),
        ("20250101", "2025", ClaimError::Day),
        ("host;x-amz-date", "x-amz-date", ClaimError::HostNotSigned),
        ("host;x-amz-date", "host;x-amz-target", ClaimError::HeaderMissing),
        ("host;x-amz-date", "Host;x-amz-date", ClaimError::Malformed("SignedHeaders")),
        ("host;x-amz-date", "host;;x-amz-date", ClaimError::Malformed("SignedHeaders")),
        (&signature, "", ClaimError::Malformed("Signature")),
        (&signature, &"g".repeat(64), ClaimError::Malformed("Signature")),
        (&signature, &"ü".repeat(32), ClaimError::Malformed("Signature")),
    ];
    for (part, replacement, error) in wrong {
        assert_eq!(claim_of(&good.replace(part, replacement)), Err(error), "{part} → {replacement}");
    }
    assert_eq!(claim_of(&good.replace("host;", &"a;".repeat(100))), Err(ClaimError::Malformed("SignedHeaders")));
    assert_eq!(claim_of(&"x".repeat(20_000)), Err(ClaimError::Malformed("Authorization")));
    assert_eq!(claim_of(""), Err(ClaimError::Algorithm));
}

#[test]
fn what_is_wrong_with_an_address_is_told() {
    let request = Request { method: "GET", path: "/", query: "a=b", headers: &[("host", "h")], body: b"" };
    let keys = Keys { access_key_id: "K", secret_access_key: "secret", session_token: Some("t") };
    let scope = Scope { region: "r", service: "s", amz_date: DATE };
    let good = presigned_query(&request, &keys, &scope, Some(299), TokenMode::Signed);
    assert!(claim_in(&good).unwrap().holds(&Request { query: &good, ..request }, "secret"));
    let wrong = [
        ("AWS4-HMAC-SHA256", "AWS3", ClaimError::Algorithm),
        ("X-Amz-Credential", "X-Amz-C", ClaimError::Malformed("X-Amz-Credential")),
        ("X-Amz-Date", "X-Amz-D", ClaimError::Malformed("X-Amz-Date")),
        (DATE, "20250101T250000Z", ClaimError::Malformed("X-Amz-Date")),
        ("Expires=299", "Expires=-1", ClaimError::Malformed("X-Amz-Expires")),
        ("Expires=299", "Expires=99999999999", ClaimError::Malformed("X-Amz-Expires")),
        ("Expires=299", "Expires=299&X-Amz-Expires=9999", ClaimError::Malformed("X-Amz-Expires")),
        ("Token=t", "Token=%FF", ClaimError::Malformed("X-Amz-Security-Token")),
        ("SignedHeaders=host", "SignedHeaders=", ClaimError::Malformed("SignedHeaders")),
        ("SignedHeaders=host", "SignedHeaders=x", ClaimError::HostNotSigned),
        ("X-Amz-Signature", "X-Amz-S", ClaimError::Malformed("X-Amz-Signature")),
    ];
    for (part, replacement, error) in wrong {
        assert_eq!(claim_in(&good.replace(part, replacement)), Err(error), "{part} → {replacement}");
    }
    assert_eq!(claim_in("X-Amz-Signature=1"), Err(ClaimError::Missing));
    let headers = [("host", "h"), ("authorization", "AWS4-HMAC-SHA256 x")];
    assert_eq!(Claim::of(&Request { query: &good, headers: &headers, ..request }), Err(ClaimError::Both));
}

#[test]
fn nothing_shows_a_secret() {
    let keys = Keys { access_key_id: "AKID", secret_access_key: "canary", session_token: Some("canary") };
    let headers = [("host", "h"), ("authorization", "canary")];
    let request = Request { method: "GET", path: "/", query: "t=canary", headers: &headers, body: b"canary" };
    let scope = Scope { region: "r", service: "s", amz_date: DATE };
    let signed =
        presigned_query(&Request { headers: &headers[..1], ..request }, &keys, &scope, None, TokenMode::Signed);
    let claim = claim_in(&signed).unwrap();
    let signature = hex(&claim_signature(&signed));
    let shown = format!("{keys:?} {request:?} {claim:?} {:?}", claim_in("X-Amz-Algorithm=canary"));
    assert!(!shown.contains("canary") && !shown.contains(&signature), "{shown}");
    assert!(shown.contains("AKID"), "{shown}");
}

fn claim_signature(query: &str) -> Vec<u8> {
    let (_, signature) = query.split_once("X-Amz-Signature=").unwrap();
    (0..32).map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap()).collect()
}
