//! The part of a layout that one platform needs.

use std::collections::BTreeMap;

use crate::layout::{LayoutError, MARKER, json};
use crate::oci::{Descriptor, Index, MANIFEST, Manifest};
use crate::{Digest, Layout, OwnImage, Platform, Release};

/// The files of a layout with the images of one platform and what is attached to them; path below
/// the layout's folder, and content. The indexes stay whole, for their digests: they name platforms
/// that are not there, which a layout may.
pub fn platform_files(
    layout: &Layout,
    release: &Release,
    platform: Platform,
) -> Result<BTreeMap<String, Vec<u8>>, LayoutError> {
    let mut files = Files {
        layout,
        content: BTreeMap::new(),
    };
    let mut subjects = Vec::new();
    let mut listed: Vec<Descriptor> = Vec::new();
    for image in OwnImage::ALL {
        let name = release.reference(image);
        let index = layout.named(&name)?;
        let manifest = layout.manifest_of(&name, platform)?;
        files.add(&index.digest)?;
        files.add_image(&manifest.digest)?;
        subjects.extend([index.digest.clone(), manifest.digest]);
        listed.push(index);
    }
    for entry in layout.index()?.manifests {
        if entry.artifact_type.is_none() || entry.media_type != MANIFEST {
            continue;
        }
        let manifest: Manifest = layout.document(&entry.digest)?;
        if manifest
            .subject
            .is_some_and(|subject| subjects.contains(&subject.digest))
        {
            files.add_image(&entry.digest)?;
            listed.push(entry);
        }
    }
    let mut content = files.content;
    let index = Index::new(listed, BTreeMap::new());
    content.insert("index.json".to_owned(), json(&index));
    content.insert(MARKER.0.to_owned(), MARKER.1.as_bytes().to_vec());
    content.insert(crate::release::FILE.to_owned(), release.text());
    Ok(content)
}

struct Files<'a> {
    layout: &'a Layout,
    content: BTreeMap<String, Vec<u8>>,
}

impl Files<'_> {
    fn add(&mut self, digest: &Digest) -> Result<(), LayoutError> {
        let path = format!("blobs/sha256/{}", digest.hex());
        self.content.insert(path, self.layout.blob(digest)?);
        Ok(())
    }

    fn add_image(&mut self, digest: &Digest) -> Result<(), LayoutError> {
        let manifest: Manifest = self.layout.document(digest)?;
        self.add(digest)?;
        for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.add(&part.digest)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camino::Utf8Path;

    use super::*;
    use crate::attach::sign;
    use crate::build::tests::{built, programs};
    use crate::sign::tests::key;

    #[test]
    fn one_platform_is_a_layout_of_its_own() {
        let (_folder, layout, release) = built(&programs());
        sign(&layout, &release, &key()).unwrap();
        let files = platform_files(&layout, &release, Platform::Arm64).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let to = Utf8Path::from_path(folder.path()).unwrap();
        for (path, content) in files {
            let path = to.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let part = Layout::open(to).unwrap();
        assert_eq!(Release::read(to).unwrap(), release);
        for image in OwnImage::ALL {
            let name = release.reference(image);
            assert_eq!(
                part.named(&name).unwrap().digest,
                release.image(image).index
            );
            part.manifest_of(&name, Platform::Arm64).unwrap();
            let absent = part.manifest_of(&name, Platform::Amd64).unwrap_err();
            assert!(matches!(absent, LayoutError::Platform { .. }), "{absent}");
        }
        // The two indexes, and the signatures of these and of the two manifests.
        assert_eq!(part.index().unwrap().manifests.len(), 6);
    }
}
