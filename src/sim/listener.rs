//! The front of a virtual cloud: its connections, which can be cut without a farewell.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Half of the files that a process may usually have open. Further clients wait in the kernel's queue.
const CONNECTIONS: usize = 512;

/// An extension of each request: ends the connection that it came on without a farewell.
#[derive(Clone, Default)]
pub(super) struct Hangup(Arc<Notify>);

impl Hangup {
    pub(super) fn now(&self) {
        self.0.notify_one();
    }
}

/// Serves until `stop`, and cuts every client off then; nobody gets through while `online` is false.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    online: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    accept(listener, stop, |socket| {
        let (router, mut online) = (router.clone(), online.clone());
        async move {
            let Ok(handle) = own_handle(&socket) else { return };
            let offline = async move { drop(online.wait_for(|online| !online).await) };
            attend(socket, &handle, router, offline).await;
        }
    })
    .await;
}

/// Gives each connection a task, until `stop` ends them all.
pub(super) async fn accept<F>(listener: TcpListener, stop: CancellationToken, task: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((socket, _)) => drop(connections.spawn(task(socket))),
                Err(error) => {
                    tracing::warn!(%error, "the virtual cloud cannot take a connection");
                    // It may have run out of files; some will be closed.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// Answers one client until it leaves, it is hung up on, or `cut` resolves. `handle` is of the socket below `stream`.
pub(super) async fn attend<S>(stream: S, handle: &Socket, router: Router, cut: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hangup = Hangup::default();
    let service = TowerToHyperService::new(router.layer(Extension(hangup.clone())));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        biased;
        () = cut => {}
        () = hangup.0.notified() => {}
        _ = connection => return,
    }
    // Closing it now tells the client "reset".
    let _ = handle.set_linger(Some(Duration::ZERO));
}

pub(super) fn own_handle(socket: &TcpStream) -> io::Result<Socket> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).try_clone()
}
