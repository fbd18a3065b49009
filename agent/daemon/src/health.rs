//! `stakeout-agent health`: the health check of a container, without a shell or a client in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_config::{HttpConfig, TlsFiles};
use anyhow::Context;
use camino::Utf8Path;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The whole check; an engine starts the next one after tens of seconds.
const WITHIN: Duration = Duration::from_secs(3);
/// An answer of `/healthz` has some hundred bytes.
const LARGEST_ANSWER: u64 = 16 * 1024;
const REQUEST: &[u8] = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Asks the agent that runs by the configuration at `path`; an error is why it is not healthy.
pub(crate) async fn agent(path: &Utf8Path) -> anyhow::Result<()> {
    let http = agent_config::read_config(path)?.http;
    let address = near(http.listen);
    within(address, ask(address, &http)).await
}

/// Whether something listens at `address`, a `HOST:PORT`.
pub(crate) async fn listener(address: &str) -> anyhow::Result<()> {
    within(address, async {
        connect(address).await?;
        Ok(())
    })
    .await
}

async fn within(
    address: impl std::fmt::Display,
    check: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::time::timeout(WITHIN, check)
        .await
        .unwrap_or_else(|_| anyhow::bail!("{address} did not answer within {} s", WITHIN.as_secs()))
}

/// How an address that is listened on is reached from the same container.
fn near(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn connect(
    address: impl tokio::net::ToSocketAddrs + std::fmt::Display,
) -> anyhow::Result<TcpStream> {
    let refused = format!("cannot connect to {address}");
    TcpStream::connect(address).await.context(refused)
}

async fn ask(address: SocketAddr, http: &HttpConfig) -> anyhow::Result<()> {
    let stream = connect(address).await?;
    let Some(files) = &http.tls else {
        return judge(stream).await;
    };
    let connector = TlsConnector::from(Arc::new(trusting(files)?));
    let name = ServerName::IpAddress(address.ip().into());
    let stream = connector
        .connect(name, stream)
        .await
        .with_context(|| format!("no TLS with {address}"))?;
    judge(stream).await
}

async fn judge(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    stream
        .write_all(REQUEST)
        .await
        .context("cannot ask the agent")?;
    let mut answer = Vec::new();
    let read = stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    // A server that closes without the end of TLS has still answered.
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        read.context("cannot read the agent's answer")?;
        anyhow::bail!("the agent's answer is not HTTP");
    };
    let status = head.split_ascii_whitespace().nth(1).unwrap_or("no status");
    anyhow::ensure!(
        status == "200",
        "the agent answered {status}: {}",
        body.lines().next().unwrap_or_default()
    );
    Ok(())
}

/// The configured certificate and no other, whatever its names, dates and issuer are: the check
/// asks its own agent, and the agent's clients see to the rest.
fn trusting(files: &TlsFiles) -> anyhow::Result<ClientConfig> {
    let chain = agent_http::read_certificates(&files.certificate)?;
    let own = chain.into_iter().next().context("no certificate")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Only {
        own,
        provider: Arc::clone(&provider),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS cannot be used")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

#[derive(Debug)]
struct Only {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        given: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if given.as_ref() == self.own.as_ref() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "the agent serves another certificate than the configured one".to_owned(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_asked_on_loopback() {
        let near_of = |text: &str| near(text.parse().expect("an address")).to_string();
        assert_eq!(near_of("0.0.0.0:7000"), "127.0.0.1:7000");
        assert_eq!(near_of("[::]:7000"), "[::1]:7000");
        assert_eq!(near_of("10.1.2.3:7000"), "10.1.2.3:7000");
    }
}
