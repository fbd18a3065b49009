//! The key `cluster` as it is written; see `document`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::document::is_default;
use crate::profile::{Addons, ClusterMeans};

#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Cluster")]
pub(crate) struct ClusterDocument {
    /// Addons that the site needs and the cluster has turned off. `tell`: names them. `enable`:
    /// turns them on by the cluster's own command (MicroK8s); they stay on when the site goes.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "tell"))]
    addons: AddonsWord,
    /// Addresses of the network that a load balancer of an addon may give away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"192.168.1.240-192.168.1.250")]
    addresses: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum AddonsWord {
    #[default]
    Tell,
    Enable,
}

impl From<&ClusterMeans> for ClusterDocument {
    fn from(cluster: &ClusterMeans) -> Self {
        Self {
            addons: match cluster.addons {
                Addons::Tell => AddonsWord::Tell,
                Addons::Enable => AddonsWord::Enable,
            },
            addresses: cluster.addresses.clone(),
        }
    }
}
