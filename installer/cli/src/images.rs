//! The images of this release: where they are and what they are.

use std::collections::BTreeMap;

use camino::Utf8Path;
use installer_docker::WantedImage;
use installer_plan::docker::ImageSource;
use installer_render::docker::Component;

/// Looks for archives of the images in `folder`.
pub(crate) fn find(folder: &Utf8Path) -> BTreeMap<Component, WantedImage> {
    Component::ALL
        .into_iter()
        .map(|component| {
            let name = component.name();
            let archive = folder.join(format!("{name}.tar"));
            let image = WantedImage {
                reference: format!("stakeout/{name}:{}", env!("CARGO_PKG_VERSION")),
                id: None,
                source: archive.exists().then_some(ImageSource::Folder(archive)),
            };
            (component, image)
        })
        .collect()
}
