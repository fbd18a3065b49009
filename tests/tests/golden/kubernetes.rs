//! Every shipped profile, planned for a cluster that was never there.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use installer_plan::docker::{ImageFact, ImageStanding, Ownership};
use installer_plan::host::Level;
use installer_plan::kubernetes::{
    Cluster, FieldChange, Hand, ImageAnswer, KubernetesAction, KubernetesFacts, NodeFact,
    ObjectFact, Rehearsal, Rehearsals, Room, Signs, StorageClassFact, Values, applied_digest,
    changed_since, images_to_ask_for, namespace, objects, plan, plan_uninstall, rehearsed,
    to_rehearse, with_images,
};
use installer_plan::{
    Action, CertificateFact, CertificateFacts, Condition, Operation, Pending, Plan, Promise,
    SecretFact, digest_of, show,
};
use installer_render::docker::Component;
use installer_render::kubernetes::{Kind, ObjectId};
use installer_spec::{Profile, TargetChoice};

use crate::{check_golden, profiles, receipt_of};

const FOLDER: &str = "/etc/stakeout";

/// Profiles as they are for a cluster, whatever target they name.
fn cluster_profiles() -> impl Iterator<Item = (String, Profile)> {
    profiles().into_iter().map(|(name, mut profile)| {
        profile.target = TargetChoice::Kubernetes;
        (name, profile)
    })
}

fn demo() -> Profile {
    let mut all = cluster_profiles();
    all.find(|(name, _)| name == "demo").unwrap().1
}

/// Three nodes of 8 CPUs that run little, and a registry with this release.
fn bare_cluster(site: &str) -> KubernetesFacts {
    let node = |name: &str| {
        let fact = NodeFact {
            platform: "linux/amd64".into(),
            usable: true,
            room: Room {
                pods: 110,
                cpu_milli: 8000,
                memory_bytes: 32 << 30,
                ephemeral_bytes: 200 << 30,
            },
            taken: Room {
                pods: 6,
                cpu_milli: 500,
                memory_bytes: 1 << 30,
                ephemeral_bytes: 0,
            },
        };
        (name.to_owned(), fact)
    };
    let image = |component: Component| {
        let repository = format!("registry.example/stakeout/{}", component.name());
        let fact = ImageFact {
            reference: format!("{repository}@sha256:{}", digest_of(&component)),
            present: None,
            wanted: None,
            source: None,
            standing: ImageStanding::Pinned,
            obstacle: None,
        };
        (component, fact)
    };
    let class = StorageClassFact {
        default: true,
        provisioner: "rancher.io/local-path".into(),
    };
    KubernetesFacts {
        cluster: Cluster {
            id: "c0c0".into(),
            signs: Signs {
                version: "v1.34.4".into(),
                context: "kubernetes-admin@site".into(),
                server: "https://cluster.example:6443".into(),
                labels: ["node-role.kubernetes.io/control-plane=".to_owned()].into(),
                ..Signs::default()
            },
            nodes: ["a", "b", "c"].map(node).into(),
            storage_classes: [("local-path".to_owned(), class)].into(),
        },
        namespace: namespace(site),
        installation: "0123456789abcdef".into(),
        objects: BTreeMap::new(),
        secrets: BTreeMap::new(),
        missing_logins: BTreeMap::new(),
        certificates: CertificateFacts::default(),
        images: Component::ALL.into_iter().map(image).collect(),
        receipt: None,
        rotate: BTreeSet::new(),
        cameras: BTreeMap::new(),
    }
}

fn planned(profile: &Profile, facts: &KubernetesFacts) -> Plan {
    plan(profile, Utf8Path::new(FOLDER), facts, Promise::Whole).unwrap()
}

