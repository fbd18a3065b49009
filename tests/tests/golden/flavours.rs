//! What differs between clusters, and what leads into them.

use std::fs;

use camino::Utf8Path;
use e2e::root;
use installer_plan::kubernetes::{Cluster, KubernetesFacts, judge, objects};
use installer_plan::{Severity, show};
use installer_render::kubernetes::{Kind, ObjectId};
use installer_spec::{MemoryLists, Monitoring, SourceFile, parse};

use crate::check_golden;
use crate::kubernetes::{FOLDER, after, bare_cluster, cluster_profiles, planned};

/// The facts of a cluster of a flavour, as `tests/golden/flavours` has recorded them.
pub(crate) fn recorded(flavour: &str, site: &str) -> KubernetesFacts {
    let path = root().join(format!("tests/golden/flavours/{flavour}.yaml"));
    let text = fs::read_to_string(&path).unwrap();
    let cluster: Cluster = serde_saphyr::from_str(&text).unwrap();
    let groups = &cluster.ways.groups;
    let unserved = Kind::ALL.into_iter();
    let unserved = unserved.filter(|kind| kind.is_extension() && !groups.contains(kind.group()));
    KubernetesFacts {
        unserved: unserved.collect(),
        cluster,
        ..bare_cluster(site)
    }
}

#[test]
fn what_differs_between_flavours_is_in_the_plan() {
    let mut all = cluster_profiles();
    let (_, profile) = all.find(|(name, _)| name == "cluster").unwrap();
    let flavours = [
        "microk8s", "k3s", "kind", "minikube", "kubeadm", "eks", "aks", "gke",
    ];
    for flavour in flavours {
        let facts = recorded(flavour, &profile.site);
        let found = judge(&facts.cluster.signs).map(|(_, judgement)| judgement.name);
        assert_eq!(found.as_deref(), Some(flavour));
        let first = planned(&profile, &facts);
        check_golden("flavours", &format!("{flavour}.plan.txt"), &show(&first));
        let errors = first
            .findings
            .iter()
            .filter(|one| one.severity == Severity::Error);
        assert_eq!(errors.count(), 0, "{flavour}:\n{}", show(&first));
        let second = planned(&profile, &after(&first, &facts));
        assert!(second.is_empty(), "{flavour}:\n{}", show(&second));
    }
}

/// The objects of the way in that a profile asks for at a cluster.
fn led_in(access: &str, facts: &KubernetesFacts) -> String {
    let text = format!(
        "version: 1\nsite: harbour\ntarget: kubernetes\ncameras: [ {{ name: a, test: scene }} ]\n\
         access: {{ names: [ vault.example.org, 192.0.2.5 ], {access} }}\n"
    );
    let source = SourceFile {
        name: "p.yaml",
        text: &text,
    };
    let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
    let site = objects(&profile, Utf8Path::new(FOLDER), facts);
    let told = [
        ("Service", "vault-access"),
        ("Ingress", "vault"),
        ("TLSRoute", "vault"),
        ("Certificate", "access"),
        ("NetworkPolicy", "vault"),
        ("ResourceQuota", "site"),
    ];
    let objects = site.objects.into_iter().map(|one| one.object);
    let objects =
        objects.filter(|object| told.contains(&(object.id.kind.name(), object.id.name.as_str())));
    let mut texts: Vec<_> = objects
        .map(|object| {
            let mut value = object.value();
            value["metadata"].as_object_mut().unwrap().remove("labels");
            serde_json::to_string_pretty(&value).unwrap()
        })
        .collect();
    let findings = planned(&profile, facts).findings.into_iter();
    let findings = findings.filter(|one| one.id.starts_with("access"));
    texts.extend(findings.map(|one| format!("{}: {}", one.id, one.message)));
    texts.join("\n") + "\n"
}

#[test]
fn every_way_in_has_its_objects() {
    for (name, flavour, access) in [
        (
            "load-balancer",
            "eks",
            "exposure: load-balancer, port: 8443",
        ),
        (
            "ingress",
            "microk8s",
            "exposure: ingress, namespace: ingress",
        ),
        (
            "gateway",
            "kubeadm",
            "exposure: gateway, tls: { cert_manager: { issuer: own } }",
        ),
        ("node-port", "kind", "exposure: node-port, port: 31443"),
    ] {
        let told = led_in(access, &recorded(flavour, "harbour"));
        check_golden("entrances", &format!("{name}.objects.json"), &told);
    }
}

