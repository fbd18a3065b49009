//! Listens and serves clients.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clip::Clip;
use crate::connection::{self, Shared};
use crate::digest::Gate;
use crate::options::{CameraError, Options};

/// Clients at once; real cameras allow four to twenty.
const MOST_CLIENTS: usize = 64;

/// After so many failures to accept in a row, 100 ms apart, the camera gives up.
const ACCEPT_FAILURES: u32 = 50;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A test camera that listens. Nothing is answered before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the clip and listens. The camera's clock starts here.
    pub async fn bind(options: Options) -> Result<Self, CameraError> {
        let source = options.source.clone();
        let clip = tokio::task::spawn_blocking(move || Clip::open(&source))
            .await
            .map_err(|error| CameraError::Read {
                clip: format!("{:?}", options.source),
                source: std::io::Error::other(error),
            })??;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|source| CameraError::Random { source })?;
        let listen = options.listen;
        let failed = |source| CameraError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let epoch = Instant::now();
        let gate = Gate::new(secret, epoch.into_std());
        let shared = Arc::new(Shared {
            clip: Arc::new(clip),
            options,
            gate,
            epoch,
        });
        Ok(Self {
            listener,
            address,
            shared,
        })
    }

    /// Where clients connect; tells the port when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done, then drops every client.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), CameraError> {
        let mut clients = JoinSet::new();
        let mut failures = 0;
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(_) = clients.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    if clients.len() < MOST_CLIENTS {
                        clients.spawn(connection::serve(Arc::clone(&self.shared), stream, peer));
                    } else {
                        tracing::warn!(%peer, "too many clients");
                    }
                }
                Err(source) if failures < ACCEPT_FAILURES => {
                    failures += 1;
                    tracing::warn!(error = %source, "client not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Err(source) => {
                    return Err(CameraError::Accept {
                        address: self.address,
                        source,
                    });
                }
            }
        }
    }
}

/// [`Server::bind`] and [`Server::run`] in one.
pub async fn serve(
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), CameraError> {
    Server::bind(options).await?.run(shutdown).await
}
