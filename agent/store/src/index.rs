//! What is on disk, in memory. It can always be made again from the files and the journal.

use std::collections::BTreeMap;
use std::io;

use agent_api::Recording;
use agent_pipeline::{FileName, retention};
use camino::Utf8Path;

/// Sums over a camera's finished recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub recordings: u64,
    pub bytes: u64,
    /// Not uploaded yet.
    pub pending: u64,
    /// Gaps since the process began.
    pub gaps: u64,
}

/// A camera's newest footage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Newest file since the process began or found at its start, open or finished.
    pub newest: Option<String>,
    /// Unix milliseconds of the newest footage on disk.
    pub footage_ms: Option<u64>,
}

/// Start and file name: the order in which footage was made.
type Key = (u64, String);

#[derive(Debug, Default)]
pub(crate) struct Index {
    recordings: BTreeMap<Key, Recording>,
    /// By camera.
    totals: BTreeMap<String, Totals>,
    live: BTreeMap<String, Live>,
}

/// A recording as its name describes it; `None` if it is not a six-field name.
pub(crate) fn recording(camera: &str, file: &str, bytes: u64) -> Option<Recording> {
    let name = parse(file)?;
    Some(Recording {
        file: file.to_owned(),
        camera: camera.to_owned(),
        start_ms: name.start_ms,
        duration_ms: name.duration_ms,
        bytes,
        uploaded: false,
    })
}

fn parse(file: &str) -> Option<FileName> {
    FileName::parse(file).ok()
}

fn key(file: &str) -> Option<Key> {
    parse(file).map(|name| (name.start_ms, file.to_owned()))
}

impl Index {
    /// Adds every finished recording of a directory.
    pub(crate) fn scan(&mut self, camera: &str, directory: &Utf8Path) -> io::Result<()> {
        self.totals.entry(camera.to_owned()).or_default();
        for entry in directory.read_dir_utf8()? {
            let entry = entry?;
            let file = entry.file_name();
            if !entry.file_type()?.is_file() || entry.path().extension() != Some("mp4") {
                continue;
            }
            match recording(camera, file, entry.metadata()?.len()) {
                Some(recording) => self.insert(recording),
                None => tracing::warn!(%camera, %file, "this file's name is not a recording's"),
            }
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, recording: Recording) {
        let totals = self.totals.entry(recording.camera.clone()).or_default();
        totals.recordings += 1;
        totals.bytes += recording.bytes;
        totals.pending += u64::from(!recording.uploaded);
        let live = self.live.entry(recording.camera.clone()).or_default();
        let end = recording.start_ms + recording.duration_ms;
        if live.footage_ms.is_none_or(|ms| ms <= end) || live.newest.is_none() {
            live.newest = Some(recording.file.clone());
            live.footage_ms = Some(end);
        } else if live
            .newest
            .as_deref()
            .is_some_and(|n| same_start(n, &recording.file))
        {
            // The open file under its final name.
            live.newest = Some(recording.file.clone());
        }
        self.recordings
            .insert((recording.start_ms, recording.file.clone()), recording);
    }

    pub(crate) fn find(&self, file: &str) -> Option<&Recording> {
        self.recordings.get(&key(file)?)
    }

    pub(crate) fn remove(&mut self, file: &str) {
        let Some(removed) = key(file).and_then(|key| self.recordings.remove(&key)) else {
            return;
        };
        let totals = self.totals.entry(removed.camera).or_default();
        totals.recordings -= 1;
        totals.bytes -= removed.bytes;
        totals.pending -= u64::from(!removed.uploaded);
    }

    /// Returns whether it is listed.
    pub(crate) fn mark_uploaded(&mut self, file: &str) -> bool {
        let Some(recording) = key(file).and_then(|key| self.recordings.get_mut(&key)) else {
            return false;
        };
        if !recording.uploaded {
            recording.uploaded = true;
            self.totals
                .entry(recording.camera.clone())
                .or_default()
                .pending -= 1;
        }
        true
    }

    /// Oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Recording> {
        self.recordings.values()
    }

    /// What `choose` points at, in its order.
    pub(crate) fn doomed(
        &self,
        choose: impl FnOnce(&[retention::Recording]) -> Vec<usize>,
    ) -> Vec<Recording> {
        let all: Vec<_> = self.all().collect();
        let described: Vec<_> = all
            .iter()
            .map(|r| retention::Recording {
                end_ms: r.start_ms.saturating_add(r.duration_ms),
                bytes: r.bytes,
                uploaded: r.uploaded,
            })
            .collect();
        let chosen = choose(&described);
        chosen
            .into_iter()
            .filter_map(|i| all.get(i).map(|r| (*r).clone()))
            .collect()
    }

    pub(crate) fn list(&self, camera: Option<&str>) -> Vec<Recording> {
        self.all()
            .filter(|r| camera.is_none_or(|c| r.camera == c))
            .cloned()
            .collect()
    }

    pub(crate) fn totals(&self) -> BTreeMap<String, Totals> {
        self.totals.clone()
    }

    pub(crate) fn live(&self, camera: &str) -> Live {
        self.live.get(camera).cloned().unwrap_or_default()
    }

    pub(crate) fn open(&mut self, camera: &str, name: &str) {
        self.live.entry(camera.to_owned()).or_default().newest = Some(name.to_owned());
    }

    pub(crate) fn footage(&mut self, camera: &str, to_ms: u64) {
        self.live.entry(camera.to_owned()).or_default().footage_ms = Some(to_ms);
    }

    pub(crate) fn count_gap(&mut self, camera: &str) {
        self.totals.entry(camera.to_owned()).or_default().gaps += 1;
    }
}

fn same_start(a: &str, b: &str) -> bool {
    let start = |file: &str| parse(file).map(|name| name.start_ms);
    start(a) == start(b)
}
