//! One image as one tar archive that engines of any age load: Docker's `manifest.json` beside the
//! index of an OCI layout, both naming the same content.

use std::fs::File;
use std::io::{self, Write};

use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::layout::{LayoutError, MARKER, json};
use crate::oci::{Annotations, CONTAINERD_NAME, Descriptor, Index, Manifest, REF_NAME};
use crate::{Digest, Layout, OwnImage, Platform, Release};

/// The registry of a name that has none.
const HUB: &str = "docker.io";

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("cannot read `{path}` into the archive")]
    Content {
        path: camino::Utf8PathBuf,
        source: io::Error,
    },
    #[error("cannot write the archive of `{name}`")]
    Write { name: String, source: io::Error },
}

/// An entry of `manifest.json`, as `docker save` writes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes the image of `release` for one platform. A loaded image has the ID that
/// `release.json` calls `config`, and the tag `stakeout/agent:VERSION`.
pub fn docker_archive<W: Write>(
    layout: &Layout,
    release: &Release,
    image: OwnImage,
    platform: Platform,
    to: W,
) -> Result<W, ArchiveError> {
    let name = release.reference(image);
    let names = [format!("{HUB}/{name}")];
    archive(layout, &name, &names, platform, to)
}

/// The same for containerd, which knows the image by its digest, too: as pods ask for it.
pub fn containerd_archive<W: Write>(
    layout: &Layout,
    release: &Release,
    image: OwnImage,
    platform: Platform,
    to: W,
) -> Result<W, ArchiveError> {
    let name = release.reference(image);
    let digest = layout.manifest_of(&name, platform)?.digest;
    let repository = &release.image(image).repository;
    let names = [format!("{HUB}/{name}"), by_digest(repository, &digest)];
    archive(layout, &name, &names, platform, to)
}

/// How containerd and Kubernetes name an image of no registry by its digest.
pub(crate) fn by_digest(repository: &str, digest: &Digest) -> String {
    format!("{HUB}/{repository}@{digest}")
}

/// Whether a name is such a one of an image of ours.
pub fn is_local(name: &str) -> bool {
    let path = name.strip_prefix(HUB);
    path.is_some_and(|path| path.starts_with("/stakeout/") && path.contains('@'))
}

fn archive<W: Write>(
    layout: &Layout,
    name: &str,
    names: &[String],
    platform: Platform,
    to: W,
) -> Result<W, ArchiveError> {
    let name = name.to_owned();
    let descriptor = layout.manifest_of(&name, platform)?;
    let manifest: Manifest = layout.document(&descriptor.digest)?;
    let listed = names.iter().map(|name| listed(&descriptor, name));
    let index = Index::new(listed.collect(), Annotations::new());
    let saved = [Saved {
        config: place(&manifest.config.digest),
        repo_tags: vec![name.clone()],
        layers: manifest.layers.iter().map(|l| place(&l.digest)).collect(),
    }];
    let mut archive = Builder::new(to);
    let write = |source| ArchiveError::Write {
        name: name.clone(),
        source,
    };
    let mut digests = vec![&descriptor.digest, &manifest.config.digest];
    digests.extend(manifest.layers.iter().map(|layer| &layer.digest));
    digests.sort();
    for digest in digests {
        add_blob(&mut archive, layout, digest, &name)?;
    }
    for (path, content) in [
        ("index.json", json(&index)),
        ("manifest.json", json(&saved)),
        (MARKER.0, MARKER.1.as_bytes().to_vec()),
    ] {
        crate::tree::append(&mut archive, path, EntryType::Regular, 0o644, 0, &content)
            .map_err(write)?;
    }
    archive.into_inner().map_err(write)
}

/// As an entry of the archive's `index.json`. Docker and containerd both take a name without a
/// registry for one of Docker Hub's.
fn listed(descriptor: &Descriptor, name: &str) -> Descriptor {
    let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
    let annotations = [
        (CONTAINERD_NAME.to_owned(), name.to_owned()),
        (REF_NAME.to_owned(), tag.to_owned()),
    ];
    Descriptor {
        annotations: annotations.into(),
        ..descriptor.clone()
    }
}

fn place(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Copies content into the archive without holding all of it in memory.
fn add_blob<W: Write>(
    archive: &mut Builder<W>,
    layout: &Layout,
    digest: &Digest,
    name: &str,
) -> Result<(), ArchiveError> {
    let path = layout.blob_path(digest);
    let content = |source| ArchiveError::Content {
        path: path.clone(),
        source,
    };
    let file = File::open(&path).map_err(content)?;
    let mut header = Header::new_gnu();
    header.set_size(file.metadata().map_err(content)?.len());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let appended = archive.append_data(&mut header, place(digest), file);
    appended.map_err(|source| ArchiveError::Write {
        name: name.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use serde_json::Value;

    use super::*;
    use crate::build::tests::{built, programs};

    fn archive(platform: Platform) -> (Release, BTreeMap<String, Vec<u8>>) {
        let (_folder, layout, release) = built(&programs());
        let bytes =
            docker_archive(&layout, &release, OwnImage::Agent, platform, Vec::new()).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        (release, files)
    }

    #[test]
    fn both_lists_name_the_same_content() {
        let (release, files) = archive(Platform::Arm64);
        let digests = &release.agent.platforms[&Platform::Arm64];
        let saved: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(saved[0]["RepoTags"][0], "stakeout/agent:1.2.3");
        assert_eq!(saved[0]["Config"], place(&digests.config));
        assert_eq!(index.manifests[0].digest, digests.manifest);
        let name = &index.manifests[0].annotations[CONTAINERD_NAME];
        assert_eq!(name, "docker.io/stakeout/agent:1.2.3");
        for path in files.keys().filter(|path| path.starts_with("blobs/")) {
            assert_eq!(*path, place(&Digest::of(&files[path])));
        }
        assert_eq!(files.len(), 6, "{:?}", files.keys());
    }

    #[test]
    fn containerd_hears_the_digest_too() {
        let (_folder, layout, release) = built(&programs());
        let bytes = containerd_archive(
            &layout,
            &release,
            OwnImage::Vault,
            Platform::Amd64,
            Vec::new(),
        )
        .unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let index = entries.find(|entry| entry.path().unwrap().ends_with("index.json"));
        let index: Index = serde_json::from_reader(index.unwrap()).unwrap();
        let digest = &release.vault.platforms[&Platform::Amd64].manifest;
        let names = index.manifests.iter().map(|one| {
            assert_eq!(one.digest, *digest);
            one.annotations[CONTAINERD_NAME].as_str()
        });
        let names: Vec<_> = names.collect();
        assert_eq!(names[0], "docker.io/stakeout/vault:1.2.3");
        assert_eq!(names[1], format!("docker.io/stakeout/vault@{digest}"));
        let local = release.local_reference(OwnImage::Vault, Platform::Amd64);
        assert_eq!(local.as_deref(), Some(names[1]));
        assert!(is_local(names[1]) && !is_local(names[0]));
    }

    #[test]
    fn a_platform_that_was_not_built_is_an_error() {
        let amd64: Vec<_> = programs()
            .into_iter()
            .filter(|program| program.platform == Platform::Amd64)
            .collect();
        let (_folder, layout, release) = built(&amd64);
        let written = docker_archive(
            &layout,
            &release,
            OwnImage::Agent,
            Platform::Arm64,
            io::sink(),
        );
        let error = written.err().unwrap().to_string();
        assert!(error.contains("has no linux/arm64"), "{error}");
    }
}
