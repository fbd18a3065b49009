//! What somebody else has changed in a cluster, and plans that are older than it.

use std::collections::{BTreeMap, BTreeSet};

use installer_plan::docker::ImageSource;
use installer_plan::kubernetes::{
    Answer, Conflict, FieldChange, Hand, ImageAnswer, ImageWay, KubernetesAction, KubernetesFacts,
    ObjectFact, RECEIPT_MAX, Rehearsal, Rehearsals, Values, changed_since, images_to_ask_for,
    rehearsed, to_rehearse, wave_of, with_images, with_receipt,
};
use installer_plan::{Action, Condition, Operation, Pending, Plan, Severity, digest_of, show};
use installer_render::docker::Component;
use installer_render::kubernetes::{Kind, ObjectId};
use installer_spec::Profile;

use crate::kubernetes::{after, bare_cluster, cluster_profiles, demo, planned};
use crate::{check_golden, receipt_of};

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
    let said = all.map(|((kind, name), said)| (ObjectId::new(*kind, *name), said.clone()));
    Rehearsals {
        said: said.collect(),
        conflicts: BTreeMap::new(),
    }
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
    let mut said = said(&[
        (
            AGENT,
            Rehearsal::Differs(agent.into_iter().chain(many).collect()),
        ),
        (
            SECRET,
            Rehearsal::Differs(vec![field("data.vault-admin-token.1", Values::Hidden)]),
        ),
    ]);
    let conflict = Conflict {
        field: "spec.replicas".into(),
        by: Hand {
            manager: "kubectl-edit".into(),
            time: "2026-11-21T20:00:00Z".into(),
        },
    };
    let agent = ObjectId::new(AGENT.0, AGENT.1);
    said.conflicts.insert(agent, vec![conflict]);
    let plan = rehearsed(plan, &facts, &said, Answer::Leave);
    check_golden("demo", "kubernetes-drift.plan.txt", &show(&plan));
    // Only what was asked for is saved with the plan.
    assert!(plan.waits_for_conflicts_alone());
    let taking = plan.clone().taking_conflicts();
    assert_ne!(taking.digest(), plan.digest());
    assert_eq!(
        taking,
        rehearsed(planned(&profile, &facts), &facts, &said, Answer::Take)
    );
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
    let plan = rehearsed(planned(&profile, &facts), &facts, &said, Answer::Leave);
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

