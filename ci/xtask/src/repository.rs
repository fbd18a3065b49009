//! Where things are.

use std::env;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};

/// The checked-out repository and the folders that tests use beside it.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) root: Utf8PathBuf,
}

impl Repository {
    /// The repository that cargo runs this program for. Several checkouts share a target folder,
    /// so where the program was built tells nothing.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = std::env::var("CARGO_MANIFEST_DIR");
        let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let root = Utf8PathBuf::from(here)
            .join("../..")
            .canonicalize_utf8()
            .context("cannot find the repository that xtask was built from")?;
        ensure!(
            root.join("Cargo.lock").exists(),
            "`{root}` holds no Cargo.lock"
        );
        Ok(Self { root })
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> Utf8PathBuf {
        match env::var("CARGO_TARGET_DIR") {
            Ok(path) if !path.is_empty() => self.root.join(path),
            _ => self.root.join("target"),
        }
    }

    /// A program of ours, as `cargo build --release` makes it.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<Utf8PathBuf> {
        let folder = match env::var("STAKEOUT_BIN_DIR") {
            Ok(path) if !path.is_empty() => Utf8PathBuf::from(path),
            _ => self.target().join("release"),
        };
        let path = folder.join(name);
        ensure!(
            path.exists(),
            "`{path}` is absent; run `cargo build --release --locked` first"
        );
        Ok(path)
    }

    /// Folder for what is costly to make and can always be made again; exists afterwards.
    pub(crate) fn cache(&self) -> anyhow::Result<Utf8PathBuf> {
        let folder = match (env::var("STAKEOUT_CACHE"), env::var("HOME")) {
            (Ok(path), _) if !path.is_empty() => Utf8PathBuf::from(path),
            (_, Ok(home)) => Utf8PathBuf::from(home).join(".cache/stakeout"),
            _ => self.target().join("cache"),
        };
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make cache folder `{folder}`"))?;
        Ok(folder)
    }
}

/// What lies in a folder, in the order of names: a seed must not depend on the file system's.
pub(crate) fn list(folder: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    let entries = folder.read_dir_utf8();
    let entries = entries.with_context(|| format!("cannot list `{folder}`"))?;
    let paths: Result<Vec<_>, _> = entries
        .map(|entry| Ok::<_, std::io::Error>(entry?.into_path()))
        .collect();
    let mut paths = paths.with_context(|| format!("cannot list `{folder}`"))?;
    paths.sort();
    Ok(paths)
}
