//! The key `monitoring` as it is written; see `document`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::document::is_default;
use crate::profile::{Monitoring, Profile};

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum MonitoringDocument {
    Word(MonitoringWord),
    Labelled(LabelledMonitoring),
}

impl Default for MonitoringDocument {
    fn default() -> Self {
        Self::Word(MonitoringWord::default())
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum MonitoringWord {
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Monitoring")]
pub(crate) struct LabelledMonitoring {
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "auto"))]
    when: MonitoringWord,
    /// Of PodMonitors, alert rules and dashboard, for an operator that picks them by label: `release: kube-prometheus-stack`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

impl From<&Profile> for MonitoringDocument {
    fn from(profile: &Profile) -> Self {
        let when = match profile.monitoring {
            Monitoring::Auto => MonitoringWord::Auto,
            Monitoring::On => MonitoringWord::On,
            Monitoring::Off => MonitoringWord::Off,
        };
        if profile.monitoring_labels.is_empty() {
            return Self::Word(when);
        }
        let labels = profile.monitoring_labels.clone();
        Self::Labelled(LabelledMonitoring { when, labels })
    }
}
