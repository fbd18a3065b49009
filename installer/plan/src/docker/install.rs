//! Profile and facts in, steps out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use camino::Utf8Path;
use installer_render::RenderedFile;
use installer_render::docker::{Inputs, render};
use installer_spec::{Profile, TargetChoice};

use super::draft::Draft;
use super::{DockerFacts, checks};
use crate::host::PlanError;
use crate::plan::Plan;
use crate::secret::choose_secrets;
use crate::storage::{Promise, estimate, keeps_here};

/// Returns the steps that bring an engine to the profile, in the order in which they are done.
///
/// `folder` is the profile's: relative paths in it start there.
pub fn plan(
    profile: &Profile,
    folder: &Utf8Path,
    facts: &DockerFacts,
    promise: Promise,
) -> Result<Plan, PlanError> {
    if profile.target == TargetChoice::Kubernetes {
        return Err(PlanError::Target {
            asked: "kubernetes",
        });
    }
    let secrets = choose_secrets(profile, &facts.secrets, &facts.rotate);
    let versions: BTreeMap<_, _> = secrets
        .iter()
        .map(|(purpose, (version, _))| (purpose.clone(), *version))
        .collect();
    let site = render(&Inputs {
        profile,
        folder,
        secrets: &versions,
        buffer_bytes: None,
        agents_at: Ipv4Addr::LOCALHOST,
    });
    let storage = facts
        .disk
        .filter(|_| keeps_here(profile))
        .map(|disk| estimate(profile, &facts.cameras, disk));
    let findings = checks::findings(profile, facts, &site, storage.as_ref(), promise);

    let mut draft = Draft::new(profile, facts);
    draft.images(&site);
    draft.directories();
    draft.secrets(&secrets);
    draft.certificates();
    draft.files(&site);
    draft.networks(&site);
    draft.remove_unwanted(&site);
    draft.containers(&site);
    draft.prune(&site);
    Ok(draft.finish(findings, storage))
}

/// Every text file that the site has, in path order; secrets are left out.
pub fn files(
    profile: &Profile,
    folder: &Utf8Path,
    facts: &DockerFacts,
) -> Result<Vec<RenderedFile>, PlanError> {
    let mut blank = facts.clone();
    blank.paths.clear();
    Ok(plan(profile, folder, &blank, Promise::Short)?.into_files())
}
