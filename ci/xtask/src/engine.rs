//! A private Docker Engine of `ci/parts/docker`, for benches.

use std::process::Command;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::process::{read, run, say};
use crate::repository::Repository;

/// It and all that it has go when this is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    script: Utf8PathBuf,
    folder: tempfile::TempDir,
}

impl Engine {
    /// Starts one that notes every request in its log.
    pub(crate) fn start(repository: &Repository) -> anyhow::Result<Self> {
        // Sockets have short names.
        let folder = tempfile::Builder::new()
            .prefix("engine-")
            .tempdir_in("/tmp");
        let engine = Self {
            script: repository.root.join("ci/parts/docker"),
            folder: folder.context("cannot make a temporary folder")?,
        };
        let mut command = Command::new("bash");
        command
            .args([engine.script.as_str(), "start"])
            .arg(engine.folder.path());
        read(command.args(["--", "--debug"]))?;
        Ok(engine)
    }

    fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("invariant: made in /tmp from plain letters")
    }

    /// What `DOCKER_HOST` is set to.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.folder())
    }

    /// Requests so far that change something.
    pub(crate) fn writes(&self) -> anyhow::Result<usize> {
        let path = self.folder().join("dockerd.log");
        let log =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let requests = log
            .lines()
            .filter_map(|line| line.split_once("msg=\"Calling "));
        let (reads, writes): (Vec<_>, Vec<_>) = requests
            .map(|(_, request)| request)
            .partition(|request| request.starts_with("GET ") || request.starts_with("HEAD "));
        ensure!(!reads.is_empty(), "`{path}` tells of no request");
        Ok(writes.len())
    }

    /// `docker ARGUMENTS` here.
    pub(crate) fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("docker");
        read(command.args(arguments).env("DOCKER_HOST", self.address()))
    }

    /// What `docker inspect` tells about each of these; the type is `container` or `network`.
    pub(crate) fn inspect(&self, kind: &str, names: &[String]) -> anyhow::Result<Vec<Value>> {
        let mut words = vec!["inspect", "--type", kind];
        words.extend(names.iter().map(String::as_str));
        let text = self.docker(&words)?;
        serde_json::from_str(&text).context("`docker inspect` wrote no JSON")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut command = Command::new("bash");
        command
            .args([self.script.as_str(), "stop"])
            .arg(self.folder.path());
        if let Err(error) = run(&mut command) {
            say(format_args!("{error:#}"));
        }
    }
}
