//! A private Docker Engine of `ci/parts/docker`, for benches.

use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::part::Part;
use crate::process::read;
use crate::repository::Repository;

/// It and all that it has go when this is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    part: Part,
}

impl Engine {
    /// Starts one that notes every request in its log.
    pub(crate) fn start(repository: &Repository) -> anyhow::Result<Self> {
        let (part, _) = Part::start(repository, "docker", &["--", "--debug"])?;
        Ok(Self { part })
    }

    /// What `DOCKER_HOST` is set to.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.part.folder())
    }

    /// Requests so far that change something.
    pub(crate) fn writes(&self) -> anyhow::Result<usize> {
        let path = self.part.folder().join("dockerd.log");
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
