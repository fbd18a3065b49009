//! The bucket, and what it does with what is in it.

use super::{Managed, Owner, Refusal, our_tags, owner, tags_to_set};
use crate::facts::{BucketFact, BucketState, Encryption, Facts, LifecycleRule};
use crate::policy::{Document, PLAIN, bucket_arn, bucket_policy};
use crate::step::Step;
use crate::wanted::Wanted;

/// Longer than any upload lasts: the vault gives its own up at each start.
const ABORT_DAYS: u32 = 1;
/// A version that was replaced is of no use, since nothing is ever written twice.
const REPLACED_DAYS: u32 = 1;

type Planned = (Vec<Step>, Vec<String>);

pub(super) fn steps(wanted: &Wanted, facts: &Facts) -> Result<Planned, Refusal> {
    let name = &wanted.bucket.name;
    let object = || format!("bucket `{name}`");
    let state = match &facts.bucket {
        BucketFact::Here(state) => state,
        BucketFact::Missing if wanted.bucket.adopt => {
            let remedy = "correct its name, or take `adopt` out to have it made";
            return Err(Refusal::new(
                object(),
                "it is to be adopted and is not there",
                remedy,
            ));
        }
        BucketFact::Missing => return Ok((made(wanted, facts), Vec::new())),
        BucketFact::Taken => {
            return Err(Refusal::new(
                object(),
                format!(
                    "the name is taken in another account, or {} may not see it",
                    facts.caller.arn
                ),
                "choose another name: buckets share one world; or use the account that has it",
            ));
        }
        BucketFact::Elsewhere { region } => {
            return Err(Refusal::new(
                object(),
                format!(
                    "it lies in {region}, and the profile says {}",
                    wanted.region
                ),
                format!("write `region: {region}`, or choose another name"),
            ));
        }
    };
    let managed = match owner(wanted, facts, &state.tags) {
        Owner::Ours => Managed::of(&state.tags),
        Owner::Nobody if wanted.bucket.adopt => Managed::Adopted,
        Owner::Nobody => {
            let remedy = "choose another name, or write `adopt: true` if the site may have it";
            return Err(Refusal::new(
                object(),
                "it is there and not marked as a site's",
                remedy,
            ));
        }
        Owner::Another(whose) => {
            let why = format!("it is of {whose}");
            return Err(Refusal::new(object(), why, "choose another name"));
        }
    };
    let mut steps = Vec::new();
    if let Some(tags) = tags_to_set(&our_tags(wanted, facts, managed), &state.tags) {
        steps.push(Step::TagBucket {
            bucket: name.clone(),
            tags,
        });
    }
    steps.extend(settings(wanted, facts, state));
    let mut notes = Vec::new();
    if state.versioned {
        notes.push(format!(
            "bucket `{name}` keeps versions: what is deleted is paid for {REPLACED_DAYS} day more"
        ));
    }
    Ok((steps, notes))
}

fn made(wanted: &Wanted, facts: &Facts) -> Vec<Step> {
    let make = Step::MakeBucket {
        bucket: wanted.bucket.name.clone(),
        arn: bucket_arn(wanted, &facts.caller.partition),
        region: wanted.region.clone(),
        tags: our_tags(wanted, facts, Managed::Made),
    };
    let settings = settings(wanted, facts, &BucketState::default());
    std::iter::once(make).chain(settings).collect()
}

fn settings(wanted: &Wanted, facts: &Facts, state: &BucketState) -> Vec<Step> {
    let bucket = wanted.bucket.name.clone();
    let mut steps = Vec::new();
    if !state.blocks_public {
        let bucket = bucket.clone();
        steps.push(Step::BlockPublic { bucket });
    }
    if !state.owner_enforced {
        let bucket = bucket.clone();
        steps.push(Step::EnforceOwner { bucket });
    }
    let with = encryption(wanted);
    if state.encryption.as_ref() != Some(&with) {
        let bucket = bucket.clone();
        steps.push(Step::Encrypt { bucket, with });
    }
    let rule = rule(wanted, state.versioned);
    let ours: Vec<_> = state
        .lifecycle
        .iter()
        .filter(|found| found.id == rule.id)
        .collect();
    if ours != [&rule] {
        steps.push(Step::SetLifecycle {
            bucket: bucket.clone(),
            ours: vec![rule.id.clone()],
            rules: vec![rule],
        });
    }
    if let Some(document) = policy(wanted, &facts.caller.partition, state) {
        steps.push(Step::SetBucketPolicy { bucket, document });
    }
    steps
}

fn encryption(wanted: &Wanted) -> Encryption {
    match &wanted.bucket.key {
        None => Encryption::S3,
        Some(key) => Encryption::Kms {
            key: Some(key.clone()),
            bucket_key: true,
        },
    }
}

pub(super) fn rule_id(wanted: &Wanted) -> String {
    format!("stakeout-{}", wanted.site)
}

fn rule(wanted: &Wanted, versioned: bool) -> LifecycleRule {
    LifecycleRule {
        id: rule_id(wanted),
        enabled: true,
        prefix: wanted.key_prefix(),
        expire_days: wanted.bucket.retention_days,
        replaced_days: versioned.then_some(REPLACED_DAYS),
        abort_days: Some(ABORT_DAYS),
        more: false,
    }
}

/// The bucket's policy with our statement in it, if it is not there as it has to be. One that we
/// cannot read is not written over: it may allow what somebody needs.
fn policy(wanted: &Wanted, partition: &str, state: &BucketState) -> Option<Document> {
    let ours = bucket_policy(wanted, partition);
    let found = match &state.policy {
        None => return Some(ours),
        Some(Ok(found)) => found,
        Some(Err(_)) => return None,
    };
    let others = found.statements.iter();
    let others = others
        .filter(|statement| statement.sid.as_deref() != Some(PLAIN))
        .cloned();
    let whole = Document::new(others.chain(ours.statements));
    (whole != *found).then_some(whole)
}
