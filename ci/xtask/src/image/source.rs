//! What a build is of: version, commit, and the only time that a build may know.

use std::process::Command;

use anyhow::Context;
use camino::Utf8Path;
use installer_image::Digest;
use installer_image::attach::Recipe;
use installer_image::build::Source;
use serde::Deserialize;

use crate::process::read;
use crate::repository::Repository;

/// Says that files differ from the commit.
const DIRTY: &str = "-dirty";

/// The checked-out commit.
#[derive(Debug)]
pub(crate) struct Checkout {
    pub(crate) version: String,
    pub(crate) url: String,
    pub(crate) license: String,
    pub(crate) revision: String,
    pub(crate) created: jiff::Timestamp,
}

#[derive(Deserialize)]
struct Manifest {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    version: String,
    repository: String,
    license: String,
}

impl Checkout {
    pub(crate) fn read(repository: &Repository) -> anyhow::Result<Self> {
        let path = repository.root.join("Cargo.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let manifest: Manifest =
            toml::from_str(&text).with_context(|| format!("cannot parse `{path}`"))?;
        let package = manifest.workspace.package;
        let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) if !seconds.is_empty() => seconds,
            _ => git(&repository.root, &["log", "-1", "--format=%ct"])?,
        };
        let created = seconds
            .trim()
            .parse()
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .with_context(|| format!("`{seconds}` is no time in seconds since 1970"))?;
        let commit = git(&repository.root, &["rev-parse", "HEAD"])?;
        let changed = git(&repository.root, &["status", "--porcelain"])?;
        let dirty = if changed.trim().is_empty() { "" } else { DIRTY };
        Ok(Self {
            version: package.version,
            url: package.repository,
            license: package.license,
            revision: format!("{}{dirty}", commit.trim()),
            created,
        })
    }

    pub(crate) fn source(&self) -> Source {
        Source {
            version: self.version.clone(),
            revision: self.revision.clone(),
            url: self.url.clone(),
            licenses: self.license.clone(),
            created: self.created,
        }
    }

    pub(crate) fn recipe(&self, repository: &Repository) -> anyhow::Result<Recipe> {
        let path = repository.root.join("Cargo.lock");
        let lock = std::fs::read(&path).with_context(|| format!("cannot read `{path}`"))?;
        let compiler = read(Command::new("rustc").arg("--version"))?;
        Ok(Recipe {
            url: self.url.clone(),
            revision: self.revision.clone(),
            compiler: compiler.trim().to_owned(),
            lock: Digest::of(&lock),
            created: self.created,
        })
    }
}

fn git(root: &Utf8Path, arguments: &[&str]) -> anyhow::Result<String> {
    read(Command::new("git").args(arguments).current_dir(root))
}
