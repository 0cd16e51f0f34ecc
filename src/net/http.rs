//! HTTP as a client of clouds, and the only place that names `reqwest`.
//!
//! An answer is whole, at most 4 MiB, at most 15 s away unless it is waited for on purpose, and from the host that was
//! asked: what does not keep to that is an error (requirements S17, S19; rows 15 and 16 of the fault matrix). No error shows a path, a query, a
//! header or a body.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
pub use reqwest::Method;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE,
};
use serde_json::Value;
use url::Url;

use super::tls::{self, Distrust, Trust};

/// The longest a call may take, from its first packet to the last byte of the answer, but for a [`Request::long_poll`].
pub const DEADLINE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// Shorter than servers keep a connection, so that a request seldom meets one that is being closed.
const IDLE: Duration = Duration::from_secs(45);
const MAX_BODY: usize = 4 << 20;
/// How deep lists and objects in an answer may be nested.
const MAX_DEPTH: usize = 32;

/// Why there is no answer to work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the certificate of `{host}` is not trusted: {why}")]
    Untrusted { host: String, why: Distrust },
    #[error("`{host}` cannot be reached ({why})")]
    Unreachable { host: String, why: String },
    #[error("`{host}` did not answer in time")]
    TimedOut { host: String },
    #[error("`{host}` broke off ({why})")]
    BrokenOff { host: String, why: String },
    #[error("`{host}` sent more than {} MiB", MAX_BODY >> 20)]
    TooLarge { host: String },
    #[error("`{host}` sent a compressed answer, which was not asked for")]
    Compressed { host: String },
    #[error("`{host}` redirects to elsewhere")]
    Redirects { host: String },
    #[error("`{host}` sent a web page where data was expected")]
    WebPage { host: String },
    #[error("`{host}` sent something that cannot be read")]
    NotJson { host: String },
    #[error("`{host}` sent something nested more than {MAX_DEPTH} deep")]
    TooDeep { host: String },
    /// A header that cannot be sent, most often a key with a line break in it.
    #[error("the header `{0}` has a character that cannot be sent")]
    Header(&'static str),
}

/// Makes calls. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client(reqwest::Client);

impl Client {
    /// Reads the machine's list of authorities: some milliseconds.
    pub fn new() -> Self {
        Self::with(&Trust::default())
    }

    /// One that believes and shows what it is given.
    pub fn with(trust: &Trust) -> Self {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.client_config())
            .user_agent(concat!("doorstep/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            // A redirect could lead credentials elsewhere, and no cloud needs one.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // A variable of the environment must not send logins through a host that nobody configured.
            .no_proxy()
            .build();
        Self(client.unwrap_or_else(|_| unreachable!("its TLS set-up is of the library's own version")))
    }

    /// Sends `request` once and reads the whole answer, whatever its status but for redirects that
    /// were not expected.
    ///
    /// # Errors
    /// `HttpError`. After `TimedOut` and `BrokenOff` the request may have been carried out.
    pub async fn send(&self, request: Request) -> Result<Answer, HttpError> {
        let Request { method, url, headers, body, deadline, redirect_expected, unsendable } = request;
        if let Some(header) = unsendable {
            return Err(HttpError::Header(header));
        }
        let host = host(&url);
        let call = self.exchange(&host, redirect_expected, reqwest_request(method, url, headers, body));
        let answer = tokio::time::timeout(deadline, call).await;
        answer.unwrap_or_else(|_| Err(HttpError::TimedOut { host: host.clone() }))
    }

    async fn exchange(
        &self,
        host: &str,
        redirect_expected: bool,
        request: reqwest::Request,
    ) -> Result<Answer, HttpError> {
        let mut response = self.0.execute(request).await.map_err(|error| failure(host, &error))?;
        let host = host.to_owned();
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        if status.is_redirection() && !redirect_expected {
            return Err(HttpError::Redirects { host });
        }
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(HttpError::Compressed { host });
        }
        let body = read(&host, response).await?;
        Ok(Answer { host, status: status.as_u16(), headers, body })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

fn reqwest_request(method: Method, url: Url, headers: HeaderMap, body: Bytes) -> reqwest::Request {
    let mut request = reqwest::Request::new(method, url);
    *request.headers_mut() = headers;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    request
}

/// The limit is kept while reading: what a server announces proves nothing.
async fn read(host: &str, mut response: reqwest::Response) -> Result<Bytes, HttpError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| failure(host, &error))? {
        if body.len() + piece.len() > MAX_BODY {
            return Err(HttpError::TooLarge { host: host.to_owned() });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

pub(super) fn failure(host: &str, error: &reqwest::Error) -> HttpError {
    let host = host.to_owned();
    if let Some(why) = Distrust::of(error) {
        return HttpError::Untrusted { host, why };
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => HttpError::Unreachable { host, why: format!("no connection within {} s", CONNECT.as_secs()) },
        (true, false) => HttpError::Unreachable { host, why: root_cause(error) },
        (false, true) => HttpError::TimedOut { host },
        (false, false) => HttpError::BrokenOff { host, why: root_cause(error) },
    }
}

/// The innermost cause, the only one that shows no address.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = tls::inner(cause) {
        cause = inner;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        // It would name the whole address.
        Some(_) => "no reason is known".to_owned(),
        None => cause.to_string(),
    }
}

/// `name`, or `name:port` where the port is not the usual one: what the header `host` says.
pub fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// One request. Everything in it counts as secret.
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    deadline: Duration,
    redirect_expected: bool,
    unsendable: Option<&'static str>,
}