/// The facts that a cluster shows after every step of a plan was done.
fn after(plan: &Plan, before: &KubernetesFacts) -> KubernetesFacts {
    let mut facts = before.clone();
    let mut objects = facts.objects.clone();
    let mut made = |id: ObjectId, applied| {
        let fact = ObjectFact {
            uid: digest_of(&id),
            ownership: Ownership::Ours,
            applied,
            shared: Vec::new(),
            offered: false,
            generation: 1,
            ending: false,
            storage_bytes: None,
            ready: id.kind == Kind::Deployment,
        };
        objects.insert(id, fact);
    };
    let mut gone = BTreeSet::new();
    for step in &plan.steps {
        let Action::Kubernetes(action) = &step.action else {
            continue;
        };
        match action {
            KubernetesAction::Apply { object, secrets } => {
                let digest = applied_digest(object.id.kind, &object.value());
                made(object.id.clone(), Some(digest));
                for source in secrets.values() {
                    let fact = SecretFact {
                        versions: [source.name.version].into(),
                        current: Some(source.name.version),
                    };
                    facts.secrets.insert(source.name.purpose.clone(), fact);
                }
            }
            KubernetesAction::MakeAuthority { secret, trust, .. } => {
                made(ObjectId::new(Kind::Secret, secret.clone()), None);
                made(ObjectId::new(Kind::ConfigMap, trust.clone()), None);
                facts.certificates.authority = true;
            }
            KubernetesAction::IssueCertificate {
                service,
                secret,
                names,
                ..
            } => {
                made(ObjectId::new(Kind::Secret, secret.clone()), None);
                let fact = CertificateFact {
                    names: names.clone(),
                    good: true,
                    fingerprint: "AB:CD".into(),
                    not_after: "2027-01-01T00:00:00Z".into(),
                };
                facts.certificates.services.insert(service.clone(), fact);
            }
            KubernetesAction::Delete { id, .. } => {
                gone.insert(id);
            }
            KubernetesAction::NoteCameras { .. } | KubernetesAction::AwaitCameras { .. } => {}
        }
    }
    objects.retain(|id, _| !gone.contains(id));
    facts.objects = objects;
    facts.receipt = Some(receipt_of(plan));
    facts
}

#[test]
fn every_profile_plans_for_a_cluster_as_its_golden_text_says() {
    for (name, profile) in cluster_profiles() {
        let plan = planned(&profile, &bare_cluster(&profile.site));
        check_golden(&name, "kubernetes.plan.txt", &show(&plan));
    }
}

#[test]
fn the_objects_of_a_site_are_as_their_golden_text_says() {
    for name in ["demo", "stores"] {
        let mut all = cluster_profiles();
        let (_, profile) = all.find(|(one, _)| one == name).unwrap();
        let facts = bare_cluster(&profile.site);
        let site = objects(&profile, Utf8Path::new(FOLDER), &facts);
        let workloads = site.workloads.into_iter().map(|one| one.object);
        let all = site.objects.into_iter().map(|one| one.object);
        let texts: Vec<_> = all
            .chain(workloads)
            .map(|object| serde_json::to_string_pretty(&object.value()).unwrap())
            .collect();
        check_golden(name, "kubernetes.objects.json", &(texts.join("\n") + "\n"));
    }
}

#[test]
fn a_plan_that_was_done_leaves_nothing_to_do_in_a_cluster() {
    for (name, profile) in cluster_profiles().filter(|(_, p)| p.access.is_none()) {
        let before = bare_cluster(&profile.site);
        let first = planned(&profile, &before);
        let second = planned(&profile, &after(&first, &before));
        assert!(second.is_empty(), "{name}:\n{}", show(&second));
        assert_eq!(second.owned, first.owned, "{name}");
    }
}

#[test]
fn a_camera_more_or_less_touches_only_what_is_its_own() {
    let mut profile = demo();
    let before = bare_cluster(&profile.site);
    let facts = after(&planned(&profile, &before), &before);
    let mut more = profile.cameras[0].clone();
    more.name = "yard".into();
    profile.cameras.push(more);
    let change = planned(&profile, &facts);
    // Both may be counted, and both may reach the vault.
    let shared = ["ResourceQuota/site", "NetworkPolicy/vault"];
    for step in &change.steps {
        let id = step.id.as_str();
        assert!(id.contains("yard") || shared.contains(&id), "{id}");
    }
    check_golden("demo", "kubernetes-camera-added.plan.txt", &show(&change));
    let facts = after(&change, &facts);
    profile.cameras.pop();
    let back = planned(&profile, &facts);
    for step in &back.steps {
        let id = step.id.as_str();
        assert!(id.contains("yard") || shared.contains(&id), "{id}");
    }
    assert!(planned(&profile, &after(&back, &facts)).is_empty());
}

#[test]
fn a_thousand_cameras_on_few_nodes_are_refused_with_a_way_out() {
    let mut profile = demo();
    let camera = profile.cameras[0].clone();
    profile.cameras = (0..500)
        .map(|index| {
            let mut camera = camera.clone();
            camera.name = format!("c{index:03}");
            camera
        })
        .collect();
    let facts = bare_cluster(&profile.site);
    let plan = planned(&profile, &facts);
    let short = plan.findings.iter().find(|found| found.id == "capacity");
    let short = short.unwrap();
    assert!(short.help.contains("isolation: group"), "{short:?}");
    assert!(
        short.message.contains("of 1001 pods have no place"),
        "{short:?}"
    );
}

