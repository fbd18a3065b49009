//! The site's authority and what it issues, wherever a target keeps the files.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use installer_pki::{
    Name, Pair, PkiError, Secret, check_pair, find_issuer, read_facts, renewal_due,
};
use installer_plan::{CertificateFact, CertificateFacts};
use installer_render::docker::certificate_files;
use installer_render::{ACCESS, ACME_CERTIFICATE, Layout};
use jiff::Timestamp;

use crate::port::{EffectError, ErrorKind};

/// Of a certificate and of its key.
pub type Paths = (Utf8PathBuf, Utf8PathBuf);

/// Texts of files by path.
pub type Texts = BTreeMap<Utf8PathBuf, String>;

/// Judges what is kept, where `layout` says.
pub fn facts(texts: &Texts, layout: &Layout) -> CertificateFacts {
    let now = Timestamp::now();
    let authority = read_pair(texts, &authority_paths(&layout.authority()));
    let trusted = authority.as_ref().is_some_and(|pair| {
        texts
            .get(&layout.trust().join("ca.crt"))
            .is_some_and(|bundle| bundle.contains(pair.certificate.trim()))
    });
    let sound = authority
        .as_ref()
        .and_then(|pair| check_pair(pair).ok())
        .is_some_and(|facts| facts.is_authority && !renewal_due(&facts, now));
    let mut services = BTreeMap::new();
    let folders = texts.keys().filter_map(|path| path.parent());
    let folders: BTreeSet<_> = folders
        .filter(|folder| folder.parent() == Some(&layout.tls()))
        .collect();
    for folder in folders {
        let service = folder.file_name().unwrap_or_default();
        let mut paths = paths(folder, service);
        if service == ACCESS && !texts.contains_key(&paths.0) {
            paths.0 = folder.join(ACME_CERTIFICATE);
        }
        if let Some(fact) = leaf(texts, &paths, authority.as_ref(), now) {
            services.insert(service.to_owned(), fact);
        }
    }
    CertificateFacts {
        authority: sound && trusted,
        services,
    }
}

fn paths(folder: &Utf8Path, service: &str) -> Paths {
    let files = certificate_files(service);
    (folder.join(files.certificate), folder.join(files.key))
}

/// The pair that others are shown, where the installer brought it.
pub fn shown_to_others(texts: &Texts, layout: &Layout) -> Option<Pair> {
    let folder = layout.certificate(ACCESS);
    read_pair(texts, &paths(&folder, ACCESS))
}

fn leaf(
    texts: &Texts,
    paths: &Paths,
    authority: Option<&Pair>,
    now: Timestamp,
) -> Option<CertificateFact> {
    let certificate = texts.get(&paths.0)?;
    let facts = read_facts(certificate).ok()?;
    let whole = read_pair(texts, paths).is_some_and(|pair| check_pair(&pair).is_ok());
    let issued = authority
        .is_some_and(|ca| matches!(find_issuer(certificate, &ca.certificate), Ok(Some(_))));
    Some(CertificateFact {
        names: facts.names.iter().map(ToString::to_string).collect(),
        good: whole && issued && !renewal_due(&facts, now),
        fingerprint: facts.fingerprint.to_string(),
        not_after: facts.not_after.to_string(),
    })
}

/// Where an authority lies in its folder.
pub fn authority_paths(folder: &Utf8Path) -> Paths {
    (folder.join("ca.crt"), folder.join("ca.key"))
}

fn read_pair(texts: &Texts, (certificate, key): &Paths) -> Option<Pair> {
    Some(Pair {
        certificate: texts.get(certificate)?.clone(),
        key: Secret::new(texts.get(key)?.clone()),
    })
}

/// A new authority.
pub fn make_authority(site: &str) -> Result<Pair, EffectError> {
    installer_pki::make_authority(site, Timestamp::now())
        .map_err(|error| failed("make the site's certificate authority", error))
}

/// The new authority and, for as long as they are valid, those that were trusted before.
pub fn trust(new: &Pair, kept: Option<&str>) -> Result<String, EffectError> {
    let bundles: Vec<&str> = std::iter::once(new.certificate.as_str())
        .chain(kept)
        .collect();
    installer_pki::trust_bundle(&bundles, Timestamp::now())
        .map_err(|error| failed("make the trust bundle", error))
}

/// A new certificate with a new key.
pub fn issue(
    authority: &Pair,
    service: &str,
    names: &BTreeSet<String>,
) -> Result<Pair, EffectError> {
    let failed = |error| failed(&format!("issue the certificate of `{service}`"), error);
    let names: Result<Vec<Name>, _> = names.iter().map(|name| name.parse()).collect();
    installer_pki::issue(authority, &names.map_err(failed)?, Timestamp::now()).map_err(failed)
}

/// The owner's pair, if it is the one that was planned.
pub fn planned(own: Option<&Pair>, fingerprint: &str) -> Result<Pair, EffectError> {
    let is_it = |pair: &&Pair| {
        read_facts(&pair.certificate).is_ok_and(|f| f.fingerprint.to_string() == fingerprint)
    };
    own.filter(is_it).cloned().ok_or_else(|| {
        let operation = "the certificate beside the profile is not the planned one";
        EffectError::new(ErrorKind::Conflict, operation)
    })
}

/// The site's authority, out of what is kept; the one that issues.
pub fn authority(texts: &Texts, folder: &Utf8Path) -> Result<Pair, EffectError> {
    read_pair(texts, &authority_paths(folder)).ok_or_else(|| {
        let operation = "the site's certificate authority is gone";
        EffectError::new(ErrorKind::Conflict, operation)
    })
}

fn failed(operation: &str, error: PkiError) -> EffectError {
    EffectError::new(ErrorKind::Environment, format!("cannot {operation}")).because(error)
}
