//! A folder in the OCI image layout: content below `blobs/sha256`, and what it is in `index.json`.

use std::fs::{self, File};
use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::oci::{Descriptor, Index, REF_NAME};
use crate::{Digest, Platform};

/// The marker file of a layout and its whole content.
pub(crate) const MARKER: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);

/// An image layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: Utf8PathBuf,
}

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("`{0}` is not an OCI image layout")]
    NotLayout(Utf8PathBuf),
    #[error("cannot read `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("cannot write `{path}`")]
    Write {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("`{path}` is not what its place says")]
    Json {
        path: Utf8PathBuf,
        source: serde_json::Error,
    },
    #[error("`{path}` is damaged: its content is {found}")]
    Damaged { path: Utf8PathBuf, found: Digest },
    #[error("the layout `{folder}` has nothing named `{name}`")]
    Name { folder: Utf8PathBuf, name: String },
    #[error("the layout `{folder}` has no {platform} of `{name}`")]
    Platform {
        folder: Utf8PathBuf,
        name: String,
        platform: Platform,
    },
}

impl Layout {
    /// An empty layout in a folder that may be absent.
    pub fn create(folder: &Utf8Path) -> Result<Self, LayoutError> {
        let layout = Self {
            folder: folder.to_owned(),
        };
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| LayoutError::Write {
            path: blobs,
            source,
        })?;
        layout.write(MARKER.0, MARKER.1.as_bytes())?;
        layout.write_index(&Index::new(Vec::new(), crate::oci::Annotations::new()))?;
        Ok(layout)
    }

    /// A layout that is there.
    pub fn open(folder: &Utf8Path) -> Result<Self, LayoutError> {
        if !folder.join(MARKER.0).is_file() || !folder.join("index.json").is_file() {
            return Err(LayoutError::NotLayout(folder.to_owned()));
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    pub fn index(&self) -> Result<Index, LayoutError> {
        let path = self.folder.join("index.json");
        let bytes = read(&path)?;
        serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })
    }

    pub(crate) fn write_index(&self, index: &Index) -> Result<(), LayoutError> {
        self.write("index.json", &json(index))
    }

    /// Lists `descriptor` in `index.json`, in place of what had its name or its content.
    pub(crate) fn list(&self, descriptor: Descriptor) -> Result<(), LayoutError> {
        let mut index = self.index()?;
        let name = descriptor.annotations.get(REF_NAME).cloned();
        index.manifests.retain(|entry| {
            let same_name = name.is_some() && entry.annotations.get(REF_NAME) == name.as_ref();
            !same_name && entry.digest != descriptor.digest
        });
        index.manifests.push(descriptor);
        self.write_index(&index)
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> Utf8PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    /// Content by its digest, which is checked.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let content = read(&path)?;
        let found = Digest::of(&content);
        if found != *digest {
            return Err(LayoutError::Damaged { path, found });
        }
        Ok(content)
    }

    /// A document by its digest.
    pub fn document<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T, LayoutError> {
        let bytes = self.blob(digest)?;
        let path = self.blob_path(digest);
        serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })
    }

    pub(crate) fn put(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, LayoutError> {
        let descriptor = Descriptor::of(media_type, content);
        self.write(
            &format!("blobs/sha256/{}", descriptor.digest.hex()),
            content,
        )?;
        Ok(descriptor)
    }

    pub(crate) fn put_json<T: Serialize>(
        &self,
        media_type: &str,
        document: &T,
    ) -> Result<Descriptor, LayoutError> {
        self.put(media_type, &json(document))
    }

    /// What `index.json` lists under a name such as `stakeout/agent:1.2.3`.
    pub fn named(&self, name: &str) -> Result<Descriptor, LayoutError> {
        let found = self
            .index()?
            .manifests
            .into_iter()
            .find(|entry| entry.annotations.get(REF_NAME).is_some_and(|n| n == name));
        found.ok_or_else(|| LayoutError::Name {
            folder: self.folder.clone(),
            name: name.to_owned(),
        })
    }

    /// The manifest of one platform of a named image.
    pub fn manifest_of(&self, name: &str, platform: Platform) -> Result<Descriptor, LayoutError> {
        let index: Index = self.document(&self.named(name)?.digest)?;
        let fits = |entry: &Descriptor| entry.platform.as_ref().is_some_and(|p| p.is(platform));
        let found = index.manifests.into_iter().find(fits);
        found
            .filter(|entry| self.has(&entry.digest))
            .ok_or_else(|| LayoutError::Platform {
                folder: self.folder.clone(),
                name: name.to_owned(),
                platform,
            })
    }

    /// Writes a file beside its place first, so that a cut leaves no half of one.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let path = self.folder.join(name);
        let beside = path.with_extension("new");
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(&beside, &path));
        written.map_err(|source| LayoutError::Write { path, source })
    }
}

pub(crate) fn read(path: &Utf8Path) -> Result<Vec<u8>, LayoutError> {
    fs::read(path).map_err(|source| LayoutError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The bytes that digests are taken of: no spaces, fields in the order of their types.
pub(crate) fn json<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("invariant: our documents have string keys")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Annotations, INDEX};

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("images");
        let layout = Layout::create(&path).unwrap();
        (folder, layout)
    }

    #[test]
    fn content_comes_back_and_damage_is_seen() {
        let (_folder, layout) = layout();
        let descriptor = layout.put("text/plain", b"hello").unwrap();
        assert_eq!(layout.blob(&descriptor.digest).unwrap(), b"hello");
        fs::write(layout.blob_path(&descriptor.digest), "hullo").unwrap();
        let error = layout.blob(&descriptor.digest).unwrap_err();
        assert!(matches!(error, LayoutError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_name_is_listed_once() {
        let (_folder, layout) = layout();
        for text in ["one", "two"] {
            let mut descriptor = layout.put(INDEX, text.as_bytes()).unwrap();
            let name = (REF_NAME.to_owned(), "a:1".to_owned());
            descriptor.annotations = Annotations::from([name]);
            layout.list(descriptor).unwrap();
        }
        assert_eq!(layout.index().unwrap().manifests.len(), 1);
        assert_eq!(layout.named("a:1").unwrap().digest, Digest::of(b"two"));
        let error = layout.named("b:1").unwrap_err().to_string();
        assert!(error.ends_with("has nothing named `b:1`"), "{error}");
    }

    #[test]
    fn another_folder_is_no_layout() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let error = Layout::open(path).unwrap_err();
        assert!(matches!(error, LayoutError::NotLayout(_)), "{error}");
    }
}
