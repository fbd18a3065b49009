//! Makes the images: a layer with one program, a manifest for each platform, an index over them.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};

use crate::oci::{
    Annotations, CONFIG, Descriptor, History, INDEX, ImageConfig, Index, LAYER, MANIFEST, Manifest,
    REF_NAME, RootFs, RunConfig,
};
use crate::tree::Tree;
use crate::{
    Digest, Layout, LayoutError, OwnImage, Platform, PlatformDigests, Program, Release,
    ReleaseImage, pem,
};

/// User and group that a container runs as. Numeric, so that Kubernetes can tell it is not root.
pub const USER: u32 = 10001;

/// Where programs look for the roots that they trust, on Debian and in our images.
const CA_ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";

/// Which version of the catalogue's tables the vault in an image writes.
pub const CATALOGUE_LABEL: &str = "stakeout.catalogue";

/// What an image is built from, for its labels.
#[derive(Debug, Clone)]
pub struct Source {
    pub version: String,
    pub revision: String,
    /// Where the code is to be found.
    pub url: String,
    pub licenses: String,
    /// Time of the commit, the only time in an image.
    pub created: jiff::Timestamp,
}

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the program `{program}` for {platform} is missing", program = .image.program())]
    Missing { image: OwnImage, platform: Platform },
    #[error("the program `{program}` for {platform} is given twice", program = .image.program())]
    Twice { image: OwnImage, platform: Platform },
    #[error("no program is given")]
    Nothing,
    #[error("cannot pack the layer of {image} for {platform}")]
    Pack {
        image: OwnImage,
        platform: Platform,
        source: io::Error,
    },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Builds both images for the platforms that programs are given for, and writes the release.
pub fn build(
    layout: &Layout,
    programs: &[Program],
    source: &Source,
) -> Result<Release, BuildError> {
    let sorted = sort(programs)?;
    let mut images = BTreeMap::new();
    for (image, programs) in &sorted {
        images.insert(*image, build_image(layout, *image, programs, source)?);
    }
    let mut take = |image: OwnImage| images.remove(&image).ok_or(BuildError::Nothing);
    let release = Release {
        version: source.version.clone(),
        revision: source.revision.clone(),
        agent: take(OwnImage::Agent)?,
        vault: take(OwnImage::Vault)?,
    };
    release.write(layout)?;
    Ok(release)
}

type Sorted<'a> = BTreeMap<OwnImage, BTreeMap<Platform, &'a Program>>;

/// Every image has the same platforms, each once.
fn sort(programs: &[Program]) -> Result<Sorted<'_>, BuildError> {
    let mut sorted = Sorted::new();
    for program in programs {
        let (image, platform) = (program.image, program.platform);
        let platforms = sorted.entry(image).or_default();
        if platforms.insert(platform, program).is_some() {
            return Err(BuildError::Twice { image, platform });
        }
    }
    for platform in Platform::ALL {
        if !programs.iter().any(|program| program.platform == platform) {
            continue;
        }
        for image in OwnImage::ALL {
            let there = sorted
                .get(&image)
                .is_some_and(|p| p.contains_key(&platform));
            if !there {
                return Err(BuildError::Missing { image, platform });
            }
        }
    }
    Ok(sorted)
}

fn build_image(
    layout: &Layout,
    image: OwnImage,
    programs: &BTreeMap<Platform, &Program>,
    source: &Source,
) -> Result<ReleaseImage, BuildError> {
    let annotations = annotations(image, source);
    let mut platforms = BTreeMap::new();
    let mut manifests = Vec::new();
    for (platform, program) in programs {
        let (manifest, digests) = build_platform(layout, program, source, &annotations)?;
        manifests.push(manifest);
        platforms.insert(*platform, digests);
    }
    let index = Index::new(manifests, annotations);
    let mut descriptor = layout.put_json(INDEX, &index)?;
    let digest = descriptor.digest.clone();
    let name = format!("{}:{}", image.repository(), source.version);
    descriptor.annotations = Annotations::from([(REF_NAME.to_owned(), name)]);
    layout.list(descriptor)?;
    Ok(ReleaseImage {
        repository: image.repository().to_owned(),
        index: digest,
        platforms,
    })
}

