//! What strangers send to a connection of the HTTP face: it must not panic, and who has no token learns nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Registry};
use doorstep::http::{
    About, Entrance, Face, MediaKeys, Setup, SetupError, Tickets, Tokens, attend, go2rtc, router, whep,
};
use doorstep::model::MqttLink;
use doorstep::secret::Token;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

/// Only who has passed can see it.
const CANARY: &str = "canary_total";

/// All that one client sends; the first byte says whether it would need a token that it does not know.
pub fn connection(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let token = Token::new("GDJ5sHAeYmr0CScmWFELTkyXjjbUTpPO");
    let tokens = Tokens::of_config(Some(&token).filter(|_| first & 1 == 0));
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let said = runtime.block_on(converse(tokens, data));
    let shown = said.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
    assert!(first & 1 == 1 || !shown, "somebody without the token was let in");
}

/// What the service answers. Of what it goes on telling it is heard no more than begins at once.
async fn converse(tokens: Tokens, data: &[u8]) -> Vec<u8> {
    const LONG_ENOUGH: usize = 200;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_099));
    let face = router(face(&stop), &Entrance::Direct { tokens }, local).expect("it has a token or is on loopback");
    let (mut client, server) = duplex(data.len() + 65_536);
    client.write_all(data).await.expect("room for all of it");
    client.shutdown().await.expect("a way back");
    let mut serving = pin!(attend(server, face, stop));
    let mut said = Vec::new();
    for _ in 0..LONG_ENOUGH {
        tokio::select! {
            biased;
            () = &mut serving => break,
            _ = client.read_buf(&mut said) => {}
            () = yield_now() => {}
        }
    }
    said
}

/// Of a house without doorbells.
fn face(stop: &CancellationToken) -> Face {
    let doorbells = Registry::default();
    let wishes = Wishes {
        options: Default::default(),
        locks: Default::default(),
        voice: Arc::new(Mute),
        open_talks: Default::default(),
    };
    Face {
        doorbells: doorbells.clone(),
        accounts: Accounts::start(Vec::new(), wishes, doorbells, Registry::default(), stop),
        voice: Arc::new(Mute),
        setup: Arc::new(Nothing),
        mqtt: watch::channel(MqttLink::Connected).1,
        whep: whep::Routes::default(),
        go2rtc: go2rtc::Routes::default(),
        counters: Arc::new(|| vec![(CANARY, 1.0)]),
        version: "1.2.3",
        direct: None,
        tickets: Tickets::default(),
        keys: MediaKeys::default(),
        names: vec!["door.example".to_owned()],
        origins: vec!["https://listed.example".to_owned()],
        demo: false,
    }
}

/// Keeps no accounts.
struct Nothing;

impl Setup for Nothing {
    fn about(&self, _: usize) -> About {
        About::default()
    }

    fn add(&self, _: Value) -> BoxFuture<'static, Result<usize, SetupError>> {
        Box::pin(async { Err(SetupError::Full(0)) })
    }

    fn correct(&self, _: usize, _: Value) -> BoxFuture<'static, Result<(), SetupError>> {
        Box::pin(async { Err(SetupError::NoSuchAccount) })
    }

    fn remove(&self, _: usize) -> BoxFuture<'static, Result<(), SetupError>> {
        Box::pin(async { Err(SetupError::NoSuchAccount) })
    }
}
