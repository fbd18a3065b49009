//! What a saved plan is bound to: the objects that it changes or removes, as they were.

use std::collections::BTreeMap;

use installer_render::kubernetes::ObjectId;

use super::{KubernetesAction, KubernetesFacts, ObjectFact};
use crate::digest::{Digest, digest_of};
use crate::plan::{Action, Plan, Step};

impl ObjectFact {
    /// What it is and what has been said of it. Its status, and with it the server's own version,
    /// moves by itself, and is left out.
    fn version(&self) -> Digest {
        digest_of(&(
            &self.uid,
            &self.applied,
            &self.shared,
            self.generation,
            self.ending,
        ))
    }
}

/// The object that a step changes or removes, or makes.
fn touched(step: &Step) -> Option<&ObjectId> {
    match &step.action {
        Action::Kubernetes(KubernetesAction::Apply { object, .. }) => Some(&object.id),
        Action::Kubernetes(KubernetesAction::Delete { id, .. }) => Some(id),
        _ => None,
    }
}

pub(super) fn seen_of(steps: &[Step], facts: &KubernetesFacts) -> BTreeMap<ObjectId, Digest> {
    let seen = steps.iter().filter_map(touched).filter_map(|id| {
        let fact = facts.objects.get(id)?;
        Some((id.clone(), fact.version()))
    });
    seen.collect()
}

/// What of a plan's objects is no longer as the plan has seen it, a line for each.
pub fn changed_since(plan: &Plan, facts: &KubernetesFacts) -> Vec<String> {
    let touched: std::collections::BTreeSet<_> = plan.steps.iter().filter_map(touched).collect();
    let lines = touched.into_iter().filter_map(|id| {
        let what = match (plan.seen.get(id), facts.objects.get(id)) {
            (Some(seen), Some(fact)) if *seen == fact.version() => return None,
            (None, None) => return None,
            (Some(_), Some(fact)) if fact.shared.is_empty() => "has been changed".to_owned(),
            (Some(_), Some(fact)) => format!("has been changed: {}", fact.shared.join(", ")),
            (Some(_), None) => "is gone".to_owned(),
            (None, Some(_)) => "has been made by somebody else".to_owned(),
        };
        Some(format!("{id} {what}"))
    });
    lines.collect()
}
