//! What a release ships: its version and the digests of its images.

use std::collections::BTreeMap;
use std::fmt;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::archive::by_digest;
use crate::layout::{LayoutError, json, read};
use crate::oci::Manifest;
use crate::{Digest, Layout, Platform};

/// The file beside a layout's `index.json`.
pub(crate) const FILE: &str = "release.json";

/// Written by the build script: the release that this program is of, or nothing.
const EMBEDDED: &str = include_str!(concat!(env!("OUT_DIR"), "/release.json"));

/// An image that stakeout ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnImage {
    Agent,
    Vault,
}

impl OwnImage {
    pub const ALL: [Self; 2] = [Self::Agent, Self::Vault];

    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Vault => "vault",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|image| image.name() == name)
    }

    /// Its program's file name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Agent => "stakeout-agent",
            Self::Vault => "stakeout-vault",
        }
    }

    pub fn repository(self) -> &'static str {
        match self {
            Self::Agent => "stakeout/agent",
            Self::Vault => "stakeout/vault",
        }
    }
}

impl fmt::Display for OwnImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The digests of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub version: String,
    /// The commit that it was built from; `-dirty` follows when files differed from it.
    pub revision: String,
    pub agent: ReleaseImage,
    pub vault: ReleaseImage,
}

/// One image of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseImage {
    /// Without registry and tag, such as `stakeout/agent`.
    pub repository: String,
    /// Of the index over all platforms.
    pub index: Digest,
    pub platforms: BTreeMap<Platform, PlatformDigests>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformDigests {
    pub manifest: Digest,
    /// Docker Engine's ID of the image (with containerd's image store the manifest's is).
    pub config: Digest,
}

impl PlatformDigests {
    /// Whether an engine's image ID is this image's, whichever store the engine has.
    pub fn is_id(&self, id: &str) -> bool {
        id == self.config.as_str() || id == self.manifest.as_str()
    }
}

impl Release {
    /// The release that this program was built for; `None` in a plain source build.
    pub fn embedded() -> Option<Self> {
        // The build script has read it before.
        serde_json::from_str(EMBEDDED).ok()
    }

    /// The release in an image folder, such as `images` beside a released program.
    pub fn read(folder: &Utf8Path) -> Result<Self, LayoutError> {
        let path = folder.join(FILE);
        let bytes = read(&path)?;
        serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })
    }

    /// As the file holds it.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_else(|_| json(self));
        text.push(b'\n');
        text
    }

    pub(crate) fn write(&self, layout: &Layout) -> Result<(), LayoutError> {
        layout.write(FILE, &self.text())
    }

    pub fn image(&self, image: OwnImage) -> &ReleaseImage {
        match image {
            OwnImage::Agent => &self.agent,
            OwnImage::Vault => &self.vault,
        }
    }

    /// Looks for an image of this release in a layout. `None`: it is there. Otherwise the first
    /// digest that the release names, and what is there instead of it.
    pub fn contradiction(
        &self,
        layout: &Layout,
        image: OwnImage,
        platform: Platform,
    ) -> Option<(Digest, String)> {
        let release = self.image(image);
        let found = match layout.named(&self.reference(image)) {
            Ok(found) => found.digest,
            Err(error) => return Some((release.index.clone(), error.to_string())),
        };
        if found != release.index {
            return Some((release.index.clone(), found.to_string()));
        }
        let named = &release.platforms.get(&platform)?.config;
        let manifest = layout
            .manifest_of(&self.reference(image), platform)
            .and_then(|found| layout.document::<Manifest>(&found.digest));
        match manifest {
            Ok(manifest) if manifest.config.digest == *named => None,
            Ok(manifest) => Some((named.clone(), manifest.config.digest.to_string())),
            Err(error) => Some((named.clone(), error.to_string())),
        }
    }

    /// How pods name an image that was imported into their node.
    pub fn local_reference(&self, image: OwnImage, platform: Platform) -> Option<String> {
        let image = self.image(image);
        let digests = image.platforms.get(&platform)?;
        Some(by_digest(&image.repository, &digests.manifest))
    }

    /// Repository and tag, as `docker image ls` shows it: `stakeout/agent:1.2.3`.
    pub fn reference(&self, image: OwnImage) -> String {
        format!("{}:{}", self.image(image).repository, self.version)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn release() -> Release {
        let image = |image: OwnImage| {
            let digest = |what: &str| Digest::of(format!("{image} {what}").as_bytes());
            let digests = |platform: Platform| PlatformDigests {
                manifest: digest(&format!("{platform} manifest")),
                config: digest(&format!("{platform} config")),
            };
            ReleaseImage {
                repository: image.repository().to_owned(),
                index: digest("index"),
                platforms: Platform::ALL.map(|p| (p, digests(p))).into(),
            }
        };
        Release {
            version: "1.2.3".to_owned(),
            revision: "0f".repeat(20),
            agent: image(OwnImage::Agent),
            vault: image(OwnImage::Vault),
        }
    }

    #[test]
    fn a_release_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let layout = Layout::create(path).unwrap();
        release().write(&layout).unwrap();
        assert_eq!(Release::read(path).unwrap(), release());
        assert_eq!(release().reference(OwnImage::Agent), "stakeout/agent:1.2.3");
    }

    #[test]
    fn an_unknown_field_or_a_bad_digest_is_refused() {
        let mut value = serde_json::to_value(release()).unwrap();
        value["agent"]["index"] = "sha256:0".into();
        let error = serde_json::from_value::<Release>(value).unwrap_err();
        assert!(error.to_string().contains("`sha256:0`"), "{error}");
    }

    #[test]
    fn a_source_build_has_no_release() {
        assert_eq!(Release::embedded().is_some(), !EMBEDDED.is_empty());
    }

    #[test]
    fn an_id_is_known_with_either_store() {
        let digests = &release().agent.platforms[&Platform::Amd64];
        assert!(digests.is_id(digests.config.as_str()));
        assert!(digests.is_id(digests.manifest.as_str()));
        assert!(!digests.is_id(release().agent.index.as_str()));
    }
}
