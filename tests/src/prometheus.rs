//! A real Prometheus that reads a site of a cluster as our PodMonitors and PrometheusRule say.

use std::fs;
use std::process::Command;
use std::time::Duration;

use camino::Utf8Path;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::shipped::{Server, run};
use crate::{free_port, wait_until};

/// Debian's; it and what it has read go when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    _server: Server,
    url: String,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Reads what the PodMonitors of a namespace select, each second, and watches its rules.
    pub fn of_namespace(cluster: &Cluster, namespace: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Utf8Path::from_path(folder.path()).expect("a plain name");
        let write = |name: &str, value: &Value| {
            let file = place.join(name);
            fs::write(&file, value.to_string()).expect("a temporary folder can be written");
            file
        };
        let items = |what: &str| {
            let found = cluster.get(namespace, &[what]);
            found["items"].as_array().cloned().unwrap_or_default()
        };
        let trust = cluster.get(namespace, &["configmap/trust"]);
        let ca = trust["data"]["ca.crt"].as_str().unwrap_or_default();
        fs::write(place.join("ca.crt"), ca).expect("a temporary folder can be written");
        let rules = items("prometheusrules.monitoring.coreos.com");
        let groups: Vec<_> = rules
            .iter()
            .filter_map(|rule| rule["spec"]["groups"].as_array().cloned())
            .flatten()
            .collect();
        let rules = write("rules.json", &json!({ "groups": groups }));
        let monitors = items("podmonitors.monitoring.coreos.com");
        let pods = items("pods");
        let jobs: Vec<_> = monitors
            .iter()
            .flat_map(|monitor| jobs(monitor, &pods, place))
            .collect();
        assert!(!jobs.is_empty(), "no PodMonitor in {namespace}");
        let configuration = write(
            "prometheus.json",
            &json!({
                "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
                "rule_files": [rules],
                "scrape_configs": jobs,
            }),
        );
        let address = format!("127.0.0.1:{}", free_port());
        let server = Server::start(
            Command::new("prometheus")
                .arg(format!("--config.file={configuration}"))
                .arg(format!("--storage.tsdb.path={}", place.join("data")))
                .arg(format!("--web.listen-address={address}")),
            &place.join("log"),
        );
        let prometheus = Self {
            _server: server,
            url: format!("http://{address}"),
            folder,
        };
        let ready = || prometheus.answers("/-/ready");
        wait_until(Duration::from_secs(30), "Prometheus is ready", ready);
        prometheus
    }

    fn answers(&self, path: &str) -> bool {
        let curl = ["--silent", "--fail", "--noproxy", "*", "--output"];
        let output = self.folder.path().join("answer");
        let mut command = Command::new("curl");
        let command = command.args(curl).arg(output);
        let status = command.arg(format!("{}{path}", self.url)).status();
        status.is_ok_and(|status| status.success())
    }

    fn ask(&self, path: &str, query: Option<&str>) -> Value {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--noproxy",
            "*",
        ]);
        command.args(["--get", &format!("{}{path}", self.url)]);
        if let Some(query) = query {
            command.args(["--data-urlencode", &format!("query={query}")]);
        }
        serde_json::from_str(&run(&mut command)).expect("Prometheus answers with JSON")
    }

    /// The series that an expression gives now; panics where it is none.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.ask("/api/v1/query", Some(expression));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let found = answer["data"]["result"].as_array().cloned();
        found.unwrap_or_default()
    }

    /// Every rule as Prometheus has judged it.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/rules", None);
        let groups = answer["data"]["groups"].as_array().cloned();
        let rules = groups.into_iter().flatten();
        let rules = rules.filter_map(|group| group["rules"].as_array().cloned());
        rules.flatten().collect()
    }

    /// What is read, and how that went.
    pub fn targets(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/targets?state=active", None);
        let found = answer["data"]["activeTargets"].as_array().cloned();
        found.unwrap_or_default()
    }
}

/// What Prometheus Operator makes of a PodMonitor (<https://prometheus-operator.dev/docs/api-reference/api/>),
/// for the pods that are there now: Debian's Prometheus does not look for pods itself.
fn jobs(monitor: &Value, pods: &[Value], place: &Utf8Path) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&monitor["metadata"]["namespace"]);
    let name = text(&monitor["metadata"]["name"]);
    let spec = &monitor["spec"];
    let selected = spec["selector"]["matchLabels"].as_object();
    let selected = selected.expect("our monitors select by labels");
    let pods = pods.iter().filter(|pod| {
        let labels = &pod["metadata"]["labels"];
        selected.iter().all(|(key, value)| labels[key] == *value)
    });
    let pods: Vec<_> = pods.collect();
    let targets = |port: &Value| -> Vec<Value> {
        let mut targets = Vec::new();
        for pod in &pods {
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            for container in containers {
                let ports = container["ports"].as_array().into_iter().flatten();
                for found in ports.filter(|found| found["name"] == *port) {
                    let address = text(&pod["status"]["podIP"]);
                    let mut labels = json!({
                        "namespace": namespace,
                        "pod": pod["metadata"]["name"],
                        "container": container["name"],
                        "endpoint": port,
                        "job": format!("{namespace}/{name}"),
                    });
                    let told = spec["podTargetLabels"].as_array().into_iter().flatten();
                    for label in told.map(text) {
                        labels[plain(&label)] = pod["metadata"]["labels"][&label].clone();
                    }
                    let target = format!("{address}:{}", found["containerPort"]);
                    targets.push(json!({ "targets": [target], "labels": labels }));
                }
            }
        }
        targets
    };
    let endpoints = spec["podMetricsEndpoints"].as_array().into_iter().flatten();
    let endpoints = endpoints.enumerate().map(|(index, endpoint)| {
        let mut job = json!({
            "job_name": format!("podMonitor/{namespace}/{name}/{index}"),
            "metrics_path": endpoint["path"].as_str().unwrap_or("/metrics"),
            "scheme": endpoint["scheme"].as_str().unwrap_or("http"),
            "static_configs": targets(&endpoint["port"]),
        });
        let tls = &endpoint["tlsConfig"];
        if tls.is_object() {
            let ca = &tls["ca"]["configMap"];
            assert_eq!(*ca, json!({ "name": "trust", "key": "ca.crt" }));
            let ca = place.join("ca.crt");
            job["tls_config"] = json!({ "ca_file": ca, "server_name": tls["serverName"] });
        }
        job
    });
    endpoints.collect()
}

/// As Prometheus names a label.
fn plain(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(letter).collect()
}
