//! A local address that leads to a service, wherever it runs.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Held for as long as connections may be made; it needs no published port and ends with the run.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forward {
    /// Hands every connection to `carry`, each on its own; `name` is for the log.
    pub async fn open<F>(
        name: String,
        carry: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (name, carried) = (name.clone(), carry(stream));
                tokio::spawn(async move {
                    // The peer sees a connection that ends; its own error says what it wanted.
                    if let Err(error) = carried.await {
                        tracing::debug!("way to {name}: {error}");
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
