//! The key `charts` as it is written; see `document`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::document::{CredentialsDocument, credentials_document};
use crate::profile::{Chart, ChartSource, Reachable};

/// A Helm chart in a namespace of its own, `stakeout-SITE-NAME`. What it is told of the site is in
/// `global.stakeout`: `site`, `namespace`, and under `secrets` by name where each login is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Chart")]
pub(crate) struct ChartDocument {
    /// The release's name: a-z, 0-9 and inner dashes.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"), length(max = 40), example = &"hub")]
    name: String,
    /// A folder or an archive, or `oci://HOST/PATH`.
    #[schemars(length(min = 1), example = &"oci://charts.example.org/hub")]
    chart: String,
    /// The version of a chart in a registry, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"1.4.2")]
    version: Option<String>,
    /// The chart's own values. No secrets: they are readable in the release.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    values: Map<String, Value>,
    /// Logins for the chart. Each becomes the keys `NAME-user` and `NAME-password` of one Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, CredentialsDocument>,
    /// What of the site its pods may connect to. `vault`: it is let in at the vault, and told of it in
    /// `global.stakeout.vault`: `url`, and under `trust` the ConfigMap whose `key` holds the
    /// authority to trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reaches: Vec<ReachableWord>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum ReachableWord {
    Vault,
}

impl From<&Chart> for ChartDocument {
    fn from(chart: &Chart) -> Self {
        let (source, version) = match &chart.source {
            ChartSource::Path(path) => (path.to_string(), None),
            ChartSource::Registry { reference, version } => {
                (reference.clone(), Some(version.clone()))
            }
        };
        let secrets = chart.secrets.iter().filter_map(|(name, credentials)| {
            Some((name.clone(), credentials_document(credentials)?))
        });
        Self {
            name: chart.name.clone(),
            chart: source,
            version,
            values: chart.values.clone(),
            secrets: secrets.collect(),
            reaches: chart
                .reaches
                .iter()
                .map(|reachable| match reachable {
                    Reachable::Vault => ReachableWord::Vault,
                })
                .collect(),
        }
    }
}
