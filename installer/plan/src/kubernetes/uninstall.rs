//! Facts in, the way back out. Claims are touched at the last level only.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::kubernetes::{Kind, ObjectId};

use super::seen::seen_of;
use super::{Conflicts, KubernetesAction, KubernetesFacts, addon, release};
use crate::docker::Ownership;
use crate::host::Level;
use crate::plan::{Action, Change, Condition, Operation, Plan, Step};
use crate::receipt::Owned;

/// Pods have 20 s to end, and a node that is away may hold on to them for minutes.
const GONE_SECONDS: u64 = 180;

/// Returns the steps that take a site away, as far as `level` goes.
pub fn plan_uninstall(site: &str, level: Level, facts: &KubernetesFacts) -> Plan {
    let ours = |id: &ObjectId| {
        let fact = facts.objects.get(id);
        fact.is_some_and(|fact| fact.ownership == Ownership::Ours)
    };
    let strangers = facts
        .objects
        .iter()
        .any(|(id, fact)| id.kind.is_namespaced() && fact.ownership != Ownership::Ours);
    let goes = |id: &ObjectId| match id.kind {
        Kind::Secret | Kind::ConfigMap => level >= Level::Config,
        Kind::PersistentVolumeClaim => level >= Level::Data,
        // With somebody else's things in it, it stays.
        Kind::Namespace => level >= Level::Data && !strangers,
        _ => true,
    };
    // Agents first: what they finish now, the vault still takes. What the vault writes to outlives
    // it.
    let turn = |id: &ObjectId| match (id.kind, id.name.as_str()) {
        (Kind::Deployment, name) if name.starts_with("agent") => 0,
        (Kind::Deployment, name) if name.starts_with("camera-") => 1,
        (Kind::Deployment, "vault") => 2,
        (Kind::Deployment, _) => 3,
        (Kind::Namespace, _) => 5,
        _ => 4,
    };
    let mut gone: Vec<_> = facts
        .objects
        .keys()
        .filter(|id| ours(id) && goes(id))
        .cloned()
        .collect();
    gone.sort_by_key(|id| (turn(id), std::cmp::Reverse(id.kind), id.name.clone()));
    let mut steps: Vec<Step> = Vec::new();
    let mut findings = Vec::new();
    for (name, fact) in &facts.releases {
        if release::keeps(fact, level) {
            findings.push(release::kept(name, fact));
            continue;
        }
        findings.extend(facts.charts.get(name).and_then(|chart| chart.clone().err()));
        steps.push(Step {
            id: format!("release {name}"),
            change: Change::Remove,
            detail: Vec::new(),
            action: Action::Kubernetes(KubernetesAction::RemoveRelease {
                name: name.clone(),
                namespace: fact.namespace.clone(),
            }),
            settle: None,
        });
    }
    let mut together: (u8, BTreeSet<ObjectId>) = (0, BTreeSet::new());
    for id in &gone {
        let turn = turn(id);
        if turn != together.0 {
            settle(&mut steps, &mut together.1);
            together.0 = turn;
        }
        if [Kind::Deployment, Kind::Namespace].contains(&id.kind) {
            together.1.insert(id.clone());
        }
        let uid = facts.objects.get(id).map(|fact| fact.uid.clone());
        steps.push(Step {
            id: match id.kind {
                Kind::PersistentVolumeClaim => format!("{id} and the footage in it"),
                _ => id.to_string(),
            },
            change: Change::Remove,
            detail: Vec::new(),
            action: Action::Kubernetes(KubernetesAction::Delete {
                id: id.clone(),
                uid: uid.unwrap_or_default(),
            }),
            settle: None,
        });
    }
    settle(&mut steps, &mut together.1);
    let before = facts.receipt.as_ref();
    let mut owned = before.map(|r| r.owned.clone()).unwrap_or_default();
    owned.objects.retain(|id| !gone.contains(id));
    let kept = |name: &String| {
        facts
            .releases
            .get(name)
            .is_some_and(|f| release::keeps(f, level))
    };
    owned.releases.retain(|name, _| kept(name));
    findings.extend(addon::kept(&owned.addons));
    if level >= Level::Config {
        owned.secrets = BTreeSet::new();
    }
    if level >= Level::Data {
        owned = Owned::default();
    }
    Plan {
        format: 1,
        operation: Operation::Uninstall,
        site: site.to_owned(),
        target: "kubernetes".to_owned(),
        machine: facts.cluster.id.clone(),
        data: Utf8PathBuf::from(&facts.namespace),
        unchanged: 0,
        owned,
        findings,
        storage: None,
        seen: seen_of(&steps, facts),
        conflicts: Conflicts::default(),
        rates: BTreeMap::new(),
        steps,
    }
}

fn settle(steps: &mut [Step], objects: &mut BTreeSet<ObjectId>) {
    if let Some(last) = steps.last_mut()
        && !objects.is_empty()
    {
        last.settle = Some(Condition::Gone {
            objects: std::mem::take(objects),
            deadline_seconds: GONE_SECONDS,
        });
    }
}
