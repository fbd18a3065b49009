//! What others say of the objects that we render: kube-score of their hardness, cyclonus of who may
//! talk to whom, promtool of when somebody is told. None needs a cluster.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use camino::Utf8Path;
use e2e::root;
use e2e::shipped::run;
use installer_render::docker::Component;
use installer_render::kubernetes::{Entrance, Inputs, Kind, Scraping, render};
use installer_render::secret_purposes;
use installer_spec::{Exposure, MemoryLists, SourceFile, parse};
use serde_json::{Value, json};

/// All roles, two agents, and ways out of every sort.
const SITE: &str = "
version: 1
site: judged
target: kubernetes
cameras:
  - { name: gate, rtsp: 'rtsp://10.0.3.11:554/main' }
  - { name: yard, test: scene }
storage: { provider: minio, quota: 100GiB }
catalogue: { mongodb: deploy }
events:
  - { mqtt: deploy }
  - { amqp: deploy }
  - { webhook: 'https://192.0.2.7/hook' }
access: { names: [ vault.example.org ] }
";

const NAMESPACE: &str = "stakeout-judged";

/// Criticism that we know and have an answer to.
const ARGUED: [(&str, &str); 2] = [
    (
        "pod-probes-identical",
        "`health` asks the program whether it can do its work; readiness hears of it in seconds, \
         liveness restarts after two minutes",
    ),
    (
        "container-image-pull-policy",
        "images are named by digest, so what is on a node cannot be another one",
    ),
];

fn tool(name: &str) -> String {
    let script = root().join("ci/parts/kubernetes");
    run(Command::new("bash").arg(script).args(["tool", name]))
}

/// Who comes to the vault from outside of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outside {
    Nobody,
    /// Those whom an Ingress controller leads.
    Led,
    /// Everybody.
    Balanced,
}

impl Outside {
    fn entrance(self) -> Option<Entrance> {
        let (exposure, namespaces) = match self {
            Self::Nobody => return None,
            Self::Led => (Exposure::Ingress, [CONTROLLER.to_owned()].into()),
            Self::Balanced => (Exposure::LoadBalancer, BTreeSet::new()),
        };
        Some(Entrance {
            exposure,
            port: 443,
            class: None,
            gateway: None,
            annotations: BTreeMap::new(),
            namespaces,
        })
    }
}

const CONTROLLER: &str = "ingress-nginx";

fn objects(outside: Outside, scraping: Scraping) -> Vec<(Kind, Value)> {
    let source = SourceFile {
        name: "judged.yaml",
        text: SITE,
    };
    let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
    let secrets = secret_purposes(&profile).into_keys();
    let digest = "0".repeat(64);
    let images =
        Component::ALL.map(|one| (one, format!("r.example/{}@sha256:{digest}", one.name())));
    let site = render(&Inputs {
        profile: &profile,
        folder: Utf8Path::new("/etc/stakeout"),
        namespace: NAMESPACE,
        installation: "0123456789abcdef",
        secrets: &secrets.map(|purpose| (purpose, 1)).collect(),
        images: &images.into(),
        volumes: &BTreeMap::new(),
        entrance: outside.entrance().as_ref(),
        scraping,
    });
    let workloads = site.workloads.into_iter().map(|one| one.object);
    let all = site.objects.into_iter().map(|one| one.object);
    all.chain(workloads)
        .map(|object| (object.id.kind, object.value()))
        .collect()
}

#[test]
fn kube_score_finds_nothing_critical_that_has_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    let all = objects(Outside::Led, Scraping::Prometheus);
    let texts: Vec<_> = all.iter().map(|(_, one)| one.to_string()).collect();
    fs::write(&file, texts.join("\n---\n")).unwrap();
    let output = Command::new(tool("kube-score"))
        .args(["score", "--output-format", "json"])
        .arg(&file)
        .output()
        .unwrap();
    let scored: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut checked, mut critical) = (0, Vec::new());
    for object in scored.as_array().unwrap() {
        for check in object["checks"].as_array().unwrap() {
            checked += 1;
            let id = check["check"]["id"].as_str().unwrap();
            // 1 is critical, 5 a warning, 7 nearly well, 10 well.
            let grade = check["grade"].as_i64().unwrap();
            let skipped = check["skipped"] == true;
            if grade <= 1 && !skipped && !ARGUED.iter().any(|(argued, _)| *argued == id) {
                critical.push(format!(
                    "{id} of {}: {}",
                    object["object_name"], check["comments"]
                ));
            }
        }
    }
    assert!(checked > 50, "{checked}");
    assert_eq!(critical, Vec::<String>::new());
}

