//! What must hold before the first effect on an engine.

use installer_render::Layout;
use installer_render::docker::{Site, is_loopback};
use installer_spec::{Profile, Source};

use super::{DockerFacts, Ownership, images};
use crate::access;
use crate::check::{
    Finding, Severity, catalogue_moved, charts_elsewhere, login_missing, replicas_elsewhere,
    storage_moved,
};
use crate::show::human_bytes;
use crate::storage::{Promise, StorageEstimate, retention_finding, room_finding};

/// Catalogue, configuration and one minute of a busy camera fit in less.
const MINIMUM_FREE: u64 = 256 << 20;

pub(super) fn findings(
    profile: &Profile,
    facts: &DockerFacts,
    site: &Site,
    storage: Option<&StorageEstimate>,
    promise: Promise,
) -> Vec<Finding> {
    let mut found: Vec<_> = charts_elsewhere(profile).into_iter().collect();
    found.extend(replicas_elsewhere(profile));
    let mut error = |id: &str, message: String, help: &str| {
        found.push(Finding::new(Severity::Error, id, message, help));
    };
    for (name, ownership) in facts
        .containers
        .iter()
        .map(|(name, fact)| (format!("container `{name}`"), &fact.ownership))
        .chain(
            facts
                .networks
                .iter()
                .map(|(name, fact)| (format!("network `{name}`"), &fact.ownership)),
        )
    {
        if let Ownership::Foreign(sign) = ownership {
            error(
                "foreign-object",
                format!("{name} has a name of this site and is not ours: {sign}"),
                "rename or remove it yourself, or give the site another name; we do not touch it",
            );
        }
    }
    if let Some(receipt) = &facts.receipt
        && receipt.site != profile.site
    {
        error(
            "other-site",
            format!(
                "`{}` belongs to site `{}`, not `{}`",
                facts.data, receipt.site, profile.site
            ),
            "set `storage.path` to a folder of this site's own, or uninstall the other site",
        );
    }
    if let Some(disk) = facts.disk
        && disk.free_bytes < MINIMUM_FREE
        && facts.receipt.is_none()
    {
        let free = human_bytes(disk.free_bytes);
        error(
            "disk-full",
            format!("the disk of `{}` has only {free} left", facts.data),
            "free at least 256 MiB, or set `storage.path` to another disk",
        );
    }
    found.extend(images::findings(facts, site));
    for camera in &profile.cameras {
        if let Source::Rtsp { main, .. } = &camera.source
            && is_loopback(main)
        {
            found.push(Finding::new(
                Severity::Error,
                "camera-loopback",
                format!(
                    "camera `{}` is at this machine's own address, which no container reaches",
                    camera.name
                ),
                "write the machine's address in its network instead of 127.0.0.1",
            ));
        }
    }
    for (camera, reason) in &facts.missing_logins {
        found.push(login_missing(camera, reason));
    }
    let layout = Layout::with_control("");
    found.extend(storage_moved(profile, facts.receipt.as_ref(), &layout));
    found.extend(access::findings(profile, &facts.access));
    let config = layout.service_config("vault");
    let mut files = site.containers.iter().filter_map(|c| c.config.as_ref());
    if let Some(file) = files.find(|file| file.path.ends_with(&config)) {
        found.extend(catalogue_moved(facts.paths.get(&config), &file.contents));
    }
    found.extend(warnings(facts, site, storage, promise));
    found
}

fn warnings(
    facts: &DockerFacts,
    site: &Site,
    storage: Option<&StorageEstimate>,
    promise: Promise,
) -> Vec<Finding> {
    let mut found = Vec::new();
    match storage {
        Some(storage) => {
            found.extend(retention_finding(storage, promise));
            let receipt = facts.receipt.as_ref();
            found.extend(room_finding(storage, &facts.data, receipt));
        }
        None if facts.disk.is_some() => {}
        None => found.push(Finding::new(
            Severity::Warning,
            "disk-unknown",
            format!("the disk of `{}` cannot be seen from here", facts.data),
            "see to it that the engine's machine has room for the footage",
        )),
    }
    let limits: u64 = site
        .containers
        .iter()
        .map(|c| c.limits.memory_mib << 20)
        .sum();
    if limits > facts.engine.memory_bytes {
        found.push(Finding::new(
            Severity::Warning,
            "memory-short",
            format!(
                "all containers together may take {}, the machine has {}",
                human_bytes(limits),
                human_bytes(facts.engine.memory_bytes)
            ),
            "that is what they may take at most; `agents: { isolation: group }` needs less",
        ));
    }
    found
}