/// A run may end between the two.
#[test]
fn who_reads_a_certificate_once_is_restarted_by_the_run_after_the_one_that_made_it() {
    let mut all = cluster_profiles();
    let (_, profile) = all.find(|(name, _)| name == "stores").unwrap();
    let mut facts = drifted(&profile, &[]);
    let restarted = |facts: &KubernetesFacts| {
        let steps = planned(&profile, facts).steps.into_iter();
        let restarts = steps.map(|step| match step.action {
            Action::Kubernetes(KubernetesAction::Restart { id }) => {
                (id.name, step.settle.is_some())
            }
            action => panic!("{action:?}"),
        });
        restarts.collect::<Vec<_>>()
    };
    let mut changed = |id: (Kind, &str), time: &str| {
        let fact = facts.objects.get_mut(&ObjectId::new(id.0, id.1)).unwrap();
        fact.changed = Some(format!("2026-11-22T04:00:{time}Z"));
        facts.clone()
    };
    changed((Kind::Secret, "mosquitto-tls"), "01");
    let made = changed((Kind::Deployment, "mosquitto"), "01");
    assert_eq!(restarted(&made), []);
    let renewed = changed((Kind::Secret, "mosquitto-tls"), "30");
    assert_eq!(restarted(&renewed), [("mosquitto".to_owned(), true)]);
    let plan = planned(&profile, &renewed);
    assert_eq!(
        plan.steps[0].id,
        "Deployment/mosquitto (reads its new certificate)"
    );
    // That it is not well may be just because of that.
    let mut unwell = renewed;
    let id = ObjectId::new(Kind::Deployment, "mosquitto");
    unwell.objects.get_mut(&id).unwrap().ready = false;
    assert_eq!(restarted(&unwell), [("mosquitto".to_owned(), true)]);
    let done = changed((Kind::Deployment, "mosquitto"), "31");
    assert_eq!(restarted(&done), []);
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

/// A cluster of one node that is this machine, or may be.
fn without_a_registry(way: ImageWay) -> KubernetesFacts {
    let mut facts = bare_cluster("demo");
    let own = [Component::Agent, Component::Vault];
    for (component, image) in &mut facts.images {
        if !own.contains(component) {
            continue;
        }
        let name = component.name();
        image.reference = match way {
            ImageWay::Import { .. } => {
                format!("docker.io/stakeout/{name}@sha256:{}", digest_of(component))
            }
            ImageWay::None { .. } => format!("stakeout/{name}:1.2.3"),
        };
        image.wanted = Some(image.reference.clone());
        image.source = Some(ImageSource::Folder {
            path: "/opt/stakeout/images".into(),
            platform: "linux/amd64".into(),
        });
    }
    facts.image_way = Some(way);
    facts
}

fn import() -> ImageWay {
    ImageWay::Import {
        node: "node-1".into(),
        command: ["k3s", "ctr"].map(str::to_owned).to_vec(),
        signs: vec!["node `node-1` is the only one".into()],
        held: BTreeSet::new(),
    }
}

#[test]
fn images_come_into_the_only_node_without_a_registry() {
    let profile = demo();
    let facts = without_a_registry(import());
    let plan = planned(&profile, &facts);
    check_golden("demo", "kubernetes-import.plan.txt", &show(&plan));
    let json = serde_json::to_value(&plan.steps[0].action).unwrap()["kubernetes"].take();
    assert_eq!(json["do"], "import-image", "{json}");
    assert_eq!(json["command"], serde_json::json!(["k3s", "ctr"]));
    // What the node has is left alone.
    let mut done = after(&plan, &facts);
    assert!(planned(&profile, &done).is_empty());
    // One that it has lost comes again, and nothing else does.
    let Some(ImageWay::Import { held, .. }) = &mut done.image_way else {
        panic!("{:?}", done.image_way);
    };
    held.retain(|reference| reference.contains("vault"));
    let again = planned(&profile, &done);
    let steps: Vec<_> = again.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(steps, ["image of agent on node node-1"]);
    // One that no folder has cannot be brought: a way back that leads too far.
    let agent = done.images.get_mut(&Component::Agent).unwrap();
    agent.reference = agent.reference.replace("sha256:", "sha256:0");
    let plan = planned(&profile, &done);
    let ids: Vec<_> = plan
        .findings
        .iter()
        .map(|found| found.id.as_str())
        .collect();
    assert!(ids.contains(&"image-missing"), "{ids:?}");
}

#[test]
fn a_receipt_that_no_secret_holds_is_told_before_anything_is_written() {
    let profile = demo();
    let facts = bare_cluster(&profile.site);
    let small = with_receipt(planned(&profile, &facts), RECEIPT_MAX, 10_000);
    assert_eq!(small, planned(&profile, &facts));
    let large = with_receipt(small, 2 * RECEIPT_MAX, 20_000);
    let found = &large.findings.last().unwrap();
    assert_eq!(
        (found.id.as_str(), found.severity),
        ("receipt-size", Severity::Error)
    );
    assert!(found.message.contains("20000 cameras"), "{found:?}");
    assert!(found.help.contains("at most 9000 cameras"), "{found:?}");
}

#[test]
fn where_images_cannot_come_without_a_registry_it_is_said_why() {
    let reason = "the cluster has 3 nodes, and each of them needs them".to_owned();
    let facts = without_a_registry(ImageWay::None { reason });
    let plan = planned(&demo(), &facts);
    check_golden("demo", "kubernetes-no-way.plan.txt", &show(&plan));
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
    let wave = |id: &str| {
        let step = plan.steps.iter().position(|step| step.id == id).unwrap();
        wave_of(&plan, step).map(|wave| (wave.number, wave.of, wave.cameras))
    };
    assert_eq!(wave("Deployment/vault"), None);
    let first = Some((1, 3, BTreeSet::from(["c0".to_owned()])));
    assert_eq!(wave("Deployment/camera-c0"), first);
    assert_eq!(wave("Deployment/agent-c0"), first);
    let last = plan.steps.last().unwrap();
    assert_eq!(wave(&last.id).map(|(number, ..)| number), Some(3));
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
    the_way_back_goes_in_waves(&profile, &plan, &cut, &facts);
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

/// Those that were brought are mended first, whatever they do now; the others were never touched.
fn the_way_back_goes_in_waves(
    profile: &Profile,
    begun: &Plan,
    cut: &KubernetesFacts,
    before: &KubernetesFacts,
) {
    let mut back = cut.clone();
    back.images.clone_from(&before.images);
    let mut receipt = before.receipt.clone().unwrap();
    receipt.pending = Some(Pending {
        operation: Operation::Install,
        revision: 2,
        plan: String::new(),
        owned: receipt_of(begun).owned,
        steps: Vec::new(),
    });
    back.receipt = Some(receipt);
    let plan = planned(profile, &back);
    check_golden("demo", "kubernetes-way-back.plan.txt", &show(&plan));
    let waves: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Kubernetes(KubernetesAction::AwaitCameras { agents, unproven }) => {
                let unproven: BTreeSet<_> = unproven.keys().cloned().collect();
                assert_eq!(*agents, unproven, "{}", show(&plan));
                Some(agents.clone())
            }
            _ => None,
        })
        .collect();
    let of = |names: &[&str]| names.iter().map(|name| format!("agent-{name}")).collect();
    assert_eq!(waves, [of(&["c0"]), of(&["c1", "c2"])]);
    // One that was cut short, too: nobody knows who of the others it has brought.
    if let Some(pending) = back.receipt.as_mut().and_then(|r| r.pending.as_mut()) {
        pending.owned.images.clone_from(&plan.owned.images);
    }
    let again = planned(profile, &back);
    let first = again.steps.iter().find_map(|step| match &step.settle {
        Some(Condition::Recording { agents, .. }) => Some(agents.len()),
        _ => None,
    });
    assert_eq!(first, Some(5), "{}", show(&again));
}