/// Each alert has a file of its own, with a history in which it fires and one in which it does not.
#[test]
fn every_alert_fires_when_it_should_and_not_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let all = objects(Outside::Nobody, Scraping::Prometheus);
    let mut rules = all
        .iter()
        .filter(|(kind, _)| *kind == Kind::PrometheusRule)
        .map(|(_, object)| &object["spec"]);
    let rules = rules.next().unwrap();
    fs::write(folder.join("rules.yaml"), rules.to_string()).unwrap();
    let names: Vec<_> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .map(|rule| rule["alert"].as_str().unwrap())
        .collect();
    assert!(names.len() >= 7, "{names:?}");
    let mut tests = Vec::new();
    for name in &names {
        let file = root().join(format!("tests/alerts/{name}.yaml"));
        let text = fs::read_to_string(&file).unwrap();
        let test: Value = serde_saphyr::from_str(&text).unwrap();
        let asked = test["tests"].as_array().unwrap().iter();
        let asked = asked.flat_map(|one| one["alert_rule_test"].as_array().unwrap());
        let (quiet, fires): (Vec<_>, Vec<_>) = asked
            .filter(|one| one["alertname"] == **name)
            .partition(|one| one["exp_alerts"] == json!([]));
        assert!(!quiet.is_empty() && !fires.is_empty(), "{file}");
        let copy = folder.join(format!("{name}.yaml"));
        fs::write(&copy, text).unwrap();
        tests.push(copy);
    }
    let promtool = || Command::new("promtool");
    let checked = run(promtool()
        .args(["check", "rules", "rules.yaml"])
        .current_dir(folder));
    assert!(checked.contains(&format!("{} rules found", names.len())));
    run(promtool()
        .args(["test", "rules"])
        .args(tests)
        .current_dir(folder));
}

/// Somebody who sends or is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// A pod of the site, by service and role.
    Pod(&'static str, &'static str),
    /// A pod of another namespace that has taken our labels.
    Stranger,
    /// A pod of an Ingress controller.
    Controller,
    /// As Prometheus Operator labels it.
    Prometheus,
    Dns,
    Address(&'static str),
}

const PEERS: [Peer; 14] = [
    Peer::Pod("agent-gate", "agent"),
    Peer::Pod("agent-yard", "agent"),
    Peer::Pod("camera-yard", "test-camera"),
    Peer::Pod("vault", "vault"),
    Peer::Pod("minio", "store"),
    Peer::Pod("ferretdb", "store"),
    Peer::Pod("mosquitto", "store"),
    Peer::Pod("rabbitmq", "store"),
    Peer::Stranger,
    Peer::Controller,
    Peer::Prometheus,
    Peer::Dns,
    Peer::Address("10.0.3.11"),
    Peer::Address("192.0.2.7"),
];

const PORTS: [(u16, &str); 13] = [
    (53, "UDP"),
    (53, "TCP"),
    (80, "TCP"),
    (443, "TCP"),
    (554, "TCP"),
    (5671, "TCP"),
    (8080, "TCP"),
    (8443, "TCP"),
    (8444, "TCP"),
    (8554, "TCP"),
    (8883, "TCP"),
    (9000, "TCP"),
    (27017, "TCP"),
];

/// Who comes in by the site's own choice.
fn is_let_in(from: Peer, to: Peer, port: u16, outside: Outside, scraping: Scraping) -> bool {
    match (from, to) {
        (Peer::Pod(..), _) => false,
        (Peer::Prometheus, Peer::Pod(_, "agent")) if port == 8080 => {
            scraping == Scraping::Prometheus
        }
        (Peer::Prometheus, Peer::Pod("vault", _)) if port == 8443 => {
            scraping == Scraping::Prometheus
        }
        (_, Peer::Pod("vault", _)) if port == 8444 => match outside {
            Outside::Nobody => false,
            Outside::Led => from == Peer::Controller,
            Outside::Balanced => true,
        },
        _ => false,
    }
}

