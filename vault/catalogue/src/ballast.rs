//! A little room on the disk, kept for the moment when there is none.
//!
//! Removing a row writes to the journal first. On a disk that others filled to the last byte, the
//! vault could not even forget its oldest footage, and so never make room again.

use std::fs;
use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

/// The journal's index (32 KiB) and the transactions of some hundred removals.
const BYTES: usize = 2 << 20;

#[derive(Debug)]
pub(crate) struct Ballast {
    path: Utf8PathBuf,
}

impl Ballast {
    pub(crate) fn beside(catalogue: &Utf8Path) -> Self {
        Self {
            path: Utf8PathBuf::from(format!("{catalogue}.ballast")),
        }
    }

    /// Lays it, where it is not there and there is room. Without it everything works but a disk
    /// that is full to the last byte.
    pub(crate) fn lay(&self) {
        if self.path.exists() {
            return;
        }
        // Written out, since a sparse file holds no room.
        let laid = fs::File::create(&self.path).and_then(|mut file| {
            file.write_all(&vec![0x5a; BYTES])
                .and_then(|()| file.sync_all())
        });
        if laid.is_err() {
            self.drop();
        }
    }

    /// Gives the room back; says whether there was any.
    pub(crate) fn drop(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}
