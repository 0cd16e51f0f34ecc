use serde_json::{Value, json};

use super::super::tests::start_of_time;
use super::*;

/// A session and a server that a test plays, under a clock that only the test moves.
struct Pair {
    session: Session,
    now: Instant,
    /// What the client has said and the test not yet looked at.
    said: VecDeque<Value>,
    happened: VecDeque<Event>,
}

impl Pair {
    fn new() -> Self {
        let now = start_of_time();
        Self { session: Session::new(now), now, said: VecDeque::new(), happened: VecDeque::new() }
    }

    /// With a token accepted.
    fn ready() -> Self {
        let mut pair = Self::new();
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.session.on_open(self.now, "token".to_owned());
        self.hello();
        let auth = self.asked("auth");
        self.reply(&auth, "ok", json!({"auth": {"uid": "me"}, "expires": 1}));
        assert_eq!(self.event(), Event::Authenticated { uid: Some("me".to_owned()) });
    }

    fn hello(&mut self) {
        self.server(&json!({"t":"c","d":{"t":"h","d":{"ts":1,"v":"5","h":"other.test","s":"session"}}}));
        let (host, session) = ("other.test".to_owned(), "session".to_owned());
        assert_eq!(self.event(), Event::Hello { host, session });
    }

    fn try_server(&mut self, message: &Value) -> Result<(), SessionError> {
        let heard = self.session.on_frame(self.now, &message.to_string());
        self.drain();
        heard
    }

    fn server(&mut self, message: &Value) {
        self.try_server(message).unwrap();
    }

    fn push(&mut self, code: &str, body: Value) {
        self.server(&json!({"t":"d","d":{"a":code,"b":body}}));
    }

