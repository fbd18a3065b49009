//! What every provider speaks of: objects, and why one could not be kept.

use std::io;
use std::time::Duration;

use camino::Utf8PathBuf;

use crate::s3::RemoteError;

/// A client that sends nothing for this long has gone without a word; a slow link has not.
pub(crate) const QUIET: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {operation} `{path}`")]
    Io {
        operation: &'static str,
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("another vault keeps `{path}`")]
    Locked { path: Utf8PathBuf },
    #[error("the upload ended early")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the upload is empty")]
    Empty,
    #[error("the upload's SHA-256 is not the one that was announced")]
    Checksum,
    #[error("another object is stored as `{path}`")]
    Exists { path: Utf8PathBuf },
    #[error("`{path}` may not be handed over: {reason}")]
    Refused {
        path: Utf8PathBuf,
        reason: &'static str,
    },
    /// A server could not be asked, or said no.
    #[error("cannot {operation} `{location}`")]
    Remote {
        operation: &'static str,
        location: Utf8PathBuf,
        source: RemoteError,
    },
}

impl StorageError {
    /// There is no room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Remote { source, .. } => matches!(source, RemoteError::Full),
            _ => false,
        }
    }
}

/// An object that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    pub location: Utf8PathBuf,
    pub bytes: u64,
    /// Lower-case hex; known when the bytes went through us.
    pub sha256: Option<String>,
}

/// One object found in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `<directory>/<file name>`.
    pub key: String,
    pub location: Utf8PathBuf,
    pub bytes: u64,
    /// Unix milliseconds of its last change.
    pub modified_ms: i64,
}

/// Whether other vaults may store objects where this one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Alone,
    Shared,
}

/// Bytes of the file system below the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub free: u64,
    pub total: u64,
}
