//! What goes when a site goes.

use serde::Serialize;

use super::{Managed, Owner, bucket, owner, role};
use crate::facts::{BucketFact, CLUSTER_TAG, Facts, MANAGED_TAG, SITE_TAG};
use crate::step::Step;
use crate::wanted::{POLICY, Wanted};

/// How much goes. The first level, workloads, has nothing at Amazon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Role, its policies and what binds it.
    Rights,
    /// Footage, too.
    Data,
}

/// What is in the bucket, for whoever has to confirm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    pub objects: u64,
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    pub newest_ms: Option<i64>,
    /// Something lies beside the site's prefix.
    pub others: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removal {
    pub steps: Vec<Step>,
    /// What stays, and why.
    pub stays: Vec<String>,
}

/// Returns what has to be done so that the site is gone from the account. What does not carry its
/// mark stays.
pub fn removal(
    wanted: &Wanted,
    facts: &Facts,
    level: Level,
    holdings: Option<&Holdings>,
) -> Removal {
    let mut removal = Removal::default();
    removal.association(wanted, facts);
    removal.role(wanted, facts);
    if facts.provider
        && let Some(issuer) = &facts.cluster.names.issuer
    {
        let stays = format!("identity provider {issuer}: it is the cluster's, others may use it");
        removal.stays.push(stays);
    }
    removal.bucket(wanted, facts, level, holdings);
    removal
}

impl Removal {
    fn association(&mut self, wanted: &Wanted, facts: &Facts) {
        let Some(found) = &facts.association else {
            return;
        };
        let (cluster, id) = (wanted.cluster.clone(), found.id.clone());
        if owner(wanted, facts, &found.tags) == Owner::Ours {
            self.steps.push(Step::RemoveAssociation { cluster, id });
        } else {
            self.stays
                .push(format!("association {id}: it is not marked as the site's"));
        }
    }

    fn role(&mut self, wanted: &Wanted, facts: &Facts) {
        let name = wanted.role_name();
        let Some(found) = &facts.role else {
            return;
        };
        if owner(wanted, facts, &found.tags) != Owner::Ours {
            self.stays
                .push(format!("role {name}: it is not marked as the site's"));
            return;
        }
        self.steps.extend(role::too_much(&name, found));
        if found.inline.contains_key(POLICY) {
            let (name, policy) = (name.clone(), POLICY.to_owned());
            self.steps.push(Step::RemovePolicy { name, policy });
        }
        self.steps.push(Step::RemoveRole { name });
    }

    fn bucket(
        &mut self,
        wanted: &Wanted,
        facts: &Facts,
        level: Level,
        holdings: Option<&Holdings>,
    ) {
        let name = wanted.bucket.name.clone();
        let BucketFact::Here(state) = &facts.bucket else {
            return;
        };
        if owner(wanted, facts, &state.tags) != Owner::Ours {
            self.stays
                .push(format!("bucket {name}: it is not marked as the site's"));
            return;
        }
        // Whoever has not looked what is in it does not remove it.
        let (Level::Data, Some(holdings)) = (level, holdings) else {
            self.stays.push(format!("bucket {name}: it holds footage"));
            return;
        };
        let (bucket, prefix) = (name.clone(), wanted.key_prefix());
        self.steps.push(Step::EmptyBucket { bucket, prefix });
        if Managed::of(&state.tags) == Managed::Made && !holdings.others {
            self.steps.push(Step::RemoveBucket { bucket: name });
            return;
        }
        let why = match Managed::of(&state.tags) {
            Managed::Adopted => "it was there before the site",
            Managed::Made => "it holds what is not the site's",
        };
        self.stays.push(format!("bucket {name}: {why}"));
        let ours = bucket::rule_id(wanted);
        if state.lifecycle.iter().any(|rule| rule.id == ours) {
            let (bucket, rules, ours) = (name.clone(), Vec::new(), vec![ours]);
            self.steps.push(Step::SetLifecycle {
                bucket,
                rules,
                ours,
            });
        }
        let mut tags = state.tags.clone();
        for ours in [SITE_TAG, MANAGED_TAG, CLUSTER_TAG] {
            tags.remove(ours);
        }
        self.steps.push(Step::ReleaseBucket { bucket: name, tags });
    }
}
