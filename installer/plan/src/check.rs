//! What is checked before the first effect.

use installer_render::{Layout, Store, login_name, login_variable};
use installer_spec::{Profile, Provider};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::PathFact;
use crate::receipt::Receipt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Goes on; stops under `--strict`.
    Warning,
    /// Nothing is done.
    Error,
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable word: `disk-full`, `port-taken`.
    pub id: String,
    /// What and where.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        id: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            id: id.to_owned(),
            message: message.into(),
            help: help.into(),
        }
    }
}

/// Charts have no place on a single machine.
pub(crate) fn charts_elsewhere(profile: &Profile) -> Option<Finding> {
    let first = profile.charts.first()?;
    Some(Finding::new(
        Severity::Error,
        "charts-cluster",
        format!("chart `{}` is for a cluster, and this is none", first.name),
        "install with `--target kubernetes`, or take `charts` out",
    ))
}

/// Nor have vaults that stand in for each other.
pub(crate) fn replicas_elsewhere(profile: &Profile) -> Option<Finding> {
    let replicas = profile.vault.replicas;
    (replicas > 1).then(|| {
        Finding::new(
            Severity::Error,
            "replicas-cluster",
            format!(
                "{replicas} vaults are for a cluster: on one machine they would go down together"
            ),
            "install with `--target kubernetes`, or write `vault: { replicas: 1 }`",
        )
    })
}

pub(crate) fn login_missing(key: &str, reason: &str) -> Finding {
    let variable = login_variable(key);
    Finding::new(
        Severity::Error,
        "login-missing",
        format!("no login for {}: {reason}", login_name(key)),
        format!("answer at a terminal, set {variable}=user:password, or mend `credentials`"),
    )
}

/// A vault whose catalogue is empty takes its footage up again, and tells everybody of all of it.
/// `before` is the configuration that it had.
pub(crate) fn catalogue_moved(before: Option<&PathFact>, after: &str) -> Option<Finding> {
    let Some(PathFact::File {
        text: Some(before), ..
    }) = before
    else {
        return None;
    };
    let place = |text: &str| {
        let config: Value = serde_json::from_str(text).ok()?;
        let database = &config["catalogue"]["mongodb"];
        Some((database["uri"].clone(), database["database"].clone()))
    };
    let (before, after) = (place(before)?, place(after)?);
    (before != after).then(|| {
        Finding::new(
            Severity::Warning,
            "catalogue-moved",
            "the vault gets another catalogue: it takes its recordings up from where they are kept, \
             and tells of each of them again",
            "the old catalogue stays where it is; write the former `catalogue` to go back to it",
        )
    })
}

/// The vault finds footage where it is told to keep it, and only there: what was kept elsewhere
/// before would be lost to it without a word.
pub(crate) fn storage_moved(
    profile: &Profile,
    receipt: Option<&Receipt>,
    layout: &Layout,
) -> Option<Finding> {
    let minio = layout.store(Store::Minio.name());
    let places = [
        (Provider::Filesystem, "filesystem", layout.recordings()),
        (Provider::Minio, "minio", minio),
    ];
    let owned = &receipt?.owned.directories;
    let (_, word, place) = places.into_iter().find(|(provider, _, place)| {
        *provider != profile.storage.provider && owned.contains(place)
    })?;
    let help = format!(
        "write `provider: {word}`, or take the footage away first (`stakeout uninstall --data`)"
    );
    Some(Finding::new(
        Severity::Error,
        "storage-moved",
        format!("this site keeps its footage in `{place}`, and another provider would not find it"),
        help,
    ))
}
