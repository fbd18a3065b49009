//! Reading files without changing them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

/// SHA-256 of a file in lower-case hex.
pub(crate) fn read_digest(path: &Utf8Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Entries of a folder in name order; none where there is no folder. Names that are not UTF-8
/// are not ours and are left out.
pub(crate) fn read_folder(path: &Utf8Path) -> io::Result<Vec<(Utf8PathBuf, fs::Metadata)>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(path) = Utf8PathBuf::from_path_buf(entry.path()) else {
            continue;
        };
        match fs::symlink_metadata(&path) {
            Ok(metadata) => found.push((path, metadata)),
            // It went while we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Nothing is there: no such name, or something that is no folder on the way to it.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(crate) fn mode(metadata: &fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

/// The nearest folder that exists, `path` itself included.
pub(crate) fn nearest_existing(path: &Utf8Path) -> Utf8PathBuf {
    path.ancestors()
        .find(|ancestor| fs::symlink_metadata(ancestor).is_ok())
        .map_or_else(|| Utf8PathBuf::from("/"), Utf8Path::to_owned)
}
