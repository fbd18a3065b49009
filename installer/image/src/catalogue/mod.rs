//! Every image that stakeout may run, pinned by digest: `manifests/catalogue.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use crate::{Digest, DigestError, OwnImage, Platform, Release};

const EMBEDDED: &str = include_str!("../../../../manifests/catalogue.yaml");
const NAME: &str = "manifests/catalogue.yaml";

/// A digest, or the word that says that nobody has looked it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pin {
    Digest(Digest),
    Unverified,
}

const UNVERIFIED: &str = "unverified";

impl TryFrom<String> for Pin {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        if text == UNVERIFIED {
            return Ok(Self::Unverified);
        }
        text.parse().map(Self::Digest)
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Unverified => f.write_str(UNVERIFIED),
        }
    }
}

/// One image of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub name: String,
    /// With the registry, such as `quay.io/minio/minio`; ours have none.
    pub repository: String,
    pub license: String,
    pub end_of_life: String,
    pub why: String,
    #[serde(flatten)]
    pub origin: Origin,
}

/// Whose image it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum Origin {
    /// Tag and digests come with the release.
    Release,
    ThirdParty {
        tag: String,
        version: String,
        /// Of the list over all platforms.
        index: Pin,
        platforms: BTreeMap<Platform, Pin>,
    },
}

/// The catalogue, in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
    /// Kept, so that new digests leave all else as it was.
    text: String,
    /// Where the pins of third parties stand in the text.
    places: Vec<Place>,
}

/// A pin's place in the text; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    image: String,
    /// `None`: the pin of the index.
    platform: Option<Platform>,
    line: u64,
    column: u64,
    old: String,
}

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("cannot read the catalogue `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("{path}:{line}:{column}: {reason}")]
    Content {
        path: Utf8PathBuf,
        line: u64,
        column: u64,
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: Spanned<u32>,
    images: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: Spanned<String>,
    #[serde(default)]
    ours: bool,
    repository: Spanned<String>,
    tag: Option<String>,
    version: Option<String>,
    license: String,
    end_of_life: String,
    why: String,
    index: Option<Spanned<Pin>>,
    platforms: Option<BTreeMap<Platform, Spanned<Pin>>>,
}

impl Catalogue {
    /// The catalogue that this program was built with.
    pub fn embedded() -> Self {
        Self::parse(Utf8Path::new(NAME), EMBEDDED).expect("invariant: a test parses it")
    }

    /// A catalogue that `stakeout catalogue refresh` wrote.
    pub fn read(path: &Utf8Path) -> Result<Self, CatalogueError> {
        let text = fs::read_to_string(path).map_err(|source| CatalogueError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// `path` is for messages only.
    pub fn parse(path: &Utf8Path, text: &str) -> Result<Self, CatalogueError> {
        let content = |at: Option<Location>, reason: String| CatalogueError::Content {
            path: path.to_owned(),
            line: at.map_or(1, |at| at.line()),
            column: at.map_or(1, |at| at.column()),
            reason,
        };
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let plain = error.without_snippet();
            content(error.location(), plain.to_string())
        })?;
        if document.version.value != 1 {
            let reason = format!("version {} is not 1", document.version.value);
            return Err(content(Some(document.version.referenced), reason));
        }
        let mut catalogue = Self {
            entries: Vec::new(),
            text: text.to_owned(),
            places: Vec::new(),
        };
        let mut names = BTreeSet::new();
        for raw in document.images {
            let at = raw.name.referenced;
            if !names.insert(raw.name.value.clone()) {
                let reason = format!("image `{}` is there twice", raw.name.value);
                return Err(content(Some(at), reason));
            }
            let entry = catalogue
                .take(raw)
                .map_err(|reason| content(Some(at), reason))?;
            catalogue.entries.push(entry);
        }
        Ok(catalogue)
    }

    fn take(&mut self, raw: RawEntry) -> Result<Entry, String> {
        let name = raw.name.value;
        let own = OwnImage::ALL.iter().any(|image| image.name() == name);
        let origin = match (raw.ours, raw.tag, raw.version, raw.index, raw.platforms) {
            (true, None, None, None, None) if own => Origin::Release,
            (true, ..) if own => {
                return Err(format!(
                    "image `{name}` is ours: its pins come with the release"
                ));
            }
            (true, ..) => return Err(format!("image `{name}` is not one of ours")),
            (false, Some(tag), Some(version), Some(index), Some(platforms)) => {
                if !raw.repository.value.contains('/') {
                    return Err(format!("repository of image `{name}` names no registry"));
                }
                self.places.push(Place::new(&name, None, &index));
                for (platform, pin) in &platforms {
                    self.places.push(Place::new(&name, Some(*platform), pin));
                }
                if platforms.is_empty() {
                    return Err(format!("image `{name}` has no platform"));
                }
                Origin::ThirdParty {
                    tag,
                    version,
                    index: index.value,
                    platforms: platforms
                        .into_iter()
                        .map(|(p, pin)| (p, pin.value))
                        .collect(),
                }
            }
            (false, ..) => {
                let wanted = "tag, version, index and platforms";
                return Err(format!("image `{name}` needs {wanted}"));
            }
        };
        Ok(Entry {
            name,
            repository: raw.repository.value,
            license: raw.license,
            end_of_life: raw.end_of_life,
            why: raw.why,
            origin,
        })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same catalogue with pins that were looked up; all else stays as it was written.
    #[must_use]
    pub fn with_pins(&self, found: &BTreeMap<String, FoundPins>) -> Self {
        let mut lines: Vec<String> = self.text.split('\n').map(str::to_owned).collect();
        for place in &self.places {
            let Some(pins) = found.get(&place.image) else {
                continue;
            };
            let digest = match place.platform {
                None => Some(&pins.index),
                Some(platform) => pins.platforms.get(&platform),
            };
            let line = usize::try_from(place.line - 1).ok();
            if let Some(line) = line.and_then(|at| lines.get_mut(at)) {
                let pin = digest.map_or(UNVERIFIED, Digest::as_str);
                place.replace(line, pin);
            }
        }
        Self::parse(Utf8Path::new(NAME), &lines.join("\n"))
            .expect("invariant: a pin in place of a pin changes no structure")
    }
}

impl Place {
    fn new(image: &str, platform: Option<Platform>, pin: &Spanned<Pin>) -> Self {
        Self {
            image: image.to_owned(),
            platform,
            line: pin.referenced.line(),
            column: pin.referenced.column(),
            old: pin.value.to_string(),
        }
    }

    fn replace(&self, line: &mut String, new: &str) {
        let column = usize::try_from(self.column - 1).unwrap_or(usize::MAX);
        let start = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at);
        if let Some((before, after)) = line.split_at_checked(start) {
            *line = format!("{before}{}", after.replacen(&self.old, new, 1));
        }
    }
}

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundPins {
    pub index: Digest,
    /// Of those platforms of ours that the image has.
    pub platforms: BTreeMap<Platform, Digest>,
}

/// Whether an image that nobody has looked up may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    Refuse,
    /// The user insists (`--allow-unverified-images`).
    Allow,
}

