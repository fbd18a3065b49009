//! An image into an engine of this machine.

use std::collections::BTreeSet;
use std::io;
use std::process::Stdio;

use bollard::Docker;
use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::oci::{Manifest, label_of};
use crate::{
    ArchiveError, Layout, OwnImage, Platform, Release, containerd_archive, docker_archive,
};

/// Why an image was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the engine did not load `{name}`")]
    Engine {
        name: String,
        source: bollard::errors::Error,
    },
    #[error("the engine has `{name}` as `{found}`, not as {wanted}")]
    Other {
        name: String,
        found: String,
        wanted: String,
    },
    #[error("cannot run `{program}`")]
    Start { program: String, source: io::Error },
    #[error("what containerd has as `{name}` is no image")]
    Unreadable {
        name: String,
        source: serde_json::Error,
    },
    #[error("`{command}` failed: {said}")]
    Containerd { command: String, said: String },
}

/// containerd, as its own client reaches it.
#[derive(Debug, Clone)]
pub struct Containerd {
    /// `ctr` with its options, or what takes its place: `microk8s ctr`.
    pub command: Vec<String>,
}

impl Containerd {
    /// By `ctr`, at its default socket or at another; Kubernetes sees namespace `k8s.io`.
    pub fn at(address: Option<&str>, namespace: &str) -> Self {
        let mut command = vec!["ctr".to_owned()];
        if let Some(address) = address {
            command.extend(["--address".to_owned(), address.to_owned()]);
        }
        command.extend(["--namespace".to_owned(), namespace.to_owned()]);
        Self { command }
    }

    /// The names of all images that it has.
    pub async fn names(&self) -> Result<BTreeSet<String>, LoadError> {
        let told = self.run(&["images", "list", "--quiet"], &[]).await?;
        Ok(told.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// A label of an image that it has; `reference` ends with the digest of its manifest.
    pub async fn label(&self, reference: &str, name: &str) -> Result<Option<String>, LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            name: reference.to_owned(),
            source,
        };
        let digest = reference.rsplit_once('@').map_or("", |(_, digest)| digest);
        let manifest = self.run(&["content", "get", digest], &[]).await?;
        let manifest: Manifest = serde_json::from_str(&manifest).map_err(unreadable)?;
        let config = ["content", "get", manifest.config.digest.as_str()];
        let config = self.run(&config, &[]).await?;
        label_of(config.as_bytes(), name).map_err(unreadable)
    }

    async fn run(&self, words: &[&str], input: &[u8]) -> Result<String, LoadError> {
        let command = format!("{} {}", self.command.join(" "), words.join(" "));
        let start = |source| LoadError::Start {
            program: command.clone(),
            source,
        };
        let (program, first) = self
            .command
            .split_first()
            .ok_or_else(|| start(io::Error::new(io::ErrorKind::InvalidInput, "there is none")))?;
        let mut child = Command::new(program)
            .args(first)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        if let Some(mut to) = child.stdin.take() {
            // When it closes its input early it says why, and that is the error to tell.
            if let Err(error) = to.write_all(input).await
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(start(error));
            }
        }
        let output = child.wait_with_output().await.map_err(start)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(LoadError::Containerd { command, said });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Loads an image into Docker Engine, and makes sure that it is what was sent. Returns its ID.
pub async fn load_docker(
    docker: &Docker,
    layout: &Layout,
    release: &Release,
    image: OwnImage,
    platform: Platform,
) -> Result<String, LoadError> {
    let name = release.reference(image);
    let archive = docker_archive(layout, release, image, platform, Vec::new())?;
    let failed = |source| LoadError::Engine {
        name: name.clone(),
        source,
    };
    let options = ImportImageOptions {
        quiet: true,
        ..ImportImageOptions::default()
    };
    let body = bollard::body_full(Bytes::from(archive));
    let mut answers = docker.import_image(options, body, None).boxed();
    while let Some(answer) = answers.next().await {
        answer.map_err(failed)?;
    }
    let found = docker.inspect_image(&name).await.map_err(failed)?;
    let found = found.id.unwrap_or_default();
    match release.image(image).platforms.get(&platform) {
        Some(digests) if digests.is_id(&found) => Ok(found),
        digests => Err(LoadError::Other {
            name,
            found,
            wanted: digests.map_or_else(String::new, |d| d.config.to_string()),
        }),
    }
}

/// Loads an image into containerd by its own client.
pub async fn load_containerd(
    containerd: &Containerd,
    layout: &Layout,
    release: &Release,
    image: OwnImage,
    platform: Platform,
) -> Result<(), LoadError> {
    let archive = containerd_archive(layout, release, image, platform, Vec::new())?;
    let platform = platform.to_string();
    let words = ["images", "import", "--platform", &platform, "-"];
    containerd.run(&words, &archive).await.map(drop)
}

/// Connects to Docker Engine at `host`, or where `DOCKER_HOST` says, or at its usual socket.
pub fn connect_docker(host: Option<&str>) -> Result<Docker, bollard::errors::Error> {
    match host {
        Some(host) => Docker::connect_with_host(host),
        None => Docker::connect_with_defaults(),
    }
}

/// Where a released program has its images: `images` beside it.
pub fn images_beside(program: &Utf8Path) -> Utf8PathBuf {
    program.with_file_name("images")
}
