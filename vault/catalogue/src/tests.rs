use super::*;

fn open(folder: &tempfile::TempDir) -> Catalogue {
    let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
    Catalogue::open(&path, "site").unwrap()
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
fn the_same_recording_again_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut catalogue = open(&folder);
    let Added::New(first) = catalogue.add(&new("gate", 1)).unwrap() else {
        panic!()
    };
    assert_eq!(
        catalogue.add(&new("gate", 1)).unwrap(),
        Added::Duplicate(first.clone())
    );
    let events = catalogue.events(0, None, 10).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind.as_str(), &events[0].recording),
        ("recording.stored", &first)
    );
    assert_eq!(catalogue.totals().unwrap().bytes, 10);
}

#[test]
fn what_was_added_is_there_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).add(&new("gate", 1)).unwrap();
    let catalogue = open(&folder);
    assert!(catalogue.by_key("a", "a/1_gate.mp4").unwrap().is_some());
    assert_eq!(catalogue.totals().unwrap().recordings, 1);
}

#[test]
fn an_expired_recording_is_gone_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut catalogue = open(&folder);
    catalogue.add(&new("gate", 1)).unwrap();
    let oldest = catalogue.oldest(5).unwrap();
    catalogue.expire(&oldest[0], 9).unwrap();
    catalogue.expire(&oldest[0], 9).unwrap();
    assert_eq!(catalogue.totals().unwrap().recordings, 0);
    let kinds: Vec<_> = catalogue
        .events(0, None, 10)
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["recording.stored", "recording.expired"]);
}

#[test]
fn deliveries_are_remembered_and_old_events_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut catalogue = open(&folder);
    for n in 0..5 {
        catalogue.add(&new("gate", n)).unwrap();
    }
    let hook = ["hook".to_owned()];
    assert_eq!(catalogue.undelivered(&hook).unwrap(), 5);
    assert_eq!(catalogue.undelivered(&[]).unwrap(), 0);
    catalogue.deliver("hook", 3).unwrap();
    catalogue.deliver("hook", 2).unwrap();
    assert_eq!(open(&folder).delivered("hook").unwrap(), 3);
    catalogue.forget(i64::MAX, &hook).unwrap();
    let left: Vec<_> = catalogue
        .events(0, None, 10)
        .unwrap()
        .iter()
        .map(|e| e.seq)
        .collect();
    assert_eq!(left, [4, 5]);
}

#[test]
fn a_catalogue_that_is_made_anew_does_not_repeat_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut catalogue = open(&folder);
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
    let damaged = Catalogue::open(&path, "site");
    assert!(
        matches!(damaged, Err(CatalogueError::Damaged { .. })),
        "{damaged:?}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]
    #[test]
    fn pages_put_together_are_the_whole_list(count in 0i64..40, limit in 1usize..9) {
        let folder = tempfile::tempdir().unwrap();
        let mut catalogue = open(&folder);
        for n in 0..count {
            let camera = if n % 3 == 0 { "gate" } else { "yard" };
            // Two cameras' recordings often begin in the same millisecond.
            let mut recording = new(camera, n);
            recording.start_ms = n / 2;
            catalogue.add(&recording).unwrap();
        }
        for camera in [None, Some("gate")] {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = catalogue.page(camera, after, limit).unwrap();
                found.extend(page.recordings);
                match page.next {
                    Some(next) => after = Some(next.parse().unwrap()),
                    None => break,
                }
            }
            let all = catalogue.page(camera, None, 1000).unwrap().recordings;
            proptest::prop_assert_eq!(&found, &all);
            let wanted = (0..count).filter(|n| camera.is_none() || n % 3 == 0).count();
            proptest::prop_assert_eq!(found.len(), wanted);
        }
    }
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
    let mut catalogue = open(&folder);
    for n in 0..50 {
        catalogue.add(&new("gate", n)).unwrap();
    }
    catalogue.lay_ballast();
    drop(catalogue);
    fill("one");
    let mut catalogue = open(&folder);
    for recording in catalogue.oldest(50).unwrap() {
        catalogue.expire(&recording, 9).unwrap();
    }
    assert_eq!(catalogue.totals().unwrap().recordings, 0);
    // The ballast was what made room.
    drop(catalogue);
    fill("two");
    let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
    let failed = Catalogue::open(&path, "site").unwrap_err();
    assert!(failed.is_full(), "{failed:?}");
}

#[test]
fn the_version_that_releases_tell_is_that_of_the_tables() {
    assert_eq!(schema::newest(), i64::from(vault_api::CATALOGUE_VERSION));
}