impl Request {
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self { method, url, headers, body, deadline: DEADLINE, redirect_expected: false, unsendable: None }
    }

    /// A POST of `body`, sent as it stands.
    pub fn post_json(url: Url, body: impl Into<Bytes>) -> Self {
        Self::json(Method::POST, url, body)
    }

    /// A PUT of `body`, sent as it stands.
    pub fn put_json(url: Url, body: impl Into<Bytes>) -> Self {
        Self::json(Method::PUT, url, body)
    }

    /// A POST of `fields` as a form.
    pub fn post_form(url: Url, fields: &[(&str, &str)]) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Self::new(Method::POST, url).header("content-type", "application/x-www-form-urlencoded");
        Self { body: form.into(), ..request }
    }

    fn json(method: Method, url: Url, body: impl Into<Bytes>) -> Self {
        let request = Self::new(method, url).header("content-type", "application/json; charset=utf-8");
        Self { body: body.into(), ..request }
    }

    /// `name` in lower case. A value that cannot be sent makes the call fail.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(HeaderName::from_static(name), value);
            }
            Err(_) => self.unsendable = Some(name),
        }
        self
    }

    /// Sends `body` as it stands; the caller says what it is by a header.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Less time than [`DEADLINE`].
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(DEADLINE);
        self
    }

    /// One that the server leaves open until it has something to say, and for at most so long.
    #[must_use]
    pub fn long_poll(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// One that a redirect may answer, which is read like any other answer and not followed.
    #[must_use]
    pub fn expecting_redirect(mut self) -> Self {
        self.redirect_expected = true;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method, host(&self.url))
    }
}

/// A whole answer.
pub struct Answer {
    host: String,
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// One that came by another way. A header that cannot be one is left out.
    pub fn of(host: &str, status: u16, headers: &[(&str, &str)], body: Bytes) -> Self {
        let header = |(name, value): &(&str, &str)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?));
        Self { host: host.to_owned(), status, headers: headers.iter().filter_map(header).collect(), body }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where a redirect leads, as it stands.
    pub fn location(&self) -> Option<&str> {
        self.header(LOCATION.as_str())
    }

    /// The cookies that are to be set, one `name=value; attribute; …` each.
    pub fn cookies(&self) -> impl Iterator<Item = &str> {
        self.headers.get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok())
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// When the server says it answered.
    pub fn date(&self) -> Option<SystemTime> {
        date(self.header(DATE.as_str())?)
    }

    /// How long the server wants to be left alone, be it told in seconds or as a date. `now` is the server's time.
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let text = self.header(RETRY_AFTER.as_str())?.trim();
        match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => Some(date(text)?.duration_since(now).unwrap_or_default()),
        }
    }

    /// Whether this is a page for people, as proxies and gates send them.
    pub fn is_web_page(&self) -> bool {
        let said = self.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.trim_start().starts_with("text/html"));
        said || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The body as JSON, whatever its type is said to be.
    ///
    /// # Errors
    /// `WebPage`, `NotJson`, `TooDeep`.
    pub fn json(&self) -> Result<Value, HttpError> {
        let host = || self.host.clone();
        if depth(&self.body) > MAX_DEPTH {
            return Err(HttpError::TooDeep { host: host() });
        }
        serde_json::from_slice(&self.body).map_err(|_| match self.is_web_page() {
            true => HttpError::WebPage { host: host() },
            false => HttpError::NotJson { host: host() },
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} from {}, {} bytes)", self.status, self.host, self.body.len())
    }
}

