//! `reach` of both programs: whether somebody takes a connection.
//!
//! The installer runs it inside a pod, to see what a network lets through; images have no other
//! program that could. It knows nothing of who asks.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A network that drops what it forbids says nothing.
const CONNECT: Duration = Duration::from_secs(3);

/// Nobody takes a connection.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    #[error("`{address}` has no address")]
    Name {
        address: String,
        source: Option<io::Error>,
    },
    #[error("cannot connect to {address}")]
    Connection {
        address: SocketAddr,
        source: io::Error,
    },
}

impl Unreached {
    /// What the installer tells the two by.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Name { .. } => 3,
            Self::Connection { .. } => 1,
        }
    }
}

/// An error says that nobody did, at any address that the name has.
pub fn try_to(address: &str) -> Result<(), Unreached> {
    let nameless = |source| Unreached::Name {
        address: address.to_owned(),
        source,
    };
    let mut unreached = nameless(None);
    let addresses = address.to_socket_addrs();
    for address in addresses.map_err(|source| nameless(Some(source)))? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(source) => unreached = Unreached::Connection { address, source },
        }
    }
    Err(unreached)
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
        let error = try_to(&address).unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
        assert_eq!(error.exit(), 1);
        assert_eq!(try_to("nonsense").unwrap_err().exit(), 3);
    }
}
