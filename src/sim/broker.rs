//! A small MQTT broker for the demo, so that it needs nothing installed. Keeps nothing over a restart,
//! speaks MQTT 3.1.1 and asks nobody who he is.
//!
//! The library leaves Nagle's algorithm on and offers no way to its sockets: a message that follows another to
//! the same client within 40 ms may wait that long. A ring after a quiet moment passes in a few milliseconds.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// A broker that runs until the process ends: the library has no way to stop it.
#[derive(Debug)]
pub struct RunningBroker {
    /// Where clients connect.
    pub address: SocketAddr,
}

/// How many ports above a taken one are tried.
const PORTS_TRIED: u16 = 100;

/// Starts a broker on `preferred` or, where that port is taken, on the next free one above it.
/// Returns once clients can connect. Blocks for some milliseconds.
///
/// # Errors
/// When no port is free or the broker does not come up.
pub fn start(preferred: SocketAddr) -> io::Result<RunningBroker> {
    let address = free_address(preferred)?;
    let mut broker = Broker::new(config(address));
    let serve = move || {
        if let Err(error) = broker.start() {
            tracing::error!(%error, "the demo's MQTT broker has stopped");
        }
    };
    let serving = std::thread::Builder::new().name("demo-broker".to_owned()).spawn(serve)?;
    for _ in 0..200 {
        if serving.is_finished() {
            return Err(io::Error::other("the demo's MQTT broker has not come up"));
        }
        if TcpStream::connect(address).is_ok() {
            return Ok(RunningBroker { address });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn free_address(preferred: SocketAddr) -> io::Result<SocketAddr> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in preferred.port()..=preferred.port().saturating_add(PORTS_TRIED) {
        match TcpListener::bind(SocketAddr::new(preferred.ip(), port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

fn config(address: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 5 * 1024 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 1_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 10 * 1024 * 1024,
        max_segment_count: 2,
        ..RouterConfig::default()
    };
    Config { router, v4: Some(HashMap::from([("demo".to_owned(), server)])), ..Config::default() }
}
