//! `stakeout detect`: what this machine is, and by which signs.

use std::fmt::Write as _;

use camino::Utf8Path;
use installer_docker::{DockerError, Origin, connect};
use installer_engine::Logins;
use installer_host::{observe, programs_folder};
use installer_kubernetes::KubernetesError;
use installer_plan::docker::Engine;
use installer_plan::kubernetes::{Cluster, Judgement, judge};
use installer_plan::{Disk, Machine, human_bytes};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};

#[derive(Serialize)]
struct Detected {
    machine: Machine,
    disk: Disk,
    /// The container engine that `--target docker` would use.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<Engine>,
    /// The cluster that `--target kubernetes` would use.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterReport>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct ClusterReport {
    #[serde(flatten)]
    cluster: Cluster,
    /// What kind it is, and why that is believed.
    flavour: Option<Judgement>,
}

#[derive(Serialize)]
struct Target {
    name: &'static str,
    /// This version can install on it.
    supported: bool,
    found: bool,
    signals: Vec<String>,
}

pub(super) async fn run(context: &Context) -> Result<Exit, CommandError> {
    let programs = programs_folder().unwrap_or_default();
    let place = context
        .data_dir
        .clone()
        .unwrap_or_else(|| "/var/lib".into());
    let observed = observe("none", None, &place, &Logins::new(), &place, &programs)?;
    let machine = observed.facts.machine;
    let engine = read_engine().await;
    let cluster = read_cluster(context).await;
    let detected = Detected {
        disk: observed.facts.data.disk,
        targets: targets(&machine, engine.as_ref(), cluster.as_ref()),
        machine,
        engine: engine.ok(),
        cluster: cluster.ok(),
    };
    context.printer.result(&text(&detected), &detected);
    Ok(Exit::Done)
}

async fn read_engine() -> Result<Engine, DockerError> {
    let connection = connect(Origin::read()).await?;
    installer_docker::read_engine(&connection).await
}

async fn read_cluster(context: &Context) -> Result<ClusterReport, KubernetesError> {
    let connection = installer_kubernetes::connect(&context.cluster).await?;
    let cluster = installer_kubernetes::read_cluster(&connection, None).await?;
    let flavour = judge(&cluster.signs).map(|(_, judgement)| judgement);
    Ok(ClusterReport { cluster, flavour })
}

fn targets(
    machine: &Machine,
    engine: Result<&Engine, &DockerError>,
    cluster: Result<&ClusterReport, &KubernetesError>,
) -> Vec<Target> {
    let present = |paths: &[&str]| -> Vec<String> {
        let there = paths.iter().filter(|path| Utf8Path::new(path).exists());
        there.map(|path| format!("{path} is there")).collect()
    };
    let host = match machine.manager {
        installer_plan::ServiceManager::Systemd => "systemd is PID 1 and we are root",
        installer_plan::ServiceManager::Supervisor => "services run below our own supervisor",
    };
    let docker = match engine {
        Ok(engine) => engine_signals(engine),
        Err(DockerError::Absent { .. }) => Vec::new(),
        Err(error) => vec![error.to_string()],
    };
    let kubernetes = match cluster {
        Ok(cluster) => cluster_signals(cluster),
        // Files of a cluster that nothing leads to yet.
        Err(KubernetesError::Unconfigured { .. }) => present(&[
            "/var/snap/microk8s/current/credentials/client.config",
            "/etc/rancher/k3s/k3s.yaml",
            "/etc/kubernetes/admin.conf",
        ]),
        Err(error) => vec![error.to_string()],
    };
    vec![
        Target {
            name: "host",
            supported: true,
            found: true,
            signals: vec![host.to_owned()],
        },
        Target {
            name: "docker",
            supported: engine.is_ok(),
            found: !docker.is_empty(),
            signals: docker,
        },
        Target {
            name: "kubernetes",
            supported: cluster.is_ok(),
            found: !kubernetes.is_empty(),
            signals: kubernetes,
        },
    ]
}

/// What the engine is, and what follows for a plan.
fn engine_signals(engine: &Engine) -> Vec<String> {
    let mut signals = vec![format!(
        "engine {} (API {}) on {}, {}, cgroup v{}",
        engine.version, engine.api, engine.platform, engine.storage_driver, engine.cgroup_version,
    )];
    if engine.rootless {
        signals.push(
            "rootless: give `storage.path` a folder of your own; limits need cgroup v2".to_owned(),
        );
    }
    if !engine.local {
        signals.push("on another machine: its disk is not seen from here".to_owned());
    }
    signals
}

/// What the cluster is, why that is believed, and what it has.
fn cluster_signals(report: &ClusterReport) -> Vec<String> {
    let cluster = &report.cluster;
    let signs = &cluster.signs;
    let title = match &report.flavour {
        Some(flavour) => format!("{} ({})", flavour.title, flavour.signs.join(", ")),
        None => "Kubernetes of an unknown kind".to_owned(),
    };
    let usable = cluster.nodes.values().filter(|node| node.usable).count();
    let mut classes = cluster.storage_classes.iter();
    let class = classes.find_map(|(name, class)| class.default.then_some(name.as_str()));
    vec![
        title,
        format!("{} at {}", signs.version, signs.server),
        format!("{usable} of {} nodes usable", cluster.nodes.len()),
        match class {
            Some(class) => format!("disks of class {class}"),
            None => "no storage class is the default".to_owned(),
        },
    ]
}

fn text(detected: &Detected) -> String {
    let machine = &detected.machine;
    let mut text = format!(
        "{}: {}, {} CPUs, {} memory, {} of {} free\n",
        machine.hostname,
        machine.arch,
        machine.cpus,
        human_bytes(machine.memory_bytes),
        human_bytes(detected.disk.free_bytes),
        human_bytes(detected.disk.total_bytes),
    );
    for target in &detected.targets {
        let state = match (target.found, target.supported) {
            (true, true) => "can be installed on",
            (true, false) => "is here and cannot be used",
            (false, _) => "not found",
        };
        let signals = target.signals.join("; ");
        let (name, gap) = (target.name, if signals.is_empty() { "" } else { ": " });
        writeln!(text, "  {name} {state}{gap}{signals}")
            .expect("invariant: a String takes any text");
    }
    text
}