    fn reply(&mut self, request: &Value, status: &str, data: Value) {
        self.server(&json!({"t":"d","d":{"r":request["r"],"b":{"s":status,"d":data}}}));
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(frame) => self.said.push_back(serde_json::from_str(&frame).unwrap()),
                Output::Event(event) => self.happened.push_back(event),
            }
        }
    }

    /// The next request, which must be this one.
    fn asked(&mut self, action: &str) -> Value {
        self.drain();
        let said = self.said.pop_front().unwrap_or_else(|| panic!("no `{action}` is asked for"));
        assert_eq!(said["d"]["a"], action, "{said}");
        said["d"].clone()
    }

    fn event(&mut self) -> Event {
        self.drain();
        self.happened.pop_front().expect("nothing has happened")
    }

    fn quiet(&mut self) {
        self.drain();
        assert!(self.said.is_empty(), "{:?}", self.said);
        assert!(self.happened.is_empty(), "{:?}", self.happened);
    }

    fn value(&mut self) -> Value {
        match self.event() {
            Event::Value { value, .. } => value,
            other => panic!("{other:?} is no value"),
        }
    }

    fn pass(&mut self, time: Duration) -> Result<(), SessionError> {
        let until = self.now + time;
        while let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= until) {
            assert!(deadline >= self.now, "the deadline lies in the past");
            self.now = deadline;
            self.session.on_timeout(deadline)?;
            assert!(self.session.deadline() > Some(deadline), "the deadline does not move forward");
            self.drain();
        }
        self.now = until;
        Ok(())
    }

    /// Listens to `a/msg`, where `present` is.
    fn listening(present: Value) -> Self {
        let mut pair = Self::ready();
        pair.session.listen(pair.now, path("/a/msg"));
        let listen = pair.asked("q");
        assert_eq!(listen["b"], json!({"p": "/a/msg", "h": ""}));
        pair.push("d", json!({"p": "a/msg", "d": present}));
        assert_eq!(pair.value(), present);
        pair.reply(&listen, "ok", json!({}));
        assert_eq!(pair.event(), Event::Listening { path: path("a/msg") });
        pair.quiet();
        pair
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn nothing_is_sent_before_the_hello_and_then_the_token() {
    let mut pair = Pair::new();
    pair.session.listen(pair.now, path("a"));
    pair.session.on_open(pair.now, "token".to_owned());
    pair.quiet();
    pair.hello();
    let auth = pair.asked("auth");
    assert_eq!(auth, json!({"r": 1, "a": "auth", "b": {"cred": "token"}}));
    pair.quiet();
    pair.reply(&auth, "ok", json!({}));
    assert_eq!(pair.event(), Event::Authenticated { uid: None });
    assert_eq!(pair.asked("q")["b"]["p"], "/a");
}

#[test]
fn without_a_hello_the_connection_is_given_up_after_30_s() {
    let mut pair = Pair::new();
    assert_eq!(pair.session.deadline(), None);
    pair.session.on_open(pair.now, "token".to_owned());
    assert_eq!(pair.pass(29 * SECOND), Ok(()));
    assert_eq!(pair.pass(SECOND), Err(SessionError::NoHello));
}

#[test]
fn a_redirect_is_passed_on_before_the_hello_and_after_it() {
    let redirect = json!({"t":"c","d":{"t":"r","d":"s-1.test:444"}});
    let host = "s-1.test:444".to_owned();
    let mut pair = Pair::new();
    pair.session.on_open(pair.now, "token".to_owned());
    pair.server(&redirect);
    assert_eq!(pair.event(), Event::Redirect { host: host.clone() });
    pair.session.on_open(pair.now, "token".to_owned());
    pair.hello();
    pair.asked("auth");
    pair.server(&redirect);
    assert_eq!(pair.event(), Event::Redirect { host });
    // Whatever the old host still says does not count.
    pair.server(&json!({"t":"c","d":{"t":"s","d":"late"}}));
    pair.quiet();
    assert_eq!(pair.session.deadline(), None);
}

#[test]
fn after_a_reconnect_listens_come_before_what_is_written_at_the_end_and_puts_are_not_repeated() {
    let mut pair = Pair::listening(Value::Null);
    let at_the_end = pair.session.put_on_disconnect(pair.now, path("a/msg"), Value::Null).unwrap();
    let request = pair.asked("o");
    assert_eq!(request["b"], json!({"p": "/a/msg", "d": null}));
    pair.reply(&request, "ok", json!(""));
    assert_eq!(pair.event(), Event::Done { write: at_the_end, outcome: Ok(()) });
    let put = pair.session.put(pair.now, path("b/msg"), json!({"type": "sdp"})).unwrap();
    let before = pair.asked("p");
    pair.session.on_close();
    assert_eq!(pair.event(), Event::Done { write: put, outcome: Err(WriteError::Lost) });
    assert_eq!(pair.session.put(pair.now, path("b/msg"), json!(1)), Err(WriteError::NotConnected));
    pair.connect();
    let listen = pair.asked("q");
    assert!(listen["r"].as_u64() > before["r"].as_u64(), "numbers go on");
    assert_eq!(listen["b"]["p"], "/a/msg");
    assert_eq!(pair.asked("o")["b"]["p"], "/a/msg");
    pair.quiet();
    // Unchanged: not told again. Changed meanwhile: told.
    pair.push("d", json!({"p": "a/msg", "d": null}));
    pair.reply(&listen, "ok", json!({}));
    assert_eq!(pair.event(), Event::Listening { path: path("a/msg") });
    pair.session.on_close();
    pair.connect();
    pair.push("d", json!({"p": "a/msg", "d": {"type": "ice"}}));
    assert_eq!(pair.value(), json!({"type": "ice"}));
}

#[test]
fn replies_come_in_any_order_and_each_write_has_its_own() {
    let mut pair = Pair::ready();
    let writes = [1, 2, 3].map(|n| pair.session.put(pair.now, path("a"), json!(n)).unwrap());
    let asked = [0; 3].map(|_| pair.asked("p"));
    pair.reply(&asked[2], "ok", json!(""));
    pair.reply(&asked[0], "permission_denied", json!("Permission denied"));
    pair.reply(&json!({"r": 999}), "ok", json!(""));
    pair.reply(&asked[1], "ok", json!(""));
    let refused = Refusal { status: "permission_denied".to_owned(), why: "Permission denied".to_owned() };
    assert_eq!(refused.to_string(), "permission_denied: Permission denied");
    for (write, outcome) in [(writes[2], Ok(())), (writes[0], Err(WriteError::Refused(refused))), (writes[1], Ok(()))] {
        assert_eq!(pair.event(), Event::Done { write, outcome });
    }
    pair.quiet();
}

#[test]
fn a_request_without_a_reply_ends_the_connection_after_10_s() {
    let mut pair = Pair::ready();
    pair.session.put(pair.now, path("a"), json!(1)).unwrap();
    assert_eq!(pair.pass(9 * SECOND), Ok(()));
    // Other traffic is no excuse.
    pair.push("d", json!({"p": "b", "d": 1}));
    assert_eq!(pair.pass(SECOND), Err(SessionError::NoReply));
}

#[test]
fn so_does_a_message_that_is_never_completed() {
    let mut pair = Pair::ready();
    pair.session.on_frame(pair.now, "3").unwrap();
    assert_eq!(pair.pass(9 * SECOND), Ok(()));
    pair.session.on_frame(pair.now, "{").unwrap();
    assert_eq!(pair.pass(9 * SECOND), Ok(()));
    assert_eq!(pair.pass(SECOND), Err(SessionError::NoReply));
    pair.session.on_close();
    pair.connect();
}

#[test]
fn a_message_that_comes_in_pieces_counts_as_one() {
    let mut pair = Pair::listening(Value::Null);
    let push = json!({"t":"d","d":{"a":"d","b":{"p":"a/msg","d":{"sdp":"x".repeat(40_000)}}}}).to_string();
    for frame in split(&push) {
        assert!(pair.happened.is_empty());
        pair.session.on_frame(pair.now, &frame).unwrap();
        pair.drain();
    }
    assert_eq!(pair.value()["sdp"].as_str().unwrap().len(), 40_000);
}

#[test]
fn a_long_put_goes_out_in_pieces() {
    let mut pair = Pair::ready();
    pair.session.put(pair.now, path("a"), "x".repeat(40_000).into()).unwrap();
    let frames: Vec<Output> = std::iter::from_fn(|| pair.session.poll()).collect();
    assert_eq!(frames.first(), Some(&Output::Send("3".to_owned())));
    assert_eq!(frames.len(), 4);
}

#[test]
fn pushes_with_and_without_a_slash_and_for_parts_and_wholes_give_complete_values() {
    let mut pair = Pair::listening(json!({"type": "sdp", "sdpType": "offer"}));
    for (code, at, written, told) in [
        // Its own echo is a value like any other.
        ("d", "a/msg", json!({"type": "sdp", "sdp": "v=0"}), Some(json!({"type": "sdp", "sdp": "v=0"}))),
        ("d", "/a/msg/sdpType", json!("answer"), Some(json!({"type": "sdp", "sdp": "v=0", "sdpType": "answer"}))),
        ("d", "a/msg/sdpType", json!("answer"), None),
        (
            "m",
            "a/msg",
            json!({"_timestamp": 5, "sdp": null, "x/y": 1}),
            Some(json!({"type": "sdp", "sdpType": "answer", "_timestamp": 5, "x": {"y": 1}})),
        ),
        ("d", "a", json!({"msg": {"type": "ice"}, "other": 1}), Some(json!({"type": "ice"}))),
        ("m", "", json!({"a/msg/candidate": "c"}), Some(json!({"type": "ice", "candidate": "c"}))),
        ("d", "", json!(null), Some(json!(null))),
        ("d", "a/msg/type", json!("ice"), Some(json!({"type": "ice"}))),
    ] {
        pair.push(code, json!({"p": at, "d": written}));
        if let Some(told) = told {
            assert_eq!(pair.value(), told, "{code} {at}");
        }
        pair.quiet();
    }
}

#[test]
fn pushes_for_places_that_nobody_listens_to_are_passed_over() {
    let mut pair = Pair::listening(json!(1));
    for at in ["b/msg", "a/msgs", "a/ms", "a/other"] {
        pair.push("d", json!({"p": at, "d": 2}));
        pair.push("c", json!({"p": at}));
    }
    pair.push("m", json!({"p": "a", "d": {"other": 3}}));
    pair.quiet();
    assert_eq!(pair.session.value(&path("a/msg")), Some(&json!(1)));
}

#[test]
fn a_part_is_of_no_use_before_the_whole_is_known() {
    let mut pair = Pair::ready();
    pair.session.listen(pair.now, path("a/msg"));
    let listen = pair.asked("q");
    pair.push("d", json!({"p": "a/msg/type", "d": "ice"}));
    pair.quiet();
    // And an agreement without a value means that there is none.
    pair.reply(&listen, "ok", json!({}));
    assert_eq!(pair.value(), Value::Null);
    assert_eq!(pair.event(), Event::Listening { path: path("a/msg") });
}

#[test]
fn what_is_too_large_to_be_of_use_is_not_kept_and_the_next_value_is() {
    let mut pair = Pair::listening(json!(1));
    pair.push("d", json!({"p": "a/msg/sdp", "d": "x".repeat(2 << 20)}));
    assert!(matches!(pair.event(), Event::Told(_)));
    pair.push("d", json!({"p": "a/msg/type", "d": "ice"}));
    pair.quiet();
    pair.push("d", json!({"p": "a/msg", "d": 2}));
    assert_eq!(pair.value(), json!(2));
}

#[test]
fn a_listen_that_is_refused_or_revoked_is_told_and_not_asked_for_again() {
    let mut pair = Pair::listening(json!(1));
    pair.push("c", json!({"p": "a/msg"}));
    assert!(matches!(pair.event(), Event::Revoked { why, .. } if why.status == "permission_denied"));
    pair.session.listen(pair.now, path("b"));
    let listen = pair.asked("q");
    pair.reply(&listen, "permission_denied", json!("Permission denied"));
    assert!(matches!(pair.event(), Event::Revoked { why, .. } if why.status == "permission_denied"));
    pair.session.on_close();
    pair.connect();
    pair.quiet();
}

#[test]
fn unlistening_is_said_once_and_nobody_waits_for_the_reply() {
    let mut pair = Pair::listening(json!(1));
    pair.session.unlisten(pair.now, &path("a/msg"));
    assert_eq!(pair.asked("n")["b"], json!({"p": "/a/msg"}));
    pair.session.unlisten(pair.now, &path("a/msg"));
    pair.push("d", json!({"p": "a/msg", "d": 2}));
    pair.quiet();
    assert_eq!(pair.pass(20 * SECOND), Ok(()));
}

#[test]
fn a_revoked_login_is_renewed_on_the_same_connection_and_writes_wait_for_it() {
    let mut pair = Pair::listening(json!(1));
    pair.session.put_on_disconnect(pair.now, path("a"), Value::Null).unwrap();
    let request = pair.asked("o");
    pair.reply(&request, "ok", Value::Null);
    pair.event();
    pair.push("ac", json!({"s": "expired_token", "d": "Auth token is expired."}));
    assert_eq!(pair.event(), Event::TokenWanted);
    pair.push("ac", json!({"s": "expired_token", "d": "Auth token is expired."}));
    pair.push("c", json!({"p": "a/msg"}));
    let last = pair.session.put_on_disconnect(pair.now, path("b"), json!(2)).unwrap();
    let first = pair.session.put(pair.now, path("b"), json!(1)).unwrap();
    pair.quiet();
    pair.session.authenticate(pair.now, "newer".to_owned());
    let auth = pair.asked("auth");
    assert_eq!(auth["b"]["cred"], "newer");
    pair.quiet();
    pair.reply(&auth, "ok", json!({"auth": {"uid": "me"}}));
    assert!(matches!(pair.event(), Event::Authenticated { .. }));
    assert_eq!(pair.asked("q")["b"]["p"], "/a/msg", "what the login took along is asked for anew");
    let (put, at_the_end) = (pair.asked("p"), pair.asked("o"));
    assert_eq!((&put["b"]["d"], &at_the_end["b"]["d"]), (&json!(1), &json!(2)));
    pair.quiet();
    for (request, write) in [(put, first), (at_the_end, last)] {
        pair.reply(&request, "ok", json!(""));
        assert_eq!(pair.event(), Event::Done { write, outcome: Ok(()) });
    }
}

#[test]
fn a_write_does_not_wait_for_a_token_for_ever() {
    let mut pair = Pair::ready();
    pair.push("ac", json!({}));
    let write = pair.session.put(pair.now, path("a"), json!(1)).unwrap();
    assert_eq!(pair.event(), Event::TokenWanted);
    assert_eq!(pair.pass(10 * SECOND), Err(SessionError::NoReply));
    pair.session.on_close();
    assert_eq!(pair.event(), Event::Done { write, outcome: Err(WriteError::NotConnected) });
}

#[test]
fn a_token_that_is_due_is_replaced_while_the_old_one_is_good() {
    let mut pair = Pair::ready();
    pair.session.authenticate(pair.now, "newer".to_owned());
    let auth = pair.asked("auth");
    // The one that it replaces runs out just now.
    pair.push("ac", json!({"s": "expired_token"}));
    pair.quiet();
    pair.reply(&auth, "ok", json!({}));
    assert!(matches!(pair.event(), Event::Authenticated { .. }));
    assert!(pair.session.is_ready());
}

#[test]
fn a_token_that_is_not_accepted_is_replaced_once() {
    for status in ["expired_token", "invalid_token"] {
        let mut pair = Pair::new();
        pair.session.on_open(pair.now, "token".to_owned());
        pair.hello();
        let auth = pair.asked("auth");
        pair.reply(&auth, status, json!("no"));
        assert_eq!(pair.event(), Event::TokenWanted);
        pair.session.authenticate(pair.now, "newer".to_owned());
        let auth = pair.asked("auth");
        let refused = pair.try_server(&json!({"t":"d","d":{"r":auth["r"],"b":{"s":status,"d":"no"}}}));
        let refusal = Refusal { status: status.to_owned(), why: "no".to_owned() };
        assert_eq!(refused, Err(SessionError::AuthRefused(refusal)));
    }
    let mut pair = Pair::new();
    pair.session.on_open(pair.now, "token".to_owned());
    pair.hello();
    let auth = pair.asked("auth");
    let refused = pair.try_server(&json!({"t":"d","d":{"r":auth["r"],"b":{"s":"permission_denied","d":"no"}}}));
    assert!(matches!(refused, Err(SessionError::AuthRefused(_))));
}

#[test]
fn a_shutdown_ends_it_with_the_reason_and_an_error_does_not() {
    let mut pair = Pair::ready();
    pair.server(&json!({"t":"c","d":{"t":"e","d":"text"}}));
    pair.push("sd", json!({"msg": "text"}));
    pair.push("apc", json!({}));
    for _ in 0..3 {
        assert!(matches!(pair.event(), Event::Told(_)));
    }
    pair.server(&json!({"t":"c","d":{"t":"o","d":null}}));
    pair.push("new", json!({}));
    pair.quiet();
    let reason = "too many connections from https://host/?x=1 as user@host, token eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    let ended = pair.try_server(&json!({"t":"c","d":{"t":"s","d":reason}}));
    let why = "too many connections from as token".to_owned();
    assert_eq!(ended, Err(SessionError::Shutdown { why }));
}

#[test]
fn the_connection_is_kept_alive_45_s_after_the_last_word_of_either_side() {
    let mut pair = Pair::listening(Value::Null);
    let keep_alive = |pair: &mut Pair| std::mem::take(&mut pair.said) == [json!(0)];
    assert_eq!(pair.pass(44 * SECOND), Ok(()));
    pair.quiet();
    pair.push("d", json!({"p": "b", "d": 1}));
    assert_eq!(pair.pass(44 * SECOND), Ok(()));
    pair.quiet();
    let put = pair.session.put(pair.now, path("b"), json!(1)).unwrap();
    let request = pair.asked("p");
    pair.reply(&request, "ok", json!(""));
    assert_eq!(pair.event(), Event::Done { write: put, outcome: Ok(()) });
    assert_eq!(pair.pass(44 * SECOND), Ok(()));
    pair.quiet();
    assert_eq!(pair.pass(SECOND), Ok(()));
    assert!(keep_alive(&mut pair));
    assert_eq!(pair.pass(44 * SECOND), Ok(()));
    pair.quiet();
    assert_eq!(pair.pass(SECOND), Ok(()));
    assert!(keep_alive(&mut pair));
}

#[test]
fn how_much_is_under_way_is_bounded() {
    let mut pair = Pair::ready();
    for n in 0..Session::MAX_WRITES {
        pair.session.put(pair.now, path("a"), json!(n)).unwrap();
    }
    assert_eq!(pair.session.put(pair.now, path("a"), json!(0)), Err(WriteError::Busy));
    let mut pair = Pair::ready();
    for n in 0..Session::MAX_WRITES {
        pair.session.put_on_disconnect(pair.now, path(&format!("a/{n}")), json!(n)).unwrap();
        let request = pair.asked("o");
        pair.reply(&request, "ok", json!(""));
    }
    assert_eq!(pair.session.put_on_disconnect(pair.now, path("b"), json!(0)), Err(WriteError::Busy));
    assert!(pair.session.put_on_disconnect(pair.now, path("a/1"), json!(0)).is_ok());
}

#[test]
fn what_cannot_be_read_ends_the_connection() {
    for frame in ["{", "null", r#"{"t":"d","d":{"r":1,"b":{}}}"#, "99999"] {
        assert!(Pair::ready().session.on_frame(Pair::new().now, frame).is_err(), "{frame}");
    }
}

/// Deterministic noise (xorshift64*).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn json(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(9)),
            2 => json!(self.below(2) == 0),
            3 | 4 => (*self.one(&["", "a", "a/msg", "/", "h", "ok", "expired_token", "0", "a//b", "x"])).into(),
            5 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let keys = ["t", "d", "a", "b", "r", "p", "s", "h", "ts", "v", "msg", "a/msg"];
                (0..self.below(5)).map(|_| ((*self.one(&keys)).to_owned(), self.json(depth - 1))).collect()
            }
        }
    }

    /// Something like what a server says.
    fn frame(&mut self, messages: &[String]) -> String {
        match self.below(10) {
            0 => self.json(4).to_string(),
            1 => self.below(20_000).to_string(),
            2 => {
                let code = *self.one(&["h", "r", "s", "e", "o", "n", "a", "zz"]);
                json!({"t": "c", "d": {"t": code, "d": self.json(3)}}).to_string()
            }
            3 | 4 => {
                let code = *self.one(&["d", "m", "c", "ac", "apc", "sd", "zz"]);
                let (at, data) = (*self.one(&["a", "a/msg", "a/msg/b/c", "", "b"]), self.json(4));
                json!({"t": "d", "d": {"a": code, "b": {"p": at, "d": data}}}).to_string()
            }
            5 | 6 => {
                let status = *self.one(&["ok", "permission_denied", "expired_token"]);
                let (request, data) = (self.below(30), self.json(3));
                json!({"t": "d", "d": {"r": request, "b": {"s": status, "d": data}}}).to_string()
            }
            7 => {
                let mut bytes = self.one(messages).clone().into_bytes();
                let (at, bit) = (self.below(bytes.len()), self.below(8));
                bytes[at] ^= 1 << bit;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            8 => {
                let message = self.one(messages);
                message.chars().take(self.below(message.len())).collect()
            }
            _ => self.one(messages).clone(),
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "whoever repeats it needs the seed")]
fn whatever_a_server_says_nothing_panics_and_what_is_kept_is_bounded() {
    let vectors: Value = serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap();
    let messages = vectors["rtdb_frames"].as_object().unwrap().values();
    let messages: Vec<String> = messages.map(|message| message.as_str().unwrap().to_owned()).collect();
    let seed = 0x5eed_0007;
    println!("seed {seed:#x}");
    let mut noise = Noise(seed);
    let mut ready = 0;
    for _ in 0..2_000 {
        let mut pair = if noise.below(2) == 0 { Pair::listening(json!({"a": 1})) } else { Pair::ready() };
        for _ in 0..40 {
            let frame = noise.frame(&messages);
            let heard = pair.session.on_frame(pair.now, &frame);
            match noise.below(8) {
                0 => drop(pair.session.put(pair.now, path("a/msg"), noise.json(2))),
                1 => pair.session.listen(pair.now, path(["a/msg", "a", "b"][noise.below(3)])),
                2 => pair.session.unlisten(pair.now, &path("a/msg")),
                3 => pair.session.authenticate(pair.now, "newer".to_owned()),
                _ => {}
            }
            while pair.session.poll().is_some() {}
            if heard.is_err() || pair.pass(Duration::from_millis(noise.below(3_000) as u64)).is_err() {
                pair.session.on_close();
                break;
            }
            ready += usize::from(pair.session.is_ready());
        }
        assert!(pair.session.pending.len() + pair.session.waiting.len() <= 2 * Session::MAX_WRITES);
    }
    assert!(ready > 1_000, "the noise ends every session at once ({ready})");
}

#[test]
fn a_server_that_writes_more_and_more_below_a_listened_place_fills_no_memory() {
    let mut pair = Pair::listening(json!({"a": 1}));
    for n in 0..200 {
        pair.push("d", json!({"p": format!("a/msg/{n}"), "d": "x".repeat(20_000)}));
        pair.happened.clear();
        let kept = pair.session.value(&path("a/msg")).map_or(0, |value| value.to_string().len());
        assert!(kept <= 2 << 20, "{kept} bytes are kept");
    }
    let deep = format!("a/msg/{}", "a/".repeat(100_000));
    assert!(pair.try_server(&json!({"t":"d","d":{"a":"d","b":{"p":deep,"d":1}}})).is_err());
}
