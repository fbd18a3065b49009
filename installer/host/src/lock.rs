//! One run at a time per data directory.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

/// Held until dropped; the kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another run is changing this site: {holder}")]
    Held { holder: String },
    #[error("cannot lock `{path}`")]
    Io {
        path: Utf8PathBuf,
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of the site at `data` for `command`, or names who has it.
    pub fn take(data: &Utf8Path, command: &str) -> Result<Self, LockError> {
        let path = lock_path(data);
        let failed = |source: io::Error| LockError::Io {
            path: path.clone(),
            source,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            return Err(LockError::Held {
                holder: holder.trim().to_owned(),
            });
        }
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%d %H:%M:%S UTC")
            .to_string();
        let text = format!(
            "process {} (stakeout {command}) since {now}\n",
            std::process::id()
        );
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Outside the data directory: that one need not exist yet, and must be able to go.
fn lock_path(data: &Utf8Path) -> Utf8PathBuf {
    let name = hex::encode(Sha256::digest(data.as_str().as_bytes()));
    let name: String = name.chars().take(16).collect();
    let folder = if rustix::process::geteuid().is_root() {
        Utf8PathBuf::from("/run/stakeout")
    } else if let Ok(folder) = env::var("XDG_RUNTIME_DIR") {
        Utf8PathBuf::from(folder).join("stakeout")
    } else {
        let uid = rustix::process::geteuid().as_raw();
        Utf8PathBuf::from(format!("/tmp/stakeout-{uid}"))
    };
    folder.join(format!("{name}.lock"))
}
