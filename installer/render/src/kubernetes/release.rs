//! Helm charts beside the site, each in a namespace of its own: what is not pinned by digest has no
//! place in the site's.

use std::collections::BTreeMap;

use installer_spec::{Chart, ChartSource, Reachable};
use k8s_openapi::api::core::v1::Namespace;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Inputs, Kind, Object, TRUST_KEY, manifest, object};
use crate::docker::VAULT_PORT;
use crate::{SecretName, chart_secret};

/// A chart's release as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub name: String,
    pub namespace: String,
    /// Paths are absolute.
    pub chart: ChartSource,
    /// JSON object: what the chart is told.
    pub values: String,
    /// Secret of the release's namespace that holds the logins; kept in the one of this name plus
    /// `chart-` in the site's own.
    pub secret: String,
    /// By the name that the chart knows each login by.
    pub logins: BTreeMap<String, SecretName>,
    /// ConfigMap of the release's namespace with what the site's parts trust, under [`TRUST_KEY`];
    /// absent where the chart reaches none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
}

/// The ConfigMap with the site's trust in the namespace of a chart that reaches the vault.
pub fn chart_trust(chart: &Chart) -> Option<String> {
    let reaches = chart.reaches.contains(&Reachable::Vault);
    reaches.then(|| format!("{}-trust", chart.name))
}

/// By which the vault is called from other namespaces.
pub fn vault_host(namespace: &str) -> String {
    format!("vault.{namespace}.svc")
}

/// The Secret of the site's namespace with the logins of a chart.
pub fn chart_home(chart: &str) -> String {
    format!("chart-{chart}")
}

/// The namespace of a chart's release; `site` is the site's.
pub fn chart_namespace(site: &str, chart: &str) -> String {
    format!("{site}-{chart}")
}

pub(super) fn namespaces(inputs: &Inputs<'_>) -> Vec<Object> {
    let charts = inputs.profile.charts.iter();
    let namespace = |chart: &Chart| {
        let mut namespace: Namespace = manifest(include_str!(
            "../../../../manifests/kubernetes/chart-namespace.yaml"
        ));
        let own = namespace.metadata.labels.get_or_insert_default();
        own.extend(inputs.labels(&chart_home(&chart.name)));
        let name = chart_namespace(inputs.namespace, &chart.name);
        object(&name, Kind::Namespace, &name, &namespace)
    };
    charts.map(namespace).collect()
}

pub(super) fn releases(inputs: &Inputs<'_>) -> Vec<Release> {
    let charts = inputs.profile.charts.iter();
    charts.map(|chart| release(inputs, chart)).collect()
}

fn release(inputs: &Inputs<'_>, chart: &Chart) -> Release {
    let secret = format!("{}-logins", chart.name);
    let logins = chart.secrets.keys().filter_map(|name| {
        let purpose = chart_secret(&chart.name, name);
        let version = *inputs.secrets.get(&purpose)?;
        Some((name.clone(), SecretName { purpose, version }))
    });
    Release {
        name: chart.name.clone(),
        namespace: chart_namespace(inputs.namespace, &chart.name),
        chart: match &chart.source {
            ChartSource::Path(path) => ChartSource::Path(inputs.folder.join(path)),
            registry @ ChartSource::Registry { .. } => registry.clone(),
        },
        values: values(inputs, chart, &secret).to_string(),
        logins: logins.collect(),
        trust: chart_trust(chart),
        secret,
    }
}

/// The chart's own values, and the site under `global.stakeout`, where a chart and its parts see it.
fn values(inputs: &Inputs<'_>, chart: &Chart, secret: &str) -> Value {
    let mut site = json!({ "site": inputs.profile.site, "namespace": inputs.namespace });
    let place = |name: &String| {
        let place = json!({
            "name": secret,
            "userKey": format!("{name}-user"),
            "passwordKey": format!("{name}-password"),
        });
        (name.clone(), place)
    };
    if !chart.secrets.is_empty() {
        site["secrets"] = chart.secrets.keys().map(place).collect();
    }
    if let Some(trust) = chart_trust(chart) {
        site["vault"] = json!({
            "url": format!("https://{}:{VAULT_PORT}", vault_host(inputs.namespace)),
            "trust": { "name": trust, "key": TRUST_KEY },
        });
    }
    let mut values = Value::Object(chart.values.clone());
    if let Value::Object(global) = &mut values["global"] {
        global.insert("stakeout".to_owned(), site);
    } else {
        values["global"] = json!({ "stakeout": site });
    }
    values
}
