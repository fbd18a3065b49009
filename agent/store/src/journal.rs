//! What was uploaded, and what is on its way: append-only JSON lines, made short again at boot.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::segment::sync_directory;

/// How far a recording's upload is. A recording that the journal does not name was never offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Upload {
    /// The vault was asked to take it and may have done so.
    Offered,
    /// The vault holds it durably.
    Uploaded,
    /// Neither file nor journal are interested any more.
    Gone,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    camera: String,
    file: String,
    upload: Upload,
}

/// Rewriting is cheap, but needless below this many dead lines.
const COMPACT_AFTER: usize = 1000;

#[derive(Debug)]
pub(crate) struct Journal {
    path: Utf8PathBuf,
    file: File,
    lines: usize,
    /// By file name, with the camera's.
    states: BTreeMap<String, (String, Upload)>,
}

impl Journal {
    /// Reads the journal, forgiving a torn last line, and writes it anew without dead lines.
    pub(crate) fn open(path: Utf8PathBuf) -> io::Result<Self> {
        let mut states = BTreeMap::new();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(Line {
                    file,
                    upload: Upload::Gone,
                    ..
                }) => {
                    states.remove(&file);
                }
                Ok(line) => {
                    states.insert(line.file, (line.camera, line.upload));
                }
                Err(error) => tracing::warn!(%path, %error, "a journal line cannot be read"),
            }
        }
        let file = rewrite(&path, &states)?;
        Ok(Self {
            path,
            file,
            lines: states.len(),
            states,
        })
    }

    pub(crate) fn get(&self, file: &str) -> Option<Upload> {
        self.states.get(file).map(|(_, upload)| *upload)
    }

    /// Camera and file of everything in this state.
    pub(crate) fn all(&self, wanted: Upload) -> Vec<(String, String)> {
        let matching = self
            .states
            .iter()
            .filter(|(_, (_, upload))| *upload == wanted);
        matching
            .map(|(file, (camera, _))| (camera.clone(), file.clone()))
            .collect()
    }

    /// Notes a state; an acknowledgement is on disk when this returns.
    pub(crate) fn note(&mut self, camera: &str, file: &str, upload: Upload) -> io::Result<()> {
        if self.get(file) == Some(upload) || (upload == Upload::Gone && self.get(file).is_none()) {
            return Ok(());
        }
        let line = Line {
            camera: camera.to_owned(),
            file: file.to_owned(),
            upload,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        if upload == Upload::Uploaded {
            self.file.sync_data()?;
        }
        self.lines += 1;
        if upload == Upload::Gone {
            self.states.remove(file);
        } else {
            self.states.insert(line.file, (line.camera, upload));
        }
        if self.lines > COMPACT_AFTER + 2 * self.states.len() {
            self.file = rewrite(&self.path, &self.states)?;
            self.lines = self.states.len();
        }
        Ok(())
    }
}

/// Replaces the file by one line per state and returns it, open for appending.
fn rewrite(path: &Utf8Path, states: &BTreeMap<String, (String, Upload)>) -> io::Result<File> {
    let fresh = path.with_extension("jsonl.new");
    let mut text = Vec::new();
    for (file, (camera, upload)) in states {
        let line = Line {
            camera: camera.clone(),
            file: file.clone(),
            upload: *upload,
        };
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    let mut out = File::create(&fresh)?;
    out.write_all(&text)?;
    out.sync_data()?;
    std::fs::rename(&fresh, path)?;
    sync_directory(path.parent().unwrap_or(Utf8Path::new(".")))?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(temp: &tempfile::TempDir) -> Utf8PathBuf {
        Utf8Path::from_path(temp.path())
            .expect("UTF-8")
            .join("journal.jsonl")
    }

    #[test]
    fn states_survive_a_restart_and_a_torn_line() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(path(&temp)).expect("opened");
        journal
            .note("gate", "a.mp4", Upload::Offered)
            .expect("noted");
        journal
            .note("gate", "a.mp4", Upload::Uploaded)
            .expect("noted");
        journal
            .note("gate", "b.mp4", Upload::Offered)
            .expect("noted");
        journal
            .note("gate", "c.mp4", Upload::Offered)
            .expect("noted");
        journal.note("gate", "c.mp4", Upload::Gone).expect("noted");
        drop(journal);
        let mut file = OpenOptions::new()
            .append(true)
            .open(path(&temp))
            .expect("opened");
        file.write_all(br#"{"camera":"gate","file":"d.m"#)
            .expect("torn");
        let journal = Journal::open(path(&temp)).expect("opened");
        assert_eq!(journal.get("a.mp4"), Some(Upload::Uploaded));
        assert_eq!(
            journal.all(Upload::Offered),
            [("gate".to_owned(), "b.mp4".to_owned())]
        );
        assert_eq!(journal.get("c.mp4"), None);
        assert_eq!(
            std::fs::read_to_string(path(&temp))
                .expect("there")
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn it_stays_short() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(path(&temp)).expect("opened");
        for i in 0..1500 {
            let file = format!("{i}.mp4");
            journal.note("gate", &file, Upload::Offered).expect("noted");
            journal.note("gate", &file, Upload::Gone).expect("noted");
        }
        assert!(
            std::fs::read_to_string(path(&temp))
                .expect("there")
                .lines()
                .count()
                <= 1001
        );
    }
}
