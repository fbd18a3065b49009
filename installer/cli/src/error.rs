//! Errors as a person meets them, and the exit codes of every command.

use std::error::Error;
use std::process::ExitCode;

use installer_engine::{ApplyError, ErrorKind};
use installer_host::{LockError, ObserveError};
use installer_plan::host::PlanError;
use serde::Serialize;

/// What a command's end means to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    Internal = 1,
    /// A flag or the profile is wrong.
    Usage = 2,
    /// Something would change.
    Pending = 3,
    CheckFailed = 4,
    /// Warnings under `--strict`.
    Warnings = 5,
    /// Partly applied; the same command goes on.
    Partial = 6,
    TimedOut = 7,
    Locked = 8,
    Forbidden = 9,
    WrongTarget = 10,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command's failure: its text, the texts below it, and what to do.
#[derive(Debug, Serialize)]
pub(crate) struct CommandError {
    #[serde(skip)]
    pub(crate) exit: Exit,
    #[serde(rename = "error")]
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hints: Vec<String>,
    /// Details for `--output json`, such as a profile's faults.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub(crate) details: serde_json::Value,
}

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            details: serde_json::Value::Null,
        }
    }

    pub(crate) fn from_error(exit: Exit, error: &dyn Error) -> Self {
        let mut failed = Self::new(exit, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failed.causes.push(cause.to_string());
            source = cause.source();
        }
        failed
    }

    #[must_use]
    /// What could not be done, and why.
    pub(crate) fn because(exit: Exit, what: impl Into<String>, why: &dyn Error) -> Self {
        let why = Self::from_error(exit, why);
        let mut failed = Self::new(exit, what);
        failed.causes.push(why.message);
        failed.causes.extend(why.causes);
        failed
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        let exit = match error {
            LockError::Held { .. } => Exit::Locked,
            LockError::Io { .. } => Exit::Internal,
        };
        Self::from_error(exit, &error)
    }
}

impl From<ObserveError> for CommandError {
    fn from(error: ObserveError) -> Self {
        let denied = matches!(&error, ObserveError::Read { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied);
        let exit = if denied {
            Exit::Forbidden
        } else {
            Exit::Internal
        };
        let failed = Self::from_error(exit, &error);
        if denied {
            failed.hint("run as the user that installed the site")
        } else {
            failed
        }
    }
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        match &error {
            PlanError::Target { .. } => Self::from_error(Exit::WrongTarget, &error)
                .hint("set `target: host` in the profile"),
            PlanError::Unit { reason, .. } => {
                let mut failed = Self::from_error(Exit::Usage, &error);
                failed.causes.push(reason.clone());
                failed
            }
        }
    }
}

impl From<ApplyError> for CommandError {
    fn from(error: ApplyError) -> Self {
        let exit = match &error {
            ApplyError::Checks(_) => Exit::CheckFailed,
            ApplyError::Interrupted { .. } => Exit::Interrupted,
            ApplyError::TimedOut { .. } => Exit::TimedOut,
            ApplyError::Receipt(source) | ApplyError::Step { source, .. }
                if source.kind == ErrorKind::Bug =>
            {
                Exit::Internal
            }
            ApplyError::Receipt(source) | ApplyError::Step { source, .. }
                if source.kind == ErrorKind::Forbidden =>
            {
                Exit::Forbidden
            }
            ApplyError::Receipt(_) | ApplyError::Step { .. } | ApplyError::NotReady { .. } => {
                Exit::Partial
            }
        };
        Self::from_error(exit, &error)
    }
}
