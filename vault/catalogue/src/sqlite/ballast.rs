//! A little room on the disk, kept for the moment when there is none.
//!
//! Removing a row writes to the journal first. On a disk that others filled to the last byte, the
//! vault could not even forget its oldest footage, and so never make room again.

use std::fs;
use std::io::{self, Read};

use camino::{Utf8Path, Utf8PathBuf};

/// The journal's index (32 KiB) and the transactions of some hundred removals.
const BYTES: u64 = 2 << 20;

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
        // A crash may have left a part of it, which would help nobody.
        if fs::metadata(&self.path).is_ok_and(|found| found.len() == BYTES) {
            return;
        }
        // Written out, since a sparse file holds no room.
        let lay = || {
            let mut file = fs::File::create(&self.path)?;
            io::copy(&mut io::repeat(0x5a).take(BYTES), &mut file)?;
            file.sync_all()
        };
        if lay().is_err() {
            self.drop();
        }
    }

    /// Gives the room back; says whether there was any.
    pub(crate) fn drop(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}
