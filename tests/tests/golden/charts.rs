//! Helm charts beside a site, as a plan has them.

use std::collections::BTreeSet;

use installer_plan::host::Level;
use installer_plan::kubernetes::{ChartFact, KubernetesAction, KubernetesFacts, plan_uninstall};
use installer_plan::{Action, Finding, Severity, show};
use installer_spec::{MemoryLists, Profile, SourceFile, parse, to_yaml};
use serde_json::{Value, json};

use crate::kubernetes::{after, bare_cluster, planned};

const CHARTS: &str = "version: 1
site: yard
target: kubernetes
cameras:
  - { name: gate, test: scene }
charts:
  - name: hub
    chart: charts/hub
    values:
      replicas: 2
      title: \"on\"
      global: { region: north }
      users: [ anna, \"007\" ]
    secrets:
      mqtt: { file: mqtt.login }
  - { name: alerts, chart: 'oci://charts.example/alerts', version: 1.4.2 }
";

fn profile(text: &str) -> Profile {
    let source = SourceFile {
        name: "yard.yaml",
        text,
    };
    parse(&source, &MemoryLists::default()).unwrap().profile
}

fn facts() -> KubernetesFacts {
    let mut facts = bare_cluster("yard");
    let chart = |version: &str, digest: Option<&str>| ChartFact {
        version: version.into(),
        digest: digest.map(str::to_owned),
    };
    let hub = Ok(chart("0.3.0", Some("d1")));
    facts.charts.insert("hub".into(), hub);
    facts
        .charts
        .insert("alerts".into(), Ok(chart("1.4.2", None)));
    facts
}

fn ids(plan: &installer_plan::Plan) -> Vec<&str> {
    let ids = plan.steps.iter().map(|step| step.id.as_str());
    ids.filter(|id| id.contains("release") || id.contains("yard-"))
        .collect()
}

#[test]
fn a_chart_is_released_once_and_again_when_it_or_its_values_change() {
    let site = profile(CHARTS);
    let facts = facts();
    let first = planned(&site, &facts);
    assert_eq!(
        ids(&first),
        [
            "Namespace/stakeout-yard-hub",
            "Namespace/stakeout-yard-alerts",
            "release hub (chart hub 0.3.0)",
            "release alerts (chart alerts 1.4.2)",
        ]
    );
    assert_eq!(first.owned.releases["hub"], "stakeout-yard-hub");
    let done = after(&first, &facts);
    assert!(planned(&site, &done).is_empty());

    let other = CHARTS.replace("replicas: 2", "replicas: 3");
    let changed = planned(&profile(&other), &done);
    assert_eq!(ids(&changed), ["release hub (chart hub 0.3.0)"]);

    let mut edited = done.clone();
    edited.charts.insert(
        "hub".into(),
        Ok(ChartFact {
            version: "0.3.0".into(),
            digest: Some("d2".into()),
        }),
    );
    assert_eq!(
        ids(&planned(&site, &edited)),
        ["release hub (chart hub 0.3.0)"]
    );

    // Somebody ran `helm upgrade` by hand: our label is not on its revision.
    let mut by_hand = done.clone();
    by_hand.releases.get_mut("hub").unwrap().digest = None;
    let mended = planned(&site, &by_hand);
    assert_eq!(mended.steps[0].detail, ["revision 1 is somebody else's"]);

    let alone = CHARTS.split("charts:").next().unwrap();
    let without = planned(&profile(alone), &done);
    let gone = [
        "release alerts",
        "release hub",
        "Namespace/stakeout-yard-hub",
        "Namespace/stakeout-yard-alerts",
    ];
    assert_eq!(
        ids(&without).into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(gone)
    );
}

#[test]
fn a_chart_that_reaches_the_vault_is_let_in_and_told_how() {
    let opened = CHARTS.replace("    values:\n", "    reaches: [ vault ]\n    values:\n");
    let site = profile(&opened);
    assert_eq!(profile(&to_yaml(&site)), site);
    let plan = planned(&site, &facts());
    let actions: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Kubernetes(action) => Some((step, action)),
            _ => None,
        })
        .collect();
    // It is let in from its own namespace, at one port; the other chart is not.
    let from = json!([{ "namespaceSelector": {
        "matchLabels": { "kubernetes.io/metadata.name": "stakeout-yard-hub" },
    } }]);
    let let_in = |object: &Value| {
        let rules = object["spec"]["ingress"].as_array().cloned();
        let ports = json!([{ "port": 8443, "protocol": "TCP" }]);
        let mut rules = rules.into_iter().flatten();
        rules.any(|rule| rule["from"] == from && rule["ports"] == ports)
    };
    let policies: Vec<_> = actions
        .iter()
        .filter_map(|(_, action)| match action {
            KubernetesAction::Apply { object, .. } => Some(object),
            _ => None,
        })
        .filter(|object| let_in(&object.value()))
        .map(|object| object.id.to_string())
        .collect();
    assert_eq!(policies, ["NetworkPolicy/vault"]);
    // The vault's certificate has the name that it is called by, and the chart has what to trust.
    let host = "vault.stakeout-yard.svc";
    assert!(actions.iter().any(|(_, action)| matches!(action,
        KubernetesAction::IssueCertificate { service, names, .. }
            if service == "vault" && names.contains(host))));
    assert!(actions.iter().any(|(_, action)| matches!(action,
        KubernetesAction::MakeAuthority { copies, .. }
            if copies.len() == 1 && copies["stakeout-yard-hub"] == "hub-trust")));
    let released = actions.iter().find_map(|(step, action)| match action {
        KubernetesAction::Release { release, .. } if release.name == "hub" => Some((step, release)),
        _ => None,
    });
    let (step, release) = released.unwrap();
    assert!(step.detail[0].contains("hub-trust"), "{:?}", step.detail);
    let values: Value = serde_json::from_str(&release.values).unwrap();
    assert_eq!(
        values["global"]["stakeout"]["vault"],
        json!({
            "url": "https://vault.stakeout-yard.svc:8443",
            "trust": { "name": "hub-trust", "key": "ca.crt" },
        })
    );
    let closed = planned(&profile(CHARTS), &facts());
    assert!(!show(&closed).contains("hub-trust"), "{}", show(&closed));

    let keeper = format!("{opened}storage: {{ keeper: agent, quota: 1GiB }}\n");
    let source = SourceFile {
        name: "yard.yaml",
        text: &keeper,
    };
    let refused = parse(&source, &MemoryLists::default()).unwrap_err();
    assert!(refused[0].message.contains("`reaches`"), "{refused:?}");
}

