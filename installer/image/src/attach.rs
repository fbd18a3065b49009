//! What belongs to an image without being part of it: attached as OCI referrers, whose manifests
//! name their subject (image-spec 1.1), and signatures besides under the tag where cosign looks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::oci::{Annotations, CONFIG, Descriptor, EMPTY, Index, MANIFEST, Manifest, REF_NAME};
use crate::{Digest, Layout, LayoutError, OwnImage, Platform, Release, SigningKey};

/// CycloneDX 1.5 as JSON.
pub const SBOM: &str = "application/vnd.cyclonedx+json";
/// An in-toto statement; ours say how an image was built, in SLSA's words.
pub const PROVENANCE: &str = "application/vnd.in-toto+json";
/// A signed statement.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
pub const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// Cosign's payload and where it keeps the signature of it.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_KEY: &str = "dev.cosignproject.cosign/signature";

/// Attaches a document to a manifest of the layout.
pub fn attach(
    layout: &Layout,
    subject: &Descriptor,
    media_type: &str,
    document: &[u8],
    created: jiff::Timestamp,
) -> Result<Descriptor, LayoutError> {
    let config = layout.put(EMPTY, b"{}")?;
    let content = layout.put(media_type, document)?;
    let mut manifest = Manifest::new(config, vec![content]);
    manifest.artifact_type = Some(media_type.to_owned());
    manifest.subject = Some(subject.plain());
    let key = "org.opencontainers.image.created".to_owned();
    manifest.annotations = Annotations::from([(key, created.to_string())]);
    let mut descriptor = layout.put_json(MANIFEST, &manifest)?;
    descriptor.artifact_type = Some(media_type.to_owned());
    layout.list(descriptor.clone())?;
    Ok(descriptor)
}

/// Signs every manifest of a release, so that an image can be checked by whatever digest it is
/// known by.
pub fn sign(layout: &Layout, release: &Release, key: &SigningKey) -> Result<(), LayoutError> {
    for image in OwnImage::ALL {
        let repository = &release.image(image).repository;
        let index = layout.named(&release.reference(image))?;
        let manifests = layout.document::<Index>(&index.digest)?.manifests;
        for subject in std::iter::once(&index).chain(&manifests) {
            sign_one(layout, repository, subject, key)?;
        }
    }
    Ok(())
}

fn sign_one(
    layout: &Layout,
    repository: &str,
    subject: &Descriptor,
    key: &SigningKey,
) -> Result<(), LayoutError> {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": repository },
            "image": { "docker-manifest-digest": subject.digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = crate::layout::json(&payload);
    let mut layer = layout.put(SIMPLE_SIGNING, &payload)?;
    let signature = STANDARD.encode(key.sign(&payload));
    layer.annotations = Annotations::from([(SIGNATURE_KEY.to_owned(), signature)]);
    let name = format!("{repository}:{}", signature_tag(&subject.digest));
    attach_layer(layout, subject, SIGNATURE, layer, name)
}

/// Attaches a statement in a signed envelope (DSSE 1.0), under the tag where cosign looks for
/// attestations.
pub fn attest(
    layout: &Layout,
    repository: &str,
    subject: &Descriptor,
    statement: &[u8],
    key: &SigningKey,
) -> Result<(), LayoutError> {
    // "Pre-authentication encoding": type and length are signed, too.
    let head = format!(
        "DSSEv1 {} {PROVENANCE} {} ",
        PROVENANCE.len(),
        statement.len()
    );
    let signature = key.sign(&[head.as_bytes(), statement].concat());
    let envelope = json!({
        "payloadType": PROVENANCE,
        "payload": STANDARD.encode(statement),
        "signatures": [ { "keyid": "", "sig": STANDARD.encode(signature) } ],
    });
    let mut layer = layout.put_json(ENVELOPE, &envelope)?;
    layer.annotations = Annotations::from([
        (SIGNATURE_KEY.to_owned(), String::new()),
        ("predicateType".to_owned(), PREDICATE.to_owned()),
    ]);
    let name = format!("{repository}:sha256-{}.att", subject.digest.hex());
    attach_layer(layout, subject, ENVELOPE, layer, name)
}

/// A manifest in the form that cosign reads, listed under a name.
fn attach_layer(
    layout: &Layout,
    subject: &Descriptor,
    artifact_type: &str,
    layer: Descriptor,
    name: String,
) -> Result<(), LayoutError> {
    // Cosign reads what it finds as an image, so this one has a config.
    let config = json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    let config = layout.put_json(CONFIG, &config)?;
    let mut manifest = Manifest::new(config, vec![layer]);
    manifest.artifact_type = Some(artifact_type.to_owned());
    manifest.subject = Some(subject.plain());
    let mut descriptor = layout.put_json(MANIFEST, &manifest)?;
    descriptor.artifact_type = Some(artifact_type.to_owned());
    descriptor.annotations = Annotations::from([(REF_NAME.to_owned(), name)]);
    layout.list(descriptor)
}

/// The tag under which cosign looks for the signatures of a manifest.
pub(crate) fn signature_tag(subject: &Digest) -> String {
    format!("sha256-{}.sig", subject.hex())
}

/// How an image came to be, for [`provenance`].
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Where the repository is, and who builds: our own chores.
    pub url: String,
    pub revision: String,
    /// What `rustc --version --verbose` says.
    pub compiler: String,
    /// Digest of Cargo.lock: every dependency with its checksum.
    pub lock: Digest,
    pub created: jiff::Timestamp,
}

