//! What goes wrong with an engine.

use installer_engine::{EffectError, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("no container engine is at {origin}")]
    Absent {
        origin: String,
        #[source]
        source: Option<bollard::errors::Error>,
    },
    #[error("the container engine at {origin} and the certificates in {folder} do not go together")]
    Certificates {
        origin: String,
        folder: String,
        source: bollard::errors::Error,
    },
    #[error("user {uid} may not use the container engine at {origin}")]
    Forbidden { origin: String, uid: u32 },
    #[error("the address `{origin}` of the container engine cannot be used: {reason}")]
    Address { origin: String, reason: String },
    #[error("the container engine cannot {operation}")]
    Engine {
        operation: String,
        source: bollard::errors::Error,
    },
    #[error("{what} at the engine's machine cannot be read")]
    Read {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DockerError {
    pub(crate) fn engine(operation: impl Into<String>, source: bollard::errors::Error) -> Self {
        Self::Engine {
            operation: operation.into(),
            source,
        }
    }
}

/// The engine answered with this status.
pub(crate) fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// An effect that the engine refused. Its kind decides whether trying again can help.
pub(crate) fn effect(operation: impl Into<String>, error: bollard::errors::Error) -> EffectError {
    let kind = match status(&error) {
        Some(409) => ErrorKind::Conflict,
        Some(400) => ErrorKind::Bug,
        Some(_) => ErrorKind::Environment,
        None => ErrorKind::Transient,
    };
    EffectError::new(kind, format!("cannot {}", operation.into())).because(error)
}

/// What is not there cannot be removed, and what is so already stays so.
pub(crate) fn fine(
    result: Result<(), bollard::errors::Error>,
    statuses: &[u16],
) -> Result<(), bollard::errors::Error> {
    match result {
        Err(error) if status(&error).is_some_and(|code| statuses.contains(&code)) => Ok(()),
        other => other,
    }
}
