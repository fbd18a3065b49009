//! Files as a tar archive whose bytes depend on nothing but names, modes and content.

use std::collections::BTreeMap;
use std::io::{self, Write};

use camino::{Utf8Path, Utf8PathBuf};
use tar::{Builder, EntryType, Header};

const FOLDER_MODE: u32 = 0o755;

/// Files of an archive. Folders come from the files' paths; everything belongs to root.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: BTreeMap<Utf8PathBuf, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder,
    File { mode: u32, content: Vec<u8> },
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file at a relative path, with the folders above it.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        let path = Utf8Path::new(path);
        for folder in path.ancestors().skip(1).filter(|p| *p != "") {
            self.entries.insert(folder.to_owned(), Entry::Folder);
        }
        let content = content.into();
        self.entries
            .insert(path.to_owned(), Entry::File { mode, content });
        self
    }

    /// Bytes of all files: what the tree takes when it is unpacked.
    pub fn bytes(&self) -> u64 {
        let size = |entry: &Entry| match entry {
            Entry::Folder => 0,
            Entry::File { content, .. } => content.len() as u64,
        };
        self.entries.values().map(size).sum()
    }

    /// Writes the archive: entries in path order, each as old as `modified` (seconds since 1970).
    pub fn write<W: Write>(&self, to: W, modified: u64) -> io::Result<W> {
        let mut archive = Builder::new(to);
        for (path, entry) in &self.entries {
            let (kind, mode, content) = match entry {
                Entry::Folder => (EntryType::Directory, FOLDER_MODE, &[][..]),
                Entry::File { mode, content } => (EntryType::Regular, *mode, &content[..]),
            };
            append(&mut archive, path.as_str(), kind, mode, modified, content)?;
        }
        archive.into_inner()
    }
}

/// Appends one entry with nothing in it that depends on the machine.
pub(crate) fn append<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    kind: EntryType,
    mode: u32,
    modified: u64,
    content: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(modified);
    header.set_size(content.len() as u64);
    let slash = if kind.is_dir() { "/" } else { "" };
    archive.append_data(&mut header, format!("{path}{slash}"), content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap();
        let line = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let entry = entry.unwrap();
            let header = entry.header();
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            assert_eq!((owner, header.mtime().unwrap()), ((0, 0), 7));
            let path = entry.path().unwrap().display().to_string();
            format!("{path} {:o}", header.mode().unwrap())
        };
        entries.map(line).collect()
    }

    #[test]
    fn entries_are_sorted_and_have_their_folders() {
        let tree = Tree::new()
            .file("usr/bin/program", 0o755, "x")
            .file("etc/passwd", 0o644, "root")
            .file("a", 0o600, "");
        let bytes = tree.write(Vec::new(), 7).unwrap();
        let wanted = [
            "a 600",
            "etc/ 755",
            "etc/passwd 644",
            "usr/ 755",
            "usr/bin/ 755",
            "usr/bin/program 755",
        ];
        assert_eq!(names(&bytes), wanted);
        assert_eq!(tree.bytes(), 5);
    }

    #[test]
    fn the_order_of_making_changes_nothing() {
        let one = Tree::new().file("a", 0o644, "1").file("b/c", 0o644, "2");
        let other = Tree::new().file("b/c", 0o644, "2").file("a", 0o644, "1");
        let bytes = one.write(Vec::new(), 0).unwrap();
        assert_eq!(bytes, other.write(Vec::new(), 0).unwrap());
        // The bytes themselves are held: another version of `tar` must not change a release.
        let held = "sha256:f1ca511255f875a2bbdad47427cf4fe3ea4143b2056b66ed52973fb4c3fe30da";
        assert_eq!(Digest::of(&bytes).as_str(), held);
    }
}
