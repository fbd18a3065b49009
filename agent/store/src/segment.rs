//! One file that is being written.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

/// Ends the name of a file that is not finished.
pub(crate) const PART: &str = ".part";
/// A power cut loses at most this; the disk is not asked more often, for its life's sake.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// An open recording, `NAME.mp4.part`. After every [`Segment::append`] it is a playable file.
#[derive(Debug)]
pub struct Segment {
    file: File,
    part: Utf8PathBuf,
    /// Bytes of whole fragments; what lies behind it is cut off.
    len: u64,
    synced: Instant,
}

impl Segment {
    /// Makes `directory/name.part` and writes the header into it.
    pub fn create(directory: &Utf8Path, name: &str, header: &[u8]) -> io::Result<Self> {
        let part = directory.join(format!("{name}{PART}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)?;
        let mut segment = Self {
            file,
            part,
            len: 0,
            synced: Instant::now(),
        };
        if let Err(e) = segment.append(&mut [IoSlice::new(header)]) {
            // An empty file says nothing and would be quarantined at the next boot.
            std::fs::remove_file(&segment.part)?;
            return Err(e);
        }
        Ok(segment)
    }

    /// Writes one fragment with as few calls as the kernel allows, usually one. When it fails,
    /// the file ends with the fragment before, and the same fragment can be written again.
    pub fn append(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let total: u64 = slices.iter().map(|s| s.len() as u64).sum();
        while slices.iter().any(|s| !s.is_empty()) {
            match self.file.write_vectored(slices) {
                Ok(0) => return self.cut_back(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.cut_back(e),
            }
        }
        self.len += total;
        Ok(())
    }

    fn cut_back(&mut self, error: io::Error) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.seek(SeekFrom::Start(self.len))?;
        Err(error)
    }

    /// Makes the disk hold what was written, if the last time is long enough ago.
    pub fn sync_when_due(&mut self) -> io::Result<()> {
        if self.synced.elapsed() < SYNC_EVERY {
            return Ok(());
        }
        self.synced = Instant::now();
        self.file.sync_data()
    }

    /// Bytes of header and whole fragments.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the file its final name; it is durable under it when this returns.
    pub fn finish(self, name: &str) -> io::Result<Utf8PathBuf> {
        self.file.sync_data()?;
        finish_part(&self.part, name)
    }

    /// Throws the file away: a recording of no frames.
    pub fn discard(self) -> io::Result<()> {
        std::fs::remove_file(&self.part)
    }
}

/// Renames a part within its directory and makes the rename durable.
pub(crate) fn finish_part(part: &Utf8Path, name: &str) -> io::Result<Utf8PathBuf> {
    let directory = part.parent().unwrap_or(Utf8Path::new("."));
    let path = directory.join(name);
    std::fs::rename(part, &path)?;
    sync_directory(directory)?;
    Ok(path)
}

pub(crate) fn sync_directory(directory: &Utf8Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(temp: &tempfile::TempDir) -> &Utf8Path {
        Utf8Path::from_path(temp.path()).expect("UTF-8")
    }

    #[test]
    fn a_segment_grows_and_gets_its_name() {
        let temp = tempfile::tempdir().expect("a directory");
        let directory = directory(&temp);
        let mut segment = Segment::create(directory, "a.mp4", b"head").expect("created");
        segment
            .append(&mut [IoSlice::new(b"moof"), IoSlice::new(b"mdat")])
            .expect("written");
        assert_eq!(
            std::fs::read(directory.join("a.mp4.part")).expect("there"),
            b"headmoofmdat"
        );
        assert_eq!(segment.len(), 12);
        let path = segment.finish("b.mp4").expect("renamed");
        assert_eq!(path, directory.join("b.mp4"));
        assert!(!directory.join("a.mp4.part").exists());
    }

    #[test]
    fn more_slices_than_one_call_takes_are_all_written() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut segment = Segment::create(directory(&temp), "a.mp4", b"head").expect("created");
        let mut slices: Vec<_> = (0..5000).map(|_| IoSlice::new(b"abc")).collect();
        segment.append(&mut slices).expect("written");
        assert_eq!(segment.len(), 15_004);
        let path = segment.finish("a.mp4").expect("renamed");
        assert_eq!(std::fs::metadata(path).expect("there").len(), 15_004);
    }
}
