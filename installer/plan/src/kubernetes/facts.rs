//! What was observed at a cluster, before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use installer_render::docker::Component;
use installer_render::kubernetes::{Kind, ObjectId};
use serde::{Deserialize, Serialize};

use super::{AddonFacts, Signs};
use crate::access::AccessFacts;
use crate::certificate::CertificateFacts;
use crate::check::Finding;
use crate::digest::Digest;
use crate::docker::{ImageFact, Ownership};
use crate::facts::{CameraFact, SecretFact};
use crate::receipt::Receipt;

/// Everything that planning for a cluster may know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KubernetesFacts {
    pub cluster: Cluster,
    /// Kinds that the cluster does not know, or does not let us see.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unserved: BTreeSet<Kind>,
    pub namespace: String,
    /// Told apart from other installations of a site of this name: read from what is there, else
    /// made up for a first one.
    pub installation: String,
    /// Everything with the label of this site, and whatever else has the name of an object of it.
    pub objects: BTreeMap<ObjectId, ObjectFact>,
    /// Addresses and names that load balancers have given to the site.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub given: BTreeSet<String>,
    /// By purpose.
    pub secrets: BTreeMap<String, SecretFact>,
    pub missing_logins: BTreeMap<String, String>,
    pub certificates: CertificateFacts,
    /// No more of it than what lies beside the profile.
    #[serde(default)]
    pub access: AccessFacts,
    pub images: BTreeMap<Component, ImageFact>,
    /// How our own images come to the nodes; absent where they come from a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_way: Option<ImageWay>,
    pub receipt: Option<Receipt>,
    /// Secrets that the owner wants anew, by purpose.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rotate: BTreeSet<String>,
    pub cameras: BTreeMap<String, CameraFact>,
    /// Charts of the profile by name, or why one cannot be had; nothing is known where Helm is absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub charts: BTreeMap<String, Result<ChartFact, Finding>>,
    /// Releases of this site, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub releases: BTreeMap<String, ReleaseFact>,
    #[serde(default)]
    pub addons: AddonFacts,
}

/// How images come to nodes without a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageWay {
    /// The only node is this machine, and its containerd takes them.
    Import {
        node: String,
        /// Its client.
        command: Vec<String>,
        /// Why that is believed.
        signs: Vec<String>,
        /// Names by digest of what it has.
        held: BTreeSet<String>,
    },
    /// Not at all, and why.
    None { reason: String },
}

/// A chart that can be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartFact {
    pub version: String,
    /// What is in it; absent where the version says it, as it does in a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A release as Helm has noted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFact {
    pub namespace: String,
    pub revision: u64,
    /// `deployed`, `failed`, `pending-upgrade` and others.
    pub status: String,
    /// Digest of what was wanted; absent where somebody else changed it last.
    pub digest: Option<String>,
    /// Every workload of its namespace is as ready as it is meant to be.
    pub ready: bool,
    /// Claims that Helm removes with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub claims: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// UID of the namespace `kube-system`.
    pub id: String,
    /// What tells its flavour; version, context and address among it.
    pub signs: Signs,
    pub nodes: BTreeMap<String, NodeFact>,
    pub storage_classes: BTreeMap<String, StorageClassFact>,
    #[serde(default)]
    pub ways: Ways,
}

/// What may lead connections into a cluster from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ways {
    /// API groups that the cluster serves.
    pub groups: BTreeSet<String>,
    pub ingress_classes: BTreeMap<String, IngressClassFact>,
    /// Those that pass TLS on and take routes of other namespaces.
    pub gateways: Vec<GatewayFact>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressClassFact {
    pub default: bool,
    pub controller: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayFact {
    pub namespace: String,
    pub name: String,
    /// Of its class.
    pub controller: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFact {
    /// `linux/amd64`
    pub platform: String,
    /// Ready, and takes pods without a toleration.
    pub usable: bool,
    /// What may be taken in all, and how much of it others have asked for: this site's own pods are
    /// left out.
    pub room: Room,
    pub taken: Room,
}

/// An amount of what a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    pub pods: u64,
    pub cpu_milli: u64,
    pub memory_bytes: u64,
    pub ephemeral_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageClassFact {
    pub default: bool,
    pub provisioner: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFact {
    pub uid: String,
    pub ownership: Ownership,
    /// Digest ([`applied_digest`](super::applied_digest)) of the fields that our manager owns, with
    /// the values that they have; absent where it owns none.
    pub applied: Option<Digest>,
    /// Other managers that have taken fields of ours, or brought in what we do not say, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<String>,
    /// Not ours yet, and made for this site by somebody else: it has the label of the site and of no
    /// installation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offered: bool,
    /// Counts the changes of what is wanted of it, where the cluster does.
    #[serde(default)]
    pub generation: i64,
    /// It is being removed already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
    /// Of a claim: what it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// Of a Deployment: it is as ready as it is meant to be.
    #[serde(default)]
    pub ready: bool,
    /// When its content was changed last, or of a Deployment what its pods are made from, whoever did
    /// it: RFC 3339 by the cluster's clock, in whole seconds. Known of certificates, and of those who
    /// read them once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// Of a Deployment: what its first container is told to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}
