//! Releases: installed, mended, taken away.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::error::HelmError;
use crate::process::Helm;

/// Hooks of a chart may take this long, by Helm's own count.
const HOOKS: &str = "10m";
/// Then Helm is given up, too.
const CHANGE: Duration = Duration::from_mins(11);
const ASK: Duration = Duration::from_mins(1);

/// Older revisions are forgotten.
const HISTORY: &str = "10";

/// A release as it is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    /// A path, or `oci://…`.
    pub chart: &'a str,
    /// Of a chart in a registry.
    pub version: Option<&'a str>,
    /// JSON object.
    pub values: &'a str,
}

/// What Helm says of a release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Released {
    /// Counts the changes, from 1.
    #[serde(rename = "version")]
    pub revision: u64,
    info: Info,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Info {
    status: String,
}

impl Released {
    /// `deployed`, `failed`, `pending-install` and others.
    pub fn status(&self) -> &str {
        &self.info.status
    }
}

impl Helm {
    /// Installs a release or changes it, whatever a run before has left half done.
    pub async fn upgrade(&self, upgrade: &Upgrade<'_>) -> Result<Released, HelmError> {
        let Upgrade {
            name, namespace, ..
        } = *upgrade;
        if let Some(found) = self.status(name, namespace).await? {
            self.mend(name, namespace, &found).await?;
        }
        let mut words = vec![
            "upgrade",
            name,
            upgrade.chart,
            "--install",
            "--namespace",
            namespace,
            "--values",
            "-",
            "--history-max",
            HISTORY,
            "--timeout",
            HOOKS,
            "--output",
            "json",
        ];
        if let Some(version) = upgrade.version {
            words.extend(["--version", version]);
        }
        let doing = format!("install release `{name}` in namespace `{namespace}`");
        let told = self
            .run(&doing, &words, Some(upgrade.values), CHANGE)
            .await?;
        understand(&doing, &told)
    }

    /// Helm holds a release for itself while it changes it. Who comes here has the site's lock, so
    /// that the one who did is no more.
    async fn mend(&self, name: &str, namespace: &str, found: &Released) -> Result<(), HelmError> {
        match (found.status(), found.revision) {
            ("pending-install" | "uninstalling", _) | ("pending-upgrade", 1) => {
                self.uninstall(name, namespace).await
            }
            ("pending-upgrade" | "pending-rollback", _) => {
                let doing = format!("take back the half-done change of release `{name}`");
                let words = ["rollback", name, "--namespace", namespace];
                self.run(&doing, &words, None, CHANGE).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A release as it is; nothing where there is none.
    pub async fn status(&self, name: &str, namespace: &str) -> Result<Option<Released>, HelmError> {
        let doing = format!("tell about release `{name}`");
        let words = ["status", name, "--namespace", namespace, "--output", "json"];
        match self.run(&doing, &words, None, ASK).await {
            Ok(told) => understand(&doing, &told).map(Some),
            Err(HelmError::Failed { said, .. }) if said.contains("not found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a release away; one that is not there is.
    pub async fn uninstall(&self, name: &str, namespace: &str) -> Result<(), HelmError> {
        let doing = format!("take release `{name}` away");
        let words = [
            "uninstall",
            name,
            "--namespace",
            namespace,
            "--ignore-not-found",
            "--timeout",
            HOOKS,
        ];
        self.run(&doing, &words, None, CHANGE).await.map(drop)
    }

    /// The objects that a release is made of, as `Kind/name`.
    pub async fn objects(&self, name: &str, namespace: &str) -> Result<Vec<String>, HelmError> {
        let doing = format!("tell what release `{name}` is made of");
        let words = ["get", "manifest", name, "--namespace", namespace];
        let told = self.run(&doing, &words, None, ASK).await?;
        let objects = documents(doing, &told)?;
        let text = |object: &Value, pointer: &str| {
            let found = object.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned)
        };
        Ok(objects
            .iter()
            .filter_map(|object| {
                let kind = text(object, "/kind")?;
                Some(format!("{kind}/{}", text(object, "/metadata/name")?))
            })
            .collect())
    }

    /// What a chart renders to, hooks among it; nothing is installed, and no cluster is asked.
    pub async fn template(&self, upgrade: &Upgrade<'_>) -> Result<Vec<Value>, HelmError> {
        let Upgrade {
            name,
            namespace,
            chart,
            ..
        } = *upgrade;
        let doing = format!("render chart `{chart}`");
        let mut words = vec!["template", name, chart, "--namespace", namespace];
        words.extend(["--values", "-"]);
        if let Some(version) = upgrade.version {
            words.extend(["--version", version]);
        }
        let told = self.run(&doing, &words, Some(upgrade.values), ASK).await?;
        documents(doing, &told)
    }

    /// `Chart.yaml` of a chart, wherever it is.
    pub async fn show(&self, chart: &str, version: Option<&str>) -> Result<String, HelmError> {
        let mut words = vec!["show", "chart", chart];
        if let Some(version) = version {
            words.extend(["--version", version]);
        }
        let doing = format!("read chart `{chart}`");
        self.run(&doing, &words, None, ASK).await
    }
}

fn documents(doing: String, told: &str) -> Result<Vec<Value>, HelmError> {
    serde_saphyr::from_multiple(told).map_err(|source| HelmError::Answer {
        doing,
        source: source.into(),
    })
}

fn understand(doing: &str, told: &str) -> Result<Released, HelmError> {
    serde_json::from_str(told).map_err(|source| HelmError::Answer {
        doing: doing.to_owned(),
        source: source.into(),
    })
}
