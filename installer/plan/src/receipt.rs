//! What an installation remembers of itself. It holds names and digests, never a secret.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::kubernetes::ObjectId;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::facts::CameraFact;
use crate::plan::Operation;

/// `receipt.json` in the data directory, mode 0600.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Format of this file; 1.
    pub format: u32,
    pub site: String,
    pub target: String,
    /// Counts the completed changes.
    pub revision: u64,
    /// Version of the installer that wrote it.
    pub installer: String,
    /// What completed runs left here.
    pub owned: Owned,
    /// A run that has begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Images that were in force before those of now, for `rollback`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub previous_images: BTreeMap<String, String>,
    /// Bit rates that cameras were measured at, so that a plan need not ask them again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, CameraFact>,
    /// The last proof that a recording travels all the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// Things of a site that the installer made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owned {
    pub directories: BTreeSet<Utf8PathBuf>,
    pub files: BTreeMap<Utf8PathBuf, Digest>,
    /// Names of secret files, `purpose.version`.
    pub secrets: BTreeSet<String>,
    /// Loopback port by service; kept for as long as the service exists.
    pub ports: BTreeMap<String, u16>,
    /// System user that this installation made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Container names, each with the image that it runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<String>,
    /// Objects of a cluster.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub objects: BTreeSet<ObjectId>,
    /// Helm releases, each with its namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub releases: BTreeMap<String, String>,
    /// Addons of a cluster that were turned on for the site; they stay.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addons: BTreeSet<String>,
    /// ID of the image in force, by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// User number of a container target's services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub operation: Operation,
    pub revision: u64,
    pub plan: Digest,
    /// What the run will own when it ends, so that a resumed one knows its ports and its debris.
    pub owned: Owned,
    /// By step, in order.
    pub steps: Vec<(String, StepState)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    Todo,
    Done,
}

/// A recording that was made, kept and read back. Hop times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    pub camera: String,
    /// Where the recording lies.
    pub recording: String,
    pub seconds: f64,
    pub codec: String,
    pub width: u32,
    pub height: u32,
    pub frames: u64,
    pub bytes: u64,
    pub hops: Vec<VerifiedHop>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedHop {
    /// `camera`, `agent`, `vault`, `object`, `event`.
    pub name: String,
    pub ms: u64,
}

/// Image in force, by component.
type Images = BTreeMap<String, String>;

impl Receipt {
    /// The images that a rollback goes to and those that it comes from, by component: a run that
    /// did not end has brought what it was for to some places at least.
    pub fn way_back(&self) -> Option<(&Images, &Images)> {
        let begun = self.pending.as_ref().map(|pending| &pending.owned.images);
        let begun = begun.filter(|begun| !begun.is_empty() && **begun != self.owned.images);
        let (then, now) = match begun {
            Some(begun) => (&self.owned.images, begun),
            None => (&self.previous_images, &self.owned.images),
        };
        (!then.is_empty()).then_some((then, now))
    }

    /// Ports that were given out, also by a run that did not end.
    pub fn ports(&self) -> BTreeMap<String, u16> {
        let mut ports = self.owned.ports.clone();
        if let Some(pending) = &self.pending {
            ports.extend(pending.owned.ports.clone());
        }
        ports
    }
}
