//! One object of a cluster, and what addresses it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kinds that a site is made of, in the order in which they are applied; removal goes backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Namespace,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    ResourceQuota,
    ServiceAccount,
    NetworkPolicy,
    Secret,
    ConfigMap,
    PersistentVolumeClaim,
    Certificate,
    Service,
    Ingress,
    TlsRoute,
    PodDisruptionBudget,
    PodMonitor,
    PrometheusRule,
    Deployment,
}

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::Namespace,
        Self::ValidatingAdmissionPolicy,
        Self::ValidatingAdmissionPolicyBinding,
        Self::ResourceQuota,
        Self::ServiceAccount,
        Self::NetworkPolicy,
        Self::Secret,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::Certificate,
        Self::Service,
        Self::Ingress,
        Self::TlsRoute,
        Self::PodDisruptionBudget,
        Self::PodMonitor,
        Self::PrometheusRule,
        Self::Deployment,
    ];

    /// As manifests have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ValidatingAdmissionPolicy => "ValidatingAdmissionPolicy",
            Self::ValidatingAdmissionPolicyBinding => "ValidatingAdmissionPolicyBinding",
            Self::ResourceQuota => "ResourceQuota",
            Self::ServiceAccount => "ServiceAccount",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Certificate => "Certificate",
            Self::Service => "Service",
            Self::Ingress => "Ingress",
            Self::TlsRoute => "TLSRoute",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::PodMonitor => "PodMonitor",
            Self::PrometheusRule => "PrometheusRule",
            Self::Deployment => "Deployment",
        }
    }

    /// As URLs of the API and rules of RBAC have it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::ValidatingAdmissionPolicy => "validatingadmissionpolicies",
            Self::ValidatingAdmissionPolicyBinding => "validatingadmissionpolicybindings",
            Self::ResourceQuota => "resourcequotas",
            Self::ServiceAccount => "serviceaccounts",
            Self::NetworkPolicy => "networkpolicies",
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::Certificate => "certificates",
            Self::Service => "services",
            Self::Ingress => "ingresses",
            Self::TlsRoute => "tlsroutes",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::PodMonitor => "podmonitors",
            Self::PrometheusRule => "prometheusrules",
            Self::Deployment => "deployments",
        }
    }

    /// API group; empty for the core one.
    pub fn group(self) -> &'static str {
        match self {
            Self::ValidatingAdmissionPolicy | Self::ValidatingAdmissionPolicyBinding => {
                "admissionregistration.k8s.io"
            }
            Self::NetworkPolicy | Self::Ingress => "networking.k8s.io",
            Self::Certificate => "cert-manager.io",
            Self::TlsRoute => "gateway.networking.k8s.io",
            Self::PodDisruptionBudget => "policy",
            Self::PodMonitor | Self::PrometheusRule => "monitoring.coreos.com",
            Self::Deployment => "apps",
            Self::Namespace
            | Self::ResourceQuota
            | Self::ServiceAccount
            | Self::Secret
            | Self::ConfigMap
            | Self::PersistentVolumeClaim
            | Self::Service => "",
        }
    }

    /// All of them are served as `v1`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    /// Somebody has to have taught it to the cluster.
    pub fn is_extension(self) -> bool {
        matches!(
            self,
            Self::Certificate | Self::TlsRoute | Self::PodMonitor | Self::PrometheusRule
        )
    }

    pub fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::ValidatingAdmissionPolicy
                | Self::ValidatingAdmissionPolicyBinding
        )
    }
}

/// What addresses an object of a site: those with a namespace are in the site's own. Written as
/// `Kind/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectId {
    pub kind: Kind,
    pub name: String,
}

impl ObjectId {
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ObjectId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once('/');
        let known = parts.and_then(|(kind, name)| {
            let kind = Kind::ALL.into_iter().find(|one| one.name() == kind)?;
            Some(Self::new(kind, name))
        });
        known.ok_or_else(|| format!("`{text}` names no object of a site"))
    }
}

/// An object as it is wanted: everything that we say of it, and nothing else.
///
/// It is kept as text: as values ten thousand Deployments take half a gigabyte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub id: ObjectId,
    /// JSON of the whole manifest, with `apiVersion`, `kind` and `metadata`. In the `data` of a
    /// Secret a `null` is the place of a value that is made or kept where it lies, under the
    /// [`SecretName`](crate::SecretName) that is its key.
    manifest: String,
}

impl Object {
    pub fn new(id: ObjectId, manifest: &Value) -> Self {
        Self {
            id,
            manifest: manifest.to_string(),
        }
    }

    /// The manifest.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.manifest).unwrap_or_default()
    }
}