fn build_platform(
    layout: &Layout,
    program: &Program,
    source: &Source,
    annotations: &Annotations,
) -> Result<(Descriptor, PlatformDigests), BuildError> {
    let (image, platform) = (program.image, program.platform);
    let pack = |source| BuildError::Pack {
        image,
        platform,
        source,
    };
    let tar = tree(program).write(Vec::new(), 0).map_err(pack)?;
    let layer = layout.put(LAYER, &gzip(&tar).map_err(pack)?)?;
    let created = source.created.to_string();
    let mut labels = annotations.clone();
    if image == OwnImage::Vault {
        let version = vault_api::CATALOGUE_VERSION.to_string();
        labels.insert(CATALOGUE_LABEL.to_owned(), version);
    }
    let config = ImageConfig {
        created: created.clone(),
        architecture: platform.architecture(),
        os: "linux",
        config: RunConfig {
            user: format!("{USER}:{USER}"),
            env: vec!["PATH=/usr/bin".to_owned()],
            entrypoint: vec![format!("/usr/bin/{}", image.program())],
            working_dir: "/".to_owned(),
            labels,
        },
        rootfs: RootFs {
            r#type: "layers",
            diff_ids: vec![Digest::of(&tar)],
        },
        history: vec![History {
            created,
            created_by: format!("stakeout image build: {}", image.program()),
        }],
    };
    let config = layout.put_json(CONFIG, &config)?;
    let digest = config.digest.clone();
    let mut manifest = Manifest::new(config, vec![layer]);
    manifest.annotations = annotations.clone();
    let mut descriptor = layout.put_json(MANIFEST, &manifest)?;
    descriptor.platform = Some(platform.into());
    let digests = PlatformDigests {
        manifest: descriptor.digest.clone(),
        config: digest,
    };
    Ok((descriptor, digests))
}

/// Labels and annotations, by the names of the OCI image spec.
fn annotations(image: OwnImage, source: &Source) -> Annotations {
    let what = match image {
        OwnImage::Agent => "Records cameras and takes the recordings to a vault",
        OwnImage::Vault => "Takes recordings in, keeps them, and tells of them",
    };
    let title = image.program().to_owned();
    [
        ("title", title),
        ("description", what.to_owned()),
        ("version", source.version.clone()),
        ("revision", source.revision.clone()),
        ("source", source.url.clone()),
        ("licenses", source.licenses.clone()),
        ("created", source.created.to_string()),
    ]
    .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value))
    .into()
}

/// Everything that an image holds. It has no folder that is written to: its root is read-only.
fn tree(program: &Program) -> Tree {
    let name = program.image.program();
    let passwd = format!(
        "root:x:0:0:root:/:/sbin/nologin\nstakeout:x:{USER}:{USER}:stakeout:/:/sbin/nologin\n"
    );
    Tree::new()
        .file(
            "etc/group",
            0o644,
            format!("root:x:0:\nstakeout:x:{USER}:\n"),
        )
        .file("etc/passwd", 0o644, passwd)
        .file(CA_ROOTS, 0o644, ca_roots())
        .file(&format!("usr/bin/{name}"), 0o755, program.content.clone())
}

/// Mozilla's roots as PEM, in the order and version of the crate that Cargo.lock holds.
fn ca_roots() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str(&pem::encode("CERTIFICATE", certificate));
    }
    text
}

/// Compressed without a time or a name in the header (RFC 1952).
pub fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    // 255: "unknown" operating system.
    let mut packed = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    packed.write_all(content)?;
    packed.finish()
}

#[cfg(test)]
pub(crate) mod tests;
