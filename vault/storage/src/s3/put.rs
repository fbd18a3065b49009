//! Storing an upload whose length nobody knows yet.

use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions,
};
use sha2::{Digest, Sha256};

use super::{LONGEST, RemoteError, S3Provider};
use crate::object::{QUIET, StorageError, StoredObject};

/// The smallest part that S3 takes, so that an upload holds little memory; 10,000 of them are
/// 50 GiB.
pub(super) const PART: usize = 5 << 20;

/// What was read of an upload.
struct Read {
    hash: Sha256,
    bytes: u64,
    /// Never more than one part and one piece.
    waiting: BytesMut,
}

impl S3Provider {
    /// Stores an upload; memory is bounded by one part of it, and time by [`LONGEST`].
    pub(crate) async fn put<E>(
        &self,
        key: &str,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        announced: Option<&str>,
    ) -> Result<StoredObject, StorageError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let _claim = self.claim(key).await;
        let stored = tokio::time::timeout(LONGEST, self.put_claimed(key, body, announced));
        stored
            .await
            .unwrap_or_else(|late| Err(StorageError::Cut(Box::new(late))))
    }

    async fn put_claimed<E>(
        &self,
        key: &str,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        announced: Option<&str>,
    ) -> Result<StoredObject, StorageError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let location = self.location(key);
        let path = self.path(&location)?;
        let there = self.size(&location).await?;
        let mut read = Read {
            hash: Sha256::new(),
            bytes: 0,
            waiting: BytesMut::new(),
        };
        let mut parts = None;
        while let Some(piece) = tokio::time::timeout(QUIET, body.next())
            .await
            .map_err(|error| StorageError::Cut(Box::new(error)))?
        {
            let piece = piece.map_err(|error| StorageError::Cut(Box::new(error)))?;
            read.bytes += u64::try_from(piece.len()).unwrap_or(0);
            read.hash.update(&piece);
            if there.is_some() {
                continue;
            }
            read.waiting.extend_from_slice(&piece);
            // The last part goes when it is known to be the last.
            while read.waiting.len() > PART {
                let part = read.waiting.split_to(PART).freeze();
                self.send(&path, &mut parts, part).await?;
            }
        }
        let sha256 = hex::encode(read.hash.finalize());
        if read.bytes == 0 {
            return Err(StorageError::Empty);
        }
        if announced.is_some_and(|announced| !announced.eq_ignore_ascii_case(&sha256)) {
            return Err(StorageError::Checksum);
        }
        let stored = StoredObject {
            location,
            bytes: read.bytes,
            sha256: Some(sha256),
        };
        if let Some(found) = there {
            return self.same_or_else(stored, found).await;
        }
        let rest = read.waiting.freeze();
        if parts.is_none() {
            return self.put_whole(&path, rest, stored).await;
        }
        self.send(&path, &mut parts, rest).await?;
        let Some(parts) = parts else {
            return Ok(stored);
        };
        self.complete(&path, parts, stored).await
    }

    async fn put_whole(
        &self,
        path: &Path,
        data: Bytes,
        stored: StoredObject,
    ) -> Result<StoredObject, StorageError> {
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: video(),
            ..PutOptions::default()
        };
        match self.store.put_opts(path, data.into(), options).await {
            Ok(_) => Ok(stored),
            // Somebody else was faster, or our own first try got through unheard.
            Err(Error::AlreadyExists { .. }) => match self.size(&stored.location).await? {
                Some(found) => self.same_or_else(stored, found).await,
                None => Err(StorageError::Exists {
                    path: stored.location,
                }),
            },
            Err(error) => Err(self.explain("store", path, error).await),
        }
    }

    /// Sends a part, the first of which begins the upload.
    async fn send(
        &self,
        path: &Path,
        parts: &mut Option<Parts>,
        data: Bytes,
    ) -> Result<(), StorageError> {
        if parts.is_none() {
            let options = PutMultipartOptions {
                attributes: video(),
                ..PutMultipartOptions::default()
            };
            let begun = self.store.create_multipart_opts(path, options).await;
            match begun {
                Ok(id) => *parts = Some(Parts::new(&self.store, path, id)),
                Err(error) => return Err(self.explain("store", path, error).await),
            }
        }
        let Some(parts) = parts else {
            return Ok(());
        };
        let sent = self
            .store
            .put_part(path, &parts.id, parts.sent.len(), data.into())
            .await;
        match sent {
            Ok(part) => parts.sent.push(part),
            Err(error) => return Err(self.explain("store", path, error).await),
        }
        Ok(())
    }

    async fn complete(
        &self,
        path: &Path,
        mut parts: Parts,
        stored: StoredObject,
    ) -> Result<StoredObject, StorageError> {
        let sent = std::mem::take(&mut parts.sent);
        let completed = self.store.complete_multipart(path, &parts.id, sent).await;
        if let Err(error) = completed {
            // Another vault was faster, or our own first try got through unheard.
            return match self.size(&stored.location).await {
                Ok(Some(found)) => self.same_or_else(stored, found).await,
                _ => Err(self.explain("store", path, error).await),
            };
        }
        parts.done = true;
        // Each part was checked by its SHA-256; that all of them are there, by the sum.
        let (sent, found) = match self.store.head(path).await {
            Ok(found) => (stored.bytes, found.size),
            Err(error) => return Err(self.explain("store", path, error).await),
        };
        if found != sent {
            let source = RemoteError::Short { sent, found };
            return Err(self.failed("store", path.as_ref(), source));
        }
        Ok(stored)
    }

    /// An object has the name already: fine when it is this one, which a crash kept from being
    /// noted.
    async fn same_or_else(
        &self,
        stored: StoredObject,
        found: u64,
    ) -> Result<StoredObject, StorageError> {
        if found == stored.bytes {
            let mut hash = Sha256::new();
            let mut pieces = self.stream(&stored.location, 0, found);
            while let Some(piece) = pieces.try_next().await? {
                hash.update(&piece);
            }
            if stored.sha256 == Some(hex::encode(hash.finalize())) {
                return Ok(stored);
            }
        }
        Err(StorageError::Exists {
            path: stored.location,
        })
    }

    /// Whether an object of this key is being stored by this process.
    pub(super) fn is_taken(&self, key: &str) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.contains(key)
    }

    /// Waits until nobody else stores an object of this key.
    async fn claim(&self, key: &str) -> Claim<'_> {
        loop {
            // Asked for before the look, so that no release is missed.
            let freed = self.freed.notified();
            let taken = &self.taken;
            let new = {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                taken.insert(key.to_owned())
            };
            if new {
                return Claim {
                    provider: self,
                    key: key.to_owned(),
                };
            }
            freed.await;
        }
    }
}

fn video() -> Attributes {
    Attributes::from_iter([(Attribute::ContentType, "video/mp4")])
}

struct Claim<'a> {
    provider: &'a S3Provider,
    key: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let taken = &self.provider.taken;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.key);
        drop(taken);
        self.provider.freed.notify_waiters();
    }
}

/// An upload in parts; given up when nothing completed it.
struct Parts {
    store: Arc<AmazonS3>,
    path: Path,
    id: String,
    sent: Vec<PartId>,
    done: bool,
}

impl Parts {
    fn new(store: &Arc<AmazonS3>, path: &Path, id: String) -> Self {
        Self {
            store: Arc::clone(store),
            path: path.clone(),
            id,
            sent: Vec::new(),
            done: false,
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (store, path, id) = (Arc::clone(&self.store), self.path.clone(), self.id.clone());
        // What this does not reach is given up later, see `S3Provider::give_up`.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move {
                if let Err(error) = store.abort_multipart(&path, &id).await {
                    tracing::warn!("cannot give up the upload of `{path}`: {error}");
                }
            }));
        }
    }
}
