//! The digests behind a tag.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Login, Registry, RegistryError};
use crate::Platform;
use crate::catalogue::{Entry, FoundPins, Origin};
use crate::oci::{Descriptor, PlatformFields, label_of};

/// Either kind of manifest: a list has `manifests`, an image has `config`.
#[derive(Deserialize)]
struct Either {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
}

/// A label of an image, of whichever platform is listed first; `image` is `HOST/REPOSITORY@DIGEST`.
pub async fn label(image: &str, name: &str) -> Result<Option<String>, RegistryError> {
    let (repository, reference) =
        super::parts(image).ok_or_else(|| RegistryError::Name(image.to_owned()))?;
    let registry = Registry::new(repository, None)?;
    let what = format!("manifest {repository}:{reference}");
    let unreadable = |error: serde_json::Error| registry.unreadable(&what, error.to_string());
    let mut found: Either =
        serde_json::from_slice(&registry.manifest(reference).await?.bytes).map_err(unreadable)?;
    if let Some(first) = found.manifests.iter().find(|one| one.platform.is_some()) {
        let manifest = registry.manifest(first.digest.as_str()).await?;
        found = serde_json::from_slice(&manifest.bytes).map_err(unreadable)?;
    }
    let Some(config) = found.config else {
        return Err(registry.unreadable(&what, "it has no configuration".to_owned()));
    };
    let bytes = registry.blob(&config.digest).await?;
    label_of(&bytes, name).map_err(unreadable)
}

/// Asks the registry of a third party's image for its digests; `None` for ours.
pub async fn look_up(
    entry: &Entry,
    login: Option<Login>,
) -> Result<Option<FoundPins>, RegistryError> {
    let Origin::ThirdParty { tag, platforms, .. } = &entry.origin else {
        return Ok(None);
    };
    let registry = Registry::new(&entry.repository, login)?;
    let what = format!("manifest {}:{tag}", entry.repository);
    let found = registry.manifest(tag).await?;
    let read = |bytes: &[u8]| -> Result<Either, RegistryError> {
        serde_json::from_slice(bytes).map_err(|e| registry.unreadable(&what, e.to_string()))
    };
    let either = read(&found.bytes)?;
    let mut pins = BTreeMap::new();
    if let Some(config) = either.config {
        // An image for one platform has no list over it; its configuration tells which.
        let bytes = registry.blob(&config.digest).await?;
        let fields: PlatformFields = serde_json::from_slice(&bytes)
            .map_err(|error| registry.unreadable(&what, error.to_string()))?;
        let own = Platform::ALL.into_iter().filter(|p| fields.is(*p));
        pins.extend(own.map(|platform| (platform, found.digest.clone())));
    } else {
        for platform in Platform::ALL {
            let fits = |entry: &&Descriptor| {
                entry
                    .platform
                    .as_ref()
                    .is_some_and(|fields| fields.is(platform))
            };
            if let Some(manifest) = either.manifests.iter().find(fits) {
                pins.insert(platform, manifest.digest.clone());
            }
        }
    }
    pins.retain(|platform, _| platforms.contains_key(platform));
    if pins.is_empty() {
        return Err(registry.unreadable(&what, "it has none of our platforms".to_owned()));
    }
    Ok(Some(FoundPins {
        index: found.digest,
        platforms: pins,
    }))
}
