//! A directory as a provider: `<path>/<directory>/<YYYY-MM-DD>/<file name>`.
//!
//! The day is that of the recording's start, UTC, so that no folder grows without bound. Uploads
//! are staged in `<path>/.staging` and get their name when they are complete and on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::{Stream, StreamExt};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with, statvfs};
use sha2::{Digest, Sha256};

use crate::name::RecordingName;

/// Name of the folder for uploads that are not complete.
const STAGING: &str = ".staging";

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {operation} `{path}`")]
    Io {
        operation: &'static str,
        path: Utf8PathBuf,
        source: io::Error,
    },
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
}

impl StorageError {
    /// The disk has no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// An object that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    pub location: Utf8PathBuf,
    pub bytes: u64,
    /// Lower-case hex; known when the bytes went through us.
    pub sha256: Option<String>,
}

/// One object found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `<directory>/<file name>`.
    pub key: String,
    pub location: Utf8PathBuf,
    pub bytes: u64,
    /// Unix milliseconds of its last change.
    pub modified_ms: i64,
}

/// Bytes of the file system below the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub free: u64,
    pub total: u64,
}

/// A folder of the machine as object store.
#[derive(Debug)]
pub struct FilesystemProvider {
    root: Utf8PathBuf,
    counter: AtomicU64,
}

fn io_error(operation: &'static str, path: &Utf8Path) -> impl Fn(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io {
        operation,
        path: path.clone(),
        source,
    }
}

impl FilesystemProvider {
    /// Opens the folder, makes it if need be, and removes uploads that were cut off.
    pub fn open(root: &Utf8Path) -> Result<Self, StorageError> {
        let staging = root.join(STAGING);
        fs::create_dir_all(&staging).map_err(io_error("make folder", &staging))?;
        let entries = staging
            .read_dir_utf8()
            .map_err(io_error("read folder", &staging))?;
        for entry in entries {
            let entry = entry.map_err(io_error("read folder", &staging))?;
            fs::remove_file(entry.path()).map_err(io_error("remove", entry.path()))?;
        }
        Ok(Self {
            root: root.to_owned(),
            counter: AtomicU64::new(0),
        })
    }

    /// Where the object of a key lies.
    pub fn location(&self, key: &str) -> Utf8PathBuf {
        let (directory, name) = key.rsplit_once('/').unwrap_or(("", key));
        let start_ms = RecordingName::parse(name).map_or(0, |name| name.start_ms);
        let day = jiff::Timestamp::from_millisecond(start_ms).unwrap_or_default();
        self.root
            .join(directory)
            .join(day.strftime("%Y-%m-%d").to_string())
            .join(name)
    }