/// How deep lists and objects are nested in what may be JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A date as servers write it, always in UTC: RFC 9110's `Sat, 12 Oct 2024 19:50:31 GMT`, C's
/// `Sat Oct 12 19:50:31 2024`, Java's `Sat Oct 12 19:50:31 GMT 2024`.
pub fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (mut year, mut month, mut day, mut time) = (None, None, None, None);
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        if let Some(at) = MONTHS.iter().position(|name| lower == *name) {
            month = Some(at as i64 + 1);
        } else if word.contains(':') {
            time = Some(seconds_of_day(word)?);
        } else if let Ok(number) = word.parse::<u16>() {
            *(if word.len() == 4 { &mut year } else { &mut day }) = Some(i64::from(number));
        }
    }
    let (year, month, day) = (year?, month?, day.filter(|day| (1..=31).contains(day))?);
    let seconds = days_since_1970(year, month, day) * 86_400 + time?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// `19:50:31`; a leap second counts as one more.
fn seconds_of_day(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text.split(':').map(|part| part.parse::<u8>().ok().map(i64::from)).collect::<Option<_>>()?;
    match parts[..] {
        [hour @ 0..24, minute @ 0..60, second @ 0..=60] => Some(hour * 3600 + minute * 60 + second),
        _ => None,
    }
}

/// In the Gregorian calendar. Years begin in March here, so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::of("cloud", 200, headers, Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn a_date_is_read_in_every_form_that_servers_write() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for text in [
            "Sat, 12 Oct 2024 19:50:31 GMT",
            "Sat Oct 12 19:50:31 2024",
            "Sat Oct 12 19:50:31 GMT 2024",
            "sat oct 12 19:50:31 UTC 2024",
        ] {
            assert_eq!(date(text), at(1_728_762_631), "{text}");
        }
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), at(0));
        assert_eq!(date("Thu Feb  29 23:59:60 GMT 2024"), at(1_709_251_200));
        assert_eq!(date("Wed, 31 Dec 9999 23:59:59 GMT"), at(253_402_300_799));
        for text in ["", "soon", "Sat Oct 12 2024", "19:50:31", "Sat Oct 99 19:50:31 2024", "Sat Oct 12 99:50:31 2024"]
        {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!(date("Sun Oct 12 19:50:31 1924"), None, "before 1970");
    }

    #[test]
    fn retry_after_is_understood_in_seconds_and_as_a_date() {
        let now = date("Sat, 12 Oct 2024 19:50:31 GMT").unwrap();
        let wait = |text| answer(&[("retry-after", text)], "").retry_after(now);
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sat, 12 Oct 2024 19:51:01 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sat, 12 Oct 2024 19:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("later"), None);
    }

    #[test]
    fn nesting_is_counted_outside_of_texts() {
        assert_eq!(depth(br#"{"a":[1,{"b":"[[[\"[["}]}"#), 3);
        let nested = |deep: usize| format!("{}{}", "[".repeat(deep), "]".repeat(deep));
        assert!(answer(&[], &nested(32)).json().is_ok());
        assert_eq!(answer(&[], &nested(33)).json(), Err(HttpError::TooDeep { host: "cloud".to_owned() }));
    }

    #[test]
    fn json_counts_whatever_its_type_and_a_web_page_is_called_one() {
        assert_eq!(answer(&[("content-type", "text/html")], "{}").json(), Ok(serde_json::json!({})));
        let host = || "cloud".to_owned();
        assert_eq!(answer(&[], " <html>").json(), Err(HttpError::WebPage { host: host() }));
        assert_eq!(answer(&[], "{\"cut\":").json(), Err(HttpError::NotJson { host: host() }));
        assert_eq!(answer(&[], "\u{0}\u{1}").json(), Err(HttpError::NotJson { host: host() }));
    }

    #[test]
    fn a_request_prints_neither_its_path_nor_its_headers() {
        let url = Url::parse("https://cloud/openapi?access_token=canary").unwrap();
        let request = Request::post_json(url, "canary").header("apikey", "canary");
        assert_eq!(format!("{request:?}"), "Request(POST cloud)");
    }

    #[tokio::test]
    async fn a_key_with_a_line_break_is_told_and_not_sent() {
        let request = Request::new(Method::GET, Url::parse("http://127.0.0.1:9").unwrap()).header("apikey", "a\nb");
        assert_eq!(Client::new().send(request).await.unwrap_err(), HttpError::Header("apikey"));
    }
}
