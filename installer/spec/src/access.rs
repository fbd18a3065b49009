//! The key `access` as it is written; see `document`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::profile::{Access, AccessTls, Acme, Exposure, IssuerKind};

/// Where people and other machines reach the vault: at an address of a machine, or through what
/// leads into a cluster.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged, rename = "Access")]
pub(crate) enum AccessDocument {
    Machine(MachineDocument),
    Cluster(ClusterDocument),
}

/// On a host or a container engine.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "MachineAccess")]
pub(crate) struct MachineDocument {
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

/// In a cluster.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "ClusterAccess")]
pub(crate) struct ClusterDocument {
    /// What leads to the vault; what the cluster has, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ExposureWord")]
    exposure: Option<ExposureWord>,
    /// Class of the load balancer, of the Ingress or of the Gateway; the cluster's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[a-z0-9]([a-z0-9./-]*[a-z0-9])?$"), example = &"nginx")]
    class: Option<String>,
    /// Namespace of the pods that an Ingress or a Gateway sends connections from; the usual one of
    /// its class if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"), example = &"ingress-nginx")]
    namespace: Option<String>,
    /// Where people come in: at 443, or at 30443 of each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", range(min = 1), example = &8443)]
    port: Option<u16>,
    /// DNS names (or IP addresses) by which the vault is called; they stand in its certificate.
    #[schemars(length(min = 1))]
    names: Vec<String>,
    /// Whose certificate is shown.
    #[serde(default, skip_serializing_if = "TlsDocument::is_default")]
    tls: TlsDocument,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum ExposureWord {
    LoadBalancer,
    Ingress,
    Gateway,
    NodePort,
}

/// `internal`: one of the site's own authority. Else files of one's own, an ACME authority, or
/// cert-manager in a cluster.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged, rename = "Tls")]
enum TlsDocument {
    Word(TlsWord),
    Files(FilesDocument),
    Acme(AcmeCertificate),
    Managed(ManagedCertificate),
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

#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ManagedCertificate {
    cert_manager: IssuerDocument,
}

/// An issuer of cert-manager.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Issuer")]
struct IssuerDocument {
    #[schemars(length(min = 1), example = &"letsencrypt")]
    issuer: String,
    /// `Issuer` is one of the site's own namespace.
    #[serde(default)]
    kind: IssuerWord,
}

#[derive(Debug, Default, Clone, Copy, Serialize, JsonSchema)]
#[schemars(inline)]
enum IssuerWord {
    #[default]
    ClusterIssuer,
    Issuer,
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
        let names = access.names.clone();
        let tls = TlsDocument::from(&access.tls);
        if let Some(address) = access.address {
            return Self::Machine(MachineDocument {
                address: address.to_string(),
                names,
                tls,
            });
        }
        let cluster = &access.cluster;
        Self::Cluster(ClusterDocument {
            exposure: cluster.exposure.map(|exposure| match exposure {
                Exposure::LoadBalancer => ExposureWord::LoadBalancer,
                Exposure::Ingress => ExposureWord::Ingress,
                Exposure::Gateway => ExposureWord::Gateway,
                Exposure::NodePort => ExposureWord::NodePort,
            }),
            class: cluster.class.clone(),
            namespace: cluster.namespace.clone(),
            port: cluster.port,
            names,
            tls,
        })
    }
}

impl From<&AccessTls> for TlsDocument {
    fn from(tls: &AccessTls) -> Self {
        match tls {
            AccessTls::Internal => Self::default(),
            AccessTls::Files { certificate, key } => Self::Files(FilesDocument {
                certificate: certificate.to_string(),
                key: key.to_string(),
            }),
            AccessTls::Acme(acme) => Self::Acme(AcmeCertificate { acme: acme.into() }),
            AccessTls::CertManager(issuer) => Self::Managed(ManagedCertificate {
                cert_manager: IssuerDocument {
                    issuer: issuer.name.clone(),
                    kind: match issuer.kind {
                        IssuerKind::ClusterIssuer => IssuerWord::ClusterIssuer,
                        IssuerKind::Issuer => IssuerWord::Issuer,
                    },
                },
            }),
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
