//! Profile and facts in, steps out.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use installer_render::host::{Inputs, Program, render};
use installer_render::{Layout, RenderedFile, service_names};
use installer_spec::{Keeper, Profile, TargetChoice};

use super::draft::Draft;
use super::{PlanError, checks};
use crate::check::catalogue_moved;
use crate::facts::{Facts, ServiceManager};
use crate::plan::Plan;
use crate::secret::choose_secrets;
use crate::storage::{Promise, estimate, keeps_here};

/// Returns the steps that bring a host to the profile, in the order in which they are done.
///
/// `folder` is the profile's: relative paths in it start there.
pub fn plan(
    profile: &Profile,
    folder: &Utf8Path,
    facts: &Facts,
    promise: Promise,
) -> Result<Plan, PlanError> {
    match profile.target {
        TargetChoice::Auto | TargetChoice::Host => {}
        TargetChoice::Docker => return Err(PlanError::Target { asked: "docker" }),
        TargetChoice::Kubernetes => {
            return Err(PlanError::Target {
                asked: "kubernetes",
            });
        }
    }
    let layout = Layout::new(facts.data.path.clone());
    let (ports, mut findings) = assign_ports(profile, facts);
    let secrets = choose_secrets(profile, &facts.secrets, &facts.rotate);
    let versions: BTreeMap<_, _> = secrets
        .iter()
        .map(|(purpose, (version, _))| (purpose.clone(), *version))
        .collect();
    let inputs = Inputs {
        profile,
        folder,
        layout: &layout,
        ports: &ports,
        secrets: &versions,
    };
    let services = render(&inputs);
    let mut files = services
        .iter()
        .filter_map(|service| service.config.as_ref());
    let config = layout.service_config("vault");
    if let Some(file) = files.find(|file| file.path == config) {
        findings.extend(catalogue_moved(facts.paths.get(&config), &file.contents));
    }
    let storage = keeps_here(profile).then(|| estimate(profile, &facts.cameras, facts.data.disk));
    let programs = programs(profile, facts);
    findings.extend(checks::findings(
        profile,
        facts,
        &programs,
        storage.as_ref(),
        promise,
    ));

    let mut draft = Draft::new(profile, facts, &layout);
    draft.owned.ports = ports;
    let services = draft.launches(services)?;
    draft.user();
    draft.directories();
    draft.programs(&programs);
    draft.secrets(&secrets);
    draft.certificates();
    draft.files(&services);
    draft.stop_unwanted(&services);
    draft.start(&services);
    draft.prune();
    Ok(draft.finish(findings, storage))
}

/// Every text file that the site has at a host, in path order; programs and secrets are left out.
pub fn files(
    profile: &Profile,
    folder: &Utf8Path,
    facts: &Facts,
) -> Result<Vec<RenderedFile>, PlanError> {
    let mut blank = facts.clone();
    blank.paths.clear();
    Ok(plan(profile, folder, &blank, Promise::Short)?.into_files())
}

fn programs(profile: &Profile, facts: &Facts) -> Vec<Program> {
    let mut programs = vec![Program::Agent];
    if profile.storage.keeper == Keeper::Vault {
        programs.push(Program::Vault);
    }
    if facts.machine.manager == ServiceManager::Supervisor {
        programs.push(Program::Stakeout);
    }
    programs
}

/// A service keeps its port for as long as it exists; a new one gets the lowest that is free.
fn assign_ports(
    profile: &Profile,
    facts: &Facts,
) -> (BTreeMap<String, u16>, Vec<crate::check::Finding>) {
    let kept = facts
        .receipt
        .as_ref()
        .map(crate::receipt::Receipt::ports)
        .unwrap_or_default();
    let used: BTreeSet<u16> = kept.values().copied().collect();
    let mut free = facts
        .ports
        .free
        .iter()
        .copied()
        .filter(|port| !used.contains(port));
    let (mut ports, mut findings) = (BTreeMap::new(), Vec::new());
    for (service, _) in service_names(profile) {
        let port = kept.get(&service).copied().or_else(|| free.next());
        if port.is_none() {
            findings.push(crate::check::Finding::new(
                crate::check::Severity::Error,
                "no-free-port",
                format!("no loopback port is free for service `{service}`"),
                "stop programs that listen on ports 20000 to 32000",
            ));
        }
        ports.insert(service, port.unwrap_or(0));
    }
    (ports, findings)
}
