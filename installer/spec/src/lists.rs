//! Where the text of a CSV list comes from.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// Fetches the lists that a profile names with `from:`. The program reads them from disk,
/// relative to the profile's folder; this crate does not.
pub trait Lists {
    /// `path` is as written in the profile.
    fn fetch(&self, path: &Utf8Path) -> io::Result<Vec<u8>>;
}

/// Lists held in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLists(pub BTreeMap<Utf8PathBuf, Vec<u8>>);

impl Lists for MemoryLists {
    fn fetch(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
