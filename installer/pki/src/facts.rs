//! What certificates say.

use std::fmt;
use std::net::IpAddr;

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::{Name, PkiError};

/// SHA-256 over a certificate's DER; shown as browsers show it, `AB:CD:…`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Fingerprint {
    fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// What a plan and a person need to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Common names, empty if there is none.
    pub subject: String,
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// In the certificate's order; names of other kinds are left out.
    pub names: Vec<Name>,
    pub fingerprint: Fingerprint,
    pub is_authority: bool,
}

impl Facts {
    /// Whether it is valid for all of these.
    pub fn covers(&self, names: &[Name]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }
}

/// Reads the first certificate of a PEM text.
pub fn read_facts(pem: &str) -> Result<Facts, PkiError> {
    let der = certificates(pem)?.swap_remove(0);
    facts_of(&der)
}

/// The certificate of `bundle` whose key signed the first one of `pem`, if it is there. Dates are
/// not looked at.
pub fn find_issuer(pem: &str, bundle: &str) -> Result<Option<Fingerprint>, PkiError> {
    let candidates = certificates(bundle)?;
    parse(pem, |leaf| {
        for der in &candidates {
            let authority = decode(der)?;
            if authority.subject() == leaf.issuer()
                && leaf.verify_signature(Some(authority.public_key())).is_ok()
            {
                return Ok(Some(Fingerprint::of(der)));
            }
        }
        Ok(None)
    })
}

/// Whether the last third of its life has begun; or has passed.
pub fn renewal_due(facts: &Facts, now: Timestamp) -> bool {
    let life = facts.not_after.duration_since(facts.not_before);
    now.duration_since(facts.not_before) >= life - life / 3
}

/// One text that trusts each CA of `authorities`, in their order, once, and without those that
/// have ended. An error if one of them is no CA, or none is left.
pub fn trust_bundle(authorities: &[&str], now: Timestamp) -> Result<String, PkiError> {
    let mut seen = Vec::new();
    let mut text = String::new();
    for pem in authorities {
        for der in certificates(pem)? {
            let facts = facts_of(&der)?;
            if !facts.is_authority {
                return Err(PkiError::NotAuthority);
            }
            if facts.not_after > now && !seen.contains(&facts.fingerprint) {
                seen.push(facts.fingerprint);
                text.push_str(&armoured(&der));
            }
        }
    }
    if seen.is_empty() {
        return Err(PkiError::NoCertificate);
    }
    Ok(text)
}

/// All certificates of a text; at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(PkiError::Pem)?;
    if found.is_empty() {
        return Err(PkiError::NoCertificate);
    }
    Ok(found)
}

fn decode(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let (_, x509) =
        X509Certificate::from_der(der).map_err(|error| PkiError::Certificate(error.into()))?;
    Ok(x509)
}

/// Looks at the first certificate of a text.
pub(crate) fn parse<T>(
    pem: &str,
    look: impl FnOnce(&X509Certificate<'_>) -> Result<T, PkiError>,
) -> Result<T, PkiError> {
    let der = certificates(pem)?.swap_remove(0);
    look(&decode(&der)?)
}

fn facts_of(der: &[u8]) -> Result<Facts, PkiError> {
    let x509 = decode(der)?;
    let alternatives = x509
        .subject_alternative_name()
        .map_err(PkiError::Certificate)?;
    let names = alternatives.iter().flat_map(|a| &a.value.general_names);
    Ok(Facts {
        subject: common_name(x509.subject()),
        issuer: common_name(x509.issuer()),
        not_before: time(x509.validity().not_before)?,
        not_after: time(x509.validity().not_after)?,
        names: names.filter_map(name).collect(),
        fingerprint: Fingerprint::of(der),
        is_authority: x509.is_ca(),
    })
}

fn common_name(name: &X509Name<'_>) -> String {
    let found = name.iter_common_name().find_map(|n| n.as_str().ok());
    found.unwrap_or_default().to_owned()
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(dns) => Some(Name::Dns(dns.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| Name::Ip(IpAddr::from(b))),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| Name::Ip(IpAddr::from(b))),
            _ => None,
        },
        _ => None,
    }
}

fn time(time: ASN1Time) -> Result<Timestamp, PkiError> {
    let since = SignedDuration::from_secs(time.timestamp());
    Timestamp::from_duration(since).map_err(|_| PkiError::Time {
        time: time.to_string(),
    })
}

/// RFC 7468: lines of 64 characters.
fn armoured(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    for (i, character) in text.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines + "\n-----END CERTIFICATE-----\n"
}
