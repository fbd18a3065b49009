//! Taking a finished file over from an agent, which may not be trusted with more than its folder.
//!
//! Every step goes through open folders: a path that was judged could lead elsewhere a moment
//! later.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::{StorageError, digest, folder_of, give_name, io_error};

/// Moves `source` to `to`, or copies it by way of `staged` where the two lie on different file
/// systems. Nothing is taken from below `store` itself. Returns the object's size.
pub(super) fn take_file(
    source: &Utf8Path,
    to: &Utf8Path,
    staged: &Utf8Path,
    store: &Utf8Path,
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
    let (Some(parent), Some(name), true) = (source.parent(), source.file_name(), plain) else {
        return Err(refused("it is not the absolute path of an MP4"));
    };
    if source.extension() != Some("mp4") {
        return Err(refused("it is not the absolute path of an MP4"));
    }
    // An earlier try may have brought it here and died before it could say so.
    let settled = || match fs::symlink_metadata(to) {
        Ok(found) if found.is_file() => {
            let synced = folder_of(to).and_then(|folder| folder.sync_all());
            synced.map_err(io_error("sync", to))?;
            Ok(found.len())
        }
        _ => Err(refused("it is not there")),
    };
    let folder = match parent.canonicalize_utf8() {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return settled(),
        Err(_) => return Err(refused("its folder cannot be opened")),
    };
    // Else an object could be pulled from under its recording.
    if store
        .canonicalize_utf8()
        .is_ok_and(|store| folder.starts_with(store))
    {
        return Err(refused("it is an object of this vault"));
    }
    let folder = open_below(&folder, allowed)
        .map_err(|_| refused("its folder cannot be opened"))?
        .ok_or_else(|| refused("it is not below a hand-off directory"))?;
    // Opening a pipe would wait for its other end without `NONBLOCK`.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match openat(&folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return settled(),
        Err(_) => return Err(refused("it cannot be opened")),
    };
    let metadata = file.metadata().map_err(io_error("read", source))?;
    if !metadata.is_file() {
        return Err(refused("it is not a file"));
    }
    if metadata.len() == 0 {
        return Err(StorageError::Empty);
    }
    file.sync_all().map_err(io_error("sync", source))?;
    match give_name(&folder, name, to) {
        Ok(()) => {
            let moved = fs::symlink_metadata(to).map_err(io_error("read", to))?;
            if (moved.dev(), moved.ino()) != (metadata.dev(), metadata.ino()) {
                // What was moved is not what was judged: a link to anywhere, perhaps.
                let back = renameat_with(CWD, to.as_str(), &folder, name, RenameFlags::NOREPLACE);
                if back.is_err() {
                    fs::remove_file(to).map_err(io_error("remove", to))?;
                }
                return Err(refused("it was exchanged while it was taken"));
            }
            return Ok(metadata.len());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            compare(&mut file, to)?;
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            match copy(&mut file, staged, to) {
                // A crash came between an earlier copy and the removal of its source.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    compare(&mut file, to)?;
                }
                copied => copied.map_err(io_error("store", to))?,
            }
        }
        Err(error) => return Err(io_error("store", to)(error)),
    }
    unlinkat(&folder, name, AtFlags::empty())
        .map_err(|error| io_error("remove", source)(error.into()))?;
    folder.sync_all().map_err(io_error("sync", parent))?;
    Ok(metadata.len())
}

/// Opens a folder that lies below an allowed one, name by name and through no link.
fn open_below(folder: &Utf8Path, allowed: &[Utf8PathBuf]) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for allowed in allowed {
        let Ok(allowed) = allowed.canonicalize_utf8() else {
            continue;
        };
        let Ok(below) = folder.strip_prefix(&allowed) else {
            continue;
        };
        let mut open: OwnedFd = openat(CWD, allowed.as_str(), flags, Mode::empty())?;
        for part in below.components() {
            open = openat(
                &open,
                part.as_str(),
                flags | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
        }
        return Ok(Some(File::from(open)));
    }
    Ok(None)
}

/// Between two open files, `io::copy` lets the kernel share blocks where the file system can.
fn copy(file: &mut File, staged: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(staged)?;
    io::copy(file, &mut out)?;
    out.sync_all()?;
    give_name(
        &folder_of(staged)?,
        staged.file_name().unwrap_or_default(),
        to,
    )
}

/// The object that has the name already must be this very recording; its name is put on disk.
fn compare(file: &mut File, to: &Utf8Path) -> Result<(), StorageError> {
    let mut same = || {
        file.rewind()?;
        let same = digest(file)? == digest(&mut File::open(to)?)?;
        folder_of(to)?.sync_all()?;
        Ok(same)
    };
    if same().map_err(io_error("compare", to))? {
        return Ok(());
    }
    Err(StorageError::Exists {
        path: to.to_owned(),
    })
}
