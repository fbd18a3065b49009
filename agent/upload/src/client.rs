//! The HTTP client of one vault, made anew when the bundle of those it trusts changes.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agent_config::UploadConfig;
use camino::{Utf8Path, Utf8PathBuf};

const CONNECT: Duration = Duration::from_secs(5);

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read trust bundle `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("trust bundle `{path}` is not PEM certificates that can be used")]
    Bundle {
        path: Utf8PathBuf,
        source: reqwest::Error,
    },
    #[error("trust bundle `{path}` holds no certificate")]
    Empty { path: Utf8PathBuf },
    #[error("this system's trusted certificates cannot be used")]
    System(#[source] reqwest::Error),
}

/// What tells one state of the bundle from the next: inode, size, modification time.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug)]
struct Made {
    client: reqwest::Client,
    bundle: Option<Stamp>,
}

/// Gives a client that trusts what the bundle says now.
#[derive(Debug)]
pub(crate) struct Clients {
    scheme: Scheme,
    proxy: Proxy,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
enum Scheme {
    Http,
    /// With the bundle, if it is not the system's roots.
    Https(Option<Utf8PathBuf>),
}

#[derive(Debug, Clone, Copy)]
enum Proxy {
    Environment,
    Never,
}

impl Clients {
    pub(crate) fn new(config: &UploadConfig) -> Self {
        let local = config.url.host_str().is_some_and(|h| {
            let bare = h.trim_start_matches('[').trim_end_matches(']');
            bare == "localhost"
                || bare
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        });
        Self {
            scheme: if config.url.scheme() == "http" {
                Scheme::Http
            } else {
                Scheme::Https(config.ca_file.clone())
            },
            proxy: if local {
                Proxy::Never
            } else {
                Proxy::Environment
            },
            made: Mutex::default(),
        }
    }

    /// The client of before while the bundle is as it was, or is broken now.
    pub(crate) fn current(&self) -> Result<reqwest::Client, ClientError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = match &self.scheme {
            Scheme::Https(Some(path)) => stamp(path),
            _ => None,
        };
        if let Some(made) = made.as_ref().filter(|made| made.bundle == bundle) {
            return Ok(made.client.clone());
        }
        match (self.make(), made.as_mut()) {
            (Ok(client), _) => {
                *made = Some(Made {
                    client: client.clone(),
                    bundle,
                });
                Ok(client)
            }
            (Err(error), Some(old)) => {
                tracing::error!(error = %crate::chain(&error), "the old trust bundle stays in use");
                // Said once for each change.
                old.bundle = bundle;
                Ok(old.client.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn make(&self) -> Result<reqwest::Client, ClientError> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("stakeout-agent/", env!("CARGO_PKG_VERSION")))
            // Account keys go to the configured vault and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if matches!(self.proxy, Proxy::Never) {
            client = client.no_proxy();
        }
        match &self.scheme {
            // A minimal system has no certificates, and this address needs none.
            Scheme::Http => client = client.tls_certs_only([]),
            Scheme::Https(None) => {}
            Scheme::Https(Some(path)) => {
                let certificates = read_bundle(path)?;
                return client
                    .tls_certs_only(certificates)
                    .build()
                    .map_err(|source| ClientError::Bundle {
                        path: path.clone(),
                        source,
                    });
            }
        }
        client.build().map_err(ClientError::System)
    }
}

fn read_bundle(path: &Utf8Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let path = path.to_owned();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(ClientError::Read { path, source }),
    };
    match reqwest::Certificate::from_pem_bundle(&text) {
        Ok(found) if found.is_empty() => Err(ClientError::Empty { path }),
        Ok(found) => Ok(found),
        Err(source) => Err(ClientError::Bundle { path, source }),
    }
}

fn stamp(path: &Utf8Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}
