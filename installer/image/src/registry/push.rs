//! An image of a layout, with what is attached to it, into a repository.

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde::Serialize;

use super::{Login, Registry, RegistryError};
use crate::oci::{Descriptor, INDEX, Index, MANIFEST, Manifest, REF_NAME};
use crate::{Digest, Layout, OwnImage, Release};

/// What a registry has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// `HOST/REPOSITORY:TAG`.
    pub tagged: String,
    /// Of the index, or of the manifest where the layout holds one platform only.
    pub digest: Digest,
    /// Signatures, lists of parts, provenance.
    pub attached: usize,
}

/// Pushes an image to the repository `name` (`HOST[:PORT]/PATH`). What the registry has already is
/// not sent again. A layout with one platform of an index over several gets that platform pushed
/// under the tag: a registry takes no index with holes.
pub async fn push(
    layout: &Layout,
    release: &Release,
    image: OwnImage,
    name: &str,
    login: Option<Login>,
) -> Result<Pushed, RegistryError> {
    let registry = Registry::new(name, login)?;
    let own = release.image(image);
    let index: Index = layout.document(&own.index)?;
    let there: Vec<_> = index
        .manifests
        .iter()
        .filter(|manifest| layout.has(&manifest.digest))
        .collect();
    let mut subjects = BTreeSet::new();
    for manifest in &there {
        registry
            .put_image(layout, &manifest.digest, manifest.digest.as_str())
            .await?;
        subjects.insert(manifest.digest.clone());
    }
    let tag = &release.version;
    let digest = if there.len() == index.manifests.len() {
        let bytes = layout.blob(&own.index)?;
        registry.put_manifest(tag, INDEX, bytes).await?;
        subjects.insert(own.index.clone());
        own.index.clone()
    } else {
        let [single] = there.as_slice() else {
            let name = release.reference(image);
            let folder = layout.folder().to_owned();
            return Err(crate::LayoutError::Name { folder, name }.into());
        };
        let bytes = layout.blob(&single.digest)?;
        registry.put_manifest(tag, MANIFEST, bytes).await?;
        single.digest.clone()
    };
    let attached = registry.put_attached(layout, &subjects).await?;
    Ok(Pushed {
        tagged: format!("{name}:{tag}"),
        digest,
        attached,
    })
}

impl Registry {
    /// Everything in the layout whose manifest names one of the subjects.
    async fn put_attached(
        &self,
        layout: &Layout,
        subjects: &BTreeSet<Digest>,
    ) -> Result<usize, RegistryError> {
        let mut count = 0;
        for entry in layout.index()?.manifests {
            if entry.artifact_type.is_none() || entry.media_type != MANIFEST {
                continue;
            }
            let manifest: Manifest = layout.document(&entry.digest)?;
            let Some(subject) = manifest.subject.filter(|s| subjects.contains(&s.digest)) else {
                continue;
            };
            // What cosign looks for has a tag; the rest is known by its digest.
            let name = entry.annotations.get(REF_NAME);
            let tag = name
                .and_then(|name| name.rsplit_once(':'))
                .map(|(_, tag)| tag);
            let reference = tag.unwrap_or(entry.digest.as_str()).to_owned();
            self.put_image(layout, &entry.digest, &reference).await?;
            self.list_referrer(&subject.digest, entry).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Registries without the referrers API find what is attached by a tag that clients keep
    /// (distribution-spec, "Referrers Tag Schema"); others do not mind it.
    async fn list_referrer(
        &self,
        subject: &Digest,
        mut entry: Descriptor,
    ) -> Result<(), RegistryError> {
        entry.annotations.clear();
        let tag = format!("sha256-{}", subject.hex());
        let mut index = match self.manifest(&tag).await {
            Ok(found) => serde_json::from_slice::<Index>(&found.bytes)
                .map_err(|error| self.unreadable("the list of referrers", error.to_string()))?,
            Err(RegistryError::Absent { .. }) => {
                Index::new(Vec::new(), std::collections::BTreeMap::new())
            }
            Err(error) => return Err(error),
        };
        if index
            .manifests
            .iter()
            .any(|other| other.digest == entry.digest)
        {
            return Ok(());
        }
        index.manifests.push(entry);
        self.put_manifest(&tag, INDEX, crate::layout::json(&index))
            .await
    }

    /// A manifest with its content.
    async fn put_image(
        &self,
        layout: &Layout,
        digest: &Digest,
        reference: &str,
    ) -> Result<(), RegistryError> {
        let manifest: Manifest = layout.document(digest)?;
        for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if !self.has_blob(&part.digest).await? {
                self.put_blob(&part.digest, layout.blob(&part.digest)?)
                    .await?;
            }
        }
        self.put_manifest(reference, MANIFEST, layout.blob(digest)?)
            .await
    }

    async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let request = self.request(Method::HEAD, self.url(&format!("blobs/{digest}")));
        match self.send(request, &format!("content {digest}")).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Absent { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put_blob(&self, digest: &Digest, content: Vec<u8>) -> Result<(), RegistryError> {
        let what = format!("an upload of {digest}");
        let begin = self.request(Method::POST, self.url("blobs/uploads/"));
        let begun = self.send(begin, &what).await?;
        let place = begun
            .headers()
            .get(LOCATION)
            .and_then(|place| place.to_str().ok())
            .and_then(|place| self.base.join(place).ok());
        let mut place =
            place.ok_or_else(|| self.unreadable(&what, "it gave no place".to_owned()))?;
        place
            .query_pairs_mut()
            .append_pair("digest", digest.as_str());
        let put = self
            .request(Method::PUT, place)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(content);
        self.send(put, &what).await.map(drop)
    }

    async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<(), RegistryError> {
        let what = format!("a push of manifest {reference}");
        let put = self
            .request(Method::PUT, self.url(&format!("manifests/{reference}")))
            .header(CONTENT_TYPE, media_type)
            .body(bytes);
        self.send(put, &what).await.map(drop)
    }
}
