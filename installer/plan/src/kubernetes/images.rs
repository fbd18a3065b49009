//! Whether a registry has what the nodes will ask it for, as far as it tells us.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Finding, Severity};
use crate::plan::Plan;
use crate::receipt::Receipt;

/// Why an image was not found, by whoever asked for it from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageAnswer {
    /// The registry does not have it.
    Absent(String),
    /// It did not say: the nodes may have another way to it, or a login.
    Untold(String),
}

/// The images that a plan brings in: those that completed runs have not brought.
pub fn images_to_ask_for(plan: &Plan, receipt: Option<&Receipt>) -> BTreeSet<String> {
    if plan.is_empty() {
        return BTreeSet::new();
    }
    let known: BTreeSet<_> = receipt
        .into_iter()
        .flat_map(|receipt| receipt.owned.images.values())
        .collect();
    let wanted = plan.owned.images.values();
    wanted
        .filter(|image| !known.contains(image))
        .cloned()
        .collect()
}

/// The plan with what is wrong with its images.
pub fn with_images(mut plan: Plan, answers: &BTreeMap<String, ImageAnswer>) -> Plan {
    let findings = answers.iter().map(|(image, answer)| match answer {
        ImageAnswer::Absent(reason) => Finding::new(
            Severity::Error,
            "image-missing",
            format!("image `{image}` is not there: {reason}"),
            "push the images with `stakeout image push`, or name another registry with --registry",
        ),
        ImageAnswer::Untold(reason) => Finding::new(
            Severity::Warning,
            "image-untold",
            format!("nobody says whether image `{image}` is there: {reason}"),
            "the nodes may have a way of their own to it, or a login; else pods wait in \
             ImagePullBackOff, and `stakeout doctor` says why",
        ),
    });
    plan.findings.extend(findings);
    plan
}
