//! What Amazon's signaling service and its clients send, and what doorbells publish: it must not panic, and what is
//! read must be written so that it reads the same again. What a client claims of its signature must not panic either.

use doorstep::proto::kvs::ring;
use doorstep::proto::kvs::signaling::{Inbound, Outbound};
use doorstep::proto::kvs::sigv4::{Claim, Keys, Request, Scope, TokenMode, authorization, presigned_query};

pub fn signaling(data: &[u8]) {
    let Ok(frame) = std::str::from_utf8(data) else { return };
    if let Ok(message) = Outbound::decode(frame) {
        assert_eq!(Outbound::decode(&message.encode()).as_ref(), Ok(&message));
        assert_eq!(Outbound::correlation_id_of(frame), message.correlation_id);
    }
    if let Ok(message) = Inbound::decode(frame) {
        assert_eq!(Inbound::decode(&message.encode()).as_ref(), Ok(&message));
    }
}

/// A request as text: method, path and query in the first line, then a header a line, an empty one, and the body. Whoever
/// signs what came must be believed.
pub fn sigv4(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
    let Ok(claim) = Claim::of(&request) else { return };
    let _mostly_false = claim.holds(&request, "secret");

    let of_the_signer = |name: &str| {
        let own = ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];
        own.iter().any(|it| name.eq_ignore_ascii_case(it))
    };
    let mut headers: Vec<(&str, &str)> = headers.iter().copied().filter(|(name, _)| !of_the_signer(name)).collect();
    if headers.iter().any(|(name, _)| name.contains([';', ',']) || !name.bytes().all(|byte| byte.is_ascii_graphic())) {
        return;
    }
    let token = claim.session_token.as_deref().filter(|token| !token.contains(' '));
    let keys = Keys { access_key_id: &claim.access_key_id, secret_access_key: "secret", session_token: token };
    let scope = Scope { region: &claim.region, service: &claim.service, amz_date: &claim.amz_date };
    let signed = headers.clone();
    let unsigned = Request { query: "", headers: &signed, ..request };

    let query = presigned_query(&unsigned, &keys, &scope, claim.expires, TokenMode::of(&claim.service));
    believed(&Request { query: &query, ..unsigned });
    let authorization = authorization(&unsigned, &keys, &scope);
    headers.extend([("authorization", &*authorization), ("x-amz-date", &claim.amz_date)]);
    headers.extend(token.map(|token| ("x-amz-security-token", token)));
    believed(&Request { headers: &headers, ..unsigned });
}

/// Unless there are more headers, or longer texts, than are looked at.
fn believed(request: &Request<'_>) {
    if let Ok(claim) = Claim::of(request) {
        assert!(claim.holds(request, "secret"), "{claim:?}");
    }
}

pub fn ring(data: &[u8]) {
    if let Ok(ring) = ring::parse(data) {
        assert_eq!(ring::parse(ring.encode().as_bytes()), Ok(ring));
    }
}
