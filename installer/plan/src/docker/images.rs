//! Whether the engine has, or can get, what the site runs.

use installer_render::docker::Site;

use super::{DockerFacts, ImageObstacle, ImageStanding};
use crate::check::{Finding, Severity};

pub(super) fn findings(facts: &DockerFacts, site: &Site) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut error = |id: &str, message: String, help: &str| {
        found.push(Finding::new(Severity::Error, id, message, help));
    };
    for container in &site.containers {
        let image = facts.images.get(&container.image);
        let obtainable = image.is_some_and(|i| i.is_there() || i.source.is_some());
        if let Some(image) = image
            && image.standing == ImageStanding::Unverified
        {
            error(
                "image-unverified",
                format!(
                    "nobody has looked up the digest of image `{}`, which service `{}` would run",
                    image.reference, container.service
                ),
                "run `stakeout catalogue refresh` where there is a network, or insist with \
                 --allow-unverified-images",
            );
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
                } => error(
                    "image-digest",
                    format!(
                        "the release in `{folder}` names {named} as image `{}` of service \
                         `{service}`, and {found} is there",
                        image.reference
                    ),
                    "get the release again, whole; this folder was changed after it was made",
                ),
                ImageObstacle::Registry { reason } => error(
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
            && let (Some(present), Some(wanted), None) =
                (&image.present, &image.wanted, &image.source)
            && present != wanted
        {
            error(
                "image-digest",
                format!(
                    "the engine has {present} under the name `{}`, and this release's image for \
                     service `{}` is {wanted}",
                    image.reference, container.service
                ),
                "name the folder of this release's images with --images, or a registry that has \
                 them with --registry",
            );
        } else if !obtainable {
            let reference = image.map_or(container.image.name(), |image| &image.reference);
            error(
                "image-missing",
                format!(
                    "the engine has no image `{reference}` for service `{}`, and it is not beside \
                     `stakeout`",
                    container.service
                ),
                "make the images with `stakeout image build`, or name their folder with --images",
            );
        }
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
