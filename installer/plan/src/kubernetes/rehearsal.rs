//! What the cluster says beforehand of the changes in a plan, and the plan as it is then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use installer_render::kubernetes::{Kind, ObjectId};
use serde::{Deserialize, Serialize};

use super::{Answer, Conflict, Conflicts, KubernetesAction, KubernetesFacts};
use crate::check::{Finding, Severity};
use crate::plan::{Action, Change, Condition, Plan, Step};

/// This many fields of an object are shown.
const SHOWN: usize = 12;

/// A Deployment is gone when its pods are, which have 20 s to end; a node that is away may hold on
/// to them for minutes.
const GONE_SECONDS: u64 = 180;

/// A change that was asked for without being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rehearsal {
    /// These fields would have other values.
    Differs(Vec<FieldChange>),
    /// These fields stay as they were made.
    Fixed(Vec<String>),
    /// The cluster would not do it, in its words.
    Refused(String),
}

/// One field of an object that would have another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `spec.replicas`
    pub path: String,
    pub values: Values,
    /// Who set it as it is now, where that was not us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Hand>,
}

/// The values of a field, now and then; nothing where it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    Shown {
        from: Option<String>,
        to: Option<String>,
    },
    /// Of a secret.
    Hidden,
}

/// Another field manager, and when it was here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hand {
    pub manager: String,
    pub time: String,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match &self.values {
            Values::Shown { from, to } => {
                write!(f, "{}: {} → {}", self.path, shown(from), shown(to))?;
            }
            Values::Hidden => write!(f, "{}: another value, which is not shown", self.path)?,
        }
        match &self.by {
            // The server notes no time of those who only scale.
            Some(hand) if hand.time.is_empty() => write!(f, ", changed by `{}`", hand.manager),
            Some(hand) => write!(f, ", changed by `{}` {}", hand.manager, hand.time),
            None => Ok(()),
        }
    }
}

/// Of the objects that a plan would change and that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rehearsals {
    pub said: BTreeMap<ObjectId, Rehearsal>,
    /// Fields among those that differ and that another manager would have to be taken from.
    pub conflicts: BTreeMap<ObjectId, Vec<Conflict>>,
}

/// The objects that [`rehearsed`] wants to know more of.
pub fn to_rehearse<'a>(plan: &'a Plan, facts: &KubernetesFacts) -> Vec<&'a KubernetesAction> {
    let actions = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Kubernetes(action) => Some(action),
        _ => None,
    });
    let is_there = |action: &&KubernetesAction| match action {
        KubernetesAction::Apply { object, .. } => facts
            .objects
            .get(&object.id)
            // One that is well and not ready has nothing to be told.
            .is_some_and(|fact| !fact.ending && !is_as_applied(object, fact)),
        // What is said of these is made later; whose they are can be told.
        action => action.made_in_place().iter().any(|(id, _)| {
            let fact = facts.objects.get(id);
            fact.is_some_and(|fact| !fact.shared.is_empty())
        }),
    };
    actions.filter(is_there).collect()
}

fn is_as_applied(object: &installer_render::kubernetes::Object, fact: &super::ObjectFact) -> bool {
    let wanted = super::applied_digest(object.id.kind, &object.value());
    fact.applied.as_ref() == Some(&wanted)
}

/// The plan with what the cluster said of its changes: which fields differ, and since when; what
/// has to be made anew, and what that costs; what would be taken from others, which `answer` decides.
pub fn rehearsed(
    mut plan: Plan,
    facts: &KubernetesFacts,
    heard: &Rehearsals,
    answer: Answer,
) -> Plan {
    let said = &heard.said;
    let mut steps = Vec::with_capacity(plan.steps.len());
    let (mut group, mut leaving): (Vec<Step>, Vec<Step>) = (Vec::new(), Vec::new());
    for mut step in std::mem::take(&mut plan.steps) {
        if let Action::Kubernetes(KubernetesAction::Apply { object, .. }) = &step.action {
            let id = object.id.clone();
            match said.get(&id) {
                Some(Rehearsal::Differs(fields)) => step.detail.extend(lines(fields)),
                Some(Rehearsal::Fixed(fields)) => match replaceable(&id, fields, facts) {
                    Ok(uid) => {
                        leaving.push(removal(&id, uid, &object.value(), fields));
                        step.change = Change::Add;
                    }
                    Err(finding) => plan.findings.push(finding),
                },
                Some(Rehearsal::Refused(reason)) => plan.findings.push(refused(&id, reason)),
                None => {}
            }
        }
        let settles = step.settle.is_some();
        group.push(step);
        if settles {
            flush(&mut steps, &mut leaving, &mut group);
        }
    }
    flush(&mut steps, &mut leaving, &mut group);
    plan.steps = steps;
    plan.with_conflicts(Conflicts {
        of: heard.conflicts.clone(),
        answer,
    })
}