/// An image as an engine is told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pinned {
    /// `REPOSITORY:TAG`.
    pub tagged: String,
    /// The manifest's digest for the platform; `None` only where the user insisted.
    pub digest: Option<Digest>,
}

impl Pinned {
    /// What to pull: `REPOSITORY:TAG@sha256:…`, without a digest where there is none.
    pub fn reference(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.tagged),
            None => self.tagged.clone(),
        }
    }
}

/// Why an image may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    #[error("the catalogue has no image `{0}`")]
    Unknown(String),
    #[error("image `{name}` does not exist for {platform}")]
    Platform { name: String, platform: Platform },
    #[error("image `{name}` ({tagged}) is unverified: nobody has looked up its digest")]
    Unverified { name: String, tagged: String },
    #[error("image `{0}` is ours, and this program was built without a release")]
    NoRelease(String),
}

impl Catalogue {
    /// The image `name` for a platform, by digest; ours from `release`.
    pub fn pin(
        &self,
        name: &str,
        platform: Platform,
        release: Option<&Release>,
        unverified: Unverified,
    ) -> Result<Pinned, PinError> {
        let named = || name.to_owned();
        let missing = || PinError::Platform {
            name: named(),
            platform,
        };
        let entry = self.entry(name).ok_or_else(|| PinError::Unknown(named()))?;
        match &entry.origin {
            Origin::Release => {
                let release = release.ok_or_else(|| PinError::NoRelease(named()))?;
                let own = OwnImage::ALL.into_iter().find(|image| image.name() == name);
                let image = own.ok_or_else(|| PinError::Unknown(named()))?;
                let digests = release.image(image).platforms.get(&platform);
                Ok(Pinned {
                    tagged: release.reference(image),
                    digest: Some(digests.ok_or_else(missing)?.manifest.clone()),
                })
            }
            Origin::ThirdParty { tag, platforms, .. } => {
                let tagged = format!("{}:{tag}", entry.repository);
                let digest = match platforms.get(&platform).ok_or_else(missing)? {
                    Pin::Digest(digest) => Some(digest.clone()),
                    Pin::Unverified if unverified == Unverified::Allow => None,
                    Pin::Unverified => {
                        return Err(PinError::Unverified {
                            name: named(),
                            tagged,
                        });
                    }
                };
                Ok(Pinned { tagged, digest })
            }
        }
    }
}

#[cfg(test)]
mod tests;
