//! An image into an engine of this machine.

use std::process::Stdio;

use bollard::Docker;
use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{ArchiveError, Layout, OwnImage, Platform, Release, docker_archive};

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
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("`{program} images import` failed: {said}")]
    Containerd { program: String, said: String },
}

/// containerd, as its own client reaches it.
#[derive(Debug, Clone)]
pub struct Containerd {
    /// Socket; `None` for the client's default.
    pub address: Option<Utf8PathBuf>,
    /// `k8s.io` is what Kubernetes sees.
    pub namespace: String,
    /// The `ctr` program.
    pub program: Utf8PathBuf,
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
    let archive = docker_archive(layout, release, image, platform, Vec::new())?;
    let program = containerd.program.to_string();
    let start = |source| LoadError::Start {
        program: program.clone(),
        source,
    };
    let mut command = Command::new(&containerd.program);
    if let Some(address) = &containerd.address {
        command.arg("--address").arg(address);
    }
    command
        .args(["--namespace", &containerd.namespace, "images", "import"])
        .args(["--platform", &platform.to_string(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut input) = child.stdin.take() {
        // When it closes its input early it says why, and that is the error to tell.
        if let Err(error) = input.write_all(&archive).await
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(start(error));
        }
    }
    let output = child.wait_with_output().await.map_err(start)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(LoadError::Containerd { program, said });
    }
    Ok(())
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
