//! What is checked before the first effect.

use installer_render::{Layout, Store, login_name, login_variable};
use installer_spec::{Catalogue, Database, Profile, Provider};
use serde::{Deserialize, Serialize};

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

pub(crate) fn login_missing(key: &str, reason: &str) -> Finding {
    let variable = login_variable(key);
    Finding::new(
        Severity::Error,
        "login-missing",
        format!("no login for {}: {reason}", login_name(key)),
        format!("answer at a terminal, set {variable}=user:password, or mend `credentials`"),
    )
}

/// A vault with an empty catalogue takes its footage up again, and tells everybody of all of it.
pub(crate) fn catalogue_moved(
    profile: &Profile,
    receipt: Option<&Receipt>,
    layout: &Layout,
) -> Option<Finding> {
    let owned = &receipt?.owned.directories;
    let deployed = profile.catalogue == Catalogue::Mongodb(Database::Deploy);
    let was_deployed = owned.contains(&layout.store(Store::Ferretdb.name()));
    if !owned.contains(&layout.vault()) || deployed == was_deployed {
        return None;
    }
    Some(Finding::new(
        Severity::Warning,
        "catalogue-moved",
        "the vault gets another catalogue: it reads its recordings back from where they are kept, \
         and tells of each of them again",
        "what was told of them before stays in the old catalogue, which is kept",
    ))
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
