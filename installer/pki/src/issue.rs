//! Makes the CA and what it issues.

use std::fmt;

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use time::OffsetDateTime;

use crate::facts::{Facts, parse, read_facts};
use crate::{Name, PkiError};

/// A CA lives longer than the hardware around it; cameras and browsers are told of a new one by
/// hand.
const AUTHORITY_HOURS: i64 = 10 * 365 * 24;
/// Browsers refuse server certificates of more than 825 days from CAs that a user added.
const LEAF_HOURS: i64 = 2 * 365 * 24;
/// Clocks of a site's hosts differ; a certificate made a moment ago is valid on all of them.
const SKEW_HOURS: i64 = 1;
/// Longest common name: RFC 5280, appendix A, `ub-common-name`.
const COMMON_NAME: usize = 64;

/// A PEM text that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(pem: String) -> Self {
        Self(pem)
    }

    /// The text, for the one who stores or uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A certificate and its private key (PKCS #8), both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: String,
    pub key: Secret,
}

/// Makes the internal CA of `site`: ECDSA P-256, ten years, signs server certificates and nothing
/// below another CA.
pub fn make_authority(site: &str, now: Timestamp) -> Result<Pair, PkiError> {
    let name = format!("stakeout {site} internal CA");
    if let Some(excess) = name.chars().count().checked_sub(COMMON_NAME + 1) {
        return Err(PkiError::SiteTooLong {
            site: site.to_owned(),
            excess: excess + 1,
        });
    }
    let mut params = params(&name, now, shifted(now, AUTHORITY_HOURS)?)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(PkiError::Key)?;
    let certificate = params.self_signed(&key).map_err(PkiError::Sign)?;
    Ok(pair(&certificate, &key))
}

/// Issues a server certificate for `names` with a new key: two years, or as long as the CA has.
pub fn issue(authority: &Pair, names: &[Name], now: Timestamp) -> Result<Pair, PkiError> {
    let signer = check_pair(authority)?;
    if !signer.is_authority {
        return Err(PkiError::NotAuthority);
    }
    if signer.not_after <= now {
        return Err(PkiError::AuthorityEnded {
            ended: signer.not_after,
        });
    }
    let first = names.first().ok_or(PkiError::NoName)?.to_string();
    // It is for people: clients look at the alternative names, which have no such limit.
    let common: String = first.chars().take(COMMON_NAME).collect();
    let end = shifted(now, LEAF_HOURS)?.min(signer.not_after);
    let mut params = params(&common, now, end)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A part of the site may also be known by it: the vault, to the site's own database.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.subject_alt_names = names
        .iter()
        .map(alternative)
        .collect::<Result<Vec<_>, _>>()?;
    let signing = KeyPair::from_pem(authority.key.expose()).map_err(PkiError::Key)?;
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificate, signing).map_err(PkiError::Sign)?;
    let key = KeyPair::generate().map_err(PkiError::Key)?;
    let certificate = params.signed_by(&key, &issuer).map_err(PkiError::Sign)?;
    Ok(pair(&certificate, &key))
}

/// What the certificate says, if the key is its own.
pub fn check_pair(pair: &Pair) -> Result<Facts, PkiError> {
    let facts = read_facts(&pair.certificate)?;
    let key = KeyPair::from_pem(pair.key.expose()).map_err(PkiError::Key)?;
    let own = parse(&pair.certificate, |x509| {
        Ok(x509.public_key().raw == key.subject_public_key_info())
    })?;
    if own {
        Ok(facts)
    } else {
        Err(PkiError::OtherKey)
    }
}

fn params(common: &str, now: Timestamp, end: Timestamp) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = date(shifted(now, -SKEW_HOURS)?)?;
    params.not_after = date(end)?;
    Ok(params)
}

fn alternative(name: &Name) -> Result<SanType, PkiError> {
    Ok(match name {
        Name::Ip(ip) => SanType::IpAddress(*ip),
        Name::Dns(dns) => SanType::DnsName(
            dns.as_str()
                .try_into()
                .map_err(|_| PkiError::Name { name: dns.clone() })?,
        ),
    })
}

fn shifted(now: Timestamp, hours: i64) -> Result<Timestamp, PkiError> {
    now.checked_add(hours.hours()).map_err(|_| PkiError::Time {
        time: now.to_string(),
    })
}

/// Certificates have whole seconds.
fn date(time: Timestamp) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| PkiError::Time {
        time: time.to_string(),
    })
}

fn pair(certificate: &Certificate, key: &KeyPair) -> Pair {
    Pair {
        certificate: certificate.pem(),
        key: Secret(key.serialize_pem()),
    }
}
