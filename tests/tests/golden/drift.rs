//! What somebody else has changed in a cluster, and plans that are older than it.

use std::collections::{BTreeMap, BTreeSet};

use installer_plan::kubernetes::{
    Answer, Conflict, FieldChange, Hand, ImageAnswer, KubernetesAction, KubernetesFacts,
    ObjectFact, Rehearsal, Rehearsals, Values, changed_since, images_to_ask_for, rehearsed,
    to_rehearse, with_images,
};
use installer_plan::{Action, Condition, Operation, Pending, Plan, show};
use installer_render::kubernetes::{Kind, ObjectId};
use installer_spec::Profile;

use crate::kubernetes::{after, bare_cluster, demo, planned};
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
