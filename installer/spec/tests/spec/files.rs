//! Profiles and lists on disk, as the program would read them.

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use installer_spec::{Diagnostic, Lists};

pub(crate) struct Folder(Utf8PathBuf);

impl Folder {
    pub(crate) fn of_crate(path: &str) -> Self {
        Self(Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
    }

    /// File names with this extension, sorted.
    pub(crate) fn names(&self, extension: &str) -> Vec<String> {
        let entries = self.0.read_dir_utf8().expect("folder exists");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_owned())
            .filter(|name| Utf8Path::new(name).extension() == Some(extension))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("readable")
    }
}

impl Lists for Folder {
    fn fetch(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(path))
    }
}

pub(crate) fn message(found: &[Diagnostic]) -> String {
    found
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
