//! Certificates that an owner brings along: from any authority, with a key of any usual form.

use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};

use crate::facts::{Facts, certificates, read_facts};
use crate::{Pair, PkiError};

/// What the certificate says, if a server of ours could show it: the key (PKCS #8, SEC 1 or
/// PKCS #1) is its own. Dates are not looked at.
pub fn check_own(pair: &Pair) -> Result<Facts, PkiError> {
    let facts = read_facts(&pair.certificate)?;
    let chain = certificates(&pair.certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes()).map_err(PkiError::NoKey)?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(facts),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PkiError::OtherKey),
        Err(error) => Err(PkiError::Unusable(error)),
    }
}

/// Whether clients take the first certificate of a text for one of `name`, wildcards included.
pub fn is_for(pem: &str, name: &str) -> Result<bool, PkiError> {
    let der = certificates(pem)?.swap_remove(0);
    let parsed = ParsedCertificate::try_from(&der).map_err(PkiError::Unusable)?;
    let named = ServerName::try_from(name).map_err(|_| PkiError::Name {
        name: name.to_owned(),
    })?;
    Ok(verify_server_name(&parsed, &named).is_ok())
}
