//! The images of this release: where they are and what they are.

use std::collections::BTreeMap;

use camino::Utf8Path;
use installer_docker::WantedImage;
use installer_image::{Catalogue, Origin, OwnImage, Pin, Platform, Release};
use installer_plan::docker::{ImageSource, ImageStanding};
use installer_render::docker::Component;

/// Whether images may run whose digest nobody has looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnverifiedImages {
    Refused,
    /// `--allow-unverified-images`.
    Allowed,
}

/// The images for an engine of `platform`: ours of the release in `folder`, else those that this
/// program was built with; those of others as the catalogue has them.
pub(crate) fn find(
    folder: &Utf8Path,
    platform: &str,
    unverified: UnverifiedImages,
) -> BTreeMap<Component, WantedImage> {
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
            standing: ImageStanding::Pinned,
        };
        (component, wanted)
    };
    let catalogue = Catalogue::embedded();
    let mut images = BTreeMap::from([
        one(Component::Agent, OwnImage::Agent),
        one(Component::Vault, OwnImage::Vault),
    ]);
    let others = Component::ALL.into_iter().filter_map(|component| {
        let entry = catalogue.entry(component.name())?;
        let Origin::ThirdParty { tag, index, .. } = &entry.origin else {
            return None;
        };
        let (reference, standing) = match (index, unverified) {
            (Pin::Digest(digest), _) => (
                format!("{}@{digest}", entry.repository),
                ImageStanding::Pinned,
            ),
            (Pin::Unverified, allowed) => (
                format!("{}:{tag}", entry.repository),
                match allowed {
                    UnverifiedImages::Allowed => ImageStanding::Insisted,
                    UnverifiedImages::Refused => ImageStanding::Unverified,
                },
            ),
        };
        let image = WantedImage {
            reference,
            id: None,
            source: Some(ImageSource::Registry),
            standing,
        };
        Some((component, image))
    });
    images.extend(others);
    images
}
