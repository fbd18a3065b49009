//! HTTPS: a listener whose certificate can be replaced while it serves.
//!
//! The pair is looked at by modification time, size and inode, as a rotation by rename and one by
//! rewriting both change at least one of them.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agent_config::TlsFiles;
use axum::serve::Listener;
use camino::{Utf8Path, Utf8PathBuf};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Two calls of stat; a rotation is seen well before anything that waits for it loses patience.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A client on the slowest link shakes hands in one; one that does not gives its place to others.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once: each is a few kilobytes and a signature.
const HANDSHAKES: usize = 64;
/// After a failure to accept, as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API cannot be served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("`{path}` holds no PEM certificate that can be read")]
    Certificate {
        path: Utf8PathBuf,
        source: pem::Error,
    },
    #[error("`{path}` holds no PEM private key that can be read")]
    Key {
        path: Utf8PathBuf,
        source: pem::Error,
    },
    #[error("certificate `{certificate}` and key `{key}` are not a pair that can be used")]
    Pair {
        certificate: Utf8PathBuf,
        key: Utf8PathBuf,
        source: rustls::Error,
    },
    #[error("TLS 1.2 and 1.3 cannot be offered")]
    Protocol(#[source] rustls::Error),
    #[error("the address that is listened on cannot be read")]
    Address(#[source] io::Error),
}

/// The certificates of a PEM file, the server's own first.
pub fn read_certificates(path: &Utf8Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let broken = |source| TlsError::Certificate {
        path: path.to_owned(),
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    if chain.is_empty() {
        return Err(broken(pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// What tells one state of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            inode: found.ino(),
            size: found.size(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
        })
    })
}

/// The pair in use.
struct Pair {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

fn load(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(&files.certificate)?;
    let text = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|source| TlsError::Key {
        path: files.key.clone(),
        source,
    })?;
    // Compares the public keys too: half a rotation is not taken up.
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}

/// Takes up every usable state of the pair; runs for ever.
async fn follow(pair: Arc<Pair>, mut seen: [Option<Stamp>; 2]) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let look = {
            let pair = Arc::clone(&pair);
            // Disks wait, which the network thread must not.
            move || {
                let found = stamps(&pair.files);
                (
                    found,
                    (found != seen).then(|| load(&pair.files, &pair.provider)),
                )
            }
        };
        let Ok((found, loaded)) = tokio::task::spawn_blocking(look).await else {
            continue;
        };
        seen = found;
        let certificate = &pair.files.certificate;
        match loaded {
            None => {}
            Some(Ok(key)) => {
                *pair.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!(%certificate, "the API has a new certificate");
            }
            Some(Err(error)) => {
                tracing::error!(%certificate, error = %crate::chain(&error),
                    "the API keeps its old certificate");
            }
        }
    }
}

/// Connections with TLS done; hand it to `axum::serve`.
#[derive(Debug)]
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, std::net::SocketAddr)>,
    address: std::net::SocketAddr,
    /// Ends with the listener.
    _work: JoinSet<()>,
}

impl TlsListener {
    /// Reads the pair, which must be usable now, and follows its changes. Needs a tokio runtime.
    pub fn new(listener: TcpListener, files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Before the pair is read: a change meanwhile is then seen as one.
        let seen = stamps(files);
        let pair = Arc::new(Pair {
            current: RwLock::new(Arc::new(load(files, &provider)?)),
            files: files.clone(),
            provider: Arc::clone(&provider),
        });
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&pair) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let address = listener.local_addr().map_err(TlsError::Address)?;
        let (done, ready) = mpsc::channel(1);
        let mut work = JoinSet::new();
        work.spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), done));
        work.spawn(follow(pair, seen));
        Ok(Self {
            ready,
            address,
            _work: work,
        })
    }
}

/// Shakes hands with many at once, so that one that is slow holds up nobody.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    done: mpsc::Sender<(TlsStream<TcpStream>, std::net::SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while handshakes.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, done) = (acceptor.clone(), done.clone());
        handshakes.spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Fails when the API ends.
                Ok(Ok(stream)) => drop(done.send((stream, peer)).await),
                // Scanners and browsers that do not trust it do this all day.
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
                Err(_) => tracing::debug!(%peer, "TLS takes too long"),
            }
            drop(place);
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The sender lives as long as this; waiting for ever is what `accept` may do.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
