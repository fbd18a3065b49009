//! What all brokers need: an address, who we are, and whom we trust.

use std::sync::Arc;

use base64::Engine;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

/// Where a broker is and how it lets us in.
#[derive(Clone)]
pub struct Broker {
    /// Of the integration.
    pub name: String,
    pub url: Url,
    pub credentials: Option<Credentials>,
    /// PEM of the roots to trust instead of the system's.
    pub roots: Option<Vec<u8>>,
}

#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Why nobody could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("the file of its authority is no PEM")]
    Pem(#[source] PemError),
    #[error("the system has no CA certificates, and no file of its authority is given")]
    None,
    #[error("the roots to trust cannot be used")]
    Use(#[from] rustls::Error),
}

impl Broker {
    pub(crate) fn host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Where we connect to, for people.
    pub(crate) fn address(&self, port: u16) -> String {
        let port = self.url.port().unwrap_or(port);
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, RootsError> {
        let found = match &self.roots {
            Some(pem) => CertificateDer::pem_slice_iter(pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(RootsError::Pem)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        if found.is_empty() {
            return Err(RootsError::None);
        }
        Ok(found)
    }

    pub(crate) fn roots_pem(&self) -> Result<String, RootsError> {
        let mut text = String::new();
        for root in self.roots()? {
            let body = base64::engine::general_purpose::STANDARD.encode(root);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            // RFC 7468, section 2: lines of 64 characters.
            for line in body.as_bytes().chunks(64) {
                text.push_str(&String::from_utf8_lossy(line));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        Ok(text)
    }

    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, RootsError> {
        let mut store = RootCertStore::empty();
        // A system's bundle may hold what nobody understands any more.
        let (good, _) = store.add_parsable_certificates(self.roots()?);
        if good == 0 {
            return Err(RootsError::None);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}
