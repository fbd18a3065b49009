use camino::Utf8PathBuf;

use super::*;

fn open(folder: &tempfile::TempDir) -> SqliteCatalogue {
    let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
    SqliteCatalogue::open(&path, "site").unwrap()
}

fn new(camera: &str, n: i64) -> NewRecording {
    NewRecording {
        account: "a".into(),
        key: format!("a/{n}_{camera}.mp4"),
        camera: camera.into(),
        start_ms: n * 1000,
        duration_ms: 1000,
        bytes: 10,
        sha256: None,
        stored_ms: n * 1000 + 5,
        location: format!("/x/{n}"),
    }
}

#[test]
fn a_catalogue_that_is_made_anew_does_not_repeat_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = open(&folder);
    catalogue.start_at(5000).unwrap();
    catalogue.add(&new("gate", 1)).unwrap();
    catalogue.start_at(9000).unwrap();
    catalogue.add(&new("gate", 2)).unwrap();
    let events = catalogue.events(0, None, 10).unwrap();
    let numbers: Vec<_> = events.iter().map(|e| (e.seq, e.recording.id)).collect();
    assert_eq!(numbers, [(5001, 5001), (5002, 5002)]);
}

#[test]
fn a_file_that_is_no_catalogue_is_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).verify().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("other.sqlite")).unwrap();
    std::fs::write(
        &path,
        "not a database, and long enough to be looked at".repeat(99),
    )
    .unwrap();
    let damaged = SqliteCatalogue::open(&path, "site");
    assert!(
        matches!(damaged, Err(CatalogueError::Damaged { .. })),
        "{damaged:?}"
    );
}

/// Mounts a small disk; `None` where this user may not.
fn small_disk(folder: &tempfile::TempDir) -> Option<impl Drop> {
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let unmounted = std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .status();
            assert!(unmounted.unwrap().success());
        }
    }
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "none"])
        .arg(folder.path())
        .stderr(std::process::Stdio::null())
        .status();
    let mounted = mounted.is_ok_and(|status| status.success());
    mounted.then(|| Mounted(folder.path().to_owned()))
}

#[test]
fn a_disk_without_a_free_byte_gives_up_its_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = small_disk(&folder) else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    let fill = |name: &str| {
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        for piece in [1 << 16, 1 << 12] {
            while std::io::Write::write_all(&mut file, &vec![1; piece]).is_ok() {}
        }
    };
    let catalogue = open(&folder);
    for n in 0..50 {
        catalogue.add(&new("gate", n)).unwrap();
    }
    catalogue.keep_room();
    drop(catalogue);
    fill("one");
    let catalogue = open(&folder);
    for recording in catalogue.oldest(50).unwrap() {
        catalogue.expire(&recording, 9).unwrap();
    }
    assert_eq!(catalogue.totals().unwrap().recordings, 0);
    // The ballast was what made room.
    drop(catalogue);
    fill("two");
    let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
    let failed = SqliteCatalogue::open(&path, "site").unwrap_err();
    assert!(failed.is_full(), "{failed:?}");
}

#[test]
fn the_version_that_releases_tell_is_that_of_the_tables() {
    let told = i64::from(vault_api::CATALOGUE_VERSION);
    assert_eq!(schema::newest(), told);
}
