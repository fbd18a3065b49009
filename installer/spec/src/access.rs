//! The key `access` as it is written; see `document`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::profile::{Access, AccessTls, Acme};

/// Where people and other machines reach the vault.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Access")]
pub(crate) struct AccessDocument {
    /// IP address and port of this machine; nothing else is published.
    #[schemars(regex(pattern = "^([0-9.]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$"), example = &"192.168.1.5:8443")]
    address: String,
    /// Further names in the certificate: DNS names or IP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    /// Whose certificate is shown.
    #[serde(default, skip_serializing_if = "TlsDocument::is_default")]
    tls: TlsDocument,
}

/// `internal`: one of the site's own authority. Else files of one's own, or an ACME authority.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged, rename = "Tls")]
enum TlsDocument {
    Word(TlsWord),
    Files(FilesDocument),
    Acme(AcmeCertificate),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum TlsWord {
    #[default]
    Internal,
}

/// PEM files, relative to the profile's folder; read again by each run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "OwnCertificate")]
struct FilesDocument {
    /// The certificate, then what leads to its root.
    #[schemars(length(min = 1), example = &"own.crt")]
    certificate: String,
    #[schemars(length(min = 1), example = &"own.key")]
    key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcmeCertificate {
    acme: AcmeDocument,
}

/// An authority (RFC 8555) that proves the names at port 443 (TLS-ALPN-01).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Acme")]
struct AcmeDocument {
    #[schemars(regex(pattern = "^[hH][tT][tT][pP][sS]:"), example = &"https://acme-v02.api.letsencrypt.org/directory")]
    directory: String,
    /// Whom the authority tells of what goes wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "@"))]
    email: Option<String>,
    /// PEM of the roots of a private authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    ca_file: Option<String>,
}

impl TlsDocument {
    fn is_default(&self) -> bool {
        matches!(self, Self::Word(_))
    }
}

impl Default for TlsDocument {
    fn default() -> Self {
        Self::Word(TlsWord::default())
    }
}

impl From<&Access> for AccessDocument {
    fn from(access: &Access) -> Self {
        Self {
            address: access.address.to_string(),
            names: access.names.clone(),
            tls: match &access.tls {
                AccessTls::Internal => TlsDocument::default(),
                AccessTls::Files { certificate, key } => TlsDocument::Files(FilesDocument {
                    certificate: certificate.to_string(),
                    key: key.to_string(),
                }),
                AccessTls::Acme(acme) => TlsDocument::Acme(AcmeCertificate { acme: acme.into() }),
            },
        }
    }
}

impl From<&Acme> for AcmeDocument {
    fn from(acme: &Acme) -> Self {
        Self {
            directory: acme.directory.to_string(),
            email: acme.email.clone(),
            ca_file: acme.ca_file.as_ref().map(ToString::to_string),
        }
    }
}
