//! What a cluster may be taught by others: without it nothing of it is asked for, with it a real API
//! server takes our objects strictly, and finds nothing of them changed afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;

use e2e::Site;
use e2e::cluster::Cluster;
use serde_json::{Value, json};

const PROFILE: &str = "
version: 1
site: taught
target: kubernetes
cameras: [ { name: a, test: scene }, { name: b, test: scene } ]
agents: { buffer: claim }
access: { names: [ vault.example.org, 192.0.2.5 ] }
";

/// What is there only where somebody has taught the cluster.
const TAUGHT: [&str; 4] = [
    "PodMonitor/agents",
    "PodMonitor/vault",
    "PrometheusRule/site",
    "TLSRoute/vault",
];

/// Leads `vault.example.org` and all others on as they come.
fn gateway() -> Value {
    let listener = json!({
        "name": "tls",
        "port": 443,
        "protocol": "TLS",
        "tls": { "mode": "Passthrough" },
        "allowedRoutes": { "namespaces": { "from": "All" } },
    });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "edge", "namespace": "default" },
        "spec": { "gatewayClassName": "some", "listeners": [listener] },
    })
}

/// The objects that a plan would apply.
fn planned(site: &Site) -> Vec<Value> {
    let told = site.run(&["plan", "--output", "json"]).json();
    let steps = told["steps"].as_array().unwrap();
    let objects = steps.iter().filter_map(|step| {
        let manifest = step["action"]["kubernetes"]["object"]["manifest"].as_str()?;
        Some(serde_json::from_str(manifest).unwrap())
    });
    objects.collect()
}

fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!(
        "{}/{}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// As our installer says it, but that a field that nobody knows is an error.
fn apply(cluster: &Cluster, site: &Site, objects: &[Value]) {
    let file = site.folder().join("objects.json");
    let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    fs::write(&file, texts.join("\n")).unwrap();
    cluster.kubectl(&[
        "apply",
        "--server-side",
        "--validate=strict",
        "--field-manager=stakeout",
        "--filename",
        file.as_str(),
    ]);
}

#[test]
fn what_others_taught_a_cluster_is_used_where_it_is() {
    let cluster = Cluster::start_with(&["--no-controllers"]);
    let mut site = Site::new(PROFILE);
    site.set("KUBECONFIG", cluster.kubeconfig().as_str());

    let names = |objects: &[Value]| -> BTreeSet<String> { objects.iter().map(name).collect() };
    let before = names(&planned(&site));
    assert!(before.contains("Service/vault-access"), "{before:?}");
    for taught in TAUGHT {
        assert!(!before.contains(taught), "{before:?}");
    }

    cluster.extend();
    apply(&cluster, &site, &[gateway()]);
    let objects = planned(&site);
    let after = names(&objects);
    for taught in TAUGHT {
        assert!(after.contains(taught), "{after:?}");
    }

    // Values of Secrets are made by the installer alone.
    let plain: Vec<_> = objects
        .into_iter()
        .filter(|object| object["kind"] != "Secret")
        .collect();
    apply(&cluster, &site, &plain);
    let left: BTreeSet<_> = names(&planned(&site))
        .into_iter()
        // They do not come up here, so they are waited for.
        .filter(|name| !name.starts_with("Secret/") && !name.starts_with("Deployment/"))
        .collect();
    assert_eq!(left, BTreeSet::new());

    // An issuer of cert-manager, and an Ingress.
    let managed = "tls: { cert_manager: { issuer: own } }, names:";
    site.write_profile(&PROFILE.replace("names:", managed));
    let objects = planned(&site);
    let certificate = objects.iter().find(|one| one["kind"] == "Certificate");
    let certificate = certificate.unwrap().clone();
    apply(&cluster, &site, &[certificate]);
    assert!(!names(&planned(&site)).contains("Certificate/access"));
    site.write_profile(&PROFILE.replace("names:", "exposure: node-port, names:"));
    let service = planned(&site);
    let service = service
        .iter()
        .find(|one| name(one) == "Service/vault-access");
    assert_eq!(service.unwrap()["spec"]["type"], "NodePort");
}