fn lines(fields: &[FieldChange]) -> Vec<String> {
    let shown = fields.iter().take(SHOWN).map(ToString::to_string);
    let more = fields.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("and {more} more fields"));
    shown.chain(more).collect()
}

/// What has to go first goes together, right before what is made in its place: as much as is
/// awaited together is away together.
fn flush(steps: &mut Vec<Step>, leaving: &mut Vec<Step>, group: &mut Vec<Step>) {
    // Dependents first.
    leaving.reverse();
    let objects: BTreeSet<_> = leaving
        .iter()
        .filter_map(|step| match &step.action {
            Action::Kubernetes(KubernetesAction::Delete { id, .. }) => Some(id.clone()),
            _ => None,
        })
        .collect();
    if let Some(last) = leaving.last_mut() {
        last.settle = Some(Condition::Gone {
            objects,
            deadline_seconds: GONE_SECONDS,
        });
    }
    steps.append(leaving);
    steps.append(group);
}

/// The UID of the object that has to go, or why it may not.
fn replaceable(
    id: &ObjectId,
    fields: &[String],
    facts: &KubernetesFacts,
) -> Result<String, Finding> {
    let error = |name: &str, why: &str, help: String| {
        let fields = fields.join(", ");
        let message = format!("{id} cannot be changed: {fields} stays as it was made, and {why}");
        Err(Finding::new(Severity::Error, name, message, help))
    };
    match id.kind {
        Kind::PersistentVolumeClaim => error(
            "claim-fixed",
            "there may be footage in it",
            format!(
                "change the profile back; or copy what is in claim `{}` elsewhere, take the site \
                 and its footage away with `stakeout uninstall --data`, and install it again",
                id.name
            ),
        ),
        Kind::Secret => error(
            "secret-fixed",
            "it holds what was made once",
            format!(
                "keep a copy (`kubectl get secret {} --namespace {} --output yaml`), and make it \
                 again from that without what fixes it",
                id.name, facts.namespace
            ),
        ),
        Kind::Namespace => error(
            "namespace-fixed",
            "everything else is in it",
            "change the profile back, or give the site another name".to_owned(),
        ),
        _ => Ok(facts
            .objects
            .get(id)
            .map(|fact| fact.uid.clone())
            .unwrap_or_default()),
    }
}

fn removal(id: &ObjectId, uid: String, manifest: &serde_json::Value, fields: &[String]) -> Step {
    let why = format!(
        "{} stays as it was made, so that it is removed and made anew",
        fields.join(", ")
    );
    Step {
        id: format!("{id} (to be made anew)"),
        change: Change::Remove,
        detail: [Some(why), cost(id, manifest)]
            .into_iter()
            .flatten()
            .collect(),
        action: Action::Kubernetes(KubernetesAction::Delete {
            id: id.clone(),
            uid,
        }),
        settle: None,
    }
}

/// What it means that an object is away for a while.
fn cost(id: &ObjectId, manifest: &serde_json::Value) -> Option<String> {
    let name = &id.name;
    match id.kind {
        Kind::Deployment => {
            let seconds = manifest
                .pointer("/spec/template/spec/terminationGracePeriodSeconds")
                .and_then(serde_json::Value::as_u64);
            // What a cluster takes where nothing is said.
            let seconds = seconds.unwrap_or(30);
            let what = match name.strip_prefix("agent-") {
                Some(camera) => format!("what `{camera}` sees is not recorded"),
                None if name == "agent" => "no camera is recorded".to_owned(),
                None => format!("`{name}` does not answer"),
            };
            Some(format!(
                "{what} for as long as the old pod takes to end, {seconds} s at most, and the new \
                 one to start"
            ))
        }
        Kind::Service => Some(format!(
            "`{name}` gets another address: connections to it end, and its clients find it again \
             by name"
        )),
        Kind::NetworkPolicy => Some(
            "its pods are cut off, or open, as the other policies have it, until it is back"
                .to_owned(),
        ),
        _ => None,
    }
}

fn refused(id: &ObjectId, reason: &str) -> Finding {
    Finding::new(
        Severity::Warning,
        "change-refused",
        format!("the cluster would not change {id} now: {reason}"),
        "it may be that earlier steps of the plan clear the way; else have whoever runs the cluster \
         allow it",
    )
}
