//! Recordings on disk: write, repair, list, expire.
//!
//! Layout: `<root>/<camera>/` holds finished files under their six-field names and open ones with
//! `.part` behind, and in `quarantine/` what a repair could not read; `<root>/journal.jsonl` says
//! how far uploads are, `<root>/gaps.jsonl` what is missing.
//!
//! Invariant: every file under a final name is whole, playable and durable; nothing unreadable is
//! ever deleted; `kill -9` at any moment costs no more than the fragment being written.
//! It must not know cameras or the network. Start at [`Store::open`] and [`Writer`].

mod disk;
mod gaps;
mod header;
mod index;
mod journal;
mod repair;
mod segment;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_api::Recording;
use agent_pipeline::retention::expired;
use camino::{Utf8Path, Utf8PathBuf};

pub use agent_pipeline::retention::{Policy, Vault};
pub use disk::Disk;
pub use gaps::{Gap, GapCause};
pub use header::split_header;
pub use repair::{Repair, repair};
pub use segment::Segment;
pub use writer::{Command, Fragment, Writer, Written};

use crate::gaps::Gaps;
use crate::index::Index;
pub use crate::index::{Live, Totals};
use crate::journal::{Journal, Upload};

/// Why the store cannot be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use directory `{path}` for recordings")]
    Directory {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("cannot read or write `{path}`")]
    Journal {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("cannot remove recording `{path}`")]
    Remove {
        path: Utf8PathBuf,
        source: io::Error,
    },
}

/// All recordings of one process. Shared by writers, uploader and API; no call waits for the
/// network, those that may wait for the disk say so.
#[derive(Debug)]
pub struct Store {
    root: Utf8PathBuf,
    index: Mutex<Index>,
    journal: Mutex<Journal>,
    gaps: Mutex<Gaps>,
    policy: Policy,
    disk: Mutex<Option<Disk>>,
}

impl Store {
    /// Makes the directories, repairs what a crash left open, and lists what is there: also the
    /// footage of cameras that are not configured any more.
    pub fn open(
        root: &Utf8Path,
        cameras: &[String],
        policy: impl FnOnce(Disk) -> Policy,
    ) -> Result<Self, StoreError> {
        let failed = |path: &Utf8Path, source| StoreError::Directory {
            path: path.into(),
            source,
        };
        for camera in cameras {
            let directory = root.join(camera);
            std::fs::create_dir_all(&directory).map_err(|e| failed(&directory, e))?;
        }
        let journal_path = root.join("journal.jsonl");
        let gaps_path = root.join("gaps.jsonl");
        let noted = |path: &Utf8Path, source| StoreError::Journal {
            path: path.into(),
            source,
        };
        let mut journal =
            Journal::open(journal_path.clone()).map_err(|e| noted(&journal_path, e))?;
        let gaps = Gaps::open(gaps_path.clone()).map_err(|e| noted(&gaps_path, e))?;
        let mut index = Index::default();
        for camera in directories(root).map_err(|e| failed(root, e))? {
            let directory = root.join(&camera);
            for done in repair(&directory).map_err(|e| failed(&directory, e))? {
                tracing::warn!(%camera, repair = ?done, "a recording was left open");
            }
            index
                .scan(&camera, &directory)
                .map_err(|e| failed(&directory, e))?;
        }
        for (camera, file) in journal.all(Upload::Uploaded) {
            // Acknowledged, and the crash came before the file was removed.
            if !index.mark_uploaded(&file) {
                journal
                    .note(&camera, &file, Upload::Gone)
                    .map_err(|e| noted(&journal_path, e))?;
            }
        }
        let disk = Disk::read(root).map_err(|e| failed(root, e))?;
        Ok(Self {
            root: root.to_owned(),
            index: Mutex::new(index),
            journal: Mutex::new(journal),
            gaps: Mutex::new(gaps),
            policy: policy(disk),
            disk: Mutex::new(Some(disk)),
        })
    }

    pub(crate) fn directory(&self, camera: &str) -> Utf8PathBuf {
        self.root.join(camera)
    }

    pub fn path_of(&self, recording: &Recording) -> Utf8PathBuf {
        self.directory(&recording.camera).join(&recording.file)
    }

    /// Finished recordings, of one camera or all, oldest first.
    pub fn recordings(&self, camera: Option<&str>) -> Vec<Recording> {
        lock(&self.index).list(camera)
    }

    pub fn find(&self, file: &str) -> Option<Recording> {
        lock(&self.index).find(file).cloned()
    }

    /// The oldest recording that is not uploaded and that `wanted` accepts.
    pub fn oldest_pending(&self, wanted: &dyn Fn(&Recording) -> bool) -> Option<Recording> {
        lock(&self.index)
            .all()
            .find(|r| !r.uploaded && wanted(r))
            .cloned()
    }

