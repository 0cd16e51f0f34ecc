//! The presigned addresses that a cloud hands out for this camera's channel (kvs reference §3).
//!
//! They look as Amazon's do and are good for as long. What signs them is no secret of an account but that they are
//! remembered: an address with any parameter changed was never handed out.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::clock::{self, Instant};
use crate::proto::wire::hex;
use crate::secret::SignedUrl;

/// How long Amazon's are good for.
const GOOD_FOR: Duration = Duration::from_secs(299);
/// More than are asked for in that time; the oldest is forgotten.
const MAX_ISSUED: usize = 1_024;
/// What RFC 3986 leaves as it is, besides letters and digits.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Has each character that a client could spoil by encoding it anew.
const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLXdlc3QtMiJHMEUCIQD+abc/def=ghi==";

pub(super) struct Urls {
    channel: String,
    key: [u8; 32],
    issued: Mutex<VecDeque<Issued>>,
}

struct Issued {
    host: String,
    query: String,
    client_id: String,
    until: Instant,
}

/// Why an address does not open the door. HTTP 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("Missing Authentication Token")]
    Unsigned,
    #[error("Credential must have exactly 5 slash-delimited elements")]
    Credential,
    #[error("The request signature does not match the request: use the address as it was given")]
    Signature,
    #[error("Signature expired: ask for a new address")]
    Expired,
}

impl Urls {
    /// # Errors
    /// When the operating system has no randomness.
    pub(super) fn new(channel: &str) -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self { channel: channel.to_owned(), key, issued: Mutex::default() })
    }

    /// `ws://host/?X-Amz-…`, parameters in the order in which Amazon's JavaScript writes them.
    pub(super) fn issue(&self, host: &str, client_id: &str) -> SignedUrl {
        let date = humantime::format_rfc3339_seconds(clock::unix_now()).to_string().replace(['-', ':'], "");
        let credential = format!("ASIAIOSFODNN7EXAMPLE/{}/us-west-2/kinesisvideo/aws4_request", &date[..8]);
        let arn = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{}/1700000000000", self.channel);
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let query = query(&[
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-ChannelARN", &arn),
            ("X-Amz-ClientId", client_id),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &date),
            ("X-Amz-Expires", &GOOD_FOR.as_secs().to_string()),
            ("X-Amz-Security-Token", SESSION_TOKEN),
            ("X-Amz-Signature", &self.signature(client_id, &date)),
            ("X-Amz-SignedHeaders", "host"),
        ]);
        let url = SignedUrl::new(format!("ws://{host}/?{query}"));
        if issued.len() == MAX_ISSUED {
            issued.pop_front();
        }
        let until = clock::now() + GOOD_FOR;
        issued.push_back(Issued { host: host.to_owned(), query, client_id: client_id.to_owned(), until });
        url
    }

    /// Whose address this is, asked for with the `Host` and the query as they came.
    pub(super) fn verify(&self, host: &str, query: &str) -> Result<String, Denied> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        match issued.iter().find(|issued| issued.query == query && issued.host == host) {
            Some(issued) if clock::now() > issued.until => Err(Denied::Expired),
            Some(issued) => Ok(issued.client_id.clone()),
            None => Err(what_is_wrong(query)),
        }
    }

    /// 64 hexadecimal digits that nobody can foresee.
    fn signature(&self, client_id: &str, date: &str) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(client_id).chain_update(date).finalize();
        hex(&digest)
    }
}

fn query(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Amazon's own words where a client has encoded the address once more.
fn what_is_wrong(query: &str) -> Denied {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let elements = |value: &str| percent_decode_str(value).decode_utf8_lossy().split('/').count();
    match (value("X-Amz-Signature"), value("X-Amz-Credential")) {
        (None, _) | (_, None) => Denied::Unsigned,
        (_, Some(credential)) if elements(credential) != 5 => Denied::Credential,
        _ => Denied::Signature,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "127.0.0.1:8443";

    fn issued() -> (Urls, String) {
        let urls = Urls::new("front-door").unwrap();
        let url = urls.issue(HOST, "viewer-1");
        let query = url.expose().strip_prefix("ws://127.0.0.1:8443/?").unwrap().to_owned();
        (urls, query)
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_good_for_299_seconds() {
        let (urls, query) = issued();
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(urls.verify(HOST, &query), Ok("viewer-1".to_owned()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(urls.verify(HOST, &query), Err(Denied::Expired));
    }

    #[tokio::test]
    async fn an_address_with_anything_changed_is_refused() {
        let (urls, query) = issued();
        assert_eq!(urls.verify("localhost:8443", &query), Err(Denied::Signature));
        assert_eq!(urls.verify(HOST, ""), Err(Denied::Unsigned));
        for (at, _) in query.match_indices('=') {
            let mut changed = query.clone();
            changed.insert(at + 1, 'x');
            assert!(urls.verify(HOST, &changed).is_err(), "{changed}");
        }
        assert_eq!(urls.verify(HOST, &query.replace("%2F", "/")), Err(Denied::Signature), "even if it means the same");
        assert_eq!(urls.verify(HOST, &query.replace('%', "%25")), Err(Denied::Credential));
    }

    #[tokio::test]
    async fn only_the_newest_addresses_are_remembered() {
        let (urls, query) = issued();
        for n in 0..MAX_ISSUED {
            urls.issue(HOST, &format!("another-{n}"));
        }
        assert_eq!(urls.verify(HOST, &query), Err(Denied::Signature));
        assert_eq!(urls.issued.lock().unwrap().len(), MAX_ISSUED);
    }
}
