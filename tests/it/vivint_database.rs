//! The client of Vivint's signalling database and the way into it, on real sockets against servers that a test plays.

use std::sync::atomic::Ordering;
use std::time::Duration;

use doorstep::clock;
use doorstep::vendor::vivint::database::{Database, DatabaseError, DatabaseStatus, Listener};
use doorstep::vendor::vivint::firebase::FirebaseError;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::firebase::{Base, CAMERA, Caller, Google, PANEL, PATIENCE};

const OURS: &str = "groups/7001000200030004/devices/me/msg";
const THEIRS: &str = "groups/7001000200030004/devices/3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f/msg";

struct House {
    base: Base,
    google: Google,
    database: Database,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl House {
    async fn start() -> Self {
        let base = Base::start().await;
        let google = Google::start(base.address()).await;
        Self::with(base, google)
    }

    fn with(base: Base, google: Google) -> Self {
        let stop = CancellationToken::new();
        let database = Database::start(google.firebase.clone(), PANEL, stop.clone());
        Self { base, google, database, _stops: stop.clone().drop_guard(), stop }
    }

    /// Listening to our own place, where nothing is.
    async fn listening() -> (Self, Caller, Listener) {
        let house = Self::start().await;
        let mut caller = house.base.ready().await;
        let (listener, ()) =
            tokio::join!(house.database.listen(OURS.to_owned()), caller.accept_listen(OURS, Value::Null));
        let mut listener = listener.unwrap();
        assert_eq!(next(&mut listener).await, Some(Value::Null));
        (house, caller, listener)
    }

    async fn is(&self, what: &str, accept: impl Fn(&DatabaseStatus) -> bool) -> DatabaseStatus {
        let mut status = self.database.status();
        let reached = timeout(PATIENCE, status.wait_for(accept)).await;
        let reached = reached.unwrap_or_else(|_| panic!("not {what}, but {:?}", *self.database.status().borrow()));
        reached.unwrap().clone()
    }

    async fn fails(&self) -> String {
        match self.is("failing", |status| matches!(status, DatabaseStatus::Failing { .. })).await {
            DatabaseStatus::Failing { why } => why,
            other => panic!("{other:?}"),
        }
    }

    async fn refuses(&self) -> String {
        match self.is("refused", |status| matches!(status, DatabaseStatus::Refused { .. })).await {
            DatabaseStatus::Refused { why } => why,
            other => panic!("{other:?}"),
        }
    }

    /// Writes at the camera's place.
    async fn put(&self, value: Value) -> Result<(), DatabaseError> {
        self.database.put(THEIRS, &value).await
    }

    async fn ready(&self) -> String {
        timeout(PATIENCE, self.database.ready()).await.expect("it does not become ready").unwrap()
    }
}

async fn next(listener: &mut Listener) -> Option<Value> {
    timeout(PATIENCE, listener.next()).await.expect("nothing is told")
}

#[tokio::test]
async fn it_authenticates_listens_puts_and_hears_its_own_echo() {
    let house = House::start().await;
    let mut caller = house.base.connected().await;
    assert_eq!(caller.asked_for, "/.ws?v=5&ns=panel-db");
    // Every message of this server is announced, be it one piece or not.
    caller.announces = true;
    caller.hello(&house.base.address().to_string()).await;
    assert_eq!(caller.accept_token().await, "id-token-1");
    assert_eq!(house.ready().await, "me");
    let (listener, ()) =
        tokio::join!(house.database.listen(THEIRS.to_owned()), caller.accept_listen(THEIRS, json!("old")));
    let mut listener = listener.unwrap();
    assert_eq!(next(&mut listener).await, Some(json!("old")));
    let offer = json!({ "type": "sdp", "sdp": "x".repeat(40_000) });
    let serve = async {
        let put = caller.asked("p").await;
        assert_eq!(put["b"], json!({ "p": format!("/{THEIRS}"), "d": offer }));
        caller.push("d", json!({ "p": THEIRS, "d": offer })).await;
        caller.reply(&put, "ok", json!("")).await;
        let end = caller.asked("o").await;
        assert_eq!(end["b"], json!({ "p": format!("/{OURS}"), "d": null }));
        caller.reply(&end, "ok", json!("")).await;
    };
    let ask = async {
        house.database.put(THEIRS, &offer).await.unwrap();
        house.database.put_on_disconnect(OURS, &Value::Null).await.unwrap();
    };
    tokio::join!(serve, ask);
    assert_eq!(next(&mut listener).await.as_ref(), Some(&offer));
    caller.push("d", json!({ "p": format!("{THEIRS}/type"), "d": "ice" })).await;
    assert_eq!(next(&mut listener).await.unwrap()["type"], "ice");
    drop(listener);
    assert_eq!(caller.asked("n").await["b"]["p"], format!("/{THEIRS}"));
}

#[tokio::test]
async fn row_27_a_dropped_connection_is_there_again_within_3_s_with_its_listens_and_without_its_puts() {
    let (house, mut caller, mut listener) = House::listening().await;
    let serve = async {
        let end = caller.asked("o").await;
        caller.reply(&end, "ok", json!("")).await;
    };
    let (agreed, ()) = tokio::join!(house.database.put_on_disconnect(OURS, &Value::Null), serve);
    agreed.unwrap();
    let put = async {
        let put = house.put(json!({ "type": "sdp" })).await;
        assert_eq!(put, Err(DatabaseError::Lost));
    };
    let lose = async {
        caller.asked("p").await;
        // Without a word, in the middle of a call.
        drop(caller);
    };
    let began = clock::now();
    tokio::join!(put, lose);
    assert_eq!(house.put(json!(1)).await, Err(DatabaseError::NotConnected));
    let mut caller = house.base.ready().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    println!("connected again after {took:?}");
    assert_eq!(caller.asked_for, "/.ws?v=5&ns=panel-db&ls=session-1");
    caller.accept_listen(OURS, json!("meanwhile")).await;
    assert_eq!(next(&mut listener).await, Some(json!("meanwhile")));
    let end = caller.asked("o").await;
    assert_eq!(end["b"]["p"], format!("/{OURS}"));
    caller.reply(&end, "ok", json!("")).await;
    house.ready().await;
    assert_eq!(*house.database.connection().borrow(), 2);
    let (put, request) = tokio::join!(house.put(json!(2)), async {
        let put = caller.asked("p").await;
        caller.reply(&put, "ok", json!("")).await;
        put
    });
    put.unwrap();
    assert_eq!(request["b"]["d"], 2, "the put of the connection before is not repeated");
}

#[tokio::test]
async fn row_27_it_goes_where_it_is_sent_and_asks_for_the_same_database_there() {
    let house = House::start().await;
    let elsewhere = Base::start().await;
    let mut caller = house.base.connected().await;
    caller.control("r", &elsewhere.address().to_string()).await;
    let mut caller = elsewhere.connected().await;
    assert_eq!(caller.asked_for, "/.ws?v=5&ns=panel-db");
    caller.hello(&elsewhere.address().to_string()).await;
    caller.accept_token().await;
    house.ready().await;
    // The host that said hello is the one to come back to, and the first one when that is gone.
    drop(caller);
    let caller = elsewhere.ready().await;
    drop(elsewhere);
    drop(caller);
    house.base.ready().await;
}

#[tokio::test]
async fn row_27_hosts_that_send_to_each_other_are_left_for_a_while() {
    let house = House::start().await;
    let mut redirects = 0;
    let circle = async {
        loop {
            house.base.connected().await.control("r", &house.base.address().to_string()).await;
            redirects += 1;
        }
    };
    let why = tokio::select! { () = circle => unreachable!(), why = house.fails() => why };
    assert!(why.contains("one host to the next"), "{why}");
    assert!((6..=8).contains(&redirects), "{redirects} redirects");
    let _caller = house.base.ready().await;
    house.ready().await;
}

#[tokio::test]
async fn row_27_a_host_that_is_none_is_not_gone_to() {
    let house = House::start().await;
    house.base.connected().await.control("r", "user@evil.test/path").await;
    // It is tried at the first one again.
    let _caller = house.base.ready().await;
    house.ready().await;
}

/// A server of one's own may send to this machine under any of its names, and to nobody else.
#[tokio::test]
async fn row_27_a_host_of_another_owner_hears_nothing_of_us() {
    let Some(foreign) = an_address_of_this_machine_that_is_not_loopback() else {
        return println!("skipped: this machine is on no network");
    };
    let elsewhere = tokio::net::TcpListener::bind((foreign, 0)).await.unwrap();
    let house = House::start().await;
    for _ in 0..2 {
        house.base.connected().await.control("r", &elsewhere.local_addr().unwrap().to_string()).await;
        let came = tokio::select! {
            caller = house.base.ready() => { drop(caller); false }
            _ = elsewhere.accept() => true,
        };
        assert!(!came, "it went to a host that is not the database's owner's, with its token");
    }
    let _caller = house.base.ready().await;
    house.ready().await;
}

/// Nothing is sent: the system says which address it would take.
fn an_address_of_this_machine_that_is_not_loopback() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn a_listen_that_is_refused_or_revoked_ends() {
    let (house, mut caller, mut listener) = House::listening().await;
    caller.push("c", json!({ "p": OURS })).await;
    assert_eq!(next(&mut listener).await, None);
    let (refused, ()) = tokio::join!(house.database.listen(THEIRS.to_owned()), async {
        let listen = caller.asked("q").await;
        caller.reply(&listen, "permission_denied", json!("Permission denied")).await;
    });
    let Some(DatabaseError::Refused(refusal)) = refused.err() else { panic!("it is not refused") };
    assert_eq!(refusal.status, "permission_denied");
    let (refused, ()) = tokio::join!(house.put(json!(1)), async {
        let put = caller.asked("p").await;
        caller.reply(&put, "permission_denied", json!("Permission denied")).await;
    });
    assert_eq!(refused, Err(DatabaseError::Refused(refusal)));
    assert!(matches!(house.database.put(&"a/".repeat(40), &json!(1)).await, Err(DatabaseError::NoSuchPlace)));
}

#[tokio::test]
async fn row_27_a_login_that_is_revoked_is_renewed_on_the_same_connection() {
    let (house, mut caller, mut listener) = House::listening().await;
    caller.push("ac", json!({ "s": "expired_token", "d": "Auth token is expired." })).await;
    let auth = caller.asked("auth").await;
    assert_eq!(auth["b"]["cred"], "id-token-2", "a token that was revoked is not offered again");
    let (put, ()) = tokio::join!(house.put(json!(1)), async {
        caller.reply(&auth, "ok", json!({ "auth": { "uid": "me" } })).await;
        let put = caller.asked("p").await;
        caller.reply(&put, "ok", json!("")).await;
    });
    put.unwrap();
    caller.push("d", json!({ "p": OURS, "d": "still told" })).await;
    assert_eq!(next(&mut listener).await, Some(json!("still told")));
    assert_eq!(*house.database.connection().borrow(), 1);
}

#[tokio::test]
async fn row_27_a_database_that_revokes_token_after_token_is_left_for_a_while() {
    let (house, mut caller, _listener) = House::listening().await;
    let revoked = || json!({ "s": "expired_token", "d": "Auth token is expired." });
    caller.push("ac", revoked()).await;
    let auth = caller.asked("auth").await;
    caller.reply(&auth, "ok", json!({ "auth": { "uid": "me" } })).await;
    caller.push("ac", revoked()).await;
    let why = house.fails().await;
    assert!(why.contains("one token after the other"), "{why}");
    assert_eq!(house.google.asked.exchanges.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_replaced_and_another_such_one_left_for_a_while() {
    let house = House::start().await;
    let mut caller = house.base.connected().await;
    caller.hello(&house.base.address().to_string()).await;
    for _ in 0..2 {
        let auth = caller.asked("auth").await;
        caller.reply(&auth, "invalid_token", json!("Could not parse auth token.")).await;
    }
    let why = house.fails().await;
    assert!(why.contains("invalid_token: Could not parse auth token."), "{why}");
    assert_eq!(house.google.asked.exchanges.load(Ordering::SeqCst), 2);
    let mut caller = house.base.connected().await;
    caller.hello(&house.base.address().to_string()).await;
    assert_eq!(caller.accept_token().await, "id-token-3");
    house.ready().await;
}

#[tokio::test]
async fn who_is_shut_out_stays_out_and_says_why() {
    let (house, mut caller, mut listener) = House::listening().await;
    caller.control("s", "too many connections").await;
    let why = house.refuses().await;
    assert!(why.contains("(too many connections)"), "{why}");
    let unavailable = DatabaseError::Unavailable { why: why.clone() };
    assert_eq!(house.database.ready().await, Err(unavailable.clone()), "too soon to be tried again");
    assert_eq!(house.put(json!(1)).await, Err(unavailable.clone()));
    assert_eq!(house.database.listen(THEIRS.to_owned()).await.err(), Some(unavailable));
    house.base.is_left_alone(Duration::from_secs(2)).await;
    house.stop.cancel();
    assert_eq!(next(&mut listener).await, None);
    assert_eq!(house.put(json!(1)).await, Err(DatabaseError::Stopped));
    assert_eq!(house.database.ready().await, Err(DatabaseError::Stopped));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_costs_the_connection_and_no_more() {
    let push = json!({ "t": "d", "d": { "a": "d", "b": { "p": OURS, "d": 1 } } }).to_string();
    let (half, _) = push.split_at(20);
    let lies: [&[&str]; 3] = [&["2", half, &push], &["1", half], &["99999"]];
    let told = lies.map(async |frames| {
        let (house, mut caller, mut listener) = House::listening().await;
        for frame in frames {
            caller.text(*frame).await;
        }
        caller.closes().await;
        let mut caller = house.base.ready().await;
        caller.accept_listen(OURS, json!("after it")).await;
        assert_eq!(next(&mut listener).await, Some(json!("after it")), "{frames:?}");
    });
    futures_util::future::join_all(told).await;
}

#[tokio::test]
async fn ten_mebibytes_are_read_and_no_more() {
    let (house, mut caller, mut listener) = House::listening().await;
    let message = |length: usize| {
        json!({ "t": "d", "d": { "a": "d", "b": { "p": "somewhere/else", "d": "x".repeat(length) } } }).to_string()
    };
    caller.text(message((10 << 20) - 100)).await;
    caller.push("d", json!({ "p": OURS, "d": "after it" })).await;
    assert_eq!(next(&mut listener).await, Some(json!("after it")));
    // In one piece, and in as many as one likes.
    for count in [1, 1_000] {
        let sending = async {
            let message = message(10 << 20);
            if count > 1 {
                caller.text(count.to_string()).await;
            }
            for piece in message.as_bytes().chunks(message.len().div_ceil(count)) {
                if caller.try_text(std::str::from_utf8(piece).unwrap()).await.is_err() {
                    break;
                }
            }
        };
        let (_, ()) = tokio::join!(house.fails(), sending);
        caller = house.base.ready().await;
        caller.accept_listen(OURS, json!(count)).await;
        assert_eq!(next(&mut listener).await, Some(json!(count)));
        house.ready().await;
    }
}

#[tokio::test]
async fn what_happens_at_places_that_nobody_listens_to_is_not_told() {
    let (_house, mut caller, mut listener) = House::listening().await;
    for place in [THEIRS, "groups/7001000200030004/devices/me/msgs", "elsewhere"] {
        caller.push("d", json!({ "p": place, "d": "foreign" })).await;
        caller.push("m", json!({ "p": place, "d": { "a": 1 } })).await;
        caller.push("c", json!({ "p": place })).await;
    }
    caller.push("d", json!({ "p": OURS, "d": "ours" })).await;
    assert_eq!(next(&mut listener).await, Some(json!("ours")));
}

#[tokio::test]
async fn two_listeners_of_a_place_are_one_to_the_server() {
    let (house, mut caller, mut first) = House::listening().await;
    caller.push("d", json!({ "p": OURS, "d": 1 })).await;
    assert_eq!(next(&mut first).await, Some(json!(1)));
    let mut second = house.database.listen(OURS.to_owned()).await.unwrap();
    assert_eq!(next(&mut second).await, Some(json!(1)), "the present value first");
    caller.push("d", json!({ "p": OURS, "d": 2 })).await;
    assert_eq!((next(&mut first).await, next(&mut second).await), (Some(json!(2)), Some(json!(2))));
    drop(first);
    caller.push("d", json!({ "p": OURS, "d": 3 })).await;
    assert_eq!(next(&mut second).await, Some(json!(3)));
    drop(second);
    assert_eq!(caller.asked("n").await["b"]["p"], format!("/{OURS}"));
}

#[tokio::test]
async fn a_listener_that_does_not_listen_is_ended_and_holds_nobody_up() {
    let (house, mut caller, mut slow) = House::listening().await;
    let mut quick = house.database.listen(OURS.to_owned()).await.unwrap();
    assert_eq!(next(&mut quick).await, Some(Value::Null));
    for n in 0..100 {
        caller.push("d", json!({ "p": OURS, "d": n })).await;
        assert_eq!(next(&mut quick).await, Some(json!(n)));
    }
    for n in 0..64 {
        assert_eq!(next(&mut slow).await, Some(json!(n)));
    }
    assert_eq!(next(&mut slow).await, None);
}

#[tokio::test]
async fn without_a_handle_or_when_stopped_the_connection_is_closed() {
    let (house, mut caller, mut listener) = House::listening().await;
    let House { database, _stops, .. } = house;
    let other = database.clone();
    drop(database);
    caller.push("d", json!({ "p": OURS, "d": 1 })).await;
    assert_eq!(next(&mut listener).await, Some(json!(1)));
    drop(other);
    caller.closes().await;
    assert_eq!(next(&mut listener).await, None);
    let (house, mut caller, _listener) = House::listening().await;
    house.stop.cancel();
    caller.closes().await;
}

#[tokio::test]
async fn all_who_wait_for_a_token_get_the_same_one() {
    let google = Google::start(([127, 0, 0, 1], 1).into()).await;
    let all = |refused: Option<&'static str>| {
        let calls = (0..20).map(|_| {
            let firebase = google.firebase.clone();
            async move {
                let refused = refused.map(doorstep::secret::Token::new);
                firebase.access(PANEL, refused.as_ref()).await.unwrap()
            }
        });
        futures_util::future::join_all(calls)
    };
    let count = |google: &Google| {
        [&google.asked.exchanges, &google.asked.sign_ins, &google.asked.refreshes].map(|n| n.load(Ordering::SeqCst))
    };
    for access in all(None).await {
        assert_eq!((access.uid.as_str(), access.id_token.expose()), ("me", "id-token-1"));
        assert_eq!(access.devices.unwrap(), [CAMERA]);
        assert_eq!(access.database.query(), Some("ns=panel-db"));
    }
    assert_eq!(count(&google), [1, 1, 0]);
    for access in all(Some("id-token-1")).await {
        assert_eq!(access.id_token.expose(), "id-token-2");
    }
    assert_eq!(count(&google), [2, 2, 0]);
    let log = google.asked.log.lock().unwrap().clone();
    assert_eq!(log[0], "GET /exchange?custom-token=true Bearer login-0");
    let (signs_in, body) = log[1].split_at(log[1].find('{').unwrap());
    assert_eq!(signs_in, "POST /v1/accounts:signInWithCustomToken?key=api-key-canary ");
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["token"].as_str().unwrap().starts_with("e30.") && body["returnSecureToken"] == true, "{body}");
}

#[tokio::test]
async fn a_token_is_refreshed_before_it_expires_and_a_login_follows_a_refresh_that_is_refused() {
    let google = Google::start(([127, 0, 0, 1], 1).into()).await;
    *google.asked.life_s.lock().unwrap() = Some("2".to_owned());
    let first = google.firebase.access(PANEL, None).await.unwrap();
    tokio::time::sleep_until(first.renew_at).await;
    let second = google.firebase.access(PANEL, None).await.unwrap();
    assert_eq!((first.id_token.expose(), second.id_token.expose()), ("id-token-1", "id-token-r1"));
    let asked = google.asked.log.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked, "POST /v1/token?key=api-key-canary grant_type=refresh_token&refresh_token=refresh-1");
    tokio::time::sleep_until(second.renew_at).await;
    google.answer_next(400, json!({ "error": { "code": 400, "message": "TOKEN_EXPIRED" } }));
    let third = google.firebase.access(PANEL, None).await.unwrap();
    assert_eq!(third.id_token.expose(), "id-token-2");
    // What is only due serves on when nobody can be asked.
    tokio::time::sleep_until(third.renew_at).await;
    google.answer_next(503, json!({}));
    let fourth = google.firebase.access(PANEL, None).await.unwrap();
    assert_eq!(fourth.id_token.expose(), "id-token-2");
}

#[tokio::test]
async fn an_exchange_that_wants_another_method_or_another_login_gets_it_once() {
    let google = Google::start(([127, 0, 0, 1], 1).into()).await;
    google.answer_next(405, json!({}));
    google.answer_next(401, json!({ "message": "expired" }));
    google.firebase.access(PANEL, None).await.unwrap();
    let log = google.asked.log.lock().unwrap().clone();
    assert_eq!(
        log[..3],
        [
            "GET /exchange?custom-token=true Bearer login-0",
            "POST /exchange?custom-token=true Bearer login-0",
            "GET /exchange?custom-token=true Bearer login-1",
        ]
    );
    let google = Google::start(([127, 0, 0, 1], 1).into()).await;
    google.answer_next(401, json!({}));
    google.answer_next(403, json!({}));
    let refused = google.firebase.access(PANEL, None).await.unwrap_err();
    assert!(matches!(refused, FirebaseError::ExchangeRefused { status: 403, .. }), "{refused}");
}

#[tokio::test]
async fn a_wrong_api_key_is_told_once_and_for_all_without_the_key() {
    let base = Base::start().await;
    let google = Google::start(base.address()).await;
    google.answer_next(200, json!({ "custom-token": "a.b.c" }));
    let details = json!([{ "reason": "API_KEY_INVALID" }]);
    let error = json!({ "code": 400, "message": "API key not valid. api-key-canary", "details": details });
    google.answer_next(400, json!({ "error": error }));
    let house = House::with(base, google);
    let why = house.refuses().await;
    assert!(why.contains("`firebase_api_key`") && !why.contains("canary"), "{why}");
    house.base.is_left_alone(Duration::from_secs(2)).await;
    assert_eq!(house.google.asked.sign_ins.load(Ordering::SeqCst), 1);
}
