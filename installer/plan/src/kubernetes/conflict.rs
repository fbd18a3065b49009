//! Fields that we say and that another manager has with another value: taken only when asked.

use std::collections::BTreeMap;
use std::fmt;

use installer_render::kubernetes::ObjectId;
use serde::{Deserialize, Serialize};

use super::Hand;
use crate::check::{Finding, Severity};
use crate::plan::Plan;

/// The finding of a plan that would take such fields.
const FINDING: &str = "field-conflict";

/// This many of them are named.
const NAMED: usize = 12;

/// One such field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// `spec.replicas`
    pub field: String,
    pub by: Hand,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is of `{}`", self.field, self.by.manager)?;
        match self.by.time.as_str() {
            "" => Ok(()),
            time => write!(f, " since {time}"),
        }
    }
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// They stay with who has them, and nothing is done.
    #[default]
    Leave,
    Take,
}

/// Those of a plan, and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Conflicts {
    pub of: BTreeMap<ObjectId, Vec<Conflict>>,
    pub answer: Answer,
}

impl Conflicts {
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// There are some, and nobody has asked to take them.
    pub fn is_open(&self) -> bool {
        !self.is_empty() && self.answer == Answer::Leave
    }

    /// Whether this field may be taken from this manager: the plan has told of it, and it was asked
    /// for.
    pub fn lets_take(&self, id: &ObjectId, conflict: &Conflict) -> bool {
        let told = self.of.get(id).into_iter().flatten();
        let mut told = told.filter(|told| told.by.manager == conflict.by.manager);
        self.answer == Answer::Take && told.any(|told| told.field == conflict.field)
    }

    fn finding(&self) -> Option<Finding> {
        let (severity, what, help) = match self.answer {
            _ if self.is_empty() => return None,
            Answer::Leave => (
                Severity::Error,
                "fields that the profile decides belong to other managers",
                "take them with --force-conflicts; or let that manager give them up, by setting them \
                 as the plan says or by saying no more of them",
            ),
            Answer::Take => (
                Severity::Info,
                "taken from other managers, as you ask",
                "see that they do not set them again",
            ),
        };
        let message = format!("{what}: {self}");
        Some(Finding::new(severity, FINDING, message, help))
    }
}

/// Object, field, manager and time of each, as far as a person reads.
impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.of.iter();
        let named: Vec<_> = all
            .flat_map(|(id, fields)| fields.iter().map(move |field| format!("{id}: {field}")))
            .collect();
        let shown: Vec<_> = named.iter().take(NAMED).map(String::as_str).collect();
        f.write_str(&shown.join("; "))?;
        match named.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl Plan {
    /// The plan with these conflicts and what is asked about them.
    #[must_use]
    pub fn with_conflicts(mut self, conflicts: Conflicts) -> Self {
        self.findings.retain(|finding| finding.id != FINDING);
        self.findings.extend(conflicts.finding());
        self.conflicts = conflicts;
        self
    }

    /// The same plan, in which every conflict that it tells of is taken.
    #[must_use]
    pub fn taking_conflicts(mut self) -> Self {
        let mut conflicts = std::mem::take(&mut self.conflicts);
        conflicts.answer = Answer::Take;
        self.with_conflicts(conflicts)
    }

    /// Whether nothing stands in its way but conflicts that nobody has asked to take.
    pub fn waits_for_conflicts_alone(&self) -> bool {
        let errors = self.findings.iter();
        let mut errors = errors.filter(|finding| finding.severity == Severity::Error);
        self.conflicts.is_open() && errors.all(|finding| finding.id == FINDING)
    }
}

#[cfg(test)]
mod tests {
    use installer_render::kubernetes::Kind;

    use super::*;

    fn conflict(field: &str, manager: &str) -> Conflict {
        Conflict {
            field: field.to_owned(),
            by: Hand {
                manager: manager.to_owned(),
                time: "2026-11-21T20:00:00Z".to_owned(),
            },
        }
    }

    #[test]
    fn only_what_was_told_and_asked_for_is_taken() {
        let id = ObjectId::new(Kind::Service, "vault");
        let told = conflict("spec.type", "kubectl-edit");
        let mut conflicts = Conflicts {
            of: [(id.clone(), vec![told.clone()])].into(),
            answer: Answer::Leave,
        };
        assert!(conflicts.is_open() && !conflicts.lets_take(&id, &told));
        let finding = conflicts.finding().unwrap();
        assert_eq!(finding.severity, Severity::Error);
        let line = "Service/vault: `spec.type` is of `kubectl-edit` since 2026-11-21T20:00:00Z";
        assert!(finding.message.ends_with(line), "{}", finding.message);

        conflicts.answer = Answer::Take;
        assert!(!conflicts.is_open() && conflicts.lets_take(&id, &told));
        assert_eq!(conflicts.finding().unwrap().severity, Severity::Info);
        for other in [
            conflict("spec.type", "somebody"),
            conflict("spec.ports", "kubectl-edit"),
        ] {
            assert!(!conflicts.lets_take(&id, &other), "{other}");
        }
        assert!(!conflicts.lets_take(&ObjectId::new(Kind::Service, "agent"), &told));
        assert_eq!(Conflicts::default().finding(), None);
    }
}
