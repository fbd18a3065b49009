//! What a cluster is told to do.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::docker::Component;
use installer_render::kubernetes::{Kind, Object, ObjectId, Release};
use installer_render::{SecretName, SecretOrigin};
use serde::{Deserialize, Serialize};

/// Changes to a cluster. Each can be repeated without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum KubernetesAction {
    /// Server-side apply under our field manager.
    Apply {
        object: Object,
        /// Of a Secret: how each value that is not there yet comes to be, by its key. Values that
        /// are there stay.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secrets: BTreeMap<String, SecretSource>,
        /// UID of one that others have made for the site: what those who made it have said of it
        /// becomes what we have said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adopts: Option<String>,
    },
    /// Takes an object away, if it still is the one with this UID.
    Delete { id: ObjectId, uid: String },
    /// Pods of a Deployment that is as it should be are made anew: they have read once what is new.
    Restart { id: ObjectId },
    /// Keeps in mind what the cameras of these agents do before the agents are replaced; nothing
    /// changes.
    NoteCameras { agents: BTreeMap<String, Watched> },
    /// These agents have been replaced: what they have written until now is of before. Of the
    /// unproven ones nobody knows what they did; they have to do all that they should.
    AwaitCameras {
        agents: BTreeSet<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        unproven: BTreeMap<String, Watched>,
    },
    /// A new authority of the site in one Secret (`ca.crt`, `ca.key`), and the trust in it in a
    /// ConfigMap (`ca.crt`).
    MakeAuthority {
        secret: String,
        trust: String,
        labels: BTreeMap<String, String>,
        /// The same trust for charts: ConfigMap by namespace.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        copies: BTreeMap<String, String>,
    },
    /// A certificate from the authority in Secret `authority`, with a new key, in Secret `secret`
    /// under the keys `certificate` and `key`.
    IssueCertificate {
        service: String,
        names: BTreeSet<String>,
        authority: String,
        secret: String,
        certificate: String,
        key: String,
        labels: BTreeMap<String, String>,
    },
    /// Runs the command that turns an addon of the cluster on.
    EnableAddon { name: String, command: Vec<String> },
    /// The containerd of the only node takes an image of a release in a folder, by its client.
    ImportImage {
        /// As pods name it.
        reference: String,
        component: Component,
        folder: Utf8PathBuf,
        platform: String,
        command: Vec<String>,
    },
    /// Helm installs or changes a release, after its logins lie in its namespace.
    Release {
        release: Release,
        /// Of the release and of the Secret; among them is the digest of what is wanted.
        labels: BTreeMap<String, String>,
    },
    /// Helm takes a release away.
    RemoveRelease { name: String, namespace: String },
    /// The owner's certificate of this fingerprint and its key, as they lie beside the profile, in
    /// Secret `secret`.
    InstallCertificate {
        fingerprint: String,
        secret: String,
        certificate: String,
        key: String,
        labels: BTreeMap<String, String>,
    },
}

impl KubernetesAction {
    /// The objects whose values are made where they lie, each with the keys of its data.
    pub fn made_in_place(&self) -> Vec<(ObjectId, [&str; 2])> {
        let secret = |name: &String| ObjectId::new(Kind::Secret, name);
        match self {
            Self::MakeAuthority {
                secret: own, trust, ..
            } => {
                let keys = ["ca.crt", "ca.key"];
                let trust = ObjectId::new(Kind::ConfigMap, trust);
                vec![(secret(own), keys), (trust, keys)]
            }
            Self::IssueCertificate {
                secret: own,
                certificate,
                key,
                ..
            }
            | Self::InstallCertificate {
                secret: own,
                certificate,
                key,
                ..
            } => vec![(secret(own), [certificate.as_str(), key.as_str()])],
            _ => Vec::new(),
        }
    }
}

/// The cameras of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watched {
    pub cameras: BTreeSet<String>,
    /// Those that record all the time.
    pub continuous: BTreeSet<String>,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSource {
    pub name: SecretName,
    pub origin: SecretOrigin,
    /// Key of the profile's login that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The secret of the same object that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}
