//! Questions to a web server on loopback.

use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// Status and body. HTTP/1.0, so that the body ends with the connection.
pub(crate) async fn request(server: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let exchange = async {
        let mut connection = TcpStream::connect(server).await.unwrap();
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {server}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).await.unwrap();
        response
    };
    let response = timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("{method} {path}: no answer"));
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// For a program that does not say which port it got when it is given 0.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().local_addr().unwrap()
}
