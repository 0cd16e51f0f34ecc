//! Tokens, tickets and keys: who gets which, what each opens, and what the audit log says of whoever came.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, post};
use doorstep::secret::Token;
use serde_json::{Value, json};

use crate::support::fake_lock::FakeLock;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::{House, LISTED};
use crate::support::http::{Reply, request_from, request_with};
use crate::support::ingress::USER;
use crate::support::mosquitto::free_port;
use crate::support::program::Program;

const TOKEN: &str = "Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua";
const JSON: (&str, &str) = ("content-type", "application/json");
const SDP: (&str, &str) = ("content-type", "application/sdp");
const UNLOCK: &str = "/api/doorbells/fake_1/unlock";

/// WHEP that answers everything, with a session of a random name.
async fn viewed() -> House {
    let answer = async |Path(id): Path<String>| {
        (StatusCode::CREATED, [(header::LOCATION, format!("{id}/00ab12cd34ef5678"))], "v=0").into_response()
    };
    let whep = Router::new().route("/whep/{id}", post(answer)).route("/whep/{id}/{session}", delete(async || "ended"));
    House::with(FakeVendor::new(), Some(Token::new(TOKEN)), whep).await
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn ticket(house: &House) -> String {
    let right = bearer(TOKEN);
    let reply = house.send("POST", "/api/doorbells/fake_1/ticket", &[JSON, ("authorization", &right)], b"").await;
    assert_eq!((reply.status, &reply.json()["expires_in_s"]), (201, &60.into()));
    reply.json()["ticket"].as_str().unwrap().to_owned()
}

async fn watch(house: &House, path: &str) -> Reply {
    house.send("POST", path, &[SDP], b"v=0").await
}

#[tokio::test]
async fn a_ticket_opens_the_picture_of_one_doorbell_once() {
    let house = viewed().await;
    let ticket = ticket(&house).await;
    for elsewhere in ["/api/doorbells", "/api/doorbells/fake_1", "/api/events", "/metrics", "/"] {
        assert_eq!(house.get(&format!("{elsewhere}?ticket={ticket}")).await.status, 401, "{elsewhere}");
    }
    let unlock = house.post(&format!("{UNLOCK}?ticket={ticket}"), "").await;
    assert_eq!(unlock.status, 401);
    assert_eq!(watch(&house, &format!("/whep/fake_1?ticket={ticket}")).await.status, 201);
    let again = watch(&house, &format!("/whep/fake_1?ticket={ticket}")).await;
    assert_eq!(again.status, 401);
    assert!(again.error().contains("Ask for a new one") && !again.body.contains(&ticket), "{}", again.body);

    let other = self::ticket(&house).await;
    assert_eq!(watch(&house, &format!("/whep/fake_2?ticket={other}")).await.status, 401, "for another doorbell");
    assert_eq!(watch(&house, "/whep/fake_1?ticket=").await.status, 401);
    assert_eq!(watch(&house, "/whep/fake_1?key=AAAAAAAAAAAAAAAAAAAAAA").await.status, 401, "a key is not for WHEP");
}

#[tokio::test]
async fn who_came_with_a_ticket_ends_the_own_session_and_no_other() {
    let house = viewed().await;
    let end = async |session: &str| house.send("DELETE", &format!("/whep/fake_1/{session}"), &[], b"").await.status;
    assert_eq!(end("00ab12cd34ef5678").await, 401, "nobody has opened it");
    let ticket = ticket(&house).await;
    let opened = watch(&house, &format!("/whep/fake_1?ticket={ticket}")).await;
    assert_eq!(opened.header("location"), Some("fake_1/00ab12cd34ef5678"));
    assert_eq!(end("00ab12cd34ef5678").await, 200);
    assert_eq!(end("00ab12cd34ef5679").await, 401);
    assert_eq!(end("").await, 401);
}

#[tokio::test]
async fn a_wrong_ticket_is_not_held_against_its_sender() {
    let house = viewed().await;
    for _ in 0..30 {
        assert_eq!(watch(&house, "/whep/fake_1?ticket=AAAAAAAAAAAAAAAAAAAAAA").await.status, 401);
    }
    let right = bearer(TOKEN);
    assert_eq!(house.send("GET", "/api/doorbells", &[("authorization", &right)], b"").await.status, 200);
}

#[tokio::test]
async fn a_guesser_on_one_address_does_not_disturb_another() {
    let house = House::locked(TOKEN).await;
    let (guesser, owner) = (Ipv4Addr::new(127, 0, 0, 66), Ipv4Addr::new(127, 0, 0, 7));
    let right = bearer(TOKEN);
    let ask = async |from, token: &str| {
        let headers = [("authorization", token)];
        request_from(from, house.address, "GET", "/api/doorbells", &headers, "").await.unwrap().status
    };
    for _ in 0..10 {
        assert_eq!(ask(guesser, "Bearer guess").await, 401);
        assert_eq!(ask(owner, &right).await, 200);
    }
    assert_eq!(ask(guesser, "Bearer guess").await, 429);
    assert_eq!(ask(guesser, &right).await, 429, "a guess made while blocked was tried");
    assert_eq!(ask(owner, &right).await, 200);
}

/// Behind a proxy, and where Docker hands on what comes from a network, everybody has one address.
#[tokio::test]
async fn who_guesses_from_home_assistants_own_address_does_not_shut_it_out() {
    let house = House::locked(TOKEN).await;
    house.tokens.add("token home_assistant", &Token::new("companion"));
    let made = house.tokens.rotate().unwrap();
    let ask = async |token: &str| {
        let token = bearer(token);
        house.send("GET", "/api/doorbells", &[("authorization", &token)], b"").await.status
    };
    for _ in 0..10 {
        assert_eq!(ask("guess").await, 401);
        assert_eq!(ask("companion").await, 200);
    }
    assert_eq!(ask("guess").await, 429, "who knows another token has guesses for nothing");
    assert_eq!((ask("companion").await, ask(made.expose()).await), (200, 200));
    assert_eq!(ask(TOKEN).await, 429, "a guess made while blocked was tried");
}

#[tokio::test]
async fn the_owner_makes_a_token_in_home_assistant_and_the_one_before_is_refused() {
    let house = House::locked(TOKEN).await;
    let at_home = async |method: &str, path: &str| request_with(house.ingress, method, path, &[JSON], "").await;
    let access = at_home("GET", "/api/access").await.json();
    let listen = house.address.to_string();
    assert_eq!(access, json!({"direct": {"listen": listen, "token_since": null}, "via": "ingress"}));
    let mut made = Vec::new();
    for _ in 0..2 {
        let reply = at_home("POST", "/api/access/token").await;
        assert_eq!((reply.status, reply.header("cache-control")), (201, Some("no-store")));
        made.push(reply.json()["token"].as_str().unwrap().to_owned());
    }
    let asks = async |token: &str| {
        let token = bearer(token);
        house.send("GET", "/api/access", &[("authorization", &token)], b"").await
    };
    assert_eq!(asks(&made[0]).await.status, 401, "the old token is as good as the new one");
    let seen = asks(&made[1]).await;
    assert_eq!((seen.status, &seen.json()["via"]), (200, &"token".into()));
    assert!(seen.json()["direct"]["token_since"].as_str().unwrap().ends_with('Z'), "{}", seen.body);
    assert!(!seen.body.contains(&made[1]), "it was shown twice");
    assert_eq!(asks(TOKEN).await.status, 200, "the configured one goes on");
    assert_eq!(at_home("GET", "/api/access/token").await.status, 405);
}

/// Whoever has been given a token could otherwise shut out the one who gave it.
#[tokio::test]
async fn nobody_makes_a_token_with_a_token() {
    let house = House::locked(TOKEN).await;
    let right = bearer(TOKEN);
    let made = house.send("POST", "/api/access/token", &[JSON, ("authorization", &right)], b"").await;
    assert_eq!(made.status, 403);
    assert_eq!(house.tokens.generated_since(), None);
    let open = House::open().await;
    assert_eq!(open.get("/api/access").await.json()["via"], "loopback");
    assert_eq!(open.post("/api/access/token", "").await.status, 201);
    assert_eq!(open.get("/api/access").await.status, 200, "who has made a token is not locked out of the machine");
}

/// What the audit log has under `via`, in its order, each line once.
fn audited(house: &House) -> Vec<String> {
    let log = std::fs::read_to_string(house.data.as_ref().unwrap().path().join("audit.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut via: Vec<String> = lines.map(|line| line["via"].as_str().unwrap().to_owned()).collect();
    via.dedup();
    via
}

#[tokio::test]
async fn the_audit_log_names_who_passed_and_believes_only_home_assistant() {
    let claim = ("x-remote-user-id", USER);
    for (name, via) in [(0, "http/token"), (1, "http/token home_assistant"), (2, "http/token page")] {
        let lock = FakeLock::new("lock_1");
        let house = House::with_door(&lock, Some(Token::new(TOKEN))).await;
        house.tokens.add("token home_assistant", &Token::new("companion"));
        let made = house.tokens.rotate().unwrap();
        let token = bearer([TOKEN, "companion", made.expose()][name]);
        let reply = house.send("POST", UNLOCK, &[JSON, ("authorization", &token), claim], b"").await;
        assert_eq!((reply.status, audited(&house)), (202, vec![via.to_owned()]));
    }
    let dashed = "5e1b2c3d-4f5a-6978-8796-a5b4c3d2e1f0";
    let long = "a".repeat(37);
    for (user, id) in [(USER, USER), (dashed, dashed), ("../etc", ""), ("Anna", ""), (&long, ""), ("", "")] {
        let lock = FakeLock::new("lock_1");
        let house = House::with_door(&lock, Some(Token::new(TOKEN))).await;
        let claim = [JSON, ("x-remote-user-id", user)];
        assert_eq!(request_with(house.ingress, "POST", UNLOCK, &claim, "").await.status, 202, "{user:?}");
        assert_eq!(audited(&house), [format!("http/ingress {id}").trim_end()], "{user:?}");
    }
}

#[tokio::test]
async fn without_a_token_the_audit_log_says_that_it_was_somebody_on_this_machine() {
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, None).await;
    let claim = [JSON, ("x-remote-user-id", USER)];
    assert_eq!(house.send("POST", UNLOCK, &claim, b"").await.status, 202);
    assert_eq!(audited(&house), ["http/loopback"]);
}

#[tokio::test]
async fn pages_of_a_listed_site_may_call_and_read_and_those_of_no_other() {
    let house = viewed().await;
    let right = bearer(TOKEN);
    let asks = ("access-control-request-method", "POST");
    let allowed = |reply: &Reply| reply.header("access-control-allow-origin").map(str::to_owned);

    let preflight = house.send("OPTIONS", "/whep/fake_1", &[("origin", LISTED), asks], b"").await;
    assert_eq!((preflight.status, allowed(&preflight).as_deref()), (204, Some(LISTED)));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, content-type"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("DELETE"));

    let offer = [SDP, ("origin", LISTED), ("authorization", &*right)];
    let answer = house.send("POST", "/whep/fake_1", &offer, b"v=0").await;
    assert_eq!((answer.status, allowed(&answer).as_deref()), (201, Some(LISTED)));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("location"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("vary"), Some("origin"));

    let locked = house.send("GET", "/api/doorbells", &[("origin", LISTED)], b"").await;
    assert_eq!((locked.status, allowed(&locked).as_deref()), (401, Some(LISTED)), "it may read why");
    for near in ["http://card.example", "https://card.example:8123", "http://x.card.example:8123", "null", "*"] {
        let preflight = house.send("OPTIONS", "/whep/fake_1", &[("origin", near), asks], b"").await;
        assert_eq!((preflight.status, allowed(&preflight)), (403, None), "{near}");
        let request = house.send("GET", "/api/doorbells", &[("origin", near), ("authorization", &right)], b"").await;
        assert_eq!((request.status, allowed(&request)), (403, None), "{near}");
    }
    let at_home = request_with(house.ingress, "GET", "/api/doorbells", &[("origin", LISTED)], "").await;
    assert_eq!((at_home.status, allowed(&at_home)), (403, None), "the list is of the direct entrance");
    assert_eq!(house.get("/health").await.header("vary"), Some("origin"));
}

/// Keys are used by go2rtc's dialect; here is what they are bound to.
#[tokio::test]
async fn keys_of_one_stream_open_nothing_else() {
    let house = viewed().await;
    let key = house.keys.issue(&house.doorbell.info().id).unwrap();
    assert!(house.keys.admits(&house.doorbell.info().id, &key));
    for path in ["/api/doorbells", "/api/events", "/", "/metrics"] {
        assert_eq!(house.get(&format!("{path}?key={key}&src=fake_1")).await.status, 401, "{path}");
    }
    assert_eq!(watch(&house, &format!("/whep/fake_1?key={key}")).await.status, 401);
}

/// The way of somebody without Home Assistant: a token from the page on this machine, then others may come.
#[tokio::test]
async fn a_token_made_on_this_machine_opens_the_service_to_others_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
    let run = |listen: &str| {
        let media = free_port();
        std::fs::write(
            &file,
            format!("http: {{listen: '{listen}'}}\nmedia: {{port: {media}}}\ngo2rtc: {{enabled: false}}\n"),
        )
        .unwrap();
        Program::start(["run", "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()])
    };
    let refused = run("0.0.0.0:0").ends().await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.log.contains("can be reached from other machines, so it needs a token"), "{}", refused.log);

    let mut program = run("127.0.0.1:0");
    let made = request_with(program.page().await, "POST", "/api/access/token", &[JSON], "").await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    program.terminate();
    assert_eq!(program.ends().await.status.code(), Some(0));
    let state = std::fs::read_to_string(data.join("state.json")).unwrap();
    assert!(state.contains("http_token") && !state.contains(&token), "the token itself was kept");

    let mut program = run("0.0.0.0:0");
    let address = (Ipv4Addr::LOCALHOST, program.page().await.port()).into();
    assert_eq!(request_with(address, "GET", "/api/doorbells", &[], "").await.status, 401, "on loopback, too");
    let right = bearer(&token);
    assert_eq!(request_with(address, "GET", "/api/doorbells", &[("authorization", &right)], "").await.status, 200);
    program.terminate();
    let ended = program.ends().await;
    assert!(!ended.log.contains(&token), "{}", ended.log);
}
