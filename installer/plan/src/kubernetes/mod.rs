//! The Kubernetes target: the site as objects of one namespace.

mod action;
mod addon;
mod capacity;
mod checks;
mod conflict;
mod entrance;
mod facts;
mod flavour;
mod images;
mod import;
mod install;
mod quantity;
mod receipt;
mod rehearsal;
mod release;
mod rights;
mod seen;
mod uninstall;
mod volume;
mod waves;

pub use action::{KubernetesAction, SecretSource, Watched};
pub use addon::{AddonFacts, AddonMarket, Brings, Offer};
pub use conflict::{Answer, Conflict, Conflicts};
pub use entrance::entrance;
pub use facts::{
    ChartFact, Cluster, GatewayFact, ImageWay, IngressClassFact, KubernetesFacts, NodeFact,
    ObjectFact, ReleaseFact, Room, StorageClassFact, Ways,
};
#[cfg(test)]
use flavour::flavours;
pub use flavour::{Flavour, Judgement, Signs, importer, judge, telling_labels};
pub use images::{ImageAnswer, images_to_ask_for, with_images};
pub use install::{further_names, names, objects, plan, releases};
pub use quantity::{milli, units};
pub use receipt::with_receipt;
pub use rehearsal::{FieldChange, Hand, Rehearsal, Rehearsals, Values, rehearsed, to_rehearse};
pub use release::DIGEST_LABEL;
pub use rights::{Right, installer_rights, minimal_roles, workload_accounts, workload_rights};
pub use seen::changed_since;
pub use uninstall::plan_uninstall;
pub use waves::{Wave, wave_of};

pub use installer_render::kubernetes::{TRUST, certificate_secret};

use installer_render::SecretName;
use installer_render::kubernetes::Kind;
use serde_json::Value;

use crate::digest::{Digest, digest_of};

/// The name under which the cluster notes what we have said of an object.
pub const FIELD_MANAGER: &str = "stakeout";

/// Secret that holds the receipt, gzipped, under [`RECEIPT_KEY`].
pub const RECEIPT: &str = "stakeout-receipt";
pub const RECEIPT_KEY: &str = "receipt.json.gz";
/// What a receipt may take: a Secret holds one mebibyte, and while steps are ticked off it packs a
/// little worse than before the first.
pub const RECEIPT_MAX: usize = (1 << 20) - (1 << 16);
/// The Lease that one run at a time holds.
pub const LEASE: &str = "stakeout-run";
/// Secret of the site's own authority, which nothing mounts.
pub const AUTHORITY: &str = "stakeout-authority";

/// The site's namespace.
pub fn namespace(site: &str) -> String {
    format!("stakeout-{site}")
}

/// Digest of what is said of an object, or of what an object has of it: address left out, and the
/// values of secrets, so that both can be compared.
pub fn applied_digest(kind: Kind, value: &Value) -> Digest {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("name");
            metadata.remove("namespace");
        }
        if kind == Kind::Secret
            && let Some(data) = object.get_mut("data").and_then(Value::as_object_mut)
        {
            for (key, value) in data {
                if SecretName::parse(key).is_some() {
                    *value = Value::Null;
                }
            }
        }
    }
    digest_of(&value)
}
