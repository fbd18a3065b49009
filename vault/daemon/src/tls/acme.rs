//! A certificate from an ACME authority (RFC 8555), proved at our own port (RFC 8737), kept on
//! disk and renewed when a third of its time is left.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use camino::{Utf8Path, Utf8PathBuf};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use jiff::Timestamp;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use url::Url;

use super::validity::Validity;
use super::{Certificates, read_pair};
use crate::secret::{make_folder, read_private};

/// Authorities count failures, and some let nobody in for an hour after five of them.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// An order is proved and issued by then.
const PATIENCE: Duration = Duration::from_mins(3);

/// RFC 8555, section 6.7.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// What the configuration says of it.
#[derive(Debug, Clone)]
pub(super) struct Acme {
    pub(super) directory: Url,
    pub(super) domains: Vec<String>,
    pub(super) contact: Vec<String>,
    pub(super) cache: Utf8PathBuf,
    pub(super) ca_file: Option<Utf8PathBuf>,
}

/// The certificate within a cache; the health check knows the vault by it.
pub(crate) fn certificate_path(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("certificate.pem")
}

impl Acme {
    fn key_path(&self) -> Utf8PathBuf {
        self.cache.join("key.pem")
    }

    /// The account is the authority's, and not another one's after the configuration changed.
    fn account_path(&self) -> Utf8PathBuf {
        let host = self.directory.host_str().unwrap_or_default();
        let port = self.directory.port().unwrap_or(443);
        self.cache.join(format!("account-{host}-{port}.json"))
    }

    /// Shows what the cache holds, and keeps it fresh for as long as the process lives.
    pub(super) async fn keep(self, shown: Arc<Certificates>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = match self.cached() {
                Some((pair, validity)) => {
                    shown.show(pair);
                    validity.left(Timestamp::now())
                }
                None => Duration::ZERO,
            };
            // The clock may jump; a look a day costs nothing.
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(Duration::from_hours(24))).await;
                continue;
            }
            let ordered = tokio::time::timeout(PATIENCE, self.order(&shown)).await;
            shown.forget_challenges();
            match ordered.unwrap_or_else(|error| Err(error.into())) {
                Ok(()) => {
                    tracing::info!("got a certificate for {}", self.domains.join(", "));
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    let wait = pause.as_secs();
                    tracing::error!("no certificate: {error:#}; next try in {wait} s");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// What lies in the cache, where it is whole, of our domains, and not over.
    fn cached(&self) -> Option<(CertifiedKey, Validity)> {
        let pair = read_pair(&certificate_path(&self.cache), &self.key_path()).ok()?;
        let certificate = pair.end_entity_cert().ok()?;
        let validity = Validity::read(certificate)?;
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let named = |domain: &String| {
            let name = ServerName::try_from(domain.as_str());
            name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        let ours = self.domains.iter().all(named) && !validity.is_over(Timestamp::now());
        drop(parsed);
        ours.then_some((pair, validity))
    }

    async fn account(&self) -> anyhow::Result<Account> {
        let builder = || match &self.ca_file {
            Some(roots) => Account::builder_with_root(roots.as_std_path())
                .with_context(|| format!("cannot trust what `{roots}` holds")),
            None => Account::builder().context("cannot trust the system's CA certificates"),
        };
        let path = self.account_path();
        if path.exists() {
            let known = read_private(&path)?;
            let known: AccountCredentials = serde_json::from_slice(&known)
                .with_context(|| format!("`{path}` holds no ACME account"))?;
            let account = builder()?.from_credentials(known).await;
            return account.with_context(|| format!("cannot reach {}", self.directory));
        }
        let contact: Vec<_> = self.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = builder()?.create(&new, self.directory.to_string(), None);
        let (account, known) = made
            .await
            .with_context(|| format!("cannot make an account at {}", self.directory))?;
        write_private(&path, &serde_json::to_vec(&known)?)?;
        Ok(account)
    }

    async fn order(&self, shown: &Certificates) -> anyhow::Result<()> {
        make_folder(&self.cache).with_context(|| format!("cannot make `{}`", self.cache))?;
        let account = self.account().await?;
        let identifiers: Vec<_> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let order = account.new_order(&NewOrder::new(&identifiers)).await;
        if let Err(instant_acme::Error::Api(problem)) = &order
            && problem.r#type.as_deref() == Some(NO_ACCOUNT)
        {
            // It was forgotten there; the next try makes another.
            std::fs::remove_file(self.account_path())
                .with_context(|| format!("cannot remove `{}`", self.account_path()))?;
        }
        let mut order = order.with_context(|| format!("{} takes no order", self.directory))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.context("the order has no authorizations")?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .context("the authority does not offer TLS-ALPN-01")?;
            let domain = challenge.identifier().to_string();
            let digest = challenge.key_authorization().digest();
            shown.challenge(&domain, answer(&domain, digest.as_ref())?);
            let ready = challenge.set_ready().await;
            ready.with_context(|| format!("cannot prove `{domain}`"))?;
        }
        let retries = RetryPolicy::new()
            .initial_delay(Duration::from_millis(250))
            .timeout(PATIENCE);
        let status = order.poll_ready(&retries).await?;
        if status != OrderStatus::Ready {
            bail!(
                "{} did not reach us at port 443 of {}",
                self.directory,
                self.domains.join(", ")
            );
        }
        let key = order
            .finalize()
            .await
            .context("the order was not finished")?;
        let chain = order.poll_certificate(&retries).await;
        let chain = chain.context("the certificate was not issued")?;
        // A crash between the two leaves a pair that does not match, and the next start orders anew.
        write_private(&self.key_path(), key.as_bytes())?;
        write_private(&certificate_path(&self.cache), chain.as_bytes())?;
        if self.cached().is_none() {
            bail!(
                "{} issued what is not of our domains, or over",
                self.directory
            );
        }
        Ok(())
    }
}

/// The certificate that proves a domain (RFC 8737, section 3).
fn answer(domain: &str, digest: &[u8]) -> anyhow::Result<CertifiedKey> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate: CertificateDer<'static> = params.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let key = default_provider().key_provider.load_private_key(key)?;
    // Not compared: rustls reads no certificate with that extension, which only authorities know.
    Ok(CertifiedKey::new(vec![certificate], key))
}

/// Writes a file that only we read, whole or not at all.
fn write_private(path: &Utf8Path, data: &[u8]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let new = path.with_extension("new");
        drop(std::fs::remove_file(&new));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        io::Write::write_all(&mut file, data)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write `{path}`"))
}
