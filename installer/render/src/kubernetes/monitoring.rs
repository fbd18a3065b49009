//! What a cluster's Prometheus and Grafana are told of a site.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{
    NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::site::role_selector;
use super::{Inputs, Kind, Object, manifest};
use crate::configuration::Role;
use crate::docker::{AGENT_PORT, Container, VAULT_PORT};

/// The port that is read, by name.
pub(super) const PORT: &str = "metrics";

/// Whether the site's numbers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scraping {
    Nobody,
    /// One of Prometheus Operator's.
    Prometheus,
}

/// Where a container tells its numbers, if it is asked for them.
pub(super) fn port(inputs: &Inputs<'_>, container: &Container) -> Option<u16> {
    if inputs.scraping == Scraping::Nobody {
        return None;
    }
    match container.role {
        Role::Agent => Some(AGENT_PORT),
        Role::Vault => Some(VAULT_PORT),
        Role::TestCamera | Role::Store => None,
    }
}

/// Lets Prometheus in, in whichever namespace it runs.
pub(super) fn rule(inputs: &Inputs<'_>, container: &Container) -> Option<NetworkPolicyIngressRule> {
    let port = port(inputs, container)?;
    // As Prometheus Operator labels its pods.
    let labels = [("app.kubernetes.io/name", "prometheus")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Some(NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels.into()),
                match_expressions: None,
            }),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![NetworkPolicyPort {
            protocol: Some("TCP".to_owned()),
            port: Some(IntOrString::Int(i32::from(port))),
            end_port: None,
        }]),
    })
}

/// The dashboard, what is read, and when to warn.
pub(super) fn objects(inputs: &Inputs<'_>, containers: &[Container]) -> Vec<Object> {
    if inputs.scraping == Scraping::Nobody {
        return Vec::new();
    }
    let mut objects = vec![dashboard(inputs)];
    let monitors: BTreeMap<String, Value> = manifest(include_str!(
        "../../../../manifests/kubernetes/pod-monitors.yaml"
    ));
    for (name, mut monitor) in monitors {
        let role = match name.as_str() {
            "vault" => Role::Vault,
            _ => Role::Agent,
        };
        if containers.iter().any(|one| one.role == role) {
            monitor["metadata"]["labels"] = json!(picked(inputs, &name));
            let labels = role_selector(inputs, role);
            monitor["spec"]["selector"] = json!({ "matchLabels": labels });
            objects.push(inputs.object(Kind::PodMonitor, &name, &monitor));
        }
    }
    let mut alerts: Value = manifest(include_str!("../../../../manifests/kubernetes/alerts.yaml"));
    alerts["metadata"]["labels"] = json!(picked(inputs, "site"));
    let cameras = inputs.profile.cameras.len().to_string();
    let told = |text: &mut Value| {
        if let Some(whole) = text.as_str() {
            let named = whole.replace("$namespace", inputs.namespace);
            *text = named.replace("$cameras", &cameras).into();
        }
    };
    for group in each(&mut alerts["spec"]["groups"]) {
        for rule in each(&mut group["rules"]) {
            told(&mut rule["expr"]);
            told(&mut rule["annotations"]["summary"]);
        }
    }
    objects.push(inputs.object(Kind::PrometheusRule, "site", &alerts));
    objects
}

/// Labels of an object that an operator picks by those of the profile.
fn picked(inputs: &Inputs<'_>, service: &str) -> BTreeMap<String, String> {
    let mut labels = inputs.profile.monitoring_labels.clone();
    labels.extend(inputs.labels(service));
    labels
}

fn each(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

/// Grafana's own variables stand for the namespace, so that its text stays as it is.
fn dashboard(inputs: &Inputs<'_>) -> Object {
    let text = include_str!("../../../../manifests/kubernetes/dashboard.json");
    let mut dashboard: Value =
        serde_json::from_str(text).expect("invariant: the manifests are tested");
    let site = &inputs.profile.site;
    dashboard["title"] = format!("stakeout {site}").into();
    // At most 40 characters.
    let uid: String = format!("stakeout-{site}").chars().take(40).collect();
    dashboard["uid"] = uid.into();
    for variable in each(&mut dashboard["templating"]["list"]) {
        if variable["name"] == "namespace" {
            variable["query"] = inputs.namespace.into();
        }
    }
    let mut map = ConfigMap::default();
    let mut labels = picked(inputs, "site");
    // Grafana's sidecar looks for it.
    labels.insert("grafana_dashboard".to_owned(), "1".to_owned());
    map.metadata.labels = Some(labels);
    map.data = Some([(format!("stakeout-{site}.json"), dashboard.to_string())].into());
    inputs.object(Kind::ConfigMap, "dashboard", &map)
}
