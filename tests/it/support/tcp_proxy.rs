//! A TCP relay on loopback that a test can cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Relays to one port; closes everything when dropped.
pub(crate) struct TcpProxy {
    pub(crate) port: u16,
    mode: Arc<watch::Sender<Mode>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Relays,
    /// Closes connections as they come, and those there were.
    Refuses,
}

impl TcpProxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Relays));
        let modes = mode.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, port, modes.clone()));
            }
        });
        Self { port: own, mode }
    }

    /// Closes every connection, and from now on each new one.
    pub(crate) fn refuse(&self) {
        self.mode.send_replace(Mode::Refuses);
    }

    pub(crate) fn relay(&self) {
        self.mode.send_replace(Mode::Relays);
    }

    /// Closes every connection and takes none for `pause`.
    pub(crate) async fn cut(&self, pause: Duration) {
        self.refuse();
        tokio::time::sleep(pause).await;
        self.relay();
    }
}

async fn relay(mut client: TcpStream, port: u16, mut mode: watch::Receiver<Mode>) {
    if *mode.borrow_and_update() == Mode::Refuses {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = mode.changed() => {}
    }
}
