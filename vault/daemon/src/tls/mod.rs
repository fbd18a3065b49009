//! HTTPS: whose certificate is shown, and connections once their handshake is done.

mod acme;
mod files;
mod listener;
mod validity;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use camino::{Utf8Path, Utf8PathBuf};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use vault_api::TlsConfig;

use crate::secret::{SecretError, read_private};

pub(crate) use acme::certificate_path;
pub(crate) use files::follow;
pub(crate) use listener::TlsListener;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificate `{path}`")]
    Certificate {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("certificate `{path}` is no PEM certificate")]
    CertificateForm { path: Utf8PathBuf, source: PemError },
    #[error("certificate `{path}` holds no certificate")]
    Empty { path: Utf8PathBuf },
    #[error("the certificate's key cannot be used")]
    Key(#[from] SecretError),
    #[error("key `{path}` is no PEM private key")]
    KeyForm { path: Utf8PathBuf, source: PemError },
    #[error("certificate `{certificate}` and key `{key}` do not belong together")]
    Pair {
        certificate: Utf8PathBuf,
        key: Utf8PathBuf,
        source: rustls::Error,
    },
}

/// The certificate that connections are shown; it may change while the vault runs.
#[derive(Default)]
pub(crate) struct Certificates {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    /// By domain, while an authority looks for them.
    challenges: RwLock<BTreeMap<String, Arc<CertifiedKey>>>,
}

/// The protocol by which an ACME authority asks (RFC 8737).
pub(crate) const ACME_ALPN: &[u8] = b"acme-tls/1";

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    pub(crate) fn show(&self, key: CertifiedKey) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(key));
    }

    fn challenge(&self, domain: &str, answer: CertifiedKey) {
        let mut challenges = self
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.insert(domain.to_owned(), Arc::new(answer));
    }

    fn forget_challenges(&self) {
        let mut challenges = self
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.clear();
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut asked = hello.alpn().into_iter().flatten();
        if asked.any(|protocol| protocol == ACME_ALPN) {
            let challenges = self
                .challenges
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            return challenges.get(hello.server_name()?).cloned();
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

/// Certificates of a PEM file, the server's own first.
pub(crate) fn read_chain(path: &Utf8Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.to_owned();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(TlsError::Certificate { path, source }),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::Empty { path }),
        Ok(chain) => Ok(chain),
        Err(source) => Err(TlsError::CertificateForm { path, source }),
    }
}

/// Reads a pair and proves that the two belong together.
pub(crate) fn read_pair(certificate: &Utf8Path, key: &Utf8Path) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let private =
        PrivateKeyDer::from_pem_slice(&read_private(key)?).map_err(|source| TlsError::KeyForm {
            path: key.to_owned(),
            source,
        })?;
    CertifiedKey::from_der(chain, private, &default_provider()).map_err(|source| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// Where connections arrive, once their handshakes are done. The certificate is followed for as
/// long as the process lives.
pub(crate) fn listen(config: &TlsConfig, listener: TcpListener) -> anyhow::Result<TlsListener> {
    let certificates = Arc::new(Certificates::default());
    match config {
        TlsConfig::Files { certificate, key } => {
            let stamps = files::stamps(certificate, key);
            certificates.show(read_pair(certificate, key)?);
            let (certificate, key) = (certificate.clone(), key.clone());
            let shown = Arc::clone(&certificates);
            drop(tokio::spawn(follow(certificate, key, stamps, shown)));
        }
        TlsConfig::Acme {
            directory,
            domains,
            contact,
            cache,
            ca_file,
        } => {
            let acme = acme::Acme {
                directory: directory.clone(),
                domains: domains.clone(),
                contact: contact.clone(),
                cache: cache.clone(),
                ca_file: ca_file.clone(),
            };
            drop(tokio::spawn(acme.keep(Arc::clone(&certificates))));
        }
    }
    Ok(TlsListener::new(listener, server_config(certificates)?)?)
}

fn server_config(certificates: Arc<Certificates>) -> anyhow::Result<ServerConfig> {
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), ACME_ALPN.to_vec()];
    // A session that is taken up again shows no certificate, so it would outlive its renewal.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