    /// Recordings that were offered to a vault before a restart and are not here.
    pub fn lost_offers(&self) -> Vec<Recording> {
        let offered = lock(&self.journal).all(Upload::Offered);
        let index = lock(&self.index);
        let missing = offered
            .into_iter()
            .filter(|(_, file)| index.find(file).is_none());
        missing
            .filter_map(|(camera, file)| index::recording(&camera, &file, 0))
            .collect()
    }

    /// Notes that a vault is asked to take it. Waits for the disk.
    pub fn note_offered(&self, recording: &Recording) -> Result<(), StoreError> {
        self.journalise(recording, Upload::Offered)
    }

    /// Notes that a vault holds it; durable when this returns. Waits for the disk.
    pub fn note_uploaded(&self, recording: &Recording) -> Result<(), StoreError> {
        lock(&self.index).mark_uploaded(&recording.file);
        self.journalise(recording, Upload::Uploaded)
    }

    /// Removes file and entry; a file that is not there is no error. Waits for the disk.
    pub fn remove(&self, recording: &Recording) -> Result<(), StoreError> {
        let path = self.path_of(recording);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Remove { path, source });
            }
            _ => {}
        }
        lock(&self.index).remove(&recording.file);
        self.journalise(recording, Upload::Gone)
    }

    fn journalise(&self, recording: &Recording, upload: Upload) -> Result<(), StoreError> {
        let noted = lock(&self.journal).note(&recording.camera, &recording.file, upload);
        noted.map_err(|source| StoreError::Journal {
            path: self.root.join("journal.jsonl"),
            source,
        })
    }

    /// Applies age, quota and reserve; returns the freed bytes. Waits for the disk.
    pub fn enforce(&self, now_ms: u64) -> u64 {
        let freed = self.expire(now_ms, 0);
        self.flush_gaps();
        freed
    }

    /// Makes room for at least `needed` bytes where the disk has none.
    pub(crate) fn free(&self, needed: u64) -> u64 {
        self.expire(unix_ms(), needed.max(1))
    }

    fn expire(&self, now_ms: u64, needed: u64) -> u64 {
        let disk = match Disk::read(&self.root) {
            Ok(disk) => disk,
            Err(error) => {
                tracing::error!(path = %self.root, %error, "free space cannot be read");
                return 0;
            }
        };
        *lock(&self.disk) = Some(disk);
        // At least `needed` goes even where the numbers say that there is room: a quota or the
        // last inode can be what is missing.
        let short = self
            .policy
            .reserve_bytes
            .saturating_sub(disk.free)
            .max(needed);
        let policy = Policy {
            reserve_bytes: short,
            ..self.policy
        };
        let doomed = lock(&self.index).doomed(|all| expired(all, 0, &policy, now_ms));
        let mut freed = 0;
        for recording in doomed {
            match self.remove(&recording) {
                Ok(()) => {
                    freed += recording.bytes;
                    tracing::info!(recording = %recording.file, bytes = recording.bytes,
                        uploaded = recording.uploaded, "expired");
                }
                Err(error) => tracing::error!(%error, "a recording cannot be expired"),
            }
        }
        freed
    }

    /// Free space as of the last look (at most seconds ago in a running agent).
    pub fn disk(&self) -> Option<Disk> {
        *lock(&self.disk)
    }

    /// Sums per camera.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        lock(&self.index).totals()
    }

    /// What a camera's newest footage is.
    pub fn live(&self, camera: &str) -> Live {
        lock(&self.index).live(camera)
    }

    /// Records missing footage; kept in memory while the disk does not take it.
    pub fn note_gap(&self, gap: &Gap) {
        lock(&self.index).count_gap(&gap.camera);
        if let Err(error) = lock(&self.gaps).note(gap) {
            tracing::error!(camera = %gap.camera, %error, "a gap is not on disk yet");
        }
    }

    /// Writes gaps that a full disk did not take.
    pub(crate) fn flush_gaps(&self) {
        if let Err(error) = lock(&self.gaps).flush() {
            tracing::debug!(%error, "gaps wait for the disk");
        }
    }

    pub(crate) fn note_open(&self, camera: &str, name: &str) {
        lock(&self.index).open(camera, name);
    }

    pub(crate) fn note_footage(&self, camera: &str, to_ms: u64) {
        lock(&self.index).footage(camera, to_ms);
    }

    pub(crate) fn note_finished(&self, camera: &str, name: &str, bytes: u64) -> Option<Recording> {
        let recording = index::recording(camera, name, bytes)?;
        lock(&self.index).insert(recording.clone());
        Some(recording)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of the camera directories below `root`.
fn directories(root: &Utf8Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in root.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
