//! What has to change at Amazon so that a site has its bucket and its role. Nothing is asked here.

mod binding;
mod bucket;
mod removal;
mod role;

use serde::Serialize;

use crate::facts::{CLUSTER_TAG, Facts, MANAGED_TAG, SITE_TAG, Tags};
use crate::step::Step;
use crate::wanted::Wanted;

pub use binding::{Binding, Chosen};
pub use removal::{Holdings, Level, Removal, removal};

/// Steps in order, and what a person has to know of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub chosen: Chosen,
    /// What the service account's annotation names, where the binding wants one.
    pub role_arn: String,
    pub bucket_arn: String,
    pub notes: Vec<String>,
}

impl Plan {
    /// What the service account has to say (`eks.amazonaws.com/role-arn`), if anything.
    pub fn annotation(&self) -> Option<(&'static str, &str)> {
        let wanted = self.chosen.binding == Binding::Irsa;
        wanted.then_some(("eks.amazonaws.com/role-arn", self.role_arn.as_str()))
    }
}

/// Why something is left alone although the profile wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{object}: {why}")]
pub struct Refusal {
    pub object: String,
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    fn new(object: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

/// Returns the steps from what is there to what is wanted, or everything that stands against it.
pub fn plan(wanted: &Wanted, facts: &Facts) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let chosen = binding::choose(wanted, facts).map_err(|refusal| refusals.push(refusal));
    let bucket = bucket::steps(wanted, facts).map_err(|refusal| refusals.push(refusal));
    let Ok(chosen) = chosen else {
        return Err(refusals);
    };
    let role = role::steps(wanted, facts, &chosen).map_err(|refusal| refusals.push(refusal));
    let bound = binding::steps(wanted, facts, &chosen).map_err(|refusal| refusals.push(refusal));
    let (Ok((bucket, mut notes)), Ok(role), Ok(bound)) = (bucket, role, bound) else {
        return Err(refusals);
    };
    notes.extend(chosen.note.clone());
    Ok(Plan {
        steps: [bucket, role, bound].concat(),
        role_arn: role::arn(wanted, facts),
        bucket_arn: crate::policy::bucket_arn(wanted, &facts.caller.partition),
        chosen,
        notes,
    })
}

/// How something came to be managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Managed {
    Made,
    Adopted,
}

impl Managed {
    fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Adopted => "adopted",
        }
    }

    /// What is marked unclearly was not made by us.
    fn of(tags: &Tags) -> Self {
        match tags.get(MANAGED_TAG).map(String::as_str) {
            Some("made") => Self::Made,
            _ => Self::Adopted,
        }
    }
}

/// Whose something is, by its tags.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Ours,
    Nobody,
    Another(String),
}

fn owner(wanted: &Wanted, facts: &Facts, tags: &Tags) -> Owner {
    let Some(site) = tags.get(SITE_TAG) else {
        return Owner::Nobody;
    };
    let cluster = tags.get(CLUSTER_TAG);
    match cluster.filter(|cluster| **cluster != facts.cluster.names.arn) {
        None if *site == wanted.site => Owner::Ours,
        None => Owner::Another(format!("site `{site}`")),
        Some(cluster) => Owner::Another(format!("site `{site}` of {cluster}")),
    }
}

fn our_tags(wanted: &Wanted, facts: &Facts, managed: Managed) -> Tags {
    let tags = [
        (SITE_TAG, wanted.site.as_str()),
        (MANAGED_TAG, managed.word()),
        (CLUSTER_TAG, facts.cluster.names.arn.as_str()),
    ];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// `found` with ours, if that is a difference.
fn tags_to_set(ours: &Tags, found: &Tags) -> Option<Tags> {
    let mut tags = found.clone();
    tags.extend(ours.clone());
    (tags != *found).then_some(tags)
}

#[cfg(test)]
mod tests;
