//! The images of this release: where they are and what they are.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use installer_docker::WantedImage;
use installer_image::{Catalogue, Layout, Origin, OwnImage, Pin, Platform, Release};
use installer_plan::docker::{ImageObstacle, ImageSource, ImageStanding};
use installer_render::docker::Component;

/// Whether images may run whose digest nobody has looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnverifiedImages {
    Refused,
    /// `--allow-unverified-images`.
    Allowed,
}

/// Where images are sought.
#[derive(Debug, Clone)]
pub(crate) struct ImagePlaces {
    /// With a release of ours.
    pub(crate) folder: Utf8PathBuf,
    /// A registry that has all of them, ours by the digests of the release.
    pub(crate) registry: Option<String>,
    pub(crate) unverified: UnverifiedImages,
}

/// The images for an engine of `platform`: ours of the release in the folder, else those that this
/// program was built with; those of others as the catalogue has them.
pub(crate) fn find(places: &ImagePlaces, platform: &str) -> BTreeMap<Component, WantedImage> {
    let folder = &places.folder;
    let there = Release::read(folder).ok();
    let release = there.clone().or_else(Release::embedded);
    let one = |component: Component, image: OwnImage| {
        let parsed = platform.parse::<Platform>().ok();
        let digests =
            parsed.and_then(|platform| release.as_ref()?.image(image).platforms.get(&platform));
        let (reference, source, obstacle) = match (&places.registry, &release) {
            (Some(registry), Some(release)) => {
                let reference = in_registry(registry, image.repository());
                let reference = format!("{reference}@{}", release.image(image).index);
                (reference, Some(ImageSource::Registry), None)
            }
            (_, release) => (
                release.as_ref().map_or_else(
                    || format!("{}:{}", image.repository(), env!("CARGO_PKG_VERSION")),
                    |release| release.reference(image),
                ),
                there.as_ref().map(|_| ImageSource::Folder {
                    path: folder.clone(),
                    platform: platform.to_owned(),
                }),
                parsed
                    .zip(there.as_ref())
                    .and_then(|(platform, there)| contradiction(folder, there, image, platform)),
            ),
        };
        let wanted = WantedImage {
            reference,
            id: digests.map(|digests| digests.config.to_string()),
            source,
            standing: ImageStanding::Pinned,
            obstacle,
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
        let repository = match &places.registry {
            Some(registry) => in_registry(registry, &entry.repository),
            None => entry.repository.clone(),
        };
        let (reference, standing) = match (index, places.unverified) {
            (Pin::Digest(digest), _) => (format!("{repository}@{digest}"), ImageStanding::Pinned),
            (Pin::Unverified, allowed) => (
                format!("{repository}:{tag}"),
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
            obstacle: None,
        };
        Some((component, image))
    });
    images.extend(others);
    images
}

/// A repository as a mirror has it: below its own path, without the registry that it is from.
fn in_registry(registry: &str, repository: &str) -> String {
    let path = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => repository,
    };
    format!("{}/{path}", registry.trim_end_matches('/'))
}

fn contradiction(
    folder: &Utf8Path,
    release: &Release,
    image: OwnImage,
    platform: Platform,
) -> Option<ImageObstacle> {
    let (named, found) = match Layout::open(folder) {
        Ok(layout) => {
            let (named, found) = release.contradiction(&layout, image, platform)?;
            (named.to_string(), found)
        }
        Err(error) => (release.image(image).index.to_string(), error.to_string()),
    };
    Some(ImageObstacle::OtherInFolder {
        folder: folder.to_owned(),
        named,
        found,
    })
}
