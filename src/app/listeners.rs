//! Where people come in: by the page's listener; in an app of Home Assistant by ingress, and with a token past it.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Home;
use crate::config::Config;
use crate::http::{self, Entrance, Face, Tokens};
use crate::secret::Token;

/// Bound, and not served yet.
pub(super) struct Listeners {
    page: Door,
    /// In an app; elsewhere it is the page's.
    direct: Option<Door>,
}

struct Door {
    listener: TcpListener,
    at: SocketAddr,
    entrance: Entrance,
}

impl Listeners {
    /// `tokens` open the direct entrance.
    pub(super) async fn open(config: &Config, home: Option<&Home>, tokens: Tokens) -> anyhow::Result<Self> {
        let direct = Entrance::Direct { tokens };
        let Some(home) = home else {
            let page = Door::open(config.http.listen, direct, "the page (`http.listen`)").await?;
            return Ok(Self { page, direct: None });
        };
        let ingress = Entrance::Ingress { peer: home.ingress_peer };
        let page = Door::open(home.ingress_listen, ingress, "Home Assistant's ingress").await?;
        let direct = Door::open(home.direct_listen, direct, "the integration").await?;
        Ok(Self { page, direct: Some(direct) })
    }

    /// Where the page is.
    pub(super) fn page(&self) -> SocketAddr {
        self.page.at
    }

    /// Where a token opens.
    pub(super) fn direct(&self) -> SocketAddr {
        self.direct.as_ref().unwrap_or(&self.page).at
    }

    /// Serves all of them until `stop`. The task ends with the last, and fails with the first that fails.
    pub(super) fn serve(self, face: &Face, stop: &CancellationToken) -> anyhow::Result<JoinHandle<()>> {
        let doors = [Some(self.page), self.direct].into_iter().flatten();
        let served = doors.map(|Door { listener, at, entrance }| {
            let router = http::router(face.clone(), &entrance, at)?;
            Ok(http::serve(listener, &entrance, router, stop.clone()))
        });
        let all = futures_util::future::join_all(served.collect::<Result<Vec<_>, http::Exposed>>()?);
        Ok(tokio::spawn(async move {
            all.await;
        }))
    }
}

impl Door {
    async fn open(at: SocketAddr, entrance: Entrance, whose: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at} for {whose}"))?;
        let at = listener.local_addr().context("reading a listener's address")?;
        Ok(Self { listener, at, entrance })
    }
}

/// What the companion integration shows at the direct entrance: another one in each run, kept nowhere.
pub(super) fn companion_token(tokens: &Tokens) -> anyhow::Result<Token> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("reading randomness")?;
    let token = Token::new(random.map(|byte| format!("{byte:02x}")).concat());
    tokens.add("token home_assistant", &token);
    Ok(token)
}
