//! RTSP messages, and what is interleaved with them (RFC 2326 §4 to §7, §10.12).

use std::fmt::Write as _;

use bytes::{Buf, Bytes, BytesMut};

/// What a client may send without an end.
const LONGEST_HEAD: usize = 8 << 10;
const LONGEST_BODY: usize = 16 << 10;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Request(Request),
    /// `$`, channel, length of 16 bits, data: RTCP of the client's, which nobody reads here.
    Data,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// As it was sent: digest hashes it.
    pub(super) uri: String,
    pub(super) version: String,
    headers: Vec<(String, String)>,
}

/// What is no RTSP. The connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Request {
    /// The first header of this name, in whichever case it was sent.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn parse(head: &str) -> Result<Self, Malformed> {
        let mut lines = head.lines();
        let mut first = lines.next().ok_or(Malformed)?.split(' ');
        let mut word = || first.next().filter(|word| !word.is_empty()).map(str::to_owned).ok_or(Malformed);
        let (method, uri, version) = (word()?, word()?, word()?);
        let header = |line: &str| {
            let (name, value) = line.split_once(':').ok_or(Malformed)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        let headers = lines.map(header).collect::<Result<_, _>>()?;
        Ok(Self { method, uri, version, headers })
    }
}

/// Takes the next whole message from what has arrived; `None` when there is more to come.
pub(super) fn take(arrived: &mut BytesMut) -> Result<Option<Inbound>, Malformed> {
    // Lines between messages are no messages.
    while arrived.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        arrived.advance(1);
    }
    match &arrived[..] {
        [b'$', _, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let whole = rest.len() >= length;
            if whole {
                arrived.advance(4 + length);
            }
            Ok(whole.then_some(Inbound::Data))
        }
        [] | [b'$', ..] => Ok(None),
        _ => take_request(arrived),
    }
}

fn take_request(arrived: &mut BytesMut) -> Result<Option<Inbound>, Malformed> {
    let Some(end) = arrived.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if arrived.len() > LONGEST_HEAD { Err(Malformed) } else { Ok(None) };
    };
    let head = str::from_utf8(&arrived[..end]).map_err(|_| Malformed)?;
    let request = Request::parse(head)?;
    let body = request.header("Content-Length").unwrap_or("0").parse::<usize>().map_err(|_| Malformed)?;
    if end > LONGEST_HEAD || body > LONGEST_BODY {
        return Err(Malformed);
    }
    let length = end + 4 + body;
    if arrived.len() < length {
        return Ok(None);
    }
    arrived.advance(length);
    Ok(Some(Inbound::Request(request)))
}

/// What is said to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// What `Content-Length` says, where that is not the truth.
    pub(super) claimed: Option<u64>,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), claimed: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, content_type: &'static str, body: String) -> Self {
        self.body = body;
        self.with("Content-Type", content_type)
    }

    /// `cseq` is the request's.
    pub(super) fn encode(&self, cseq: &str) -> Bytes {
        let Self { status, headers, body, claimed } = self;
        let mut text = format!("RTSP/1.0 {status} {}\r\nCSeq: {cseq}\r\n", reason(*status));
        for (name, value) in headers {
            let _infallible = write!(text, "{name}: {value}\r\n");
        }
        let length = claimed.unwrap_or(body.len() as u64);
        if length > 0 {
            let _infallible = write!(text, "Content-Length: {length}\r\n");
        }
        text.push_str("\r\n");
        text.push_str(body);
        text.into()
    }
}

/// RFC 2326 §7.1.1.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        459 => "Aggregate Operation Not Allowed",
        460 => "Only Aggregate Operation Allowed",
        461 => "Unsupported Transport",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Not Implemented",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nuser-agent: a: b\r\n\r\n";

    fn taken(mut arrived: BytesMut) -> (Vec<Inbound>, Result<(), Malformed>) {
        let mut messages = Vec::new();
        loop {
            match take(&mut arrived) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, Ok(())),
                Err(malformed) => return (messages, Err(malformed)),
            }
        }
    }

    #[test]
    fn requests_and_data_are_told_apart_however_they_arrive() {
        let body = b"SET_PARAMETER rtsp://a/b RTSP/1.0\r\nCSeq: 2\r\nContent-Length: 4\r\n\r\n$$$$";
        let stream = [b"\r\n", OPTIONS, b"$\x01\0\x03abc", body, b"$\x01\0\0", OPTIONS].concat();
        let (messages, end) = taken(BytesMut::from(&stream[..]));
        assert_eq!((messages.len(), end), (5, Ok(())));
        let Inbound::Request(request) = &messages[0] else { panic!("{messages:?}") };
        assert_eq!((request.method.as_str(), request.header("User-Agent")), ("OPTIONS", Some("a: b")));
        let mut arrived = BytesMut::new();
        let mut pieces = Vec::new();
        for byte in stream {
            arrived.extend_from_slice(&[byte]);
            pieces.extend(take(&mut arrived).unwrap());
        }
        assert_eq!(pieces, messages);
    }

    #[test]
    fn what_is_no_rtsp_is_refused_and_what_has_no_end_is_not_kept() {
        for bad in [
            &b"OPTIONS\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"\xff\xfe x\r\n\r\n",
            b"PLAY a RTSP/1.0\r\nContent-Length: 9999999\r\n\r\n",
            b"PLAY a RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
            &[b'a'; LONGEST_HEAD + 1],
        ] {
            assert_eq!(taken(BytesMut::from(bad)).1, Err(Malformed), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
