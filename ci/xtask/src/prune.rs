//! Keeps the folder that cargo builds into from filling the disk.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

use crate::process::say;

/// Three times what a full run of `ci` leaves; more is of versions that nobody builds any more.
pub(crate) const LARGEST: u64 = 30 << 30;

/// Makes `target` smaller than `largest`: at first by what only speeds up a rebuild of our own
/// crates, then by everything.
pub(crate) fn prune(target: &Utf8Path, largest: u64) -> anyhow::Result<()> {
    let profiles = ["debug", "release"].map(|name| target.join(name));
    let stages = [
        profiles.each_ref().map(|folder| folder.join("incremental")),
        profiles,
    ];
    for stage in stages {
        let size = size(target)?;
        if size <= largest {
            return Ok(());
        }
        say(format_args!("`{target}` has {} MiB, removing", size >> 20));
        for folder in stage {
            say(format_args!("    {folder}"));
            match fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot remove `{folder}`"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Bytes on disk. Cargo links its results to a second name; they count once.
fn size(folder: &Utf8Path) -> anyhow::Result<u64> {
    let mut seen = HashSet::new();
    let mut sum = 0;
    let mut folders: Vec<Utf8PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match folder.read_dir_utf8() {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list `{folder}`"))?,
        };
        for entry in entries.flatten() {
            // Another build may remove it meanwhile.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.into_path());
            } else if seen.insert((metadata.dev(), metadata.ino())) {
                sum += metadata.blocks() * 512;
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_large_folder_loses_the_least_first() {
        let folder = tempfile::tempdir().unwrap();
        let target = Utf8Path::from_path(folder.path()).unwrap();
        let make = |name: &str| {
            let path = target.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![7; MIB]).unwrap();
            path
        };
        let result = make("debug/deps/result");
        fs::hard_link(&result, target.join("debug/result")).unwrap();
        let speed = make("debug/incremental/speed");
        let other = make("bench.json");

        prune(target, 4 * MIB as u64).unwrap();
        assert!(speed.exists(), "a folder that fits is left alone");
        prune(target, 5 * MIB as u64 / 2).unwrap();
        assert!(!speed.exists() && result.exists());
        prune(target, MIB as u64 / 2).unwrap();
        assert!(!result.exists() && other.exists());
        prune(&target.join("absent"), 0).unwrap();
    }
}
