//! The cookies of one login: what the identity server set in its course, and nothing that outlasts it.

use std::collections::BTreeMap;

use crate::net::http::{Answer, Request};

/// By name. They are of one server and go back to it alone.
#[derive(Default)]
pub(super) struct Cookies(BTreeMap<String, String>);

impl Cookies {
    /// Far beyond what a login sets.
    const MOST: usize = 32;

    /// Takes over what `answer` sets, and forgets what it takes back.
    pub(super) fn take(&mut self, answer: &Answer) {
        for cookie in answer.cookies() {
            self.set(cookie);
        }
    }

    fn set(&mut self, cookie: &str) {
        let mut parts = cookie.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let is_over = parts.filter_map(|part| part.split_once('=')).any(|(attribute, value)| {
            attribute.eq_ignore_ascii_case("max-age") && value.parse::<i64>().is_ok_and(|seconds| seconds <= 0)
        });
        if is_over || value.is_empty() {
            self.0.remove(name);
        } else if self.0.contains_key(name) || self.0.len() < Self::MOST {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(super) fn send_with(&self, request: Request) -> Request {
        if self.0.is_empty() {
            return request;
        }
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request.header("cookie", &pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_last_counts_and_what_is_taken_back_is_gone() {
        let mut cookies = Cookies::default();
        for cookie in [
            "csrf=a==; Path=/; HttpOnly; Secure",
            "login=1",
            "login=2; Max-Age=600",
            "old=1",
            "old=1; max-age=0",
            "gone=1",
            "gone=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "nonsense",
        ] {
            cookies.set(cookie);
        }
        let pairs: Vec<_> = cookies.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("csrf", "a=="), ("login", "2")]);
    }
}
