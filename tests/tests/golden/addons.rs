//! Addons of a cluster, as a plan turns them on.

use installer_plan::host::Level;
use installer_plan::kubernetes::{KubernetesFacts, plan_uninstall};
use installer_plan::{Plan, show};
use installer_spec::{MemoryLists, SourceFile, parse};

use crate::check_golden;
use crate::flavours::recorded;
use crate::kubernetes::{after, planned};

/// As a MicroK8s looks on which nobody has turned anything on.
fn empty_microk8s(site: &str) -> KubernetesFacts {
    let mut facts = recorded("microk8s", site);
    facts.cluster.storage_classes.clear();
    facts.cluster.ways.ingress_classes.clear();
    facts.cluster.signs.provisioners.clear();
    facts.addons.dns = Some(false);
    facts.addons.rbac = Some(false);
    facts.addons.command = true;
    facts
}

#[test]
fn addons_are_turned_on_where_the_profile_lets_us() {
    let text = "version: 1\nsite: harbour\ntarget: kubernetes\n\
                cameras: [ { name: a, test: scene } ]\n\
                access: { names: [ vault.example.org ] }\n";
    let parsed = |rest: &str| {
        let source = SourceFile {
            name: "p.yaml",
            text: &format!("{text}{rest}"),
        };
        parse(&source, &MemoryLists::default()).unwrap().profile
    };
    let facts = empty_microk8s("harbour");
    let enabled = |plan: &Plan| -> Vec<String> {
        let ids = plan.steps.iter().map(|step| step.id.clone());
        ids.filter(|id| id.contains("addon")).collect()
    };
    // By default they are told, and nothing is done.
    let told = planned(&parsed(""), &facts);
    assert_eq!(enabled(&told), [""; 0]);
    assert!(told.findings.iter().any(|one| one.id == "storage-class"));

    let allowed = parsed("cluster: { addons: enable }\n");
    let plan = planned(&allowed, &facts);
    check_golden("flavours", "microk8s-addons.plan.txt", &show(&plan));
    assert_eq!(
        enabled(&plan),
        [
            "enable addon rbac",
            "enable addon dns",
            "enable addon hostpath-storage",
            "enable addon ingress",
        ]
    );
    let names = ["dns", "hostpath-storage", "ingress", "rbac"];
    assert!(plan.owned.addons.iter().eq(names));

    // What is there is left alone, and what was turned on is kept in mind.
    let mut done = after(&plan, &facts);
    assert_eq!(enabled(&planned(&allowed, &done)), [""; 0]);
    let gone = plan_uninstall("harbour", Level::Data, &done);
    let stays = gone.findings.iter().find(|one| one.id == "addon-kept");
    assert!(stays.unwrap().message.contains("`dns`, `hostpath-storage`"));
    assert_eq!(enabled(&gone), [""; 0]);

    // Addresses that may be given away make a load balancer of it.
    let balanced = parsed("cluster: { addons: enable, addresses: 10.0.9.1-10.0.9.9 }\n");
    let plan = planned(&balanced, &facts);
    let asked = enabled(&plan);
    assert_eq!(asked.last().unwrap(), "enable addon metallb");
    assert!(
        !asked.contains(&"enable addon ingress".to_owned()),
        "{asked:?}"
    );
    assert!(show(&plan).contains("microk8s enable metallb:10.0.9.1-10.0.9.9"));

    // Without the command on this machine it is said what to do.
    done = facts;
    done.addons.command = false;
    let refused = planned(&allowed, &done);
    let finding = refused
        .findings
        .iter()
        .find(|one| one.id == "addon-command");
    assert!(
        finding.unwrap().help.contains("`microk8s enable dns`"),
        "{finding:?}"
    );
}