#[test]
fn what_is_not_ours_is_told_and_left_alone() {
    let profile = demo();
    let before = bare_cluster(&profile.site);
    let mut facts = after(&planned(&profile, &before), &before);
    let vault = ObjectId::new(Kind::Deployment, "vault");
    let fact = facts.objects.get_mut(&vault).unwrap();
    fact.ownership = Ownership::Foreign("it was made by `kubectl`".into());
    let plan = planned(&profile, &facts);
    assert!(
        plan.findings
            .iter()
            .any(|found| found.id == "foreign-object")
    );
    let removal = plan_uninstall(&profile.site, Level::Data, &facts);
    let told = show(&plan) + &show(&removal);
    assert!(!told.contains("Deployment/vault\n"), "{told}");
    assert!(!told.contains("- Namespace"), "{told}");
}

#[test]
fn every_level_of_removal_from_a_cluster_is_as_its_golden_text_says() {
    let profile = demo();
    let before = bare_cluster(&profile.site);
    let facts = after(&planned(&profile, &before), &before);
    for (level, file) in [
        (Level::Services, "kubernetes-uninstall.plan.txt"),
        (Level::Config, "kubernetes-uninstall-config.plan.txt"),
        (Level::Data, "kubernetes-uninstall-data.plan.txt"),
    ] {
        let plan = plan_uninstall(&profile.site, level, &facts);
        check_golden("demo", file, &show(&plan));
    }
}

/// A site in which somebody has changed these objects.
fn drifted(profile: &Profile, names: &[(Kind, &str)]) -> KubernetesFacts {
    let before = bare_cluster(&profile.site);
    let mut facts = after(&planned(profile, &before), &before);
    for (kind, name) in names {
        let fact = facts.objects.get_mut(&ObjectId::new(*kind, *name)).unwrap();
        fact.applied = Some("changed".into());
        fact.shared = vec!["`kubectl-edit` set something (2026-11-21T20:00:00Z)".into()];
    }
    facts
}

const VAULT: (Kind, &str) = (Kind::Deployment, "vault");
const AGENT: (Kind, &str) = (Kind::Deployment, "agent-demo");
const SERVICE: (Kind, &str) = (Kind::Service, "vault");
const CLAIM: (Kind, &str) = (Kind::PersistentVolumeClaim, "vault");
const SECRET: (Kind, &str) = (Kind::Secret, "vault");

fn said(of: &[((Kind, &str), Rehearsal)]) -> Rehearsals {
    let all = of.iter();
    all.map(|((kind, name), said)| (ObjectId::new(*kind, *name), said.clone()))
        .collect()
}

#[test]
fn what_others_have_changed_is_told_with_who_and_when() {
    let profile = demo();
    let facts = drifted(&profile, &[AGENT, SECRET]);
    let plan = planned(&profile, &facts);
    assert_eq!(to_rehearse(&plan, &facts).len(), 2);
    let field = |path: &str, values| FieldChange {
        path: path.into(),
        values,
        by: Some(Hand {
            manager: "kubectl-edit".into(),
            time: "2026-11-21T20:00:00Z".into(),
        }),
    };
    let shown = |from: Option<&str>, to: Option<&str>| Values::Shown {
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    };
    let mut own = field("spec.template.metadata.labels.a", shown(None, Some("b")));
    own.by = None;
    let many = (0..20).map(|n| field(&format!("spec.f{n}"), shown(Some("a"), None)));
    let agent = [field("spec.replicas", shown(Some("3"), Some("1"))), own];
    let said = said(&[
        (
            AGENT,
            Rehearsal::Differs(agent.into_iter().chain(many).collect()),
        ),
        (
            SECRET,
            Rehearsal::Differs(vec![field("data.vault-admin-token.1", Values::Hidden)]),
        ),
    ]);
    let plan = rehearsed(plan, &facts, &said);
    check_golden("demo", "kubernetes-drift.plan.txt", &show(&plan));
}

#[test]
fn what_cannot_be_changed_is_made_anew_unless_something_is_kept_in_it() {
    let profile = demo();
    let facts = drifted(&profile, &[AGENT, VAULT, SERVICE, CLAIM, SECRET]);
    let fixed = |field: &str| Rehearsal::Fixed(vec![field.to_owned()]);
    let selector = fixed("spec.selector");
    let said = said(&[
        (AGENT, selector.clone()),
        (VAULT, selector),
        (SERVICE, fixed("spec.clusterIP")),
        (CLAIM, fixed("spec")),
        (SECRET, fixed("data")),
    ]);
    let plan = rehearsed(planned(&profile, &facts), &facts, &said);
    check_golden("demo", "kubernetes-made-anew.plan.txt", &show(&plan));
    // Nobody else's is taken: each is removed by its UID, and gone before the next is made.
    for step in &plan.steps {
        if let Action::Kubernetes(KubernetesAction::Delete { id, uid }) = &step.action {
            assert_eq!(*uid, facts.objects[id].uid);
        }
    }
    let removed = plan.steps.iter().position(|step| step.settle.is_some());
    let made = plan
        .steps
        .iter()
        .position(|step| step.id == "Deployment/agent-demo");
    assert!(removed < made, "{}", show(&plan));
}