    /// Stores an upload; memory is bounded by one piece of it.
    pub async fn put<E>(
        &self,
        key: &str,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        announced: Option<&str>,
    ) -> Result<StoredObject, StorageError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let staged = Staged(self.root.join(STAGING).join(format!("{number}.part")));
        let path = &staged.0;
        let mut file = Some(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o640)
                .open(path)
                .map_err(io_error("make", path))?,
        );
        let (mut hash, mut bytes) = (Some(Sha256::new()), 0u64);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| StorageError::Cut(Box::new(error)))?;
            bytes += u64::try_from(piece.len()).unwrap_or(0);
            let (mut out, mut sum) = (file.take(), hash.take());
            let written = blocking(move || {
                if let (Some(out), Some(sum)) = (out.as_mut(), sum.as_mut()) {
                    out.write_all(&piece)?;
                    sum.update(&piece);
                }
                Ok((out, sum))
            });
            (file, hash) = written.await.map_err(io_error("write", path))?;
        }
        let sha256 = hash
            .map(|hash| hex::encode(hash.finalize()))
            .unwrap_or_default();
        if bytes == 0 {
            return Err(StorageError::Empty);
        }
        if announced.is_some_and(|announced| !announced.eq_ignore_ascii_case(&sha256)) {
            return Err(StorageError::Checksum);
        }
        let location = self.location(key);
        let (from, to) = (path.clone(), location.clone());
        let named = blocking(move || {
            if let Some(file) = file {
                file.sync_all()?;
            }
            give_name(&from, &to)
        });
        match named.await {
            Ok(()) => Ok(StoredObject {
                location,
                bytes,
                sha256: Some(sha256),
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.same_or_else(location, bytes, sha256).await
            }
            Err(error) => Err(io_error("store", &location)(error)),
        }
    }

    /// An object has the name already: fine when it is this one, which a crash kept from being
    /// noted.
    async fn same_or_else(
        &self,
        location: Utf8PathBuf,
        bytes: u64,
        sha256: String,
    ) -> Result<StoredObject, StorageError> {
        let path = location.clone();
        let found = blocking(move || digest(&path))
            .await
            .map_err(io_error("read", &location))?;
        if found == (bytes, sha256.clone()) {
            Ok(StoredObject {
                location,
                bytes,
                sha256: Some(sha256),
            })
        } else {
            Err(StorageError::Exists { path: location })
        }
    }

    /// Takes a finished file over: by rename where both lie on one file system, else by copy.
    ///
    /// `allowed` are the folders below which a file may be taken. A source that is gone is fine
    /// when its object is here: an earlier try got that far.
    pub async fn take(
        &self,
        key: &str,
        source: &Utf8Path,
        allowed: &[Utf8PathBuf],
    ) -> Result<StoredObject, StorageError> {
        let location = self.location(key);
        let staged = self.counter.fetch_add(1, Ordering::Relaxed);
        let staged = Staged(self.root.join(STAGING).join(format!("{staged}.part")));
        let (source, to, allowed) = (source.to_owned(), location.clone(), allowed.to_vec());
        let taken =
            tokio::task::spawn_blocking(move || take_file(&source, &to, &staged.0, &allowed));
        let bytes = taken.await.unwrap_or_else(|error| {
            Err(StorageError::Io {
                operation: "take over",
                path: location.clone(),
                source: io::Error::other(error),
            })
        })?;
        Ok(StoredObject {
            location,
            bytes,
            sha256: None,
        })
    }

    /// Up to `length` bytes of an object from `start`.
    pub async fn read(
        &self,
        location: &Utf8Path,
        start: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        let path = location.to_owned();
        let piece = blocking(move || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(start))?;
            let mut data = Vec::with_capacity(length);
            file.take(u64::try_from(length).unwrap_or(0))
                .read_to_end(&mut data)?;
            Ok(Bytes::from(data))
        });
        piece.await.map_err(io_error("read", location))
    }

    /// Size of an object; `None` where there is none.
    pub fn size(&self, location: &Utf8Path) -> Option<u64> {
        fs::metadata(location)
            .ok()
            .filter(fs::Metadata::is_file)
            .map(|found| found.len())
    }

    /// Removes an object; one that is gone is fine.
    pub async fn delete(&self, location: &Utf8Path) -> Result<(), StorageError> {
        let path = location.to_owned();
        let removed = blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                // The day's folder goes with its last recording.
                if let Some(day) = path.parent()
                    && fs::remove_dir(day).is_ok()
                    && let Some(directory) = day.parent()
                {
                    File::open(directory)?.sync_all()?;
                }
                Ok(())
            }
        });
        removed.await.map_err(io_error("remove", location))
    }

    pub fn space(&self) -> Result<DiskSpace, StorageError> {
        let stat = statvfs(self.root.as_std_path())
            .map_err(|error| io_error("measure", &self.root)(error.into()))?;
        Ok(DiskSpace {
            free: stat.f_bavail * stat.f_frsize,
            total: stat.f_blocks * stat.f_frsize,
        })
    }

    /// Every object on disk, in no order.
    pub fn walk(&self, mut found: impl FnMut(Object)) -> Result<(), StorageError> {
        for directory in folders(&self.root)? {
            let name = directory.file_name().unwrap_or_default().to_owned();
            for day in folders(&directory)? {
                let entries = day.read_dir_utf8().map_err(io_error("read folder", &day))?;
                for entry in entries {
                    let entry = entry.map_err(io_error("read folder", &day))?;
                    let metadata = entry.metadata().map_err(io_error("read", entry.path()))?;
                    if metadata.is_file() && entry.path().extension() == Some("mp4") {
                        found(Object {
                            key: format!("{name}/{}", entry.file_name()),
                            location: entry.path().to_owned(),
                            bytes: metadata.len(),
                            modified_ms: metadata.mtime() * 1000,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// A file of the staging folder; it goes when nothing gave it a name.
struct Staged(Utf8PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // It has its name, or the next start removes it.
        drop(fs::remove_file(&self.0));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn folders(path: &Utf8Path) -> Result<Vec<Utf8PathBuf>, StorageError> {
    let entries = path
        .read_dir_utf8()
        .map_err(io_error("read folder", path))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("read folder", path))?;
        let folder = entry
            .file_type()
            .map_err(io_error("read", entry.path()))?
            .is_dir();
        if folder && entry.file_name() != STAGING {
            found.push(entry.path().to_owned());
        }
    }
    Ok(found)
}

fn digest(path: &Utf8Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex::encode(hash.finalize()))),
            n => {
                bytes += u64::try_from(n).unwrap_or(0);
                hash.update(buffer.get(..n).unwrap_or_default());
            }
        }
    }
}

/// Renames without ever replacing, and puts names on disk: new folders, then both parents.
fn give_name(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(to);
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|path| !path.exists())
        .collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        if let Some(above) = made.parent() {
            File::open(above)?.sync_all()?;
        }
    }
    let renamed = renameat_with(
        CWD,
        from.as_std_path(),
        CWD,
        to.as_std_path(),
        RenameFlags::NOREPLACE,
    );
    match renamed {
        // Some network file systems cannot do both in one; a link never replaces either.
        Err(rustix::io::Errno::INVAL) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        other => other?,
    }
    File::open(folder)?.sync_all()?;
    match from.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The work of [`FilesystemProvider::take`]; returns the object's size.
fn take_file(
    source: &Utf8Path,
    to: &Utf8Path,
    staged: &Utf8Path,
    allowed: &[Utf8PathBuf],
) -> Result<u64, StorageError> {
    let refused = |reason| StorageError::Refused {
        path: source.to_owned(),
        reason,
    };
    let plain = source.is_absolute()
        && source
            .components()
            .all(|part| part.as_str() != ".." && part.as_str() != ".");
    if !plain || source.extension() != Some("mp4") {
        return Err(refused("it is not the absolute path of an MP4"));
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0))
        .open(source);
    let Ok(file) = opened else {
        // An earlier try may have brought it here and died before it could say so.
        return match fs::metadata(to) {
            Ok(found) if found.is_file() => Ok(found.len()),
            _ => Err(refused("it cannot be opened")),
        };
    };
    let folder = source
        .parent()
        .and_then(|folder| folder.canonicalize_utf8().ok());
    let inside = folder.is_some_and(|folder| {
        let mut allowed = allowed
            .iter()
            .filter_map(|path| path.canonicalize_utf8().ok());
        allowed.any(|allowed| folder.starts_with(allowed))
    });
    if !inside {
        return Err(refused("it is not below a hand-off directory"));
    }
    let metadata = file.metadata().map_err(io_error("read", source))?;
    if !metadata.is_file() {
        return Err(refused("it is not a file"));
    }
    if metadata.len() == 0 {
        return Err(StorageError::Empty);
    }
    file.sync_all().map_err(io_error("sync", source))?;
    match give_name(source, to) {
        Ok(()) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let same = digest(source).and_then(|one| Ok(one == digest(to)?));
            if same.map_err(io_error("compare", to))? {
                fs::remove_file(source).map_err(io_error("remove", source))?;
                Ok(metadata.len())
            } else {
                Err(StorageError::Exists {
                    path: to.to_owned(),
                })
            }
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // `fs::copy` makes a reflink where the file systems can.
            let copied = fs::copy(source, staged)
                .and_then(|_| File::open(staged)?.sync_all())
                .and_then(|()| give_name(staged, to));
            copied.map_err(io_error("store", to))?;
            fs::remove_file(source).map_err(io_error("remove", source))?;
            Ok(metadata.len())
        }
        Err(error) => Err(io_error("store", to)(error)),
    }
}

#[cfg(test)]
mod tests;