/// The whole of what may be of a site that nobody reaches: everything else may not.
fn is_meant(from: Peer, to: Peer, port: (u16, &str)) -> bool {
    let Peer::Pod(from, role) = from else {
        return false;
    };
    let (port, _) = port;
    match (from, to) {
        (_, Peer::Dns) => port == 53 && ["agent", "vault"].contains(&role),
        (_, Peer::Pod("vault", _)) => role == "agent" && port == 8443,
        ("agent-yard", Peer::Pod("camera-yard", _)) => port == 8554,
        ("agent-gate", Peer::Address("10.0.3.11")) => port == 554,
        ("vault", Peer::Address("192.0.2.7")) => port == 443,
        ("vault", Peer::Pod("minio", _)) => port == 9000,
        ("vault", Peer::Pod("ferretdb", _)) => port == 27017,
        ("vault", Peer::Pod("mosquitto", _)) => port == 8883,
        ("vault", Peer::Pod("rabbitmq", _)) => port == 5671,
        _ => false,
    }
}

impl Peer {
    fn traffic(self) -> Value {
        let pod = |namespace: &str, labels: Value| {
            json!({
                "Internal": {
                    "PodLabels": labels,
                    "NamespaceLabels": { "kubernetes.io/metadata.name": namespace },
                    "Namespace": namespace,
                },
                "IP": "10.1.0.5",
            })
        };
        let ours = |service: &str, role: &str| {
            json!({
                "stakeout.site": "judged",
                "stakeout.service": service,
                "stakeout.role": role,
            })
        };
        match self {
            Self::Pod(service, role) => pod(NAMESPACE, ours(service, role)),
            Self::Stranger => pod("elsewhere", ours("agent-gate", "agent")),
            Self::Controller => pod(
                CONTROLLER,
                json!({ "app.kubernetes.io/name": "ingress-nginx" }),
            ),
            Self::Prometheus => pod(
                "monitoring",
                json!({ "app.kubernetes.io/name": "prometheus" }),
            ),
            Self::Dns => pod("kube-system", json!({ "k8s-app": "kube-dns" })),
            Self::Address(address) => json!({ "Internal": null, "IP": address }),
        }
    }
}

#[test]
fn the_whole_table_of_who_may_talk_to_whom_is_the_one_that_is_meant() {
    for (outside, scraping, allowed) in [
        (Outside::Nobody, Scraping::Nobody, 15),
        // The controller, and Prometheus to two agents and the vault.
        (Outside::Led, Scraping::Prometheus, 19),
        // All six that are not ours.
        (Outside::Balanced, Scraping::Nobody, 21),
    ] {
        assert_eq!(judged(outside, scraping), allowed, "{outside:?}");
    }
}

/// How many of all connections are allowed, if they are the right ones.
fn judged(outside: Outside, scraping: Scraping) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    for (index, (_, policy)) in objects(outside, scraping)
        .iter()
        .filter(|(kind, _)| *kind == Kind::NetworkPolicy)
        .enumerate()
    {
        let file = policies.join(format!("{index}.yaml"));
        fs::write(file, policy.to_string()).unwrap();
    }
    let mut asked = Vec::new();
    for from in PEERS {
        for to in PEERS.into_iter().filter(|to| *to != from) {
            // Policies of ours say nothing of those who are not ours on both sides.
            if [from, to].iter().any(|peer| matches!(peer, Peer::Pod(..))) {
                asked.extend(PORTS.map(|port| (from, to, port)));
            }
        }
    }
    let traffic: Vec<_> = asked
        .iter()
        .map(|(from, to, (port, over))| {
            json!({
                "Source": from.traffic(),
                "Destination": to.traffic(),
                "ResolvedPort": port,
                "ResolvedPortName": "",
                "Protocol": over,
            })
        })
        .collect();
    let file = folder.path().join("traffic.json");
    fs::write(&file, json!(traffic).to_string()).unwrap();
    let told = run(Command::new(tool("cyclonus"))
        .args(["analyze", "--mode", "query-traffic", "--policy-path"])
        .arg(&policies)
        .arg("--traffic-path")
        .arg(&file));
    let verdicts: Vec<bool> = told
        .lines()
        .filter(|line| line.contains("IS ALLOWED?"))
        .map(|line| line.contains("TRUE"))
        .collect();
    assert_eq!(verdicts.len(), asked.len());
    let mut wrong = Vec::new();
    for ((from, to, port), verdict) in asked.iter().zip(&verdicts) {
        // Who comes from outside is let in by nobody; who goes out has left our policies.
        let (number, over) = *port;
        let let_in = over == "TCP" && is_let_in(*from, *to, number, outside, scraping);
        if (is_meant(*from, *to, *port) || let_in) != *verdict {
            wrong.push(format!("{from:?} to {to:?} at {port:?}: {verdict}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    verdicts.iter().filter(|allowed| **allowed).count()
}
