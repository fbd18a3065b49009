//! What must hold before the first effect on an engine.

use installer_render::Layout;
use installer_render::docker::{Container, Site};
use installer_spec::{Profile, Source};

use super::{DockerFacts, ImageObstacle, ImageStanding, Ownership};
use crate::check::{Finding, Severity, login_missing, storage_moved};
use crate::show::human_bytes;
use crate::storage::{Promise, StorageEstimate, retention_finding};

/// Catalogue, configuration and one minute of a busy camera fit in less.
const MINIMUM_FREE: u64 = 256 << 20;

pub(super) fn findings(
    profile: &Profile,
    facts: &DockerFacts,
    site: &Site,
    storage: Option<&StorageEstimate>,
    promise: Promise,
) -> Vec<Finding> {
    let mut found = Vec::new();
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
    for container in &site.containers {
        found.extend(image_finding(facts, container));
    }
    let mut error = |id: &str, message: String, help: &str| {
        found.push(Finding::new(Severity::Error, id, message, help));
    };
    for camera in &profile.cameras {
        if let Source::Rtsp { main, .. } = &camera.source
            && is_loopback(main)
        {
            error(
                "camera-loopback",
                format!(
                    "camera `{}` is at this machine's own address, which no container reaches",
                    camera.name
                ),
                "write the machine's address in its network instead of 127.0.0.1",
            );
        }
    }
    for (camera, reason) in &facts.missing_logins {
        found.push(login_missing(camera, reason));
    }
    let layout = Layout::with_control("");
    found.extend(storage_moved(profile, facts.receipt.as_ref(), &layout));
    found.extend(warnings(facts, site, storage, promise));
    found
}

/// Why a container's image cannot run here.
fn image_finding(facts: &DockerFacts, container: &Container) -> Option<Finding> {
    let wrong = |id: &str, message: String, help: &str| {
        Some(Finding::new(Severity::Error, id, message, help))
    };
    let image = facts.images.get(&container.image);
    let obtainable = image.is_some_and(|i| i.is_there() || i.source.is_some());
    if let Some(image) = image
        && image.standing == ImageStanding::Unverified
    {
        wrong(
            "image-unverified",
            format!(
                "nobody has looked up the digest of image `{}`, which service `{}` would run",
                image.reference, container.service
            ),
            "run `stakeout catalogue refresh` where there is a network, or insist with \
             --allow-unverified-images",
        )
    } else if let Some(image) = image
        && let Some(obstacle) = &image.obstacle
        && !image.is_there()
    {
        let service = &container.service;
        match obstacle {
            ImageObstacle::OtherInFolder {
                folder,
                named,
                found,
            } => wrong(
                "image-digest",
                format!(
                    "the release in `{folder}` names {named} as image `{}` of service \
                     `{service}`, and {found} is there",
                    image.reference
                ),
                "get the release again, whole; this folder was changed after it was made",
            ),
            ImageObstacle::Registry { reason } => wrong(
                "image-registry",
                format!(
                    "registry `{}` does not give the engine image `{}` for service \
                     `{service}`: {reason}",
                    registry(&image.reference),
                    image.reference
                ),
                "see that the engine's machine reaches the registry (`docker pull` there says \
                 the same), or name another that has the images with --registry",
            ),
        }
    } else if let Some(image) = image
        && let (Some(present), Some(wanted), None) = (&image.present, &image.wanted, &image.source)
        && present != wanted
    {
        wrong(
            "image-digest",
            format!(
                "the engine has {present} under the name `{}`, and this release's image for \
                 service `{}` is {wanted}",
                image.reference, container.service
            ),
            "name the folder of this release's images with --images, or a registry that has \
             them with --registry",
        )
    } else if !obtainable {
        let reference = image.map_or(container.image.name(), |image| &image.reference);
        wrong(
            "image-missing",
            format!(
                "the engine has no image `{reference}` for service `{}`, and it is not beside \
                 `stakeout`",
                container.service
            ),
            "make the images with `stakeout image build`, or name their folder with --images",
        )
    } else {
        None
    }
}

fn warnings(
    facts: &DockerFacts,
    site: &Site,
    storage: Option<&StorageEstimate>,
    promise: Promise,
) -> Vec<Finding> {
    let mut found = Vec::new();
    match storage {
        Some(storage) => found.extend(retention_finding(storage, promise)),
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

/// The registry in a reference; engines take Docker Hub where there is none.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// An RTSP URL's host is text to the `url` crate, whatever it looks like.
fn is_loopback(url: &url::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
