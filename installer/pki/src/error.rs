//! Why a certificate could not be made or read.

/// No variant repeats its input: it may have been a key.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("site name `{site}` is too long for a certificate by {excess} characters")]
    SiteTooLong { site: String, excess: usize },
    #[error("`{name}` is neither a DNS name nor an IP address")]
    Name { name: String },
    #[error("a certificate needs at least one name")]
    NoName,
    #[error("the time `{time}` cannot be in a certificate")]
    Time { time: String },
    #[error("the CA's certificate ended at {ended}")]
    AuthorityEnded { ended: jiff::Timestamp },
    #[error("the certificate is not one of a CA")]
    NotAuthority,
    #[error("the text holds no PEM certificate")]
    NoCertificate,
    #[error("the text is not PEM")]
    Pem(#[source] rustls_pki_types::pem::Error),
    #[error("the certificate cannot be read")]
    Certificate(#[source] x509_parser::error::X509Error),
    #[error("the private key cannot be used")]
    Key(#[source] rcgen::Error),
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    #[error("the text holds no PEM private key")]
    NoKey(#[source] rustls_pki_types::pem::Error),
    #[error("a server cannot use the certificate or the key")]
    Unusable(#[source] rustls::Error),
    #[error("the certificate cannot be signed")]
    Sign(#[source] rcgen::Error),
}