#[test]
fn a_plan_holds_only_for_what_it_was_made_for() {
    let profile = demo();
    let facts = drifted(&profile, &[AGENT]);
    let plan = planned(&profile, &facts);
    assert_eq!(changed_since(&plan, &facts), [""; 0]);
    let changed = |change: &dyn Fn(&mut ObjectFact)| {
        let mut facts = facts.clone();
        let id = ObjectId::new(AGENT.0, AGENT.1);
        change(facts.objects.get_mut(&id).unwrap());
        changed_since(&plan, &facts)
    };
    assert_eq!(changed(&|fact| fact.ready = false), [""; 0]);
    let edited = "Deployment/agent-demo has been changed: \
                  `kubectl-edit` set something (2026-11-21T20:00:00Z)";
    assert_eq!(changed(&|fact| fact.generation += 1), [edited]);
    assert_eq!(changed(&|fact| fact.uid = "another".into()), [edited]);
    let mut gone = facts.clone();
    gone.objects.remove(&ObjectId::new(AGENT.0, AGENT.1));
    assert_eq!(
        changed_since(&plan, &gone),
        ["Deployment/agent-demo is gone"]
    );
    let first = planned(&profile, &bare_cluster(&profile.site));
    let made = changed_since(&first, &facts);
    assert!(
        made.contains(&"Service/vault has been made by somebody else".to_owned()),
        "{made:?}"
    );
}

#[test]
fn images_are_asked_for_once() {
    let profile = demo();
    let before = bare_cluster(&profile.site);
    let first = planned(&profile, &before);
    let wanted = images_to_ask_for(&first, None);
    assert_eq!(wanted.len(), 2, "{wanted:?}");
    let facts = drifted(&profile, &[AGENT]);
    let again = planned(&profile, &facts);
    assert!(images_to_ask_for(&again, facts.receipt.as_ref()).is_empty());
    let answers = wanted.into_iter().zip([
        ImageAnswer::Absent("the registry does not have it".into()),
        ImageAnswer::Untold("the registry does not answer".into()),
    ]);
    let plan = with_images(first, &answers.collect());
    check_golden("demo", "kubernetes-images.plan.txt", &show(&plan));
}

#[test]
fn new_images_reach_agents_in_waves() {
    let mut profile = demo();
    let camera = profile.cameras[0].clone();
    profile.cameras = (0..8)
        .map(|index| {
            let mut camera = camera.clone();
            camera.name = format!("c{index}");
            camera
        })
        .collect();
    let facts = {
        let before = bare_cluster(&profile.site);
        after(&planned(&profile, &before), &before)
    };
    let mut newer = facts.clone();
    for fact in newer.images.values_mut() {
        fact.reference = fact.reference.replace("sha256:", "sha256:0");
    }
    let plan = planned(&profile, &newer);
    check_golden("demo", "kubernetes-upgrade.plan.txt", &show(&plan));
    let done = after(&plan, &newer);
    assert!(planned(&profile, &done).is_empty());

    // A run that ended within the second wave: who it brought is not taken to be well.
    let mut cut = after(&plan, &newer);
    cut.receipt.clone_from(&facts.receipt);
    for (id, fact) in &facts.objects {
        if ["agent-c3", "agent-c4", "agent-c5", "agent-c6", "agent-c7"].contains(&id.name.as_str())
        {
            cut.objects.insert(id.clone(), fact.clone());
        }
    }
    let rest = planned(&profile, &cut);
    let awaited: Vec<_> = rest
        .steps
        .iter()
        .filter_map(|step| match &step.settle {
            Some(Condition::Recording { agents, .. }) => Some(agents.len()),
            _ => None,
        })
        .collect();
    assert_eq!(awaited, [3, 1, 1, 3], "{}", show(&rest));
    // The way back is as it was.
    let mut receipt = receipt_of(&plan);
    let owned = std::mem::take(&mut receipt.owned);
    receipt.owned.images = facts.receipt.unwrap().owned.images;
    receipt.pending = Some(Pending {
        operation: Operation::Install,
        revision: 2,
        plan: String::new(),
        owned,
        steps: Vec::new(),
    });
    let (then, now) = receipt.way_back().unwrap();
    assert_eq!(*then, receipt.owned.images);
    assert_eq!(*now, plan.owned.images);
    receipt.pending = None;
    assert!(receipt.way_back().is_none());
}