/// An in-toto statement with SLSA's provenance (slsa.dev/provenance/v1). It holds no time of the
/// build and no name of a machine: the same commit gives the same statement.
pub fn provenance(release: &Release, image: OwnImage, recipe: &Recipe) -> Vec<u8> {
    #[derive(Serialize)]
    struct Statement {
        _type: &'static str,
        subject: Vec<Value>,
        #[serde(rename = "predicateType")]
        predicate_type: &'static str,
        predicate: Value,
    }
    let url = &recipe.url;
    let own = release.image(image);
    let subject = |name: String, digest: &Digest| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    let mut subjects = vec![subject(own.repository.clone(), &own.index)];
    for (platform, digests) in &own.platforms {
        subjects.push(subject(
            format!("{} {platform}", own.repository),
            &digests.manifest,
        ));
    }
    let targets: Vec<_> = own
        .platforms
        .keys()
        .map(|p: &Platform| p.rust_target())
        .collect();
    let predicate = json!({
        "buildDefinition": {
            "buildType": format!("{url}/tree/main/ci/xtask/src/image"),
            "externalParameters": { "image": image, "version": release.version },
            "internalParameters": {
                "compiler": recipe.compiler,
                "targets": targets,
                "SOURCE_DATE_EPOCH": 0,
            },
            "resolvedDependencies": [
                { "uri": format!("git+{url}"), "digest": { "gitCommit": recipe.revision } },
                { "name": "Cargo.lock", "digest": { "sha256": recipe.lock.hex() } },
            ],
        },
        "runDetails": { "builder": { "id": format!("{url}/tree/main/ci/xtask") } },
    });
    crate::layout::json(&Statement {
        _type: "https://in-toto.io/Statement/v1",
        subject: subjects,
        predicate_type: PREDICATE,
        predicate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::{built, programs, source};
    use crate::sign::tests::key;
    use crate::verify_signature;

    #[test]
    fn a_document_names_its_subject_and_is_listed() {
        let (_folder, layout, release) = built(&programs());
        let subject = layout.named(&release.reference(OwnImage::Vault)).unwrap();
        let attached = attach(&layout, &subject, SBOM, b"{}", source().created).unwrap();
        let manifest: Manifest = layout.document(&attached.digest).unwrap();
        assert_eq!(manifest.subject.unwrap(), subject.plain());
        assert_eq!(manifest.artifact_type.as_deref(), Some(SBOM));
        let listed = layout.index().unwrap().manifests;
        assert!(listed.contains(&attached), "{listed:?}");
    }

    #[test]
    fn every_manifest_is_signed_once() {
        let (_folder, layout, release) = built(&programs());
        let before = layout.index().unwrap().manifests.len();
        sign(&layout, &release, &key()).unwrap();
        sign(&layout, &release, &key()).unwrap();
        // Two images: an index and two platforms each.
        assert_eq!(layout.index().unwrap().manifests.len(), before + 6);
        let digest = &release.agent.platforms[&Platform::Arm64].manifest;
        let name = format!("stakeout/agent:{}", signature_tag(digest));
        let listed = layout.named(&name).unwrap();
        let manifest: Manifest = layout.document(&listed.digest).unwrap();
        let payload = layout.blob(&manifest.layers[0].digest).unwrap();
        let signature = &manifest.layers[0].annotations[SIGNATURE_KEY];
        let signature = STANDARD.decode(signature).unwrap();
        verify_signature(&key().public_pem(), &payload, &signature).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let signed = &payload["critical"]["image"]["docker-manifest-digest"];
        assert_eq!(signed, digest.as_str());
    }

    #[test]
    fn a_statement_is_signed_with_its_type_and_length() {
        let (_folder, layout, release) = built(&programs());
        let subject = layout.named(&release.reference(OwnImage::Agent)).unwrap();
        attest(&layout, "stakeout/agent", &subject, b"{}", &key()).unwrap();
        let name = format!("stakeout/agent:sha256-{}.att", subject.digest.hex());
        let manifest: Manifest = layout
            .document(&layout.named(&name).unwrap().digest)
            .unwrap();
        assert_eq!(manifest.subject.unwrap(), subject.plain());
        let envelope: Value = layout.document(&manifest.layers[0].digest).unwrap();
        let signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().unwrap());
        // As the protocol's description writes it (github.com/secure-systems-lab/dsse).
        let signed = b"DSSEv1 28 application/vnd.in-toto+json 2 {}";
        verify_signature(&key().public_pem(), signed, &signature.unwrap()).unwrap();
        assert_eq!(envelope["payload"], STANDARD.encode("{}"));
    }

    #[test]
    fn provenance_names_every_digest_and_the_commit() {
        let (_folder, _layout, release) = built(&programs());
        let recipe = Recipe {
            url: "https://example.org/stakeout".to_owned(),
            revision: "0f".repeat(20),
            compiler: "rustc 1.2.3".to_owned(),
            lock: Digest::of(b"lock"),
            created: source().created,
        };
        let bytes = provenance(&release, OwnImage::Agent, &recipe);
        assert_eq!(bytes, provenance(&release, OwnImage::Agent, &recipe));
        let statement: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["subject"].as_array().unwrap().len(), 3);
        let commit = &statement["predicate"]["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(commit["digest"]["gitCommit"], "0f".repeat(20));
    }
}
