//! What services say: in files of bounded size, or in the system's journal.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::Utf8PathBuf;
use installer_plan::ServiceManager;
use installer_plan::host::unit_name;
use installer_render::Layout;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

/// A log is at most this long, and one older is kept.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// A line without an end must not fill memory.
const LINE_BYTES_MAX: usize = 16 << 10;

/// A service's output, rotated by size.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: Utf8PathBuf,
}

impl Log {
    pub(crate) fn new(path: Utf8PathBuf) -> Self {
        Self { path }
    }

    /// Copies both outputs of a child, line by line.
    pub(crate) fn follow(&self, child: &mut Child) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        if let Some(output) = child.stdout.take() {
            tasks.push(tokio::spawn(self.clone().copy(output)));
        }
        if let Some(output) = child.stderr.take() {
            tasks.push(tokio::spawn(self.clone().copy(output)));
        }
        tasks
    }

    async fn copy(self, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::with_capacity(LINE_BYTES_MAX, output);
        loop {
            let piece = match lines.fill_buf().await {
                Ok([]) | Err(_) => return,
                Ok(piece) => piece,
            };
            let end = piece
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map(|at| at + 1);
            let whole = end.unwrap_or(piece.len());
            self.append(piece.get(..whole).unwrap_or_default());
            lines.consume(whole);
        }
    }

    pub(crate) fn write(&self, line: &str) {
        self.append(format!("{line}\n").as_bytes());
    }

    /// A log that cannot be written must not stop a service.
    pub(crate) fn append(&self, bytes: &[u8]) {
        let result = self.rotate().and_then(|()| {
            let mut options = OpenOptions::new();
            options
                .append(true)
                .create(true)
                .mode(0o640)
                .open(&self.path)?
                .write_all(bytes)
        });
        if let Err(error) = result {
            tracing::warn!("cannot write `{}`: {error}", self.path);
        }
    }

    fn rotate(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() >= LOG_BYTES_MAX => {
                fs::rename(&self.path, self.path.with_extension("log.1"))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The last lines that a service has said, without secrets and empty ones.
pub fn read_log(
    manager: ServiceManager,
    site: &str,
    layout: &Layout,
    service: &str,
    count: usize,
) -> Vec<String> {
    let text = match manager {
        ServiceManager::Supervisor => {
            fs::read_to_string(layout.logs().join(format!("{service}.log"))).unwrap_or_default()
        }
        ServiceManager::Systemd => {
            let (unit, count) = (unit_name(site, service), count.to_string());
            let mut journal = std::process::Command::new("journalctl");
            journal
                .args(["--unit", &unit, "--lines", &count, "--output", "cat"])
                // Not what systemd says of them.
                .args(["--identifier", "stakeout-agent"])
                .args(["--identifier", "stakeout-vault"])
                .arg("--no-pager");
            let output = journal.output().map(|output| output.stdout);
            String::from_utf8_lossy(&output.unwrap_or_default()).into_owned()
        }
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<_> = lines.rev().take(count).map(installer_spec::mask).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded_and_one_older_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("agent.log")).unwrap();
        let log = Log::new(path.clone());
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            log.append(&line);
        }
        log.write("the last line");
        let bounded = LOG_BYTES_MAX + (1 << 20);
        assert!(fs::metadata(&path).unwrap().len() <= bounded);
        assert!(fs::metadata(path.with_extension("log.1")).unwrap().len() <= bounded);
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .ends_with("the last line\n")
        );
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    }
}
