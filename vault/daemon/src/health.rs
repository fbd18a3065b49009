//! `stakeout-vault health`: asks the vault of a configuration how it is, as its container does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vault_api::{TlsConfig, VaultConfig, read_config};

use crate::tls::{certificate_path, read_chain};

const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries while the files and the living process hold different certificates.
const PAUSE: Duration = Duration::from_millis(250);
/// More than any answer of ours.
const ANSWER_MAX: u64 = 16 << 10;

pub(crate) fn health(config: &Utf8Path) -> anyhow::Result<()> {
    let config = read_config(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make an event loop")?;
    let mut last = None;
    let asked = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            loop {
                match ask(&config).await {
                    // A certificate was renewed, and the vault looks at its files soon.
                    Err(error) if is_other_certificate(&error) => last = Some(error),
                    asked => return asked,
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await
    });
    match asked {
        Ok(asked) => asked,
        Err(_) => Err(last.unwrap_or_else(|| {
            anyhow::anyhow!("no answer from {} in {PATIENCE:?}", address(&config))
        })),
    }
}

/// Where this machine reaches a vault that may listen everywhere.
fn address(config: &VaultConfig) -> SocketAddr {
    let ip = match config.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, config.listen.port())
}

async fn ask(config: &VaultConfig) -> anyhow::Result<()> {
    let address = address(config);
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let answer = match &config.tls {
        None => request(stream).await,
        Some(tls) => {
            let expected = expected(tls)?;
            let name = ServerName::from(address.ip());
            let connector = TlsConnector::from(Arc::new(only(expected)?));
            let stream = connector
                .connect(name, stream)
                .await
                .with_context(|| format!("no handshake with {address}"))?;
            request(stream).await
        }
    };
    let answer = answer.with_context(|| format!("no answer from {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{address} answered {status}: {}", body.trim());
    }
    Ok(())
}

async fn request(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_MAX).read_to_end(&mut answer).await {
        // TLS without a farewell; the answer's status is there all the same.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The certificate that the vault is to show.
fn expected(tls: &TlsConfig) -> anyhow::Result<CertificateDer<'static>> {
    let path: Utf8PathBuf = match tls {
        TlsConfig::Files { certificate, .. } => certificate.clone(),
        TlsConfig::Acme { cache, .. } => certificate_path(cache),
    };
    let chain = read_chain(&path)?;
    chain
        .into_iter()
        .next()
        .context("the certificate is missing")
}

fn only(expected: CertificateDer<'static>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let verifier = Only {
        expected,
        provider: Arc::clone(&provider),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn is_other_certificate(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref());
    let inner = io.and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref()) == Some(&OTHER)
}

const OTHER: RustlsError =
    RustlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure);

/// Trusts one certificate, whatever names it holds and whoever signed it.
#[derive(Debug)]
struct Only {
    expected: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        if *shown == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(OTHER)
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}
