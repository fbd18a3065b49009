//! Footage that is missing, and why: append-only JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// Why footage is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// No session with the camera.
    Disconnected,
    /// Packets got lost on the way.
    PacketLoss,
    /// The camera changed its stream and did not begin with a key frame.
    ParametersChanged,
    /// The camera's clock went backwards.
    ClockJump,
    /// The disk had no room, and memory ran out of patience.
    DiskFull,
    /// The disk was slower than the camera for too long.
    DiskSlow,
    /// A write failed for another reason.
    DiskError,
}

/// One gap; Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub camera: String,
    pub cause: GapCause,
    pub from_ms: u64,
    pub to_ms: u64,
    /// Frames known to be lost; 0 where nobody could count them.
    pub frames: u64,
    /// RTP packets known to be lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub packets: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A gap file past this is set aside as `gaps.1.jsonl`; a camera on a bad link writes for years.
const LARGEST: u64 = 4 << 20;
/// Lines that wait for a full disk; the oldest gaps are the least interesting then.
const MOST_WAITING: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Gaps {
    path: Utf8PathBuf,
    file: File,
    /// Not written yet: gaps happen when disks are full.
    waiting: Vec<u8>,
}

impl Gaps {
    pub(crate) fn open(path: Utf8PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(Self {
            path,
            file,
            waiting: Vec::new(),
        })
    }

    /// Writes the gap now, or with a later one if the disk does not take it.
    pub(crate) fn note(&mut self, gap: &Gap) -> io::Result<()> {
        if self.waiting.len() < MOST_WAITING {
            serde_json::to_writer(&mut self.waiting, gap)?;
            self.waiting.push(b'\n');
        }
        self.flush()
    }

    /// Writes what waits; called again when the disk has room.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let written = self.file.write(&self.waiting)?;
            self.waiting.drain(..written);
        }
        if self.file.metadata()?.len() > LARGEST {
            std::fs::rename(&self.path, self.path.with_extension("1.jsonl"))?;
            self.file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)?;
        }
        Ok(())
    }
}
