//! What is known of a doorbell is told to whoever looks for a fault, and to nobody without the token.

use doorstep::secret::Token;
use serde_json::json;

use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;

const PATH: &str = "/api/doorbells/fake_1/diagnostics";

#[tokio::test]
async fn the_record_is_told_and_the_device_is_asked_what_it_alone_knows() {
    let house = House::open().await;
    for (query, asked) in [
        ("", "record"),
        ("?ask=record", "record"),
        ("?ask=oldest_timestamp", "oldest_timestamp"),
        ("?ask=metadata", "metadata"),
    ] {
        let reply = house.get(&format!("{PATH}{query}")).await;
        assert_eq!((reply.status, reply.json()), (200, json!({"asked": asked, "firmware": "1.0"})));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_question_that_there_is_not_is_answered_with_those_there_are() {
    let house = House::open().await;
    for query in ["?ask=everything", "?ask=", "?ask=record&ask=metadata", "?question=record"] {
        let reply = house.get(&format!("{PATH}{query}")).await;
        assert_eq!(reply.status, 422, "{query}");
        assert!(reply.error().contains("`oldest_timestamp`"), "{}", reply.error());
    }
    assert_eq!(house.get("/api/doorbells/nobody/diagnostics").await.status, 404);
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let house = House::with(FakeVendor::new(), Some(Token::new("key")), axum::Router::new()).await;
    assert_eq!(house.get(PATH).await.status, 401);
    let reply = house.send("GET", PATH, &[("authorization", "Bearer key")], b"").await;
    assert_eq!(reply.status, 200);
}