#[test]
fn a_chart_is_told_of_the_site_and_where_its_logins_are() {
    let plan = planned(&profile(CHARTS), &facts());
    let release = plan.steps.iter().find_map(|step| match &step.action {
        Action::Kubernetes(KubernetesAction::Release { release, .. }) => Some(release),
        _ => None,
    });
    let release = release.unwrap();
    let values: Value = serde_json::from_str(&release.values).unwrap();
    assert_eq!(
        values,
        json!({
            "replicas": 2,
            "title": "on",
            "users": ["anna", "007"],
            "global": {
                "region": "north",
                "stakeout": {
                    "site": "yard",
                    "namespace": "stakeout-yard",
                    "secrets": { "mqtt": {
                        "name": "hub-logins",
                        "userKey": "mqtt-user",
                        "passwordKey": "mqtt-password",
                    } },
                },
            },
        })
    );
    assert_eq!(release.logins["mqtt"].purpose, "chart-hub_mqtt-login");
}

#[test]
fn what_stands_in_a_charts_way_is_told_before_anything_is_done() {
    let mut facts = facts();
    let missing = Finding {
        severity: Severity::Error,
        id: "chart".into(),
        message: "chart `hub`: there is no `helm` here".into(),
        help: "install Helm".into(),
    };
    facts.charts.insert("hub".into(), Err(missing.clone()));
    let plan = planned(&profile(CHARTS), &facts);
    assert!(plan.findings.contains(&missing), "{:?}", plan.findings);
}

#[test]
fn a_release_with_claims_stays_until_its_data_may_go() {
    let site = profile(CHARTS);
    let mut done = after(&planned(&site, &facts()), &facts());
    done.releases.get_mut("hub").unwrap().claims = ["data".to_owned()].into();
    let alone = profile(CHARTS.split("charts:").next().unwrap());
    let plan = planned(&alone, &done);
    assert!(ids(&plan).contains(&"release alerts"));
    assert!(!ids(&plan).contains(&"release hub"));
    assert!(plan.findings.iter().any(|f| f.id == "release-kept"));
    assert!(plan.owned.releases.contains_key("hub"));

    for (level, goes) in [
        (Level::Services, false),
        (Level::Config, false),
        (Level::Data, true),
    ] {
        let plan = plan_uninstall("yard", level, &done);
        assert_eq!(ids(&plan).contains(&"release hub"), goes, "{level:?}");
        assert!(ids(&plan).contains(&"release alerts"), "{level:?}");
    }
}

#[test]
fn a_chart_is_written_as_it_was_read() {
    let site = profile(CHARTS);
    assert_eq!(profile(&to_yaml(&site)), site);
}

#[test]
fn what_is_wrong_with_a_chart_is_told_where_it_stands() {
    let long = CHARTS.replace("site: yard", "site: yard-of-the-big-house");
    let wrong = |from: &str, to: &str| {
        let text = long.replace(from, to);
        let source = SourceFile {
            name: "yard.yaml",
            text: &text,
        };
        let found = match parse(&source, &MemoryLists::default()) {
            Ok(parsed) => parsed.warnings,
            Err(found) => found,
        };
        let told = found.first().unwrap_or_else(|| panic!("`{to}` is fine"));
        format!("{} {}", told.path, told.message)
    };
    for (from, to, told) in [
        (
            ", version: 1.4.2",
            "",
            "charts[1].version a chart of a registry",
        ),
        (
            "version: 1.4.2",
            "version: ^1.4",
            "charts[1].version a chart of a registry",
        ),
        (
            "oci://charts.example/alerts",
            "https://charts.example/x",
            "charts[1].chart charts come",
        ),
        (
            "name: alerts",
            "name: hub",
            "charts[1].name there are two charts named `hub`",
        ),
        (
            "\"on\"",
            "on",
            "charts[0].values.title `on` without quotes is a truth value",
        ),
        (
            "replicas: 2",
            "replicas: 0x10",
            "charts[0].values.replicas `0x10` without quotes",
        ),
        (
            "replicas: 2",
            "adminPassword: abc",
            "charts[0].values.adminPassword this looks like",
        ),
        (
            "target: kubernetes",
            "target: docker",
            "charts Helm charts are for clusters",
        ),
        (
            "chart: charts/hub",
            "char: charts/hub",
            "charts[0] an entry of `charts` has no key",
        ),
        (
            "name: alerts",
            "name: alerts-of-the-night-watchmen-and-all",
            "charts[1].name `stakeout-yard-of-the-big-house-",
        ),
    ] {
        let found = wrong(from, to);
        assert!(found.starts_with(told), "{to}: {found}");
    }
}
