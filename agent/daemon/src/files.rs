//! `stakeout-agent files`: changes a site's folder for an installer that cannot reach it itself.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, lchown};

use agent_api::{FileAnswer, FileRequest, Present};
use anyhow::Context;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

/// Folders below the site's that hold footage.
const FOOTAGE: [&str; 2] = ["recordings", "agents"];

/// Serves requests until standard input ends.
pub(crate) fn serve(root: &Utf8Path) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line.context("cannot read a request")?;
        // serde's own message could repeat a secret.
        let answer = match serde_json::from_str(&line) {
            Ok(request) => perform(root, &request).unwrap_or_else(FileAnswer::Failed),
            Err(error) => {
                FileAnswer::Failed(format!("no such request (column {})", error.column()))
            }
        };
        serde_json::to_writer(&mut out, &answer).context("cannot answer")?;
        out.write_all(b"\n").context("cannot answer")?;
        out.flush().context("cannot answer")?;
    }
    Ok(())
}

fn perform(root: &Utf8Path, request: &FileRequest) -> Result<FileAnswer, String> {
    let (verb, relative) = match request {
        FileRequest::MakeDirectory { path, .. } => ("make folder", path.as_str()),
        FileRequest::Write { path, .. } => ("write", path.as_str()),
        FileRequest::Copy { to, .. } => ("copy to", to.as_str()),
        FileRequest::Remove { path } => ("remove", path.as_str()),
        FileRequest::RemoveDirectory { path, .. } => ("remove folder", path.as_str()),
        FileRequest::Own { path, .. } => ("change the owner of", path.as_str()),
        FileRequest::Disk => ("read the disk of", ""),
    };
    let path = below(root, relative).ok_or_else(|| format!("`{relative}` leaves the folder"))?;
    let done = match request {
        FileRequest::MakeDirectory { mode, owner, .. } => make_directory(&path, *mode, *owner),
        FileRequest::Write {
            mode,
            owner,
            contents,
            present,
            ..
        } => {
            if *present == Present::Keep && path.exists() {
                Ok(())
            } else {
                write(&path, *mode, *owner, contents.as_bytes())
            }
        }
        FileRequest::Copy { .. } if path.exists() => Ok(()),
        FileRequest::Copy {
            from, mode, owner, ..
        } => {
            let from = below(root, from).ok_or_else(|| format!("`{from}` leaves the folder"))?;
            fs::read(&from).and_then(|contents| write(&path, *mode, *owner, &contents))
        }
        FileRequest::Remove { .. } => absent_is_fine(fs::remove_file(&path)),
        FileRequest::RemoveDirectory { recursive, .. } => remove_directory(&path, *recursive),
        FileRequest::Own { owner, .. } => own(&path, *owner),
        FileRequest::Disk => return disk(root).map_err(|e| format!("cannot {verb} `{root}`: {e}")),
    };
    match done {
        Ok(()) => Ok(FileAnswer::Done),
        Err(error) => Err(format!("cannot {verb} `{relative}`: {error}")),
    }
}

/// The path below `root`, if it stays there.
fn below(root: &Utf8Path, relative: &str) -> Option<Utf8PathBuf> {
    let inside = Utf8Path::new(relative)
        .components()
        .all(|part| matches!(part, Utf8Component::Normal(_)));
    inside.then(|| root.join(relative))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn make_directory(path: &Utf8Path, mode: u32, owner: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    chown(path, Some(owner), Some(owner))
}

fn write(path: &Utf8Path, mode: u32, owner: u32, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Utf8Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let new = folder.join(format!(".{name}.stakeout-new"));
    absent_is_fine(fs::remove_file(&new))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    // The umask took bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    chown(&new, Some(owner), Some(owner))?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn remove_directory(path: &Utf8Path, recursive: bool) -> io::Result<()> {
    if recursive {
        return absent_is_fine(fs::remove_dir_all(path));
    }
    match absent_is_fine(fs::remove_dir(path)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

/// Links are given away themselves, never what they point at.
fn own(path: &Utf8Path, owner: u32) -> io::Result<()> {
    lchown(path, Some(owner), Some(owner))?;
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    for entry in path.read_dir_utf8()? {
        own(entry?.path(), owner)?;
    }
    Ok(())
}

fn disk(root: &Utf8Path) -> io::Result<FileAnswer> {
    let stat = rustix::fs::statvfs(root.as_std_path())?;
    let mut footage = 0;
    let mut folders: Vec<_> = FOOTAGE.iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path().to_owned()),
                Ok(metadata) => footage += metadata.len(),
                Err(_) => {}
            }
        }
    }
    Ok(FileAnswer::Disk {
        free: stat.f_bavail * stat.f_frsize,
        total: stat.f_blocks * stat.f_frsize,
        footage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        (folder, path)
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn write(path: &str, contents: &str, present: Present) -> FileRequest {
        FileRequest::Write {
            path: path.to_owned(),
            mode: 0o600,
            owner: me(),
            contents: contents.to_owned(),
            present,
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_kept_one_is_left_alone() {
        let (_folder, root) = folder();
        for (present, wanted) in [(Present::Replace, "two"), (Present::Keep, "two")] {
            for text in ["one", "two"] {
                let request = match present {
                    Present::Replace => write("a", text, present),
                    Present::Keep => write("a", "three", present),
                };
                assert_eq!(perform(&root, &request), Ok(FileAnswer::Done));
            }
            assert_eq!(fs::read_to_string(root.join("a")).unwrap(), wanted);
        }
        let mode = fs::metadata(root.join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            root.read_dir_utf8().unwrap().count(),
            1,
            "nothing beside it"
        );
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let (_folder, root) = folder();
        for path in ["../x", "/etc/x", "a/../../x", "./x"] {
            let answer = perform(&root, &write(path, "x", Present::Replace));
            assert!(answer.is_err_and(|e| e.contains("leaves")), "{path}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_goes_only_when_told_so() {
        let (_folder, root) = folder();
        fs::create_dir_all(root.join("recordings/gate")).unwrap();
        fs::write(root.join("recordings/gate/x.mp4"), "12345").unwrap();
        let remove = |recursive| FileRequest::RemoveDirectory {
            path: "recordings".to_owned(),
            recursive,
        };
        assert_eq!(perform(&root, &remove(false)), Ok(FileAnswer::Done));
        let disk = perform(&root, &FileRequest::Disk).unwrap();
        assert!(
            matches!(disk, FileAnswer::Disk { footage: 5, .. }),
            "{disk:?}"
        );
        assert_eq!(perform(&root, &remove(true)), Ok(FileAnswer::Done));
        assert!(!root.join("recordings").exists());
        assert_eq!(perform(&root, &remove(true)), Ok(FileAnswer::Done));
    }

    #[test]
    fn a_request_shows_no_contents() {
        let shown = format!("{:?}", write("secrets/x.1", "hunter2", Present::Keep));
        assert!(!shown.contains("hunter2") && shown.contains("secrets/x.1"));
    }
}
