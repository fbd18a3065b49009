//! What is checked before the first effect.

use installer_render::{login_name, login_variable};
use serde::{Deserialize, Serialize};

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
