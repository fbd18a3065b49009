//! Finishes what a crash left open.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};

use agent_media::{Scan, scan};
use agent_pipeline::FileName;
use camino::{Utf8Path, Utf8PathBuf};

use crate::segment::{PART, finish_part, sync_directory};

const QUARANTINE: &str = "quarantine";

/// What became of one `.part` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Cut behind its last whole fragment and given its name.
    Finished {
        path: Utf8PathBuf,
        frames: u64,
        cut_bytes: u64,
    },
    /// It held no frame, so nothing is lost without it.
    Empty { path: Utf8PathBuf },
    /// Unreadable; kept for a person to look at.
    Quarantined { path: Utf8PathBuf },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished {
                path,
                frames,
                cut_bytes,
            } => {
                write!(f, "finished {path}: {frames} frames, {cut_bytes} bytes cut")
            }
            Self::Empty { path } => write!(f, "removed {path}: no frames in it"),
            Self::Quarantined { path } => write!(f, "unreadable, moved to {path}"),
        }
    }
}

/// Repairs every `.part` file of one camera's directory. No writer may be at work in it.
pub fn repair(directory: &Utf8Path) -> io::Result<Vec<Repair>> {
    let mut parts = Vec::new();
    for entry in directory.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_name().ends_with(PART) && entry.file_type()?.is_file() {
            parts.push(entry.into_path());
        }
    }
    parts.sort();
    parts
        .iter()
        .map(|part| repair_part(directory, part))
        .collect()
}

fn repair_part(directory: &Utf8Path, part: &Utf8Path) -> io::Result<Repair> {
    let mut file = OpenOptions::new().read(true).write(true).open(part)?;
    let found = match scan(&mut file) {
        Ok(found) => found,
        Err(agent_media::ScanError::Read { source, .. }) => return Err(source),
        Err(agent_media::ScanError::NoHeader) if file.metadata()?.len() == 0 => {
            std::fs::remove_file(part)?;
            return Ok(Repair::Empty {
                path: part.to_owned(),
            });
        }
        Err(agent_media::ScanError::NoHeader) => return quarantine(directory, part),
    };
    if found.fragments == 0 && found.is_whole() {
        std::fs::remove_file(part)?;
        return Ok(Repair::Empty {
            path: part.to_owned(),
        });
    }
    let open_name = part
        .file_name()
        .and_then(|n| n.strip_suffix(PART))
        .unwrap_or_default();
    let Ok(mut name) = FileName::parse(open_name) else {
        return quarantine(directory, part);
    };
    if found.fragments == 0 {
        return quarantine(directory, part);
    }
    name.duration_ms = found.duration_ms;
    cut(&mut file, &found)?;
    let path = finish_part(part, &name.to_string())?;
    let cut_bytes = found.file_len - found.valid_len;
    Ok(Repair::Finished {
        path,
        frames: found.video_frames,
        cut_bytes,
    })
}

fn cut(file: &mut File, found: &Scan) -> io::Result<()> {
    file.set_len(found.valid_len)?;
    if !found.indexed {
        file.seek(SeekFrom::Start(found.valid_len))?;
        let written = file.write_all(&found.index());
        if let Err(error) = written {
            // Without the index (a full disk) the file is whole all the same, only slower to seek.
            tracing::warn!(%error, "a repaired recording has no index");
            file.set_len(found.valid_len)?;
        }
    }
    file.sync_data()
}

fn quarantine(directory: &Utf8Path, part: &Utf8Path) -> io::Result<Repair> {
    let aside = directory.join(QUARANTINE);
    std::fs::create_dir_all(&aside)?;
    let path = aside.join(part.file_name().unwrap_or("nameless"));
    std::fs::rename(part, &path)?;
    sync_directory(&aside)?;
    sync_directory(directory)?;
    Ok(Repair::Quarantined { path })
}
