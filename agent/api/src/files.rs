//! What `stakeout-agent files` is asked: how the installer changes a site's folder where it can
//! reach it through a container engine only.
//!
//! One [`FileRequest`] per line on standard input, one [`FileAnswer`] per line on standard output,
//! in the same order. Every change is atomic, or leaves a file `.NAME.stakeout-new` that the next
//! one of that name replaces. Paths are relative to the folder that the program was started for.

use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", deny_unknown_fields)]
pub enum FileRequest {
    /// Makes the folder, or sets mode and owner of the one that is there.
    MakeDirectory { path: String, mode: u32, owner: u32 },
    /// Writes the whole file, durably.
    Write {
        path: String,
        mode: u32,
        owner: u32,
        contents: String,
        present: Present,
    },
    /// Copies a file that is there, durably; one that is at `to` already is left alone.
    Copy {
        from: String,
        to: String,
        mode: u32,
        owner: u32,
    },
    /// No file there is fine, too.
    Remove { path: String },
    /// With everything in it, or only when it is empty.
    RemoveDirectory { path: String, recursive: bool },
    /// Gives all that lies there to `owner`.
    Own { path: String, owner: u32 },
    /// Tells about the disk below the folder.
    Disk,
}

/// What happens to a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Present {
    Replace,
    Keep,
}

/// The contents may be a secret, so the debug form leaves them out.
impl std::fmt::Debug for FileRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verb, path) = match self {
            Self::MakeDirectory { path, .. } => ("MakeDirectory", path.as_str()),
            Self::Write { path, .. } => ("Write", path.as_str()),
            Self::Copy { to, .. } => ("Copy", to.as_str()),
            Self::Remove { path } => ("Remove", path.as_str()),
            Self::RemoveDirectory { path, .. } => ("RemoveDirectory", path.as_str()),
            Self::Own { path, .. } => ("Own", path.as_str()),
            Self::Disk => ("Disk", "."),
        };
        f.debug_tuple(verb).field(&path).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileAnswer {
    Done,
    /// Bytes of the file system, and what footage takes of it.
    Disk {
        free: u64,
        total: u64,
        footage: u64,
    },
    /// What went wrong, with the path.
    Failed(String),
}