/// The objects by which a site of two cameras is watched, and what of its other objects that changes.
#[test]
fn a_cluster_with_prometheus_is_told_of_the_site() {
    let mut all = cluster_profiles();
    let (_, profile) = all.find(|(name, _)| name == "cluster").unwrap();
    let facts = recorded("microk8s", &profile.site);
    let site = objects(&profile, Utf8Path::new(FOLDER), &facts);
    let told = [
        "PodMonitor/agents",
        "PodMonitor/vault",
        "PrometheusRule/site",
    ];
    let of_interest = |id: &ObjectId| {
        told.contains(&id.to_string().as_str()) || id.to_string() == "NetworkPolicy/agent-gate"
    };
    let objects = site.objects.iter().map(|one| &one.object);
    let texts: Vec<_> = objects
        .clone()
        .filter(|object| of_interest(&object.id))
        .map(|object| serde_json::to_string_pretty(&object.value()).unwrap())
        .collect();
    assert_eq!(texts.len(), told.len() + 1);
    check_golden(
        "monitoring",
        "kubernetes.objects.json",
        &(texts.join("\n") + "\n"),
    );
    let dashboard = objects.clone().find(|object| object.id.name == "dashboard");
    let data = dashboard.unwrap().value()["data"]["stakeout-harbour.json"].clone();
    let dashboard: serde_json::Value = serde_json::from_str(data.as_str().unwrap()).unwrap();
    assert_eq!(
        dashboard["templating"]["list"][1]["query"],
        "stakeout-harbour"
    );
    // The agents let themselves be read, and nothing else of them changes.
    let agent = site
        .workloads
        .iter()
        .find(|one| one.service == "agent-gate");
    let agent = agent.unwrap().object.value();
    let port = &agent["spec"]["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!(
        (&port["name"], &port["containerPort"]),
        (&"metrics".into(), &8080.into())
    );
    let mut off = profile.clone();
    off.monitoring = Monitoring::Off;
    let plan = planned(&off, &facts);
    assert!(!show(&plan).contains("PodMonitor"), "{}", show(&plan));
    let mut on = profile;
    on.monitoring = Monitoring::On;
    let plan = planned(&on, &recorded("kind", "harbour"));
    assert!(plan.findings.iter().any(|one| one.id == "monitoring"));
}

#[test]
fn what_an_operator_picks_by_label_has_that_label() {
    let mut all = cluster_profiles();
    let (_, mut profile) = all.find(|(name, _)| name == "cluster").unwrap();
    let label = ("release".to_owned(), "kube-prometheus-stack".to_owned());
    profile.monitoring_labels.extend([label]);
    let facts = recorded("microk8s", &profile.site);
    let site = objects(&profile, Utf8Path::new(FOLDER), &facts);
    let labelled = site.objects.iter().map(|one| &one.object).filter(|object| {
        object.value()["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    });
    let labelled: Vec<_> = labelled.map(|object| object.id.to_string()).collect();
    let wanted = [
        "ConfigMap/dashboard",
        "PodMonitor/agents",
        "PodMonitor/vault",
        "PrometheusRule/site",
    ];
    assert_eq!(labelled, wanted);
}

#[test]
fn what_agents_keep_is_in_claims() {
    for (name, keys, claims) in [
        (
            "buffer",
            "agents: { buffer: claim }",
            ["agent-a", "agent-b", "vault"].as_slice(),
        ),
        (
            "group",
            "agents: { buffer: claim, isolation: group }",
            &["agent", "vault"],
        ),
        (
            "keeper",
            "storage: { keeper: agent, quota: 100GiB }",
            &["agent-a", "agent-b"],
        ),
    ] {
        let text = format!(
            "version: 1\nsite: harbour\ntarget: kubernetes\n\
             cameras: [ {{ name: a, test: scene }}, {{ name: b, test: scene }} ]\n{keys}\n"
        );
        let source = SourceFile {
            name: "p.yaml",
            text: &text,
        };
        let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
        let facts = bare_cluster("harbour");
        let first = planned(&profile, &facts);
        let site = objects(&profile, Utf8Path::new(FOLDER), &facts);
        let found = site.objects.iter().map(|one| &one.object.id);
        let found = found.filter(|id| id.kind == Kind::PersistentVolumeClaim);
        let found: Vec<_> = found.map(|id| id.name.as_str()).collect();
        assert_eq!(found, claims, "{name}");
        check_golden("claims", &format!("{name}.plan.txt"), &show(&first));
        let second = planned(&profile, &after(&first, &facts));
        assert!(second.is_empty(), "{name}:\n{}", show(&second));
        for one in site
            .workloads
            .iter()
            .filter(|one| one.service.starts_with("agent"))
        {
            let pod = one.object.value()["spec"]["template"]["spec"].clone();
            let volumes = pod["volumes"].as_array().unwrap().iter();
            let mut claimed =
                volumes.filter_map(|v| v["persistentVolumeClaim"]["claimName"].as_str());
            assert_eq!(claimed.next(), Some(one.service.as_str()), "{name}");
            let disk = &pod["containers"][0]["resources"]["requests"]["ephemeral-storage"];
            assert_eq!(disk, "64Mi", "{name}");
        }
    }
}

#[test]
fn a_way_in_that_cannot_be_is_refused() {
    for (flavour, access, wanted) in [
        ("k3s", "exposure: ingress", "access-ingress"),
        (
            "microk8s",
            "exposure: ingress, class: traefik",
            "access-ingress",
        ),
        ("eks", "exposure: ingress, class: alb", "access-ingress"),
        ("gke", "exposure: gateway", "access-gateway"),
        ("kind", "exposure: gateway", "access-gateway"),
        (
            "kubeadm",
            "exposure: gateway, class: other",
            "access-gateway",
        ),
        ("kind", "exposure: load-balancer", "access-load-balancer"),
        (
            "kind",
            "tls: { cert_manager: { issuer: own } }",
            "access-cert-manager",
        ),
        (
            "eks",
            "tls: { acme: { directory: https://authority/dir } }",
            "acme",
        ),
    ] {
        let text = format!(
            "version: 1\nsite: harbour\ntarget: kubernetes\ncameras: [ {{ name: a, test: scene }} ]\n\
             access: {{ names: [ vault.example.org ], {access} }}\n"
        );
        let source = SourceFile {
            name: "p.yaml",
            text: &text,
        };
        let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
        let plan = planned(&profile, &recorded(flavour, "harbour"));
        let found = plan.findings.iter().find(|one| one.id.contains(wanted));
        assert!(found.is_some(), "{flavour} {access}: {}", show(&plan));
    }
}
