//! A directory as a provider: `<path>/<directory>/<YYYY-MM-DD>/<file name>`.
//!
//! The day is that of the recording's start, UTC, so that no folder grows without bound. Uploads
//! are staged in `<path>/.staging` and get their name when they are complete and on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use futures::{Stream, StreamExt};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, OFlags, RenameFlags, flock, linkat, renameat_with, statvfs,
    unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::name::{RecordingName, is_file_name};
use crate::object::{DiskSpace, Object, QUIET, StorageError, StoredObject};

mod take;

/// Name of the folder for uploads that are not complete.
const STAGING: &str = ".staging";
const LOCK: &str = ".lock";

/// A folder of the machine as object store.
#[derive(Debug)]
pub struct FilesystemProvider {
    root: Utf8PathBuf,
    counter: AtomicU64,
    /// Two vaults would remove each other's uploads.
    _lock: File,
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
        let path = root.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            StorageError::Locked {
                path: root.to_owned(),
            }
        })?;
        for entry in entries(&staging)? {
            if entry.path().extension() == Some("part") {
                fs::remove_file(entry.path()).map_err(io_error("remove", entry.path()))?;
            }
        }
        Ok(Self {
            root: root.to_owned(),
            counter: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Whether objects were kept in this folder before; an empty mount point never held any.
    pub fn is_known(root: &Utf8Path) -> bool {
        root.join(STAGING).is_dir()
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
        while let Some(piece) = tokio::time::timeout(QUIET, body.next())
            .await
            .map_err(|error| StorageError::Cut(Box::new(error)))?
        {
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
            give_name(
                &folder_of(&from)?,
                from.file_name().unwrap_or_default(),
                &to,
            )
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
        let found = blocking(move || {
            let found = digest(&mut File::open(&path)?)?;
            // The crash may have come before its name was on disk.
            folder_of(&path)?.sync_all()?;
            Ok(found)
        });
        let found = found.await.map_err(io_error("read", &location))?;
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
        let store = self.root.clone();
        let taken = tokio::task::spawn_blocking(move || {
            take::take_file(&source, &to, &staged.0, &store, &allowed)
        });
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

    /// Size of an object; `None` where there is none.
    pub fn size(&self, location: &Utf8Path) -> Option<u64> {
        fs::symlink_metadata(location)
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

    /// Puts an object on disk that somebody else may have left in the cache.
    pub fn sync(&self, location: &Utf8Path) -> Result<(), StorageError> {
        let synced = open_plain(location)
            .and_then(|file| file.sync_all())
            .and_then(|()| folder_of(location)?.sync_all());
        synced.map_err(io_error("sync", location))
    }

    pub fn space(&self) -> Result<DiskSpace, StorageError> {
        let stat = statvfs(self.root.as_std_path())
            .map_err(|error| io_error("measure", &self.root)(error.into()))?;
        Ok(DiskSpace {
            free: stat.f_bavail * stat.f_frsize,
            total: stat.f_blocks * stat.f_frsize,
        })
    }

    /// Every object on disk, in no order. What lies where we would not have put it is not ours.
    pub fn walk(&self, mut found: impl FnMut(Object)) -> Result<(), StorageError> {
        for directory in folders(&self.root)? {
            let name = directory.file_name().unwrap_or_default().to_owned();
            for day in folders(&directory)? {
                for entry in entries(&day)? {
                    let key = format!("{name}/{}", entry.file_name());
                    let named = is_file_name(entry.file_name());
                    if !named || self.location(&key) != entry.path() {
                        continue;
                    }
                    let metadata = entry.metadata().map_err(io_error("read", entry.path()))?;
                    if metadata.is_file() {
                        found(Object {
                            key,
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

/// Up to `length` bytes of an object from `start`.
pub(crate) async fn read(
    location: &Utf8Path,
    start: u64,
    length: usize,
) -> Result<Bytes, StorageError> {
    let path = location.to_owned();
    let piece = blocking(move || {
        let mut file = open_plain(&path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut data = Vec::with_capacity(length);
        file.take(u64::try_from(length).unwrap_or(0))
            .read_to_end(&mut data)?;
        Ok(Bytes::from(data))
    });
    piece.await.map_err(io_error("read", location))
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

/// What a folder holds, but for names that are not UTF-8: those are not ours.
fn entries(path: &Utf8Path) -> Result<Vec<Utf8DirEntry>, StorageError> {
    let other = |entry: &io::Result<Utf8DirEntry>| !matches!(entry, Err(error) if error.kind() == io::ErrorKind::InvalidData);
    let entries = path
        .read_dir_utf8()
        .and_then(|entries| entries.filter(other).collect());
    entries.map_err(io_error("read folder", path))
}

fn folders(path: &Utf8Path) -> Result<Vec<Utf8PathBuf>, StorageError> {
    let mut found = Vec::new();
    for entry in entries(path)? {
        let folder = entry
            .file_type()
            .map_err(io_error("read", entry.path()))?
            .is_dir();
        // `.staging`, and what other systems keep in a disk's root.
        if folder && !entry.file_name().starts_with('.') && entry.file_name() != "lost+found" {
            found.push(entry.path().to_owned());
        }
    }
    Ok(found)
}

fn digest(file: &mut File) -> io::Result<(u64, String)> {
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

/// An object is never a link: what it points to would not be ours to give out.
fn open_plain(path: &Utf8Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn folder_of(path: &Utf8Path) -> io::Result<File> {
    File::open(path.parent().unwrap_or(path))
}

/// Renames without ever replacing, and puts names on disk: new folders, then both parents.
fn give_name(folder: &File, name: &str, to: &Utf8Path) -> io::Result<()> {
    make_folders(to.parent().unwrap_or(to))?;
    let rename = || renameat_with(folder, name, CWD, to.as_str(), RenameFlags::NOREPLACE);
    let mut renamed = rename();
    if renamed == Err(Errno::NOENT) {
        // The day's folder may have gone with its last recording since we made it.
        make_folders(to.parent().unwrap_or(to))?;
        renamed = rename();
    }
    match renamed {
        // Some network file systems cannot do both in one; a link never replaces either.
        Err(Errno::INVAL) => {
            linkat(folder, name, CWD, to.as_str(), AtFlags::empty())?;
            unlinkat(folder, name, AtFlags::empty())?;
        }
        other => other?,
    }
    folder_of(to)?.sync_all()?;
    folder.sync_all()
}

fn make_folders(folder: &Utf8Path) -> io::Result<()> {
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|path| !path.exists())
        .collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        folder_of(made)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
