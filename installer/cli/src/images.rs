//! The images of this release: where they are and what they are.

use std::collections::BTreeMap;

use camino::Utf8Path;
use installer_docker::WantedImage;
use installer_image::{OwnImage, Platform, Release};
use installer_plan::docker::ImageSource;
use installer_render::docker::Component;

/// The images for an engine of `platform`: of the release in `folder`, else those that this
/// program was built with.
pub(crate) fn find(folder: &Utf8Path, platform: &str) -> BTreeMap<Component, WantedImage> {
    let there = Release::read(folder).ok();
    let release = there.clone().or_else(Release::embedded);
    let one = |component: Component, image: OwnImage| {
        let digests = platform
            .parse::<Platform>()
            .ok()
            .and_then(|platform| release.as_ref()?.image(image).platforms.get(&platform));
        let wanted = WantedImage {
            reference: release.as_ref().map_or_else(
                || format!("{}:{}", image.repository(), env!("CARGO_PKG_VERSION")),
                |release| release.reference(image),
            ),
            id: digests.map(|digests| digests.config.to_string()),
            source: there.as_ref().map(|_| ImageSource::Folder {
                path: folder.to_owned(),
                platform: platform.to_owned(),
            }),
        };
        (component, wanted)
    };
    BTreeMap::from([
        one(Component::Agent, OwnImage::Agent),
        one(Component::Vault, OwnImage::Vault),
    ])
}
