//! Connections: how many there may be, how long one may keep us waiting, and how they end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::auth::Entrance;
use super::events;
use crate::clock::{self, Instant};

/// Half of the files that a process may usually have open. Further clients wait in the kernel's queue until one
/// leaves. A listener to events does not count once it is one; those have a limit of their own.
const CONNECTIONS: usize = 512;
/// How many of them one address may hold, so that nobody who takes all he can keeps the others out. A reverse proxy is
/// one address, and so is Home Assistant, which may hold them all where nobody else comes in.
const PER_ADDRESS: usize = 128;
/// How long a client may take over the head of a request, the wait for its next request included.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// How often somebody who was turned away is worth a warning.
const TELL_EACH: Duration = Duration::from_secs(60);
/// How long requests in flight have once the service stops.
const STOP_GRACE: Duration = Duration::from_millis(700);

/// Serves those who come by this entrance until `stop`, and returns within a second of it, whatever the clients do.
pub fn serve(
    listener: TcpListener,
    entrance: &Entrance,
    router: Router,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let door = Door::new(entrance);
    serve_at_most(CONNECTIONS, door, listener, router, stop)
}

/// Whom a listener lets in at all.
enum Door {
    Open,
    OnlyFor { peer: IpAddr, turned_away: u64, told: Option<Instant> },
}

impl Door {
    fn new(entrance: &Entrance) -> Self {
        match entrance {
            Entrance::Ingress { peer } => Self::OnlyFor { peer: peer.to_canonical(), turned_away: 0, told: None },
            Entrance::Direct { .. } => Self::Open,
        }
    }

    /// Says at most once a minute that somebody was turned away, and how many in all.
    fn admits(&mut self, visitor: IpAddr, now: Instant) -> bool {
        let Self::OnlyFor { peer, turned_away, told } = self else { return true };
        let visitor = visitor.to_canonical();
        if visitor == *peer {
            return true;
        }
        *turned_away += 1;
        debug!(%visitor, "closed a connection to Home Assistant's entrance");
        if told.is_none_or(|told| now - told >= TELL_EACH) {
            *told = Some(now);
            warn!(
                %visitor,
                turned_away = *turned_away,
                "somebody else than Home Assistant's Supervisor came to its entrance and was not let in"
            );
        }
        false
    }
}

/// Who holds how many connections: one handle each, and one more here.
struct Seats {
    each: usize,
    held: HashMap<IpAddr, Arc<()>>,
}

impl Seats {
    fn at(door: &Door) -> Self {
        let each = if matches!(door, Door::Open) { PER_ADDRESS } else { CONNECTIONS };
        Self { each, held: HashMap::new() }
    }

    /// Held until it is dropped; `None` when this visitor holds all that are for one.
    fn take(&mut self, visitor: IpAddr) -> Option<Arc<()>> {
        self.held.retain(|_, seat| Arc::strong_count(seat) > 1);
        let seat = self.held.entry(visitor.to_canonical()).or_default();
        (Arc::strong_count(seat) <= self.each).then(|| seat.clone())
    }
}

async fn serve_at_most(
    most: usize,
    mut door: Door,
    mut listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let router = router.layer(Extension(events::Stop(stop.clone())));
    let mut connections = JoinSet::new();
    let mut seats = Seats::at(&door);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (socket, peer) = Listener::accept(&mut listener), if connections.len() < most => {
                if !door.admits(peer.ip(), clock::now()) {
                    continue;
                }
                let Some(seat) = seats.take(peer.ip()) else {
                    debug!(visitor = %peer.ip(), "closed a connection of one who holds too many");
                    continue;
                };
                if let Err(error) = socket.set_nodelay(true) {
                    debug!(%error, "a connection refuses to send small packets at once");
                }
                let router = router.clone().layer(Extension(ConnectInfo::<SocketAddr>(peer)));
                let attended = attend(socket, router, stop.clone());
                connections.spawn(async move {
                    attended.await;
                    drop(seat);
                });
            }
        }
    }
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _some_are_cut_off = timeout(STOP_GRACE, all_ended).await;
}

/// Answers one client until either side ends it. Once stopped, the request in flight is the last.
pub async fn attend(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

    fn router() -> Router {
        Router::new().route("/", get(async || "welcome"))
    }

    async fn answer(client: &mut (impl AsyncRead + Unpin)) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"welcome") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "closed after {answer:?}");
        }
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn only_home_assistant_is_let_in_however_its_address_is_written() {
        let peer = IpAddr::from([172, 30, 32, 2]);
        let now = clock::now();
        for peer in [peer, "::ffff:172.30.32.2".parse().unwrap()] {
            let mut door = Door::new(&Entrance::Ingress { peer });
            for (visitor, admitted) in [
                ("172.30.32.2", true),
                ("::ffff:172.30.32.2", true),
                ("172.30.32.1", false),
                ("172.30.33.4", false),
                ("127.0.0.1", false),
                ("::1", false),
                ("::172.30.32.2", false),
            ] {
                assert_eq!(door.admits(visitor.parse().unwrap(), now), admitted, "{visitor}");
            }
        }
        assert!(Door::Open.admits(peer, now));
    }

    #[test]
    fn who_is_turned_away_is_counted_and_told_of_once_a_minute() {
        let mut door = Door::new(&Entrance::Ingress { peer: [172, 30, 32, 2].into() });
        let began = clock::now();
        for second in 0..150 {
            assert!(!door.admits([192, 168, 1, 9].into(), began + Duration::from_secs(second)));
        }
        let Door::OnlyFor { turned_away, told, .. } = door else { panic!("it is open") };
        assert_eq!((turned_away, told), (150, Some(began + Duration::from_secs(120))));
    }

    #[test]
    fn one_address_holds_no_more_than_its_share_and_leaves_the_others_theirs() {
        let (one, other) = (IpAddr::from([192, 168, 1, 9]), IpAddr::from([192, 168, 1, 10]));
        let mut seats = Seats::at(&Door::Open);
        let mut taken: Vec<_> = (0..PER_ADDRESS).map(|_| seats.take(one).unwrap()).collect();
        assert!(seats.take(one).is_none() && seats.take("::ffff:192.168.1.9".parse().unwrap()).is_none());
        assert!(seats.take(other).is_some());
        taken.pop();
        assert!(seats.take(one).is_some(), "a seat that was left stays taken");
        assert_eq!(seats.held.len(), 1, "somebody who has left is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_finish_a_request_is_let_go() {
        for beginning in [&b""[..], b"GET / HTTP/1.1\r\nhost: he", &[REQUEST, b"GET"].concat()] {
            let (mut client, server) = tokio::io::duplex(1024);
            tokio::spawn(attend(server, router(), CancellationToken::new()));
            let began = clock::now();
            client.write_all(beginning).await.unwrap();
            let mut rest = Vec::new();
            timeout(2 * HEAD_WITHIN, client.read_to_end(&mut rest)).await.expect("still connected").unwrap();
            assert!(began.elapsed() >= HEAD_WITHIN, "a slow client was not given its time");
        }
    }

    #[tokio::test]
    async fn one_client_too_many_waits_until_another_leaves() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve_at_most(2, Door::Open, listener, router(), stop.clone()));
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        for guest in [&mut first, &mut second] {
            guest.write_all(REQUEST).await.unwrap();
            answer(guest).await;
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(REQUEST).await.unwrap();
        for _ in 0..20 {
            first.write_all(REQUEST).await.unwrap();
            answer(&mut first).await;
        }
        let early = third.try_read(&mut [0; 64]).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock, "a third client was let in");
        drop(second);
        answer(&mut third).await;
        stop.cancel();
    }
}
