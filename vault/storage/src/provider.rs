//! The provider of a vault, whichever it is.

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};

use crate::filesystem::{FilesystemProvider, read};
use crate::object::{DiskSpace, Object, Sharing, StorageError, StoredObject};
use crate::s3::S3Provider;

/// Pieces of a file that is read: large enough for a disk, small enough for many readers.
const PIECE: u64 = 256 << 10;

/// Where the objects of a vault lie.
#[derive(Debug)]
pub enum Provider {
    Filesystem(FilesystemProvider),
    S3(S3Provider),
}

impl From<FilesystemProvider> for Provider {
    fn from(provider: FilesystemProvider) -> Self {
        Self::Filesystem(provider)
    }
}

impl From<S3Provider> for Provider {
    fn from(provider: S3Provider) -> Self {
        Self::S3(provider)
    }
}

impl Provider {
    /// A server keeps the objects: it may be away for a while, and has no disk that we could see.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    /// Stores an upload; memory is bounded by one piece of it.
    pub async fn put<E>(
        &self,
        key: &str,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        announced: Option<&str>,
    ) -> Result<StoredObject, StorageError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match self {
            Self::Filesystem(provider) => provider.put(key, body, announced).await,
            Self::S3(provider) => provider.put(key, body, announced).await,
        }
    }

    /// Takes a finished file over; see [`FilesystemProvider::take`]. Where a server keeps the
    /// objects, that is not offered.
    pub async fn take(
        &self,
        key: &str,
        source: &Utf8Path,
        allowed: &[Utf8PathBuf],
    ) -> Result<StoredObject, StorageError> {
        match self {
            Self::Filesystem(provider) => provider.take(key, source, allowed).await,
            Self::S3(_) => Err(StorageError::Refused {
                path: source.to_owned(),
                reason: "this vault keeps no files; send the recording itself",
            }),
        }
    }

    /// `length` bytes of an object from `start`; it ends early where the object does.
    pub fn stream(
        &self,
        location: &Utf8Path,
        start: u64,
        length: u64,
    ) -> BoxStream<'static, Result<Bytes, StorageError>> {
        match self {
            Self::Filesystem(_) => {
                let location = location.to_owned();
                let pieces = stream::try_unfold((start, length), move |(start, left)| {
                    let location = location.clone();
                    async move {
                        let wanted = usize::try_from(left.min(PIECE)).unwrap_or(usize::MAX);
                        let piece = read(&location, start, wanted).await?;
                        let got = u64::try_from(piece.len()).unwrap_or(0);
                        let rest = (start + got, left.saturating_sub(got));
                        Ok((got > 0).then_some((piece, rest)))
                    }
                });
                pieces.boxed()
            }
            Self::S3(provider) => provider.stream(location, start, length),
        }
    }

    /// Size of an object; `None` where there is none.
    pub async fn size(&self, location: &Utf8Path) -> Result<Option<u64>, StorageError> {
        match self {
            Self::Filesystem(provider) => Ok(provider.size(location)),
            Self::S3(provider) => provider.size(location).await,
        }
    }

    /// Removes an object; one that is gone is fine.
    pub async fn delete(&self, location: &Utf8Path) -> Result<(), StorageError> {
        match self {
            Self::Filesystem(provider) => provider.delete(location).await,
            Self::S3(provider) => provider.delete(location).await,
        }
    }

    /// Makes sure of an object that somebody else may have left half-way.
    pub fn sync(&self, location: &Utf8Path) -> Result<(), StorageError> {
        match self {
            Self::Filesystem(provider) => provider.sync(location),
            // A server lists what it has stored.
            Self::S3(_) => Ok(()),
        }
    }

    /// Bytes of the disk; `None` where we see none.
    pub fn space(&self) -> Result<Option<DiskSpace>, StorageError> {
        match self {
            Self::Filesystem(provider) => provider.space().map(Some),
            Self::S3(_) => Ok(None),
        }
    }

    /// Fails when objects could not be stored now.
    pub async fn probe(&self) -> Result<(), StorageError> {
        match self {
            Self::Filesystem(provider) => provider.space().map(drop),
            Self::S3(provider) => provider.probe().await,
        }
    }

    /// Gives up uploads that a vault which is gone has left half-way, and returns how many.
    pub async fn give_up(&self, sharing: Sharing) -> Result<usize, StorageError> {
        match self {
            // Opening it did so, and nobody else may open it meanwhile.
            Self::Filesystem(_) => Ok(0),
            Self::S3(provider) => provider.give_up(sharing).await,
        }
    }

    /// Every object of ours, in no order.
    pub async fn walk(&self, found: impl FnMut(Object)) -> Result<(), StorageError> {
        match self {
            Self::Filesystem(provider) => provider.walk(found),
            Self::S3(provider) => provider.walk(found).await,
        }
    }
}
