//! `stakeout-agent reach`: whether somebody takes a connection.
//!
//! The installer runs it inside a pod, to see what a network lets through; images have no other
//! program that could.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::Context;

/// A network that drops what it forbids says nothing.
const CONNECT: Duration = Duration::from_secs(3);

/// An error says that nobody did, at any address that the name has.
pub(crate) fn try_to(address: &str) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = address
        .to_socket_addrs()
        .with_context(|| format!("`{address}` is no address"))?
        .collect();
    let mut refused = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => refused = Some((address, error)),
        }
    }
    let (tried, error) = refused.with_context(|| format!("`{address}` has no address"))?;
    Err(error).with_context(|| format!("cannot connect to {tried}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_reached_and_a_closed_port_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        try_to(&address).unwrap();
        drop(listener);
        let error = try_to(&address).unwrap_err().to_string();
        assert!(error.contains(&address), "{error}");
        assert!(try_to("nonsense").is_err());
    }
}
