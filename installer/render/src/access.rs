//! The vault's second listener, and the files of its certificate.

use camino::Utf8PathBuf;
use installer_spec::{AccessTls, Profile};
use std::collections::{BTreeMap, BTreeSet};
use vault_api::{PublicConfig, TlsConfig};

use crate::configuration::Placement;
use crate::docker::certificate_files;

/// The certificate that others are shown lies in a folder of this name, beside those of services.
pub const ACCESS: &str = "access";
/// In that folder: the roots of an ACME authority.
pub const ACME_ROOTS: &str = "authority.crt";
/// In that folder: what the vault got from one. It writes there by itself.
pub const ACME_CERTIFICATE: &str = "certificate.pem";

/// What others are shown by the site's own authority: [`ACCESS`] with its names, or nothing.
pub fn access_certificate(profile: &Profile) -> BTreeMap<String, BTreeSet<String>> {
    let internal = |access: &&installer_spec::Access| access.tls == AccessTls::Internal;
    let access = profile.access.as_ref().filter(internal);
    access
        .map(|access| (ACCESS.to_owned(), access.all_names()))
        .into_iter()
        .collect()
}

/// The folder in which the vault keeps what an authority gave it; absent where it asks none.
pub(crate) fn acme_folder(place: &impl Placement) -> Option<Utf8PathBuf> {
    let access = place.profile().access.as_ref()?;
    matches!(access.tls, AccessTls::Acme(_)).then(|| place.access_folder())
}

pub(crate) fn public(place: &impl Placement) -> Option<PublicConfig> {
    let access = place.profile().access.as_ref()?;
    let listen = place.public(access)?;
    let folder = place.access_folder();
    let tls = match &access.tls {
        AccessTls::Internal | AccessTls::Files { .. } | AccessTls::CertManager(_) => {
            let files = certificate_files(ACCESS);
            TlsConfig::Files {
                certificate: folder.join(files.certificate),
                key: folder.join(files.key),
            }
        }
        AccessTls::Acme(acme) => TlsConfig::Acme {
            directory: acme.directory.clone(),
            domains: access.names.clone(),
            contact: acme.email.iter().map(|e| format!("mailto:{e}")).collect(),
            ca_file: acme.ca_file.as_ref().map(|_| folder.join(ACME_ROOTS)),
            cache: folder,
        },
    };
    Some(PublicConfig { listen, tls })
}
