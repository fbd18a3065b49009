//! A private cluster of `ci/parts/kubernetes`, for benches.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use camino::Utf8PathBuf;
use jiff::Timestamp;
use serde::Deserialize;

use crate::part::Part;
use crate::process::{read, wait_until};
use crate::repository::Repository;

/// It and all that it has go when this is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    part: Part,
    kubeconfig: Utf8PathBuf,
}

/// A request that the API server has answered, as its audit log tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) verb: String,
    #[serde(rename = "stageTimestamp")]
    pub(crate) answered: Timestamp,
    user: User,
    #[serde(rename = "requestURI")]
    uri: String,
    /// Absent for what is about no object.
    object_ref: Option<ObjectReference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectReference {
    pub(crate) resource: String,
    pub(crate) subresource: String,
    /// Empty for a list.
    pub(crate) name: String,
}

impl Request {
    pub(crate) fn writes(&self) -> bool {
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        writes.contains(&self.verb.as_str())
    }

    pub(crate) fn object(&self) -> ObjectReference {
        self.object_ref.clone().unwrap_or_default()
    }
}

/// How far the audit log has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

/// Whom the kubeconfig makes everybody.
const USER: &str = "admin";

impl Cluster {
    /// Starts one with these arguments, and an audit log.
    pub(crate) fn start(repository: &Repository, arguments: &[&str]) -> anyhow::Result<Self> {
        let arguments = [arguments, &["--audit"]].concat();
        let (part, told) = Part::start(repository, "kubernetes", &arguments)?;
        let kubeconfig = told
            .lines()
            .find_map(|line| line.strip_prefix("KUBECONFIG="));
        let kubeconfig = kubeconfig.context("`ci/parts/kubernetes` names no kubeconfig")?;
        Ok(Self {
            kubeconfig: kubeconfig.into(),
            part,
        })
    }

    /// The program, with everything that says which cluster.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.part.folder();
        command
            .env("KUBECONFIG", &self.kubeconfig)
            // Nothing goes to the home of whoever runs this, and nothing comes from there.
            .env("KUBECACHEDIR", folder.join("run/kubectl"))
            .env("HELM_CACHE_HOME", folder.join("run/helm/cache"))
            .env("HELM_CONFIG_HOME", folder.join("run/helm/config"))
            .env("HELM_DATA_HOME", folder.join("run/helm/data"))
            .env("no_proxy", "*");
        command
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let program = self.part.folder().join("bin/kubectl");
        let mut command = self.command(program.as_str());
        command.args(arguments);
        command
    }

    /// Of a component's process.
    pub(crate) fn id_of(&self, component: &str) -> anyhow::Result<u32> {
        let path = self.part.folder().join(format!("run/{component}.pid"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let number = text.trim().parse();
        number.with_context(|| format!("`{path}` holds no number"))
    }

    fn log(&self) -> Utf8PathBuf {
        self.part.folder().join("log/audit.log")
    }

    /// From here on [`Self::requests_since`] counts.
    pub(crate) fn mark(&self) -> anyhow::Result<Mark> {
        // What was asked before is in the log when this is.
        let now = fs::metadata(self.log()).map_or(0, |metadata| metadata.len());
        let (_, end) = self.read_until_told(Mark(now))?;
        Ok(end)
    }

    /// What people's programs have asked of it since.
    pub(crate) fn requests_since(&self, mark: Mark) -> anyhow::Result<Vec<Request>> {
        let mut requests = self.all_requests_since(mark)?;
        requests.retain(|one| one.user.username == USER && !one.uri.starts_with(QUESTION));
        Ok(requests)
    }

    /// Those of the cluster's own parts, too.
    pub(crate) fn all_requests_since(&self, mark: Mark) -> anyhow::Result<Vec<Request>> {
        let (text, _) = self.read_until_told(mark)?;
        let requests = text.lines().map(|line| {
            let parsed = serde_json::from_str::<Request>(line);
            parsed.with_context(|| format!("the audit log has a line `{line}`"))
        });
        requests.collect()
    }

    /// The log from there on, up to a question that is asked now: lines are written a moment after
    /// answers.
    fn read_until_told(&self, Mark(from): Mark) -> anyhow::Result<(String, Mark)> {
        let path = self.log();
        let length = || fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let asked = format!("{QUESTION}{}", length());
        read(&mut self.kubectl(&["get", "--raw", &asked]))?;
        let told = format!("\"requestURI\":\"{asked}\"");
        let mut text = String::new();
        wait_until(TOLD, "the audit log tells of a request", || {
            let mut file =
                fs::File::open(&path).with_context(|| format!("cannot open `{path}`"))?;
            file.seek(SeekFrom::Start(from))
                .with_context(|| format!("cannot read `{path}`"))?;
            text.clear();
            file.read_to_string(&mut text)
                .with_context(|| format!("cannot read `{path}`"))?;
            Ok(text.ends_with('\n') && text.contains(&told))
        })?;
        ensure!(length() >= from, "`{path}` has been cut");
        let end = Mark(from + text.len() as u64);
        Ok((text, end))
    }
}

const QUESTION: &str = "/version?asked=";
const TOLD: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_audit_log_is_a_request() {
        let line = r#"{"kind":"Event","stage":"ResponseComplete","verb":"patch","requestURI":"/a",
            "stageTimestamp":"2026-11-21T21:44:53.463148Z",
            "user":{"username":"admin","groups":[]},
            "objectRef":{"resource":"secrets","namespace":"n","name":"a","apiVersion":"v1"}}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert!(request.writes());
        assert_eq!(request.object().name, "a");
        let line = r#"{"verb":"list","requestURI":"/b","stageTimestamp":"2026-11-21T21:44:53Z","user":{"username":"admin"}}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert!(!request.writes());
        assert_eq!(request.object(), ObjectReference::default());
    }
}
